"""What error messages share, and the checks of numbers that many arguments need."""

import difflib
import math
import os
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_PACKAGE = str(Path(__file__).parent) + os.sep


class DataError(ValueError):
    """Data that cannot be used; the message says what came, what was expected and what to do."""


def nearest(name: object, known: Iterable[object]) -> str:
    """Return " Did you mean 'x'?" for the closest known name, or an empty string."""
    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def listed(names: Iterable[object], most: int = 12) -> str:
    """Join names for a message, the first `most` of them."""
    names = list(names)
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(str(name) for name in names[:most]) + more


def check_dense(x: Any, name: str) -> None:
    """Refuse sparse arrays, and tables with columns that are no numbers.

    Args:
        x: Anything.
        name: What to call it in messages.

    Raises:
        DataError: Saying how to make it dense, or which column holds what.
    """
    if hasattr(x, "toarray"):
        raise DataError(
            f"{name} is sparse ({type(x).__name__}). Expected a dense array: {name}.toarray()."
        )
    columns = getattr(x, "columns", None)
    if columns is None or not hasattr(x, "dtypes"):
        return
    text = [
        (column, dtype)
        for column, dtype in zip(columns, x.dtypes, strict=True)
        if getattr(dtype, "kind", "f") not in "biuf"
    ]
    if text:
        column, dtype = text[0]
        more = f", and {len(text) - 1} more like it" if len(text) > 1 else ""
        raise DataError(
            f"The column {column!r} of {name} holds {dtype} values{more}. Expected numbers. Leave "
            "it out of x; a column of names can be the condition."
        )


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that called into this package, however deep the call went."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """The value as an int.

    Raises:
        ValueError: It is no whole number, below `least` or above `most`.
    """
    if not _real(value) >= least or _real(value) % 1:
        raise ValueError(
            f"{name}: received {value!r}, expected a whole number of at least {least}."
        )
    if most is not None and value > most:
        raise ValueError(f"{name}: received {value!r}, expected at most {most}.")
    return int(value)


def number(name: str, value: Any, least: float = 0.0) -> float:
    """The value as a float.

    Raises:
        ValueError: It is no finite number, or below `least`.
    """
    if not least <= _real(value) < math.inf:
        raise ValueError(f"{name}: received {value!r}, expected a number of at least {least:g}.")
    return float(value)


def _real(value: Any) -> float:
    try:
        return float(value) if hasattr(value, "__float__") else math.nan
    except TypeError:  # an array
        return math.nan
