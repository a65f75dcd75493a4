"""Which Keras backend runs: the user's choice, or JAX where there is none."""

import functools
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

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


def prepare_command() -> None:
    """Keep the programs that JAX compiles on disk, so that the next command starts sooner.

    They lie under the user's cache directory. JAX's own variables have the last word:
    `JAX_COMPILATION_CACHE_DIR` is another place, `JAX_ENABLE_COMPILATION_CACHE=0` none.
    """
    import platformdirs

    folder = platformdirs.user_cache_path("keras-cvae", appauthor=False) / "xla"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def import_light_keras() -> None:
    """Import Keras, in the process of a command, without what it offers to others.

    Half of the time of `import keras` goes into scikit-learn and matplotlib, which it imports if
    they are there, for wrappers and a gallery that the command never uses. They count as not
    installed until Keras is imported, and are there again afterwards.
    """
    hidden = [name for name in ("sklearn", "matplotlib") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: not found
    try:
        import keras  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]


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


def within_fit(evaluate: dict[str, Any]) -> bool:
    """Whether these keyword arguments of `Model.evaluate` are those of a validation in `fit`."""
    return bool(evaluate.get("_use_cached_eval_dataset"))


def layers_of(model: Any) -> list:
    """All layers of a model, at any depth."""
    return list(model._flatten_layers())


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
