"""What is learned from or evaluated: arrays, or a data set that yields batches."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_cvae import errors, trees
from keras_cvae.models.inputs import is_array


class Examples(NamedTuple):
    """What is learned from or evaluated.

    Args:
        x: An array `(n, *x_shape)`, or a data set that yields batches of `(x, y, sample_weight)`.
        y: With an array: the conditions, canonical, or None.
        sample_weight: With an array: `(n,)`, or None.
    """

    x: Any
    y: Any = None
    sample_weight: Any = None

    def counted(self) -> "Examples":
        """Of arrays, the examples whose weight is not 0; all of them where there are no weights."""
        if self.sample_weight is None or (there := np.asarray(self.sample_weight) > 0).all():
            return self
        return Examples(self.x[there], trees.take(self.y, there), self.sample_weight[there])

    def cut(self, share: float) -> tuple["Examples", "Examples"]:
        """Hold out the last share of arrays, as Keras' `validation_split` does.

        Raises:
            ValueError: Nothing would be left, or there is no array to cut.
        """
        if not is_array(self.x):
            raise ValueError(
                f"validation_split={share:g} cuts arrays; received {type(self.x).__name__}, which "
                "yields batches. Expected validation_data=... in its place."
            )
        n = len(self.x)
        at = math.floor(n * (1 - share))
        if not 0 < at < n:
            raise ValueError(
                f"validation_split={share:g} of {n} example(s) leaves none to train on or none to "
                "validate with. Expected more examples, or another share."
            )
        head, tail = (
            Examples(*(trees.take(part, rows) for part in self))
            for rows in (slice(at), slice(at, None))
        )
        return head, tail

    def for_keras(self) -> Any:
        """This as Keras' `validation_data`."""
        return (*self.pair(), self.sample_weight) if is_array(self.x) else self.x

    def pair(self) -> tuple[Any, Any]:
        """Give x and y as Keras' loops take them, which drop weights where there is no y."""
        if self.y is None and self.sample_weight is not None and is_array(self.x):
            return {"x": self.x}, np.zeros(len(self.x), "float32")
        return self.x, self.y


def unpacked(batch: Any) -> Examples:
    """Take a batch, or what stands for one, apart: x alone, a tuple, or a dict by name.

    Raises:
        ValueError: A dict that holds something else than x and its condition.
    """
    given = Examples(*keras.utils.unpack_x_y_sample_weight(batch))
    if not isinstance(given.x, Mapping):
        return given
    if "x" not in given.x or not set(given.x) <= {"x", "condition"} or given.y is not None:
        raise ValueError(
            f"Received a dict with {errors.listed(given.x) or 'nothing'}"
            f"{'' if given.y is None else ', and y beside it'}. Expected {{'x': ..., "
            "'condition': ...}, or (x, y)."
        )
    return Examples(given.x["x"], given.x.get("condition"), given.sample_weight)


def joined(batches: list[Examples]) -> Examples:
    """Arrays of the examples of several batches."""
    x = np.concatenate([batch.x for batch in batches])
    y = None
    if batches[0].y is not None:
        y = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *[b.y for b in batches])
    weights = [batch.sample_weight for batch in batches if batch.sample_weight is not None]
    return Examples(x, y, np.concatenate(weights) if len(weights) == len(batches) else None)
