"""One column of a table: its kind, its values as plain arrays, and back with its exact dtype.

Every kind reads a pandas Series into `Values`: integers or floats that mean the same whatever the
dtype was, and where they are missing. `write` gives the Series back as it was.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from keras_cvae.errors import DataError, listed, nearest

Level = bool | int | float | str
Missing = Literal["never", "state", "unknown"]
STEPS = {  # name -> NumPy's unit, and how many make a day
    "day": ("D", 1),
    "hour": ("h", 24),
    "minute": ("m", 1440),
    "second": ("s", 86_400),
    "millisecond": ("ms", 86_400 * 10**3),
    "microsecond": ("us", 86_400 * 10**6),
    "nanosecond": ("ns", 86_400 * 10**9),
}
FORMATS = (
    *("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"),
    *("%Y/%m/%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%d.%m.%Y", "%d.%m.%Y %H:%M"),
    *("%m/%d/%Y", "%d/%m/%Y", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%d-%m-%Y", "%Y%m%d"),
)
DECIMALS = 9  # a number with more of them is continuous


class Values(NamedTuple):
    """A column as plain numbers.

    Args:
        values: `(n,)` int64 or float64; 0 where missing.
        missing: `(n,)` booleans.
    """

    values: np.ndarray
    missing: np.ndarray


class Column(BaseModel):
    """Base of all kinds.

    Attributes:
        name: As in the table.
        dtype: What pandas calls it; `write` gives it back.
        missing: "never"; "state": an empty cell is a value of its own, generated at its rate; or
            "unknown": an empty cell has a value that nobody knows, is not scored and never
            generated.
        note: Something that its reader should know.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: str
    name: str
    dtype: str
    missing: Missing = "never"
    note: str | None = None
    whole: ClassVar[bool] = True  # whether `Values.values` are integers

    def read(self, series: pd.Series) -> Values:
        """Read a Series of this column; where it is missing, the value is 0.

        Raises:
            DataError: A value that this column cannot hold, named with the column.
        """
        missing = series.isna().to_numpy(bool)
        values = np.zeros(len(series), np.int64 if self.whole else np.float64)
        if not missing.all():
            values[~missing] = self._read(series[~missing])
        return Values(values, missing)

    def write(self, values: Values) -> pd.Series:
        """Write the column with the dtype that it had."""
        raise NotImplementedError

    def describe(self) -> str:
        """Say in a few words what the values are."""
        raise NotImplementedError

    def _read(self, present: pd.Series) -> np.ndarray:
        raise NotImplementedError

    def _refuse(self, received: Any, expected: str) -> DataError:
        return DataError(f"Column '{self.name}' holds {received}. Expected {expected}.")


class Number(Column):
    """A number: an integer, a decimal number with so many decimals, or a continuous one.

    Attributes:
        decimals: Digits after the point that ever occur, 0 for whole numbers. None: continuous.
        low: The lowest value that was seen.
        high: The highest one.
    """

    kind: Literal["number"] = "number"
    decimals: Annotated[int, Field(ge=0, le=DECIMALS)] | None = None
    low: int | float
    high: int | float

    @property
    def whole(self) -> bool:  # type: ignore[override]
        return self.decimals is not None

    def describe(self) -> str:
        what = {None: "continuous", 0: "whole"}.get(self.decimals, f"{self.decimals} decimals")
        return f"{what}, {self.low:g} to {self.high:g}"

    def _read(self, present: pd.Series) -> np.ndarray:
        values = self._numeric(present)
        if values.dtype.kind == "u":  # beyond int64 as well: the same order, 2^63 lower
            big = values.astype(np.uint64)
            values = big.astype(np.int64) if not self._unsigned else _signed(big)
        elif self._unsigned:
            values = _signed(values.astype(np.uint64))
        if values.dtype.kind == "i":
            if self.decimals == 0:
                return values
            values = values.astype(np.float64)
        if np.isinf(values).any():
            row = present.index[int(np.argmax(np.isinf(values)))]
            raise self._refuse(f"an infinite number (row {row!r})", "finite numbers")
        if self.decimals is None:
            return values.astype(np.float64)
        return np.rint(values.astype(np.float64) * 10.0**self.decimals).astype(np.int64)

    def _numeric(self, present: pd.Series) -> np.ndarray:
        if _is_bool(present) or present.dtype.kind in "mM":
            raise self._refuse(f"{present.dtype} values", "numbers")
        try:
            values = pd.to_numeric(present)
        except (ValueError, TypeError):
            bad = next(v for v in present if not _is_number(v))
            raise self._refuse(repr(bad), "numbers") from None
        if isinstance(values.dtype, pd.api.extensions.ExtensionDtype):
            values = values.astype(getattr(values.dtype, "numpy_dtype", np.dtype("float64")))
        return values.to_numpy()

    @property
    def _unsigned(self) -> bool:
        return self.dtype.lower().startswith("uint64")

    def write(self, values: Values) -> pd.Series:
        numbers, missing = values
        if self.decimals is not None and not _is_whole(self.dtype):
            numbers = numbers / 10.0**self.decimals
        elif self._unsigned:
            numbers = numbers.view(np.uint64) ^ np.uint64(1 << 63)
        if pd.api.types.is_object_dtype(_dtype(self.dtype)):
            numbers = numbers.astype(object)
        return _typed(self.name, numbers, missing, self.dtype)

    def to_user(self, value: Any) -> Any:
        """A value of `Values` as its reader writes it."""
        return value if not self.decimals else value / 10.0**self.decimals


