"""What error messages share, and the checks of numbers that many arguments need."""

import difflib
import itertools
import math
import os
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MANY, LONGEST = 1000, 100  # names compared one by one; letters of a name that are looked at
_PACKAGE = str(Path(__file__).parent) + os.sep


class DataError(ValueError):
    """Data that cannot be used; the message says what came, what was expected and what to do."""


def nearest(name: object, known: Iterable[object]) -> str:
    """Return " Did you mean 'x'?" for the closest known name, or an empty string."""
    wanted, names = str(name)[:LONGEST], [str(k) for k in known]
    if len(names) > MANY:
        close = _one_edit_away(wanted, names)
    else:
        close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def _one_edit_away(wanted: str, names: list[str]) -> list[str]:
    """Of many names one that differs by a letter too few, too many, wrong, swapped, or in case."""
    by_name = {name.casefold(): name for name in reversed(names)}
    word, letters = wanted.casefold(), "".join(set("".join(by_name)))
    parts = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    edits = itertools.chain(
        [word],
        (a + b[1] + b[0] + b[2:] for a, b in parts if len(b) > 1),
        (a + b[1:] for a, b in parts if b),
        (a + letter + b[1:] for a, b in parts if b for letter in letters),
        (a + letter + b for a, b in parts for letter in letters),
    )
    found = next((edit for edit in edits if edit in by_name), None)
    return [] if found is None else [by_name[found]]


def counted(n: int, what: str) -> str:
    """A number with its noun, in the plural where it needs one."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def to_install(extra: str) -> str:
    """How to install what an extra brings, from an index or in a clone."""
    return f"pip install 'keras-cvae[{extra}]' (in a clone: pip install '.[{extra}]')"


def listed(names: Iterable[object], most: int = 12) -> str:
    """Join names for a message, the first `most` of them."""
    names = list(names)
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(str(name) for name in names[:most]) + more


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
    if isinstance(value, bool) or not _real(value) >= least or _real(value) % 1:
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
