"""What a user gives as conditions: lists, columns, arrays and masks, some entries of them missing.

Everything that is said of many examples comes in through `entries`, which tells apart what is known
and what is missing; the specs then look at known values only.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_cvae.columns import check_dense, detached, is_nothing

LISTS = (list, tuple)  # made once, for it is asked of every example of a long list


class Entries(NamedTuple):
    """The conditions of n examples.

    Attributes:
        values: `(n, ...)`: numbers or text; of objects, one for each example, where these differ
            in kind or shape, or some are missing.
        missing: Which of them are missing, `(n,)` booleans.
    """

    values: np.ndarray
    missing: np.ndarray


def entries(conditions: Any) -> Entries:
    """Read the conditions of many examples.

    None, NaN, pandas' NA and what a NumPy mask hides is missing.

    Raises:
        ValueError: There is but one condition, not one for each example; or one of them is missing
            in part.
    """
    check_dense(conditions, "The condition")
    masked = isinstance(conditions, np.ma.MaskedArray)
    values = _array(conditions.data if masked else conditions)
    if not values.ndim:
        raise ValueError(
            f"Received one condition, {shortened(conditions)}. Expected one for each example."
        )
    if values.dtype.kind == "O":
        flags = np.array([_gone(row) for row in values], bool).reshape(len(values), 2)
        some, missing = flags[:, 0], flags[:, 1]
    else:
        gone: Any = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
        gone = gone | np.ma.getmaskarray(conditions) if masked else gone
        gone = gone.reshape((len(values), -1) if values.size else (len(values), 0))
        some = gone.any(axis=1)
        missing = gone.all(axis=1) & some
    if (some & ~missing).any():
        row = int(np.argmax(some & ~missing))
        raise ValueError(
            f"The condition of example {row} is missing in part: {shortened(values[row])}. "
            "Expected all of it or nothing; what may be missing by itself is a named condition of "
            "its own."
        )
    return Entries(values, missing)


def known(conditions: Any) -> np.ndarray:
    """Read the conditions of many examples, none of which may be missing, `(n, ...)`.

    Raises:
        ValueError: As in `entries`, or one is missing.
    """
    values, missing = entries(conditions)
    if missing.any():
        raise ValueError(
            f"The condition of example {int(np.argmax(missing))} is missing. Expected one for "
            "each, or a condition that may be missing: Optional(...)."
        )
    return values


def dense(values: np.ndarray) -> np.ndarray:
    """Lay objects of one kind and shape out as an array of numbers or text.

    Raises:
        ValueError: They differ in length or shape.
    """
    if values.dtype.kind != "O":
        return values
    try:
        return np.asarray(values.tolist())
    except ValueError:  # NumPy's own says neither what nor where
        raise ValueError(
            "The conditions of the examples differ in length or shape. Expected the same of each."
        ) from None


def listed_alone(condition: Any) -> Any:
    """One condition as those of one example."""
    return condition[None] if isinstance(condition, np.ndarray) else [condition]


def shape_of(condition: Any) -> tuple[int, ...]:
    """The shape of arrays and nested lists, of what is known of them; `()` of anything else."""
    if hasattr(condition, "shape"):
        return tuple(condition.shape)
    if hasattr(condition, "__array__"):  # of pyarrow
        return np.shape(condition)
    if not isinstance(condition, Sequence) or isinstance(condition, str | bytes):
        return ()
    first = next((row for row in condition if not is_nothing(row)), None)
    return (len(condition), *shape_of(first))


def shortened(value: Any) -> str:
    """A value in at most 60 characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _array(conditions: Any) -> np.ndarray:
    if not isinstance(conditions, LISTS):
        values = np.asarray(detached(conditions))
        if values.dtype.kind == "S":
            return np.char.decode(values, "utf-8", "replace")
        return _objects(values.tolist()) if values.dtype.kind == "O" and values.ndim else values
    try:
        values = np.asarray(conditions)
    except ValueError:  # of several shapes
        return _objects(conditions)
    if values.dtype.kind == "S" and all(isinstance(row, bytes) for row in conditions):
        return np.char.decode(values, "utf-8", "replace")
    text = values.dtype.kind == "U" and all(isinstance(row, str) for row in conditions)
    numbers = values.dtype.kind in "iufb" and (values.size or not conditions)  # not empty lists
    return values if text or numbers else _objects(conditions)


def _objects(rows: Sequence[Any]) -> np.ndarray:
    values = np.empty(len(rows), object)
    for i, row in enumerate(rows):
        values[i] = row
    return values


def _gone(row: Any) -> tuple[bool, bool]:
    """Whether some of what is said of an example is missing, and whether all of it is."""
    if isinstance(row, LISTS) and row:
        each = [is_nothing(value) for value in row]
        return any(each), all(each)
    nothing = is_nothing(row)
    return nothing, nothing
