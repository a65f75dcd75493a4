"""Load what `save` and `save_to` wrote."""

import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from keras_cvae.backend import closing_scopes, forget_variables
from keras_cvae.models import baseline, rates, semisupervised  # noqa: F401  which files name
from keras_cvae.models.card import TABLE, located, read_card
from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.models.serialization import seeded
from keras_cvae.models.trust import (
    OWN,
    UntrustedError,
    check_file,
    check_weights,
    unknown_class,
)

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


def load(
    path: str | os.PathLike[str],
    *,
    trusted: bool = False,
    custom_objects: Mapping[str, Any] | None = None,
) -> Any:
    """Load a model by its name, from a file or from a folder, as `runs.opening.load` says it."""
    path = located(path)
    if path.suffix not in (".keras", ".cvae") or not zipfile.is_zipfile(path):
        raise ValueError(
            f"'{path}' is not a saved model, or was cut short. Expected a .keras or .cvae file "
            "written by save() or `cvae train`."
        )
    try:
        with zipfile.ZipFile(path) as file:
            table = TABLE in file.namelist()
    except DAMAGE as error:
        raise _damaged(path, error, {}) from error
    if table:
        from keras_cvae.models.tables import TableCVAE

        return TableCVAE.load(path, trusted=trusted)
    return load_network(path, trusted, custom_objects)


@closing_scopes
def load_network(
    path: Path, trusted: bool, custom_objects: Mapping[str, Any] | None = None
) -> ConditionalVAE:
    """Load the `ConditionalVAE` in a file: all of the model, or the network of a table."""
    own = dict(custom_objects or {})
    try:
        if not trusted:
            check_file(path, own)
            _check_built(path, own)
        card = read_card(path)
        model = _read(path, own)
    except UntrustedError as error:
        raise ValueError(f"'{path}' is not loaded: {error}.") from error
    except DAMAGE as error:
        raise _damaged(path, error, own) from error
    if not isinstance(model, ConditionalVAE):
        raise ValueError(f"'{path}' holds a {type(model).__name__}. Expected a ConditionalVAE.")
    model.card = card
    return model


def _read(path: Path, own: dict[str, Any]) -> Any:
    """What Keras makes of a file, whose name has to end in .keras for that."""
    if path.suffix == ".keras":
        return keras.saving.load_model(path, custom_objects=own)
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(path, Path(folder) / "model.keras")
        return keras.saving.load_model(copy, custom_objects=own)


def _check_built(path: Path, own: dict[str, Any]) -> None:
    """Build the model without memory for its weights, and compare them with those of the file."""
    with zipfile.ZipFile(path) as file:
        config = json.loads(file.read("config.json"))
    config.pop("compile_config", None)
    scopes = keras.StatelessScope(initialize_variables=False), keras.saving.custom_object_scope(own)
    with scopes[0], scopes[1], seeded(0):
        model = keras.saving.deserialize_keras_object(config)
    forget_variables()
    check_weights(model.variables, path)


def _damaged(path: Path, error: BaseException, own: Mapping[str, Any]) -> ValueError:
    try:
        unknown = unknown_class(path, own)
    except DAMAGE:
        unknown = ""
    if unknown:
        return ValueError(f"'{path}' names {unknown}, which is not known here{OWN}.")
    why = str(error).strip().split("\n")[0][:300]
    return ValueError(f"'{path}' is damaged and cannot be loaded: {why}")
