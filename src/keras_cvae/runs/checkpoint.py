"""A checkpoint: a model in the midst of its training, with all that its training knows.

It is a `.keras` file with two more parts: where the training is, and the sums of its metrics. One
file, so that nothing can disagree with it.
"""

import contextlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np

from keras_cvae.backend import held
from keras_cvae.files import atomic
from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.models.io import load

POSITION, METRICS = "training.json", "metrics.npz"


@dataclass
class Position:
    """How far a training is.

    Args:
        epoch: The epoch that it is in, from 0.
        step: Steps of that epoch that are done: all of them where its validation is not.
        seconds: That it took so far.
        history: Metrics by name, a value for each epoch that is over.
        untrained: The loss before anything was learned: that of the first step, or, where several
            are one program, of the first few.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    history: dict[str, list[float]] = field(default_factory=dict)
    untrained: float | None = None


def write(
    path: Path,
    model: ConditionalVAE,
    position: Position,
    metrics: list[np.ndarray] | None = None,
) -> None:
    """Save a model that is being trained, with what resumes its training to the same bits.

    Args:
        path: A `.keras` file, which is replaced once the new one is whole.
        model: The model between two steps.
        position: How far its training is.
        metrics: What is in the model's `metrics_variables`, unless they are what they are now.
    """
    with atomic(path, durable=True) as temporary:
        with held(model):
            keras.Model.save(model, temporary)
            if metrics is None:
                metrics = sums(model)
        packed = io.BytesIO()
        np.savez_compressed(packed, *metrics)
        with zipfile.ZipFile(temporary, "a") as file:
            file.writestr(POSITION, json.dumps(asdict(position)))
            file.writestr(METRICS, packed.getvalue())


def read(path: Path) -> tuple[ConditionalVAE, Position]:
    """Load a model that `write` saved, its metrics with it, and how far its training is.

    Raises:
        ValueError: The file is damaged, or is a model that no training saved.
    """
    model = load(path)
    position = position_of(path)
    with _in_words(path), zipfile.ZipFile(path) as file:
        packed = np.load(io.BytesIO(file.read(METRICS)), allow_pickle=False)
        for variable, name in zip(model.metrics_variables, packed.files, strict=True):
            variable.assign(packed[name])
    return model, position


def position_of(path: Path) -> Position:
    """How far the training is that a checkpoint is of; at its beginning if there is none.

    Raises:
        ValueError: The file is damaged, or is a model that no training saved.
    """
    if not path.is_file():
        return Position()
    with _in_words(path), zipfile.ZipFile(path) as file:
        return Position(**json.loads(file.read(POSITION)))


@contextlib.contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, ValueError, TypeError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"'{path}' does not say how far its training is: {error}") from error


def sums(model: ConditionalVAE) -> list[np.ndarray]:
    """What the metrics of a model have summed up in this epoch."""
    return [keras.ops.convert_to_numpy(variable) for variable in model.metrics_variables]
