"""Models as others get them: half the size, without what only training needs, with a card."""

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

import keras_cvae
from keras_cvae.backend import snapshot
from keras_cvae.files import atomic
from keras_cvae.models.card import TABLE, Card, digest

LARGEST = float(np.finfo("float16").max)


def write(
    model: Any,
    path: Path,
    card: Card | dict[str, Any] | None = None,
    table: bytes | None = None,
) -> Card:
    """Write a model with its card, as `ConditionalVAE.save_to` and `TableCVAE.save_to` say.

    Args:
        model: The `ConditionalVAE`.
        path: A file, or a folder.
        card: What is to be said of it.
        table: What its columns are, as the file has it; None: it is no model of a table.
    """
    suffix, inside = (".keras", "model.keras") if table is None else (".cvae", "table.cvae")
    given = card if isinstance(card, Card) else Card(**(card or {}))
    folder = path.suffix != suffix
    target = path / inside if folder else path
    if folder and path.exists() and not path.is_dir():
        raise ValueError(
            f"'{path}' is a file. Expected a folder, or a name that ends in '{suffix}'."
        )
    if folder:
        path.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary) / "model.keras"
        model.save(whole)
        parts = _slimmed(whole, _learned(model))
    facts = _facts(model, given.name or path.stem)
    if table is not None:
        parts[TABLE] = table
        facts |= {"x_shape": (), "condition": "any columns"}
    full = given.model_copy(update=facts | {"sha256": digest(parts)})
    metadata = json.loads(parts["metadata.json"]) | {"card": full.model_dump(exclude_defaults=True)}
    parts["metadata.json"] = json.dumps(metadata, indent=2).encode()
    with (
        atomic(target, durable=True) as temporary_name,
        zipfile.ZipFile(temporary_name, "w", zipfile.ZIP_DEFLATED) as file,
    ):
        for name, content in parts.items():
            part = zipfile.ZipInfo(name)  # without a date: the same model gives the same bytes
            part.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(part, content)
    if folder:
        with atomic(path / "README.md") as readme:
            readme.write_text(full.markdown(), encoding="utf-8")
    return full


def _facts(model: Any, name: str) -> dict[str, Any]:
    """What the model itself knows for its card."""
    return {
        "name": name,
        "x_shape": model.x_shape,
        "condition": model.condition.spec.summary(),
        "likelihood": type(model.likelihood).__name__,
        "weights": int(sum(np.prod(one.shape) for one in model.trainable_variables)),
        "made_with": {
            "keras-cvae": keras_cvae.__version__,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
        },
    }


def _learned(model: Any) -> set[bytes]:
    """The bytes of each weight that training changes; scalings and memories are none of them."""
    trainable = {id(variable) for variable in model.trainable_variables}
    variables, values = snapshot(model)
    arrays = [keras.ops.convert_to_numpy(value) for value in values]
    return {
        array.tobytes()
        for variable, array in zip(variables, arrays, strict=True)
        if id(variable) in trainable
    }


def _slimmed(path: Path, learned: set[bytes]) -> dict[str, bytes]:
    """The parts of a `.keras` file with learned weights in float16, without the optimizer's."""
    with zipfile.ZipFile(path) as file:
        config = json.loads(file.read("config.json"))
        metadata = json.loads(file.read("metadata.json"))
        weights = file.read("model.weights.h5")
    config["compile_config"] = None
    metadata.pop("date_saved", None)
    slim = io.BytesIO()
    with h5py.File(io.BytesIO(weights)) as source, h5py.File(slim, "w") as target:

        def copy(name: str, entry: Any) -> None:
            if name.split("/")[0] == "optimizer":
                return
            if isinstance(entry, h5py.Group):
                copied: Any = target.require_group(name)
            else:
                array = entry[()]
                fits = array.dtype == "float32" and np.abs(array).max(initial=0.0) <= LARGEST
                half = fits and array.tobytes() in learned
                copied = target.create_dataset(name, data=array.astype("float16" if half else None))
            for key, value in entry.attrs.items():
                copied.attrs[key] = value

        source.visititems(copy)
        for key, value in source.attrs.items():
            target.attrs[key] = value
    return {
        "metadata.json": json.dumps(metadata).encode(),
        "config.json": json.dumps(config).encode(),
        "model.weights.h5": slim.getvalue(),
    }
