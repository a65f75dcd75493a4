"""A checkpoint: a model in the midst of its training, with all that its training knows.

It is a `.keras` file with two more parts: where the training is, and the sums of its metrics. One
file, so that nothing can disagree with it.
"""

import io
import json
import zipfile
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np

from keras_cvae import devices
from keras_cvae.backend import held
from keras_cvae.files import atomic
from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.models.io import load
from keras_cvae.runs.position import POSITION, Position, in_words, position_of

METRICS = "metrics.npz"


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

    Of processes that have joined each other, only the first one writes.
    """
    if devices.index():
        return
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
    with in_words(path), zipfile.ZipFile(path) as file:
        packed = np.load(io.BytesIO(file.read(METRICS)), allow_pickle=False)
        for variable, name in zip(model.metrics_variables, packed.files, strict=True):
            variable.assign(packed[name])
    return model, position


def sums(model: ConditionalVAE) -> list[np.ndarray]:
    """What the metrics of a model have summed up in this epoch."""
    return [keras.ops.convert_to_numpy(variable) for variable in model.metrics_variables]
