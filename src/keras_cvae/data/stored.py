"""Data as it lies on a device, and how an epoch goes through it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np


def nothing() -> None:
    """Return None: the default of what is called once an epoch."""
    return


@dataclass(frozen=True, eq=False)
class Stored:
    """Data as it is stored, and how an epoch goes through it.

    Attributes:
        x: `(n, *x_shape)`; bytes stand for 0..1.
        batch_size: Examples per step; the last step of an epoch may have fewer.
        y: The condition, one for each x: an array, a dictionary of them, or None.
        weight: `(n,)`, or None.
        known: In place of y, what is known of every x, booleans `x_shape`: y is x with NaN
            elsewhere.
        order: Called once an epoch: the rows in the order of this epoch, `(n,)`, or None as they
            lie.
        key: Called once an epoch: the key of `binarized`, or None where x is taken as it is.
        move: Called once an epoch: how x is `moved`, or None where it is not.
    """

    x: np.ndarray
    batch_size: int
    y: Any = None
    weight: np.ndarray | None = None
    known: np.ndarray | None = None
    order: Callable[[], np.ndarray | None] = nothing
    key: Callable[[], np.ndarray | None] = nothing
    move: Callable[[], np.ndarray | None] = nothing

    def arrays(self) -> list[np.ndarray]:
        """All that lies on the device."""
        parts = keras.tree.flatten((self.x, self.y, self.weight))
        return [part for part in parts if part is not None]


class Checked(NamedTuple):
    """A batch of data that were checked before: the step need not look at its values."""

    x: Any
    y: Any = None
    sample_weight: Any = None
