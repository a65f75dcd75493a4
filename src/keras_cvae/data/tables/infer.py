"""What kind of column a Series is."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from keras_cvae.data.tables.columns import (
    DECIMALS,
    STEPS,
    AnyColumn,
    Boolean,
    Category,
    Datetime,
    LeftOut,
    Missing,
    Number,
    Ordered,
    name_of,
)
from keras_cvae.data.tables.moments import how_written, moments
from keras_cvae.errors import DataError

IDS = 20  # rows above which what is different in every row is an id
PAIRS = 20  # of equal numbers that would be there by chance, from which on none is no chance
WORDS = 8  # in the mean, from which on text is prose


def infer(series: pd.Series, missing: Missing = "state") -> AnyColumn:
    """Infer the kind of a column from its dtype and its values.

    Args:
        series: The column.
        missing: What an empty cell is, if there are any: "state" or "unknown".

    Raises:
        DataError: Values of which no kind can be made, named with the column.
    """
    name, present = str(series.name), series.dropna()
    if not len(present):
        raise DataError(
            f"Column '{name}' is empty: all {len(series)} cells are missing. Expected values, or a "
            "table without it."
        )
    about: dict[str, Any] = {"name": name, "dtype": name_of(series.dtype)}
    about["missing"] = missing if len(present) < len(series) else "never"
    dtype = series.dtype
    if pd.api.types.is_object_dtype(dtype):
        _check_objects(name, present)
    if present.nunique() == 1 and len(present) == len(series):
        first = present.iloc[0]
        first = first.item() if isinstance(first, np.generic) else first
        about["note"] = f"always {first!r}" if isinstance(first, str) else f"always {first}"
    if isinstance(dtype, pd.CategoricalDtype):
        kind = Ordered if dtype.ordered else Category
        return kind(levels=_levels(name, list(dtype.categories)), **about)
    if pd.api.types.is_bool_dtype(dtype):
        return Boolean(**about)
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype):
        return _number(series, present, about)
    if isinstance(present.iloc[0], dt.date | dt.time | dt.timedelta):
        return _datetime(present, about)
    if pd.api.types.is_string_dtype(dtype) or pd.api.types.is_object_dtype(dtype):
        return _object(present, about)
    raise DataError(f"Column '{name}' holds {dtype} values. Expected numbers, text or dates.")


def _number(series: pd.Series, present: pd.Series, about: dict[str, Any]) -> AnyColumn:
    values, name = _plain_numbers(present), about["name"]
    if values.dtype.kind == "f":
        infinite = np.isinf(values)
        if infinite.any():
            row = present.index[int(np.argmax(infinite))]
            raise DataError(
                f"Column '{name}' holds infinity in {infinite.sum()} rows, the first with index "
                f"{row!r}. Expected finite numbers, or empty cells."
            )
    elif len(values) > 2 and (note := _numbers_rows(values)):
        return LeftOut(name=name, dtype=about["dtype"], note=note)
    low, high = values.min().item(), values.max().item()
    return Number(decimals=_decimals(values), low=low, high=high, **about)


def _numbers_rows(values: np.ndarray) -> str | None:
    """Why whole numbers are row numbers; None if they are not.

    Drawn from so narrow a range, some of them would have been equal: n^2 / 2 range pairs, at least.
    """
    n = len(values)
    if n <= IDS or len(np.unique(values)) < n:
        return None
    steps = np.diff(values.astype(np.float64))
    if abs(steps[0]) == 1 and np.all(steps == steps[0]):
        return "it counts the rows"
    if n**2 / 2 > PAIRS * (float(values.max()) - float(values.min()) + 1):
        return f"it is a number that is different in every row, such as {values[0]}"
    return None


def _plain_numbers(present: pd.Series) -> np.ndarray:
    values = present.to_numpy()
    if values.dtype == object:  # nullable
        whole = pd.api.types.is_integer_dtype(present.dtype)
        values = values.astype("int64" if whole else "float64")
    return values


def decimals_of(present: pd.Series) -> int | None:
    """How many digits after the point occur in numbers; None if there are more than a few."""
    return _decimals(_plain_numbers(present))


def _decimals(values: np.ndarray) -> int | None:
    if values.dtype.kind in "iu":
        return 0
    for digits in range(DECIMALS + 1):
        scaled = np.rint(values.astype(np.float64) * 10.0**digits)
        if np.abs(scaled).max() >= 2**53:
            return None
        if np.array_equal((scaled / 10.0**digits).astype(values.dtype), values):
            return digits
    return None


def _datetime(present: pd.Series, about: dict[str, Any], written: str | None = None) -> AnyColumn:
    first = present.iloc[0]
    if pd.api.types.is_object_dtype(present.dtype) and isinstance(first, dt.date | dt.time):
        about["dtype"] = type(first).__name__.lower().replace("timestamp", "datetime")
        if getattr(first, "tzinfo", None) is not None and about["dtype"] == "datetime":
            about["dtype"] = "datetime[UTC]"
    times = moments(present, written)
    column = Datetime(format=written, step=step_of(times), low="", high="", **about)
    return column.model_copy(update=column.ends(times))


def step_of(times: np.ndarray) -> str:
    """The longest step of which all times are whole multiples; see `STEPS`."""
    return next(
        name
        for name, (unit, _) in STEPS.items()
        if np.array_equal(times.astype(f"{times.dtype.kind}8[{unit}]").astype(times.dtype), times)
    )


def _object(present: pd.Series, about: dict[str, Any]) -> AnyColumn:
    name, kind = about["name"], _kind(present.iloc[0])
    if kind is bool:
        return Boolean(**about)
    if kind in (int, float):
        try:
            numbers = present.astype("int64" if kind is int else "float64")
        except OverflowError:
            big = max(present, key=abs)
            raise DataError(
                f"Column '{name}' holds {big}. Expected whole numbers of 64 bits at most, or text: "
                f"table['{name}'] = table['{name}'].astype(str)."
            ) from None
        about["dtype"] = "object" if kind is int else "object[float]"
        return _number(numbers, numbers, about)
    if kind is Decimal:
        about["dtype"] = "object[Decimal]"
        digits = max(-int(value.as_tuple().exponent) for value in present)
        floats = present.astype("float64")
        exact = max(digits, 0) if digits <= DECIMALS else None
        return _number(floats, floats, about).model_copy(update={"decimals": exact})
    distinct = pd.Series(present.unique(), dtype=object).astype("str")
    if found := how_written(distinct):
        how, fits = found
        if fits.all():
            return _datetime(present, about, how)
        _refuse_words(name, present, distinct, fits, "dates")
    _check_numbers(name, present, distinct)
    if note := _text(present, distinct):
        return LeftOut(name=name, dtype=about["dtype"], note=note)
    return Category(levels=tuple(sorted(distinct)), **about)


def _kind(value: Any) -> type:
    if isinstance(value, np.generic):
        value = value.item()
    return type(value)


def _check_objects(name: str, present: pd.Series) -> None:
    """Refuse objects of several types, or of one that is none of ours."""
    kinds: dict[type, Any] = {}
    for value in present:
        kinds.setdefault(_kind(value), value)
    if len(kinds) > 1:
        some = [f"{kind.__name__} ({value!r})" for kind, value in list(kinds.items())[:3]]
        raise DataError(
            f"Column '{name}' holds values of several types: {' and '.join(some)}. Expected one "
            "type, or empty cells."
        )
    (kind,) = kinds
    if not issubclass(kind, bool | int | float | str | Decimal | dt.date | dt.time | dt.timedelta):
        raise DataError(
            f"Column '{name}' holds {kind.__name__} values. Expected numbers, text or dates."
        )


def _check_numbers(name: str, present: pd.Series, distinct: pd.Series) -> None:
    """Refuse a column of numbers that a few words have made text."""
    numbers = pd.to_numeric(distinct, errors="coerce").notna()
    if not numbers.all() and numbers.mean() >= 0.8:
        _refuse_words(name, present, distinct, numbers, "numbers")


def _refuse_words(
    name: str, present: pd.Series, distinct: pd.Series, fits: pd.Series, what: str
) -> None:
    """Refuse a column of which a few cells are not what the others are, if it is no category."""
    if len(distinct) <= IDS:
        return
    word = distinct[~fits].iloc[0]
    rows = int((~present.isin(distinct[fits])).sum())
    alike = " that are written alike" if what == "dates" else ""
    raise DataError(
        f"Column '{name}' holds {what} and text: {distinct[fits].iloc[0]!r} and, in {rows} of "
        f"{len(present)} rows, {word!r}. Expected {what}{alike}, with empty cells where there is "
        "none."
    )


def _text(present: pd.Series, distinct: pd.Series) -> str | None:
    """Why a text is no category; None if it is one."""
    if len(present) <= IDS:
        return None
    if len(distinct) == len(present):
        first = distinct.iloc[0]
        first = first if len(first) <= 30 else f"{first[:30].rstrip()}..."
        return f"it is text that is different in every row, such as {first!r}"
    words = distinct.iloc[:1000].str.split().str.len().mean()
    if words >= WORDS and len(distinct) > len(present) / 2:
        return f"it is free text, {words:.0f} words in the mean"
    return None


def _levels(name: str, categories: list[Any]) -> tuple[Any, ...]:
    plain = [value.item() if isinstance(value, np.generic) else value for value in categories]
    bad = next((v for v in plain if not isinstance(v, bool | int | float | str)), None)
    if bad is not None:
        raise DataError(
            f"Column '{name}' has categories that are {type(bad).__name__}, such as {bad!r}. "
            "Expected text, numbers or booleans: table[column] = table[column].astype(str)."
        )
    return tuple(plain)
