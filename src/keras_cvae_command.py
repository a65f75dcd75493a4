"""The process of the command `cvae`, whose help and usage errors must not wait for Keras."""

import os


def main() -> None:
    """Run the command; it imports Keras where it needs it."""
    os.environ["KERAS_CVAE_LAZY"] = "1"
    from keras_cvae.cli.main import main as command

    del os.environ["KERAS_CVAE_LAZY"]  # not for processes that this one starts
    command()


if __name__ == "__main__":
    main()
