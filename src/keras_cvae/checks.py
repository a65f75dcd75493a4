"""Arrays of numbers, checked: one rule and one wording for x and for conditions."""

from collections.abc import Sequence

import numpy as np


def checked(
    values: np.ndarray,
    shape: tuple[int, ...],
    name: str = "The condition",
    *,
    nan: bool = False,
    columns: Sequence[str] | None = None,
) -> np.ndarray:
    """Return values as float32 `(n, *shape)`; a last axis of length 1 may be left out.

    Args:
        values: What a user gave.
        shape: Shape of one example.
        name: What the values are, as the subject of a message.
        nan: Whether NaN, which marks what is unknown, is allowed.
        columns: The names of the columns of a table, for messages.

    Raises:
        ValueError: They are no numbers, have another shape, or are not finite in single precision;
            the message says what came, in which row, and what was expected.
    """
    if values.dtype.kind not in "iufb":
        first = f", like {str(values.flat[0])[:40]}" if values.size else ""
        raise ValueError(f"{name} holds {values.dtype} values{first}. Expected numbers.")
    if (*values.shape[1:], 1) == shape:
        values = values[..., None]
    if values.shape[1:] != shape or not values.ndim:
        expected = f"(n, {', '.join(map(str, shape))})" if shape else "(n,)"
        expected += " or (n,)" if shape == (1,) else ""
        one = f": {name}[None] for one example" if name == "x" and values.shape == shape else ""
        raise ValueError(f"{name} has the shape {values.shape}. Expected {expected}{one}.")
    single = as_float32(values)
    if values.dtype.kind == "f":
        bad = ~(np.isfinite(single) | np.isnan(values)) if nan else ~np.isfinite(single)
        if bad.any():
            bad = bad.reshape(len(bad), -1)
            rows = bad.any(axis=1)
            row = int(np.argmax(rows))
            column = f", column {columns[int(np.argmax(bad[row]))]!r}" if columns else ""
            raise ValueError(
                f"{name} holds {'' if nan else 'NaN, '}infinity or numbers beyond single precision "
                f"in {rows.sum()} of {len(rows)} examples, first in row {row}{column}. "
                f"Expected finite numbers{', or NaN where they are unknown' if nan else ''}."
            )
    return single


def as_float32(values: np.ndarray) -> np.ndarray:
    """Round to single precision; what is beyond it becomes infinite."""
    with np.errstate(over="ignore"):
        return values.astype("float32", copy=False)
