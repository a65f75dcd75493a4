"""Data sets that yield batches, checked as arrays are.

Their first batches are looked at before anything is trained. Of all others the steps keep the
lowest and the highest of every value, which are checked on the host when an epoch is over: a NaN,
a picture of 0..255 or a label beyond the last class is found in whichever batch it comes.
"""

import itertools
import math
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_cvae.backend import remembered
from keras_cvae.columns import detached
from keras_cvae.fused.divided import Kind
from keras_cvae.models.state import not_finite

LOOKED_AT = 2  # batches, before training
SCALED_BY = 1024  # examples, at least, where scalings are taken from them


def first_batches(data: Any, examples: int) -> tuple[list[Any], Any]:
    """Look at the first batches of a data set.

    Args:
        data: A `PyDataset`, a generator, or anything that can be gone through again.
        examples: How many they have together, at least, if there are so many.

    Returns:
        At least `LOOKED_AT` batches in NumPy, if there are so many, and a data set that yields all
        batches, also these.
    """
    batches: list[Any] = []
    source = _batches(data)
    while len(batches) < LOOKED_AT or sum(map(_length, batches)) < examples:
        batch = next(source, None)
        if batch is None:
            break
        batches.append(batch)
    if isinstance(source, types.GeneratorType) and hasattr(data, "__next__"):
        data = _chained(batches, source)
    return [keras.tree.map_structure(_numpy, batch) for batch in batches], data


def _batches(data: Any) -> Iterator[Any]:
    if isinstance(data, keras.utils.PyDataset):
        n = data.num_batches
        return (data[i] for i in (itertools.count() if n is None else range(n)))
    return in_tuples(data) if hasattr(data, "__next__") else iter(data)


def in_tuples(data: Iterator[Any]) -> Iterator[Any]:
    """The batches of an iterator as Keras takes them, tuples, whatever holds the arrays."""
    for batch in data:
        if isinstance(batch, Mapping) and "x" in batch and set(batch) <= {"x", "condition"}:
            batch = (batch["x"], batch.get("condition"))
        parts = batch if isinstance(batch, tuple | list) else (batch,)
        while len(parts) > 1 and parts[-1] is None:
            parts = parts[:-1]
        yield tuple(np.asarray(part) if isinstance(part, list) else part for part in parts)


def _chained(first: list[Any], rest: Iterator[Any]) -> Iterator[Any]:
    yield from first  # Keras takes generators, and no other iterators
    yield from rest


def _length(batch: Any) -> int:
    first = keras.tree.flatten(batch)[0]
    return len(first) if np.ndim(first) else 1


def _numpy(values: Any) -> Any:
    return None if values is None else np.asarray(detached(values))


class Extremes(NamedTuple):
    """The lowest and the highest of what there is.

    Args:
        x_low: The lowest of each value of x, `(size,)`; NaN if one is NaN.
        x_high: The highest.
        low: The lowest of each condition and of the sample weights, `(conditions + 1,)`, without
            NaN.
        high: The highest.
        nan: 1.0 where there is NaN.
    """

    x_low: Any
    x_high: Any
    low: Any
    high: Any
    nan: Any


def extremes(x: Any, condition: Any, sample_weight: Any) -> Extremes:
    """The extremes of one batch, within a step.

    Args:
        x: `(batch, *x_shape)`.
        condition: Canonical conditions, a tensor or a dict of them, or None.
        sample_weight: `(batch,)`, or None.
    """
    flat = ops.reshape(ops.cast(x, "float32"), (-1, math.prod(x.shape[1:])))
    low, high, nan = [], [], []
    weight = ops.ones((1,)) if sample_weight is None else sample_weight
    parts = [] if condition is None else keras.tree.flatten(condition)
    for values in [*parts, weight]:
        values = ops.cast(values, "float32")
        missing = ops.isnan(values)
        low.append(ops.min(ops.where(missing, math.inf, values)))
        high.append(ops.max(ops.where(missing, -math.inf, values)))
        nan.append(ops.any(missing))
    return Extremes(
        ops.min(flat, axis=0),
        ops.max(flat, axis=0),
        ops.stack(low),
        ops.stack(high),
        ops.cast(ops.stack(nan), "float32"),
    )