class Category(Column):
    """One of several values without an order.

    Attributes:
        levels: The values that it can have.
    """

    kind: Literal["category"] = "category"
    levels: tuple[Level, ...]

    def describe(self) -> str:
        return f"{len(self.levels)} levels: {listed(self.levels, 6)}"

    def _read(self, present: pd.Series) -> np.ndarray:
        codes, seen = pd.factorize(present)
        place = {level: i for i, level in enumerate(self.levels)}
        found = [place.get(_plain(value), -1) for value in seen]
        if -1 in found:
            unseen = _plain(seen[found.index(-1)])
            raise DataError(
                f"Column '{self.name}' has no category {unseen!r}. Expected one of "
                f"{listed(self.levels, 20)}.{nearest(unseen, self.levels)}"
            )
        return np.asarray(found, np.int64)[codes]

    def write(self, values: Values) -> pd.Series:
        codes, missing = values
        if match := re.fullmatch(r"category\[(.*?)(, ordered)?\]", self.dtype):
            index = pd.Index(list(self.levels), dtype=_dtype(match[1]))
            codes = np.where(missing, -1, codes)
            ordered = match[2] is not None
            return pd.Series(
                pd.Categorical.from_codes(codes, index, ordered=ordered), name=self.name
            )
        levels = np.empty(len(self.levels), object)
        levels[:] = self.levels
        return _typed(self.name, levels[codes], missing, self.dtype)


class Ordered(Category):
    """One of several values that have an order; `levels` are from the lowest to the highest."""

    kind: Literal["ordered"] = "ordered"  # type: ignore[assignment]


class Boolean(Column):
    """True or false."""

    kind: Literal["boolean"] = "boolean"
    levels: ClassVar[tuple[bool, ...]] = (False, True)

    def describe(self) -> str:
        return "False, True"

    def _read(self, present: pd.Series) -> np.ndarray:
        found = [{False: 0, True: 1}.get(_plain(value), -1) for value in present.unique()]
        if -1 in found:
            raise self._refuse(repr(_plain(present.unique()[found.index(-1)])), "True or False")
        return present.astype(bool).to_numpy().astype(np.int64)

    def write(self, values: Values) -> pd.Series:
        truth = values.values.astype(bool)
        if pd.api.types.is_object_dtype(_dtype(self.dtype)):
            truth = truth.astype(object)
        return _typed(self.name, truth, values.missing, self.dtype)


class Datetime(Column):
    """A date, a time of day, a point in time or a duration.

    Attributes:
        format: How it is written, if the column is text, as in `strftime`.
        step: The longest of a day, an hour, ... of which all are whole multiples.
        low: The earliest that was seen.
        high: The latest.
    """

    kind: Literal["datetime"] = "datetime"
    format: str | None = None
    step: str
    low: str
    high: str

    def describe(self) -> str:
        return f"{self.low} to {self.high}, every {self.step}"

    @property
    def has_date(self) -> bool:
        """Whether it has a place in the week: neither a time of day nor a duration."""
        return self.dtype != "time" and not _duration(self.dtype)

    @property
    def steps_a_day(self) -> int:
        """How many steps make a day."""
        return STEPS[self.step][1]

    def _read(self, present: pd.Series) -> np.ndarray:
        try:
            times = moments(present, self.format)
        except (ValueError, TypeError, AttributeError):
            bad = next((v for v in present if not _is_moment(v, self.format)), present.iloc[0])
            how = f"written as {self.format}" if self.format else f"as in a {self.dtype} column"
            raise self._refuse(repr(_plain(bad)), f"dates or times {how}") from None
        return times.astype(f"{times.dtype.kind}8[{STEPS[self.step][0]}]").view(np.int64)

    def write(self, values: Values) -> pd.Series:
        steps, missing = values
        unit = STEPS[self.step][0]
        times = steps.view(f"{'M' if self.has_date else 'm'}8[{unit}]")
        times = times.astype(f"{times.dtype.kind}8[s]") if unit in ("D", "h", "m") else times
        if self.dtype == "time":
            times = times + np.datetime64(0, "s")
        series = pd.Series(times)
        if self.format is not None:
            text = series.dt.strftime(self.format).to_numpy(object)
            return _typed(self.name, text, missing, self.dtype)
        if self.dtype in ("date", "time", "datetime"):
            parts = series.dt.to_pydatetime() if self.dtype == "datetime" else series
            parts = parts if self.dtype == "datetime" else getattr(series.dt, self.dtype)
            return _typed(self.name, np.asarray(list(parts), object), missing, self.dtype)
        dtype = _dtype(self.dtype)
        if getattr(dtype, "tz", None) is not None:
            series = series.dt.tz_localize("UTC")
        return series.astype(dtype).mask(missing).rename(self.name)


