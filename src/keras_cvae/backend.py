"""Which Keras backend runs: the user's choice, or JAX where there is none."""

import functools
import importlib.util
import json
import os
import sys
from pathlib import Path

_PACKAGES = {"jax": "jax", "torch": "torch", "tensorflow": "tensorflow", "openvino": "openvino"}


# What Keras itself writes to keras.json on its first import; nobody chose that.
_WRITTEN_BY_KERAS = {
    "floatx": "float32",
    "epsilon": 1e-07,
    "backend": "tensorflow",
    "image_data_format": "channels_last",
}


def choose_backend() -> None:
    """Set `KERAS_BACKEND` to JAX unless the user has chosen, and check that the choice can run.

    A choice is `KERAS_BACKEND`, a `keras.json` that somebody edited, or Keras already imported.

    Raises:
        ImportError: The chosen backend is unknown or not installed.
    """
    if "keras" in sys.modules:
        return
    source, chosen = "KERAS_BACKEND", os.environ.get("KERAS_BACKEND")
    if not chosen:
        source, chosen = "keras.json", _configured()
    if not chosen:
        source, chosen = "the default", "jax"
        os.environ["KERAS_BACKEND"] = chosen
    if chosen not in _PACKAGES:
        raise ImportError(
            f"The Keras backend '{chosen}' (from {source}) does not exist. "
            f"Expected jax, torch or tensorflow, for example KERAS_BACKEND=jax."
        )
    if importlib.util.find_spec(_PACKAGES[chosen]) is None:
        raise ImportError(
            f"The Keras backend '{chosen}' (from {source}) is not installed. "
            f"Install it with `pip install {_PACKAGES[chosen]}`, or choose an installed one, "
            f"for example KERAS_BACKEND=jax."
        )


class _NotForKeras:
    """Hides from `import keras` what it imports only in case somebody wants it.

    That is half of its time. What it hides is wrappers and a gallery that the command never calls;
    whoever else imports these packages gets them.
    """

    hidden = ("sklearn", "matplotlib")

    def find_spec(self, name, path=None, target=None):
        keras = sys.modules.get("keras")
        if name in self.hidden and keras is not None and not hasattr(keras, "__version__"):
            raise ModuleNotFoundError(f"'{name}' is hidden while Keras is imported", name=name)


def prepare_command() -> None:
    """Make the process of a command start fast: a light Keras, and compiled programs kept on disk.

    JAX keeps what it compiles under the user's cache directory; its own variables have the last
    word: `JAX_COMPILATION_CACHE_DIR` is another place, `JAX_ENABLE_COMPILATION_CACHE=0` none.
    """
    if not any(isinstance(finder, _NotForKeras) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NotForKeras())
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def cache_folder() -> Path:
    """Where the system keeps this user's caches of this package."""
    home, own = Path.home(), "keras-cvae"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / own / "Cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / own
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / own


def _configured() -> str | None:
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    try:
        config = json.loads((home / "keras.json").read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(config, dict) or config == _WRITTEN_BY_KERAS:
        return None
    return config.get("backend")


class UntrackedState:
    """A mixin for models whose steps are short: one attribute of theirs holds no layers.

    On JAX, Keras keeps the state of training here at every step, and would search all of it.
    """

    def __setattr__(self, name, value):
        if name == "_jax_state":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)


def flush_denormals() -> None:
    """On PyTorch, for the process: count numbers below 1e-38 as 0; Adam's state is full of them.

    CPUs take many times as long for them; XLA and TensorFlow flush them anyhow.
    """
    import keras

    if keras.backend.backend() == "torch":
        import torch

        torch.set_flush_denormal(True)


@functools.cache
def accelerated() -> bool:
    """Whether the backend computes on a GPU or TPU: few large kernels there, caches on a CPU."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() != "cpu"
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.is_available()
    return False