class Watch(keras.metrics.Metric):
    """Keeps the extremes of all batches of an epoch, beside the metrics, and logs nothing.

    Args:
        x_shape: Shape of one example.
        conditions: How many conditions there are.
    """

    def __init__(self, x_shape: tuple[int, ...], conditions: int):
        super().__init__(name="watch", dtype="float32")
        shapes = Extremes(*[(math.prod(x_shape),)] * 2, *[(conditions + 1,)] * 3)
        starts = Extremes(math.inf, -math.inf, math.inf, -math.inf, 0.0)
        self.starts = {
            name: np.full(shape, start, "float32")
            for name, shape, start in zip(Extremes._fields, shapes, starts, strict=True)
        }
        for name, start in self.starts.items():
            initial = keras.initializers.Constant(float(start[0]))
            setattr(self, name, self.add_variable(start.shape, initial, name=name))

    def update_state(self, found: Extremes) -> None:
        """Take in the extremes of another batch."""
        self.x_low.assign(ops.minimum(self.x_low, found.x_low))
        self.x_high.assign(ops.maximum(self.x_high, found.x_high))
        self.low.assign(ops.minimum(self.low, found.low))
        self.high.assign(ops.maximum(self.high, found.high))
        self.nan.assign(ops.maximum(self.nan, found.nan))

    def kinds(self) -> list[tuple[Any, Kind]]:
        """Its variables, and what they are where devices share the rows of a batch."""
        return [
            (getattr(self, name), Kind.LOWEST if name.endswith("low") else Kind.HIGHEST)
            for name in Extremes._fields
        ]

    def result(self) -> dict[str, Any]:
        return {}

    def reset_state(self) -> None:
        for name, start in self.starts.items():
            getattr(self, name).assign(start)

    def found(self) -> Extremes | None:
        """The extremes of the epoch in NumPy; None if no batch was looked at."""
        nan, low = ops.convert_to_numpy(self.nan.value), ops.convert_to_numpy(self.low.value)
        if nan[-1] == 0 and low[-1] == math.inf:
            return None
        return Extremes(
            *(ops.convert_to_numpy(getattr(self, name).value) for name in Extremes._fields)
        )


class Alarm(keras.callbacks.Callback):
    """Says at the end of an epoch, before other callbacks, what its steps found in the data.

    It raises what is wrong with the data, and warns once of a loss that is not finite.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epoch: int | None = None
        self.lost, self.warned = "", False
        self.put_back: Callable[[], None] = lambda: None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Called by Keras."""
        self.epoch = epoch
        self._warn()
        self.put_back = remembered(self.model)

    def on_test_begin(self, logs: Any = None) -> None:
        """Called by Keras: an evaluation within `fit` is about to forget the training's batches."""
        if self.epoch is not None:
            self._check(self.epoch)

    def on_test_end(self, logs: Any = None) -> None:
        """Called by Keras."""
        self.model.check_watched("Evaluation")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Called by Keras."""
        self._check(epoch)
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            self.lost = self.lost or f"The loss is {logs['loss']} in epoch {epoch + 1}"

    def on_train_end(self, logs: Any = None) -> None:
        """Called by Keras."""
        self._warn()

    def _check(self, epoch: int) -> None:
        """Refuse what the epoch has learned from, and forget it where it spoiled the weights."""
        try:
            self.model.check_watched(f"Training, epoch {epoch + 1}")
        except ValueError:
            if not_finite(self.model):
                self.put_back()
            raise

    def _warn(self) -> None:
        """Warn once; not at the end of the epoch, where other callbacks may stop the training."""
        if self.lost and not self.warned:
            self.warned = True
            warnings.warn(
                f"{self.lost}: the weights are no longer numbers. Build or load the model again, "
                "and fit it with a lower learning rate.",
                stacklevel=2,
            )