class LeftOut(Column):
    """A column that is not learned and not generated; the note says why."""

    kind: Literal["left out"] = "left out"

    def describe(self) -> str:
        return self.note or ""


AnyColumn = Annotated[
    Number | Category | Ordered | Boolean | Datetime | LeftOut, Field(discriminator="kind")
]


def name_of(dtype: Any) -> str:
    """The name from which `_dtype` makes the dtype again."""
    if isinstance(dtype, pd.CategoricalDtype):
        ordered = ", ordered" if dtype.ordered else ""
        return f"category[{name_of(dtype.categories.dtype)}{ordered}]"
    if isinstance(dtype, pd.StringDtype):
        return f"string[{dtype.storage}]" if dtype.na_value is pd.NA else "str"
    if isinstance(dtype, pd.ArrowDtype) and str(dtype) == "string[pyarrow]":
        return "utf8[pyarrow]"  # the other name is a StringDtype's
    return str(dtype)


def _dtype(name: str) -> Any:
    if name == "str":
        return pd.Series(["text"]).dtype  # object before pandas 3
    if name in ("date", "time", "datetime", "object[float]"):
        return np.dtype(object)
    return pd.api.types.pandas_dtype(name)


def _typed(name: str, values: np.ndarray, missing: np.ndarray, dtype: str) -> pd.Series:
    if not missing.any():
        return pd.Series(values, name=name).astype(_dtype(dtype))
    if values.dtype == object:
        values = values.copy()
        values[missing] = None
        return pd.Series(values, name=name, dtype=object).astype(_dtype(dtype))
    if isinstance(_dtype(dtype), np.dtype):  # float: whole dtypes have no way to say missing
        return pd.Series(np.where(missing, np.nan, values), name=name).astype(_dtype(dtype))
    return pd.Series(values, name=name).astype(_dtype(dtype)).mask(missing)


def _is_whole(dtype: str) -> bool:
    return bool(re.match(r"u?int", dtype.lower())) or dtype == "object"


def _signed(big: np.ndarray) -> np.ndarray:
    return (big ^ np.uint64(1 << 63)).view(np.int64)


def _duration(dtype: str) -> bool:
    return dtype.startswith(("timedelta", "duration"))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _is_bool(series: pd.Series) -> bool:
    return pd.api.types.is_bool_dtype(series.dtype) or (
        series.dtype == object and any(isinstance(v, bool | np.bool_) for v in series)
    )


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _is_moment(value: Any, written: str | None) -> bool:
    try:
        moments(pd.Series([value]), written)
    except (ValueError, TypeError, AttributeError):
        return False
    return True


def moments(present: pd.Series, written: str | None = None) -> np.ndarray:
    """Points in time (UTC) as datetime64 `(n,)`; times of day and durations as timedelta64.

    Raises:
        ValueError: They are none, or text that is not `written` so.
    """
    first = present.iloc[0]
    if isinstance(first, dt.time):
        return np.array([_since_midnight(value) for value in present], "m8[us]")
    if isinstance(first, dt.timedelta):
        return pd.to_timedelta(present).to_numpy()
    if isinstance(present.dtype, pd.ArrowDtype):
        present = present.astype(object)
    if isinstance(first, str):
        present = pd.to_datetime(present, format=written)
    elif isinstance(first, dt.date):
        present = pd.to_datetime(present)
    else:
        raise ValueError(f"{first!r} is no date or time")
    if present.dt.tz is not None:
        present = present.dt.tz_convert("UTC").dt.tz_localize(None)
    return present.to_numpy()


def _since_midnight(value: dt.time) -> int:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return seconds * 10**6 + value.microsecond
