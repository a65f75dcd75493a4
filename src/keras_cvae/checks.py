"""Arrays of numbers, checked: one rule and one wording for data and conditions alike."""

import numpy as np


def checked(
    values: np.ndarray,
    shape: tuple[int, ...],
    name: str = "The condition",
    *,
    finite: bool = True,
) -> np.ndarray:
    """Return values as float32 `(n, *shape)`; a last axis of length 1 may be left out.

    Args:
        values: What a user gave.
        shape: Shape of one example.
        name: What the values are, as the subject of a message.
        finite: Whether NaN and infinity are refused.

    Raises:
        ValueError: They are no numbers, have another shape, or are not finite in single precision;
            the message says in which row.
    """
    if values.dtype.kind not in "iufb":
        raise ValueError(
            f"{name} holds {values.dtype} values, like {_first(values)}. Expected numbers."
        )
    if (*values.shape[1:], 1) == shape:
        values = values[..., None]
    if values.shape[1:] != shape or not values.ndim:
        sizes = ["(" + ", ".join(["n", *map(str, shape)]) + ("," if not shape else "") + ")"]
        sizes += ["(n,)"] if shape == (1,) else []
        raise ValueError(f"{name} has the shape {values.shape}. Expected {' or '.join(sizes)}.")
    single = as_float32(values)
    if finite and not np.isfinite(single).all():
        row = int(np.argmin(np.isfinite(single).reshape(len(single), -1).all(axis=1)))
        raise ValueError(
            f"{name} holds NaN, infinity or numbers beyond single precision, first in row {row}. "
            "Expected finite numbers."
        )
    return single


def as_float32(values: np.ndarray) -> np.ndarray:
    """Round to single precision; what is beyond it becomes infinite."""
    with np.errstate(over="ignore"):
        return values.astype("float32", copy=False)


def _first(values: np.ndarray) -> str:
    return str(values.flat[0])[:40] if values.size else "none"
