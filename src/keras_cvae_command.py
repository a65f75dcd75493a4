"""The process of the command `cvae`, whose help and usage errors must not wait for Keras."""

import os
import sys


def main() -> None:
    """Run the command; it imports Keras where it needs it."""
    try:
        os.environ["KERAS_CVAE_LAZY"] = "1"
        from keras_cvae.cli.main import main as command

        del os.environ["KERAS_CVAE_LAZY"]  # not for processes that this one starts
        command()
    except KeyboardInterrupt:  # as it imports what it needs, and nothing has begun
        print("\nStopped.", file=sys.stderr, flush=True)
        os._exit(130)  # Python would end by the signal if it fell into an `exec`


if __name__ == "__main__":
    main()
