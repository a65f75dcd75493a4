"""One array or a dict of arrays: rows taken, repeated and counted alike, and of None."""

from typing import Any

import keras
import numpy as np


def take(y: Any, rows: Any) -> Any:
    """The conditions at `rows` (a slice, integers, a mask)."""
    return None if y is None else keras.tree.map_structure(lambda part: part[rows], y)


def repeat(y: Any, n: int) -> Any:
    """Each condition `n` times."""
    return None if y is None else keras.tree.map_structure(lambda p: np.repeat(p, n, axis=0), y)


def count(y: Any) -> int:
    """How many conditions there are."""
    return len(keras.tree.flatten(y)[0])
