"""Rows of an array, or of all arrays in a dict or tuple: taken, repeated and counted."""

from collections.abc import Callable
from typing import Any

import numpy as np


def take(tree: Any, rows: Any) -> Any:
    """The given rows of every array; `rows` is a slice, integers or a mask. Of None: None."""
    return _map(lambda part: part[rows], tree)


def repeat(tree: Any, n: int) -> Any:
    """Every row `n` times, one after the other. Of None: None."""
    return _map(lambda part: np.repeat(part, n, axis=0), tree)


def count(tree: Any) -> int:
    """How many rows the first array has."""
    while isinstance(tree, dict | tuple):
        tree = next(iter(tree.values() if isinstance(tree, dict) else tree))
    return len(tree)


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {name: _map(function, part) for name, part in tree.items()}
    if isinstance(tree, tuple):
        parts = [_map(function, part) for part in tree]
        return tree._make(parts) if hasattr(tree, "_make") else tuple(parts)
    return function(tree)
