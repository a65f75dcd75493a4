"""What a user gives as a condition, as arrays: lists, columns, masks and missing entries."""

from typing import Any

import numpy as np


def array(y: Any) -> np.ndarray:
    """Conditions `(n, ...)`, none of them missing, as an array: of objects, what these hold.

    Raises:
        ValueError: One is missing, or they differ in shape.
    """
    rows = entries(y)
    try:
        found = np.asarray(rows)
    except ValueError:  # NumPy's own says neither what nor where
        found = None
    if isinstance(rows, list | tuple) and (found is None or found.dtype.kind not in "iufb"):
        _refuse_missing([_has_nothing(row) for row in rows])
    if found is None:
        raise ValueError(
            "The conditions of the examples differ in length or shape. Expected the same of each."
        )
    return found


def entries(y: Any) -> Any:
    """A list of what an array or a column of objects holds; others as arrays, lists as they are.

    Raises:
        ValueError: A NumPy mask hides one.
    """
    if isinstance(y, list | tuple):
        return y
    if isinstance(y, np.ma.MaskedArray) and y.ndim:
        _refuse_missing(np.ma.getmaskarray(y).reshape(len(y), -1).any(axis=1))
    found = np.asarray(y)
    return found.tolist() if found.dtype.kind == "O" and found.ndim else found


def is_nothing(value: Any) -> bool:
    """None, NaN, or pandas' NA, which compares to nothing."""
    if value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, str | list | tuple | set | frozenset | dict):
        return False
    numbers = np.asarray(value)
    return numbers.dtype.kind == "f" and numbers.size > 0 and bool(np.isnan(numbers).all())


def as_float32(y: np.ndarray) -> np.ndarray:
    """In single precision; infinite what is beyond it."""
    with np.errstate(over="ignore"):
        return y.astype("float32", copy=False)


def _has_nothing(row: Any) -> bool:
    return any(map(is_nothing, row)) if isinstance(row, list | tuple) else is_nothing(row)


def _refuse_missing(missing: Any) -> None:
    if np.any(missing):
        raise ValueError(
            f"The condition of example {int(np.argmax(missing))} is missing. Expected one for "
            "each, or a condition that may be missing: Optional(...)."
        )
