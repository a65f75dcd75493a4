"""Which Keras backend runs: the user's choice, or JAX where there is none."""

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


def _configured() -> str | None:
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    try:
        config = json.loads((home / "keras.json").read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(config, dict) or config == _WRITTEN_BY_KERAS:
        return None
    return config.get("backend")
