"""One column of a table: its kind, its values as plain arrays, and back with its exact dtype.

Every kind reads a pandas Series into `Values`: integers or floats that mean the same whatever the
dtype was, and where they are missing. `write` gives the Series back as it was.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from keras_cvae.data.tables.moments import moments, written
from keras_cvae.errors import DataError, counted, listed, nearest

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

    def bound(self, end: Any, *, low: bool) -> Any:
        """One end of a range as `Values` have it; the nearest that lies within.

        Args:
            end: As a user gives it.
            low: Whether it is the lower one.
        """
        series = pd.Series([end], dtype=object, name=self.name).infer_objects()
        values, missing = self.read(series)
        if missing[0]:
            raise self._refuse(f"{end!r} as the end of a range", "a value, or None for no limit")
        return values[0].item()

    def write(self, values: Values) -> pd.Series:
        """Write the column with the dtype that it had."""
        raise NotImplementedError

    def shown(self, value: Any) -> str:
        """One of `Values.values` as its reader writes it."""
        of = np.array([value], np.int64 if self.whole else np.float64)
        return str(self.write(Values(of, np.zeros(1, bool))).iloc[0])

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
        what = {None: "continuous", 0: "whole"}.get(
            self.decimals, f"{counted(self.decimals or 0, 'decimal')}"
        )
        return f"{what}, {self.low:g} to {self.high:g}"

    def _read(self, present: pd.Series) -> np.ndarray:
        values = given = self._numeric(present)
        if values.dtype.kind == "u":  # beyond int64 as well: the same order, 2^63 lower
            big = values.astype(np.uint64)
            values = big.astype(np.int64) if not self._unsigned else _signed(big)
        elif self._unsigned:
            below = (values < 0) | (values % 1 > 0)
            if below.any():
                raise self._refuse(
                    repr(_plain(values[int(np.argmax(below))])), "whole numbers >= 0"
                )
            values = _signed(values.astype(np.uint64))
        if values.dtype.kind == "i":
            if self.decimals == 0:
                return values
            values = values.astype(np.float64)
        if np.isinf(values).any():
            row = present.index[int(np.argmax(np.isinf(values)))]
            raise self._refuse(f"an infinite number (row {row!r})", "finite numbers")
        values = values.astype(np.float64)
        if self.decimals is None:
            return values
        scaled = np.rint(values * 10.0**self.decimals)
        off = np.abs(scaled / 10.0**self.decimals - values)
        finer = off > self._rounding(given.dtype) * np.abs(values)
        if finer.any():
            what = f"at most {counted(self.decimals, 'digit')} after the point, as in training"
            raise self._refuse(
                repr(_plain(given[int(np.argmax(finer))])),
                what if self.decimals else "whole numbers, as in training",
            )
        large = np.abs(scaled) >= 2**63
        if large.any():
            raise self._refuse(repr(_plain(given[int(np.argmax(large))])), "numbers of 64 bits")
        return scaled.astype(np.int64)

    def _rounding(self, dtype: np.dtype) -> float:
        """How far, in parts of itself, a number may be from one with so many decimals."""
        kinds = [dtype] if dtype.kind == "f" else []
        if match := re.match(r"float(16|32)", self.dtype.lower()):
            kinds.append(np.dtype(match[0]))
        return max(1e-9, *(4 * float(np.finfo(kind).eps) for kind in kinds), 0.0)

    def bound(self, end, *, low):
        if self.decimals is None or not isinstance(end, int | float | np.number):
            return super().bound(end, low=low)
        exact = float(end) * 10.0**self.decimals
        if abs(exact) >= 2**63 and not self._unsigned:  # beyond all of them
            return (2**63 - 1) * (1 if exact > 0 else -1)
        if float(end) % 1 == 0 or math.isnan(end):
            return super().bound(end, low=low)
        if abs(exact - round(exact)) <= 1e-9 * abs(exact):
            return round(exact)
        return math.ceil(exact) if low else math.floor(exact)  # 30.5 .. 40.5 is 31 .. 40

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
        return values.to_numpy() if values.dtype != object else values.to_numpy(np.float64)

    @property
    def _unsigned(self) -> bool:
        return self.dtype.lower().startswith("uint64")

    def write(self, values: Values) -> pd.Series:
        numbers, missing = values
        if self.decimals is not None and not _is_whole(self.dtype):
            numbers = numbers / 10.0**self.decimals
        elif self._unsigned:
            numbers = numbers.view(np.uint64) ^ np.uint64(1 << 63)
        if "decimal" in self.dtype.lower():
            exact = Decimal(1).scaleb(-(self.decimals or 0))
            found = [Decimal(repr(number)) for number in numbers.tolist()]
            found = found if self.decimals is None else [one.quantize(exact) for one in found]
            numbers = np.array(found, object)
        elif pd.api.types.is_object_dtype(_dtype(self.dtype)):
            numbers = numbers.astype(object)
        return _typed(self.name, numbers, missing, self.dtype)


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

    def ends(self, times: np.ndarray) -> dict[str, str]:
        """`low` and `high` of points in time as `moments` gives them."""
        ends = pd.Series([times.min(), times.max()])
        if not self.has_date and not _duration(self.dtype):
            shown = (pd.Timestamp(0) + ends).dt.time
        else:
            shown = ends.dt.date if self.has_date and self.step == "day" else ends
        return {"low": str(shown[0]), "high": str(shown[1])}

    @property
    def has_date(self) -> bool:
        """Whether it has a place in the week: neither a time of day nor a duration."""
        if self.format is not None:
            return "%Y" in self.format
        return self.dtype != "time" and not _duration(self.dtype)

    @property
    def steps_a_day(self) -> int:
        """How many steps make a day."""
        return STEPS[self.step][1]

    def _read(self, present: pd.Series) -> np.ndarray:
        times = self.moments(present)
        steps = times.astype(f"{times.dtype.kind}8[{STEPS[self.step][0]}]")
        finer = steps.astype(times.dtype) != times
        if finer.any():
            first = _plain(present.iloc[int(np.argmax(finer))])
            raise self._refuse(repr(first), f"times in steps of a {self.step}, as in training")
        return steps.view(np.int64)

    def moments(self, present: pd.Series) -> np.ndarray:
        """Points in time `(n,)`, as `moments.moments` has them.

        Raises:
            DataError: A value is none, or is written in another way.
        """
        try:
            return moments(present, self.format)
        except (ValueError, TypeError, AttributeError):
            bad = next((v for v in present if not _is_moment(v, self.format)), present.iloc[0])
            how = f"as in a {self.dtype} column"
            if self.format is not None:
                first = pd.Series([pd.Timestamp(2024, 12, 31, 23, 59, 58)])
                how = f"written as {written(first, self.format)[0]} is, {self.format}"
            raise self._refuse(repr(_plain(bad)), f"dates or times {how}") from None

    def bound(self, end, *, low):
        times = self.moments(pd.Series([end], dtype=object).infer_objects())
        steps = times.astype(f"{times.dtype.kind}8[{STEPS[self.step][0]}]")
        return steps.view(np.int64)[0].item() + int(low and steps[0] < times[0])

    def write(self, values: Values) -> pd.Series:
        steps, missing = values
        unit = STEPS[self.step][0]
        times = steps.view(f"{'M' if self.has_date else 'm'}8[{unit}]")
        times = times.astype(f"{times.dtype.kind}8[s]") if unit in ("D", "h", "m") else times
        if not self.has_date and not _duration(self.dtype):
            times = times + np.datetime64(0, "s")
        series = pd.Series(times)
        if self.format is not None:
            text = written(series, self.format).to_numpy(object)
            return _typed(self.name, text, missing, self.dtype)
        if self.dtype == "datetime[UTC]":
            series = series.dt.tz_localize("UTC")
        if self.dtype in ("date", "time", "datetime", "datetime[UTC]"):
            kind = self.dtype.removesuffix("[UTC]")
            parts = series.dt.to_pydatetime() if kind == "datetime" else getattr(series.dt, kind)
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
    if name in ("date", "time", "datetime", "datetime[UTC]", "object[float]", "object[Decimal]"):
        return np.dtype(object)
    if match := re.fullmatch(r"decimal128\((\d+), (\d+)\)\[pyarrow\]", name):
        import pyarrow as pa

        return pd.ArrowDtype(pa.decimal128(int(match[1]), int(match[2])))
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


def _is_moment(value: Any, how: str | None) -> bool:
    try:
        moments(pd.Series([value]), how)
    except (ValueError, TypeError, AttributeError):
        return False
    return True
