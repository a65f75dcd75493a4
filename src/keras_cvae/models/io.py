"""Load what `ConditionalVAE.save` wrote."""

import os
import zipfile
from pathlib import Path

import keras

from keras_cvae.models import baseline, semisupervised  # noqa: F401  whose classes files name
from keras_cvae.models.cvae import ConditionalVAE


def load(path: str | os.PathLike) -> ConditionalVAE:
    """Load a model that was saved as `.keras`, on any backend; nothing executable is unpickled.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is truncated, or holds no ConditionalVAE.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no model at '{path}'.")
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise ValueError(
            f"'{path}' is not a saved model, or was cut short. Expected a .keras file written by "
            "model.save() or `cvae train`."
        )
    try:
        model = keras.saving.load_model(path)
    except (zipfile.BadZipFile, OSError, KeyError, EOFError) as error:
        raise ValueError(f"'{path}' is damaged and cannot be loaded: {error}") from error
    if not isinstance(model, ConditionalVAE):
        raise ValueError(f"'{path}' holds a {type(model).__name__}. Expected a ConditionalVAE.")
    return model
