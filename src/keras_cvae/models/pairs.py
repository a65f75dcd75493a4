"""x and conditions that something is asked of: arrays, arrays larger than memory, data sets."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_cvae.columns import names_of
from keras_cvae.models.examples import unpacked
from keras_cvae.models.inputs import Inputs, is_array
from keras_cvae.models.streams import in_tuples
from keras_cvae.trees import take

LARGE = 2**28  # bytes of x that are looked at in one piece


class Pairs(Inputs):
    """The checks of a `ConditionalVAE`, also of what comes part by part."""

    def _pairs(self, x: Any, y: Any) -> tuple[Iterator[tuple[np.ndarray, Any]], int | None]:
        """Checked x and their canonical conditions, part by part; and how many, if it is known."""
        if not is_array(x):
            if y is not None:
                raise ValueError(
                    "Received a data set and y beside it. Expected it to yield (x, y)."
                )
            return map(self._pair, _batches(x)), None
        size = math.prod(getattr(x, "shape", ()) or (0,))
        if 4 * size <= LARGE or names_of(x) is not None:
            x = self._x(x)
            return iter([(x, self._conditions(y, len(x)))]), len(x)
        n, rows = len(x), max(1, len(x) * LARGE // (16 * size))
        y = self._conditions(y, n)
        for _ in (parts := _Slices(self, x, y, rows)):  # looked at before anything is computed
            pass
        return iter(parts), n

    def _pair(self, batch: Any) -> tuple[np.ndarray, Any]:
        """x and canonical conditions of a batch that a data set yields."""
        x, y, _ = unpacked(batch)
        x, spec = self._x(x), self.condition.spec
        if y is None:
            return x, self._conditions(None, len(x))
        y = spec.positional().for_each(y, len(x))
        self._check_asked(y)
        return x, y


class _Slices:
    """Checked rows of an array that is larger than memory, so many at once."""

    def __init__(self, model: Any, x: Any, y: Any, rows: int):
        self.model, self.x, self.y, self.rows = model, x, y, rows

    def __iter__(self) -> Iterator[tuple[np.ndarray, Any]]:
        for start in range(0, len(self.x), self.rows):
            some = slice(start, min(start + self.rows, len(self.x)))
            x = self.model._x(self.x[some], f"x[{some.start}:{some.stop}]")
            yield x, take(self.y, some)


def _batches(data: Any) -> Iterator[Any]:
    """The batches of a data set, once.

    Raises:
        ValueError: It has no end.
    """
    if not isinstance(data, keras.utils.PyDataset):
        yield from in_tuples(data) if hasattr(data, "__next__") else data
        return
    if data.num_batches is None:
        raise ValueError("The data set has no end. Expected one that says how many batches it has.")
    for i in range(data.num_batches):
        yield data[i]
