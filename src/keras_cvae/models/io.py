"""Load what `ConditionalVAE.save` wrote."""

import json
import os
import zipfile
import zlib
from pathlib import Path

import keras

from keras_cvae.backend import closing_scopes, forget_variables
from keras_cvae.models import baseline, semisupervised  # noqa: F401  whose classes files name
from keras_cvae.models.card import located, read_card
from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.models.serialization import seeded
from keras_cvae.models.trust import UntrustedError, check_file, check_weights

# What is raised where a configuration and what it names do not fit each other, or bytes are wrong.
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,  # JAX's too, of memory
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


@closing_scopes
def load(path: str | os.PathLike[str], *, trusted: bool = False) -> ConditionalVAE:
    """Load a trained model, on any backend: one that comes along, a file, or what is in a folder.

    Nothing is built before everything that the file names is known to be part of a model: classes
    of this package, Keras' layers and what belongs to them, activations.

    Args:
        path: The name of a model that comes trained, such as "mnist-dense" (it wins over a file of
            that name; `cvae presets` lists them); a `.keras` file; or a folder with a
            `model.keras`, of a run or as `save_to` writes it.
        trusted: Whether the file comes from yourself: then it may name your own registered classes
            too. Python code is not unpickled in any case.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, holds no `ConditionalVAE`, names what it must not, or is
            not the one that its card was written for.
    """
    path = located(path)
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise ValueError(
            f"'{path}' is not a saved model, or was cut short. Expected a .keras file written by "
            "model.save() or `cvae train`."
        )
    if not trusted:
        try:
            check_file(path)
            _check_built(path)
        except UntrustedError as error:
            raise ValueError(f"'{path}' is not loaded: {error}.") from error
        except DAMAGE as error:
            raise _damaged(path, error) from error
    try:
        card = read_card(path)
        model = keras.saving.load_model(path)
    except DAMAGE as error:
        raise _damaged(path, error) from error
    if not isinstance(model, ConditionalVAE):
        raise ValueError(f"'{path}' holds a {type(model).__name__}. Expected a ConditionalVAE.")
    model.card = card
    return model


def _check_built(path: Path) -> None:
    """Build the model without memory for its weights, and compare them with those of the file."""
    with zipfile.ZipFile(path) as file:
        config = json.loads(file.read("config.json"))
    config.pop("compile_config", None)
    with keras.StatelessScope(initialize_variables=False), seeded(0):
        model = keras.saving.deserialize_keras_object(config)
    forget_variables()
    check_weights(model.variables, path)


def _damaged(path: Path, error: BaseException) -> ValueError:
    why = str(error).strip().split("\n")[0][:300]
    return ValueError(f"'{path}' is damaged and cannot be loaded: {why}")
