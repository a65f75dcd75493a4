"""Points in time as they stand in columns: as objects of many types, or written as text."""

from __future__ import annotations

import datetime as dt
import itertools
import re

import numpy as np
import pandas as pd

DAYS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y"),
    *("%-m/%-d/%Y", "%-d/%-m/%Y", "%-d.%-m.%Y"),
)
TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%3f", "%H:%M:%S.%f", "%-H:%M", "%-H:%M:%S")
FORMATS = (
    *DAYS,
    *(f"{day}{gap}{time}" for day, gap, time in itertools.product(DAYS, " T", TIMES)),
    *("%Y%m%d", *TIMES),
)
WRITTEN = re.compile(r"[\d\-/:. T]{4,}?(?:(?<=\d)Z|[+]\d\d:?\d\d)?")
ZONE = re.compile(r":\d\d(?:\.\d+)?(Z|[+-]\d\d:?\d\d)$")  # of which all are, or none


def written(times: pd.Series, how: str) -> pd.Series:
    """Write points in time as text.

    Args:
        times: Of dtype datetime64.
        how: As in `strftime`; besides, `%-d` is `%d` without a zero in front (so for all letters),
            and `%3f` is milliseconds.
    """
    text = times.dt.strftime(how.replace("%-", "~%").replace("%3f", "%f~~~"))
    if "%-" in how:
        text = text.str.replace(r"~0?(?=\d)", "", regex=True)
    if "%3f" in how:
        text = text.str.replace(r"\d{3}~~~", "", regex=True)
    return text


def parsed(text: pd.Series, how: str, errors: str = "raise") -> pd.Series:
    """Read what `written` wrote.

    Raises:
        ValueError: Some of it is not written so; with errors="coerce" it is NaT.
    """
    plain = how.replace("%-", "%").replace("%3f", "%f")
    return pd.to_datetime(text, format=plain, errors=errors)


def how_written(distinct: pd.Series) -> tuple[str, pd.Series] | None:
    """How dates or times are written in text, and where they are; None if they are none.

    Some may be written in another way, a fifth of them at most.

    Args:
        distinct: Different texts.

    Returns:
        The format, such that `written` gives the very text again, and booleans.
    """
    looks = distinct.map(lambda text: WRITTEN.fullmatch(text) is not None).astype(bool)
    if looks.mean() < 0.8:
        return None
    some = distinct[looks].iloc[:50]
    found = ZONE.search(some.iloc[0])
    zone = found[1] if found else ""
    best, most = None, 0.8
    for how in (f"{one}{zone}" for one in FORMATS):
        share = float(_fits(some, how).mean())
        if share < 0.8 or share < most:
            continue
        fits = _fits(distinct, how)
        if fits.all():
            return how, fits
        if fits.mean() > most:
            best, most = (how, fits), float(fits.mean())
    return best


def _fits(text: pd.Series, how: str) -> pd.Series:
    times = parsed(text, how, "coerce")
    return times.notna() & (written(times, how) == text)


def moments(present: pd.Series, how: str | None = None) -> np.ndarray:
    """Points in time (UTC) as datetime64 `(n,)`; times of day and durations as timedelta64.

    Raises:
        ValueError: They are none, or text that is not written so.
    """
    first = present.iloc[0]
    if isinstance(first, dt.time):
        return np.array([_since_midnight(value) for value in present], "m8[us]")
    if isinstance(first, dt.timedelta):
        return pd.to_timedelta(present).to_numpy()
    if isinstance(present.dtype, pd.ArrowDtype):
        present = present.astype(object)
    if isinstance(first, str):
        present = pd.to_datetime(present) if how is None else parsed(present, how)
    elif isinstance(first, dt.date):
        present = pd.to_datetime(present)
    else:
        raise ValueError(f"{first!r} is no date or time")
    if present.dt.tz is not None:
        present = present.dt.tz_convert("UTC").dt.tz_localize(None)
    if how is not None and "%Y" not in how:  # a time of day
        present = present - present.dt.normalize()
    return present.to_numpy()


def _since_midnight(value: dt.time) -> int:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return seconds * 10**6 + value.microsecond
