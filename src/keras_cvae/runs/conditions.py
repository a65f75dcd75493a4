"""From a configuration and the data at hand to the condition of a run."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_cvae import masks
from keras_cvae.conditions.arrays import Image, Signal
from keras_cvae.conditions.base import ConditionEncoder, Unconditional
from keras_cvae.conditions.composed import Joint, Optional
from keras_cvae.conditions.known import KnownPart
from keras_cvae.conditions.labels import Categorical, Tags
from keras_cvae.conditions.numbers import Continuous, Exposure, Periodic
from keras_cvae.data.containers import Data
from keras_cvae.networks.conv import Conv
from keras_cvae.networks.mlp import MLP
from keras_cvae.runs.config import RunConfig
from keras_cvae.runs.declaration import ENCODED, read


def build_condition(config: RunConfig, data: Data) -> ConditionEncoder:
    """Build the condition that a configuration describes, scaled by the training data.

    Raises:
        ValueError: Values that are not of their kind.
    """
    y = data.train.y
    if config.task == "complete":
        mask = mask_of(config)
        return KnownPart(data.x_shape, None if mask == masks.RANDOM else mask)
    if not config.conditional or y is None:
        return Unconditional()
    if isinstance(y, dict):
        splits = [data.train, data.validation, *([data.test] if data.test else [])]
        return _joint(config, [split.y for split in splits if len(split)])
    condition: ConditionEncoder
    if data.class_names is not None:
        condition = Categorical(data.class_names)
    else:
        condition = Continuous(1 if y.ndim == 1 else y.shape[1])
        condition.adapt(y)
    return Optional(condition, config.label_dropout) if config.label_dropout else condition


def mask_of(config: RunConfig) -> str:
    """The mask of a completion run; any part by default."""
    return config.known or masks.RANDOM


def _joint(config: RunConfig, splits: Sequence[dict[str, np.ndarray]]) -> Joint:
    """The named conditions of a run.

    What is missing in any of the splits may be missing; with label dropout everything may, alone
    and all at once, but an exposure.

    Args:
        config: Of the run: `condition`, `label_dropout`, and the sizes of pictures' encoders.
        splits: The arrays by name; the first split is what is trained on, and scaled by.

    Raises:
        ValueError: Values that are not of their kind, by name.
    """
    parts, dropout = {}, config.label_dropout
    for name, kind, argument in map(read, config.condition):
        known = [_known(kind, split[name]) for split in splits]
        values = [split[name][rows] for split, rows in zip(splits, known, strict=True)]
        try:
            part = (
                _encoded(kind, argument, values, config)
                if kind in ENCODED
                else _part(kind, argument, values[0])
            )
        except ValueError as error:
            raise ValueError(f"Condition '{name}': {error}") from None
        missing = not all(rows.all() for rows in known)
        if missing and part.scales:
            raise ValueError(f"Condition '{name}': An exposure cannot be missing.")
        optional = (missing or dropout) and not part.scales
        parts[name] = Optional(part, dropout) if optional else part
    scales = any(part.scales for part in parts.values())
    condition = Joint(parts, 0.0 if scales else dropout)
    for split in splits:
        condition.spec.prepare(split)  # says what does not fit, before anything expensive
    condition.adapt(splits[0])
    return condition


def _known(kind: str, values: np.ndarray) -> np.ndarray:
    """Which rows are not missing, `(n,)`: NaN, and for classes -1 and ""."""
    if values.dtype.kind == "f":
        return ~np.isnan(values.reshape(len(values), -1)).all(axis=1)
    marks = {"i": -1, "U": ""} if kind in ("categorical", "embedding") else {}
    if values.ndim == 1 and values.dtype.kind in marks:
        return values != marks[values.dtype.kind]
    return np.ones(len(values), bool)


def _part(kind: str, argument: str, values: np.ndarray) -> ConditionEncoder:
    if not len(values):
        raise ValueError("All of its values are missing.")
    if kind in ("categorical", "embedding"):
        if values.ndim > 1 and values.size != len(values):
            raise ValueError(f"Classes are one an example. Received the shape {values.shape}.")
        found: list[Any] = np.unique(values).tolist()
        whole = all(isinstance(v, str) or float(v).is_integer() for v in found)
        if not whole:
            wrong = next(v for v in found if not float(v).is_integer())
            raise ValueError(
                f"Received {wrong:g}, which is no class. Expected whole numbers or names; numbers "
                "to interpolate between are continuous."
            )
        if values.dtype == bool:
            found = [str(label) for label in found]
        labels = [label if isinstance(label, str) else int(label) for label in found]
        return Categorical(labels, "embedding" if kind == "embedding" else None)
    if kind == "tags":
        if values.ndim == 2:
            return Tags(values.shape[1])
        rows = [str(row).split("|") for row in values.reshape(-1).tolist()]
        return Tags(sorted({tag for row in rows for tag in row if tag}) or ["none"])
    if kind == "exposure":
        return Exposure()
    dim = 1 if values.ndim == 1 else values.shape[1]
    return Periodic(float(argument), dim) if kind == "periodic" else Continuous(dim)


def _encoded(
    kind: str, backbone: str, values: list[np.ndarray], config: RunConfig
) -> ConditionEncoder:
    """Pictures `(n, h, w)`, signals `(n, length)`, or with channels."""
    shape, axes = values[0].shape[1:], 2 if kind == "image" else 1
    shape = (*shape, 1) if len(shape) == axes else shape
    units, activation = config.units[-1], config.activation
    body: Any = MLP(config.units, activation) if backbone == "mlp" else None
    if kind == "signal":
        return Signal(shape, body or "conv")
    numbers = [part for part in values if part.size and part.dtype.kind in "iufb"]
    low = min((float(part.min()) for part in numbers), default=0.0)
    high = max((float(part.max()) for part in numbers), default=1.0)
    body = body or Conv(config.filters, units, activation)
    return Image(shape, body, low=min(low, 0.0), high=max(high, 1.0))
