"""A table as small integers and back: the schema, and how each column is coded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from keras_cvae.data.tables import coding
from keras_cvae.data.tables.coding import Among, Coding, Part, Range, Wanted
from keras_cvae.data.tables.columns import (
    AnyColumn,
    Boolean,
    Category,
    Datetime,
    Number,
    Ordered,
    Values,
)
from keras_cvae.data.tables.schema import Schema, UnknownColumnError, check_names
from keras_cvae.errors import DataError, listed, nearest, warn

UNKNOWN = -1


class Coded(NamedTuple):
    """One column as it is coded.

    Args:
        column: What it is.
        coding: How its values become levels. A missing cell is one level more, of every part.
    """

    column: AnyColumn
    coding: Coding

    @property
    def missing(self) -> bool:
        """Whether a missing cell is a state of its own."""
        return self.column.missing == "state"

    @property
    def parts(self) -> tuple[Part, ...]:
        """Parts with the level of a missing cell, the last: if one part has it, all have."""
        if not self.missing:
            return self.coding.parts
        first, *rest = self.coding.parts
        parts = [Part(first.size + 1, first.ordered)]
        for part in rest:
            allowed = np.zeros((first.size + 1, part.size + 1), bool)
            allowed[:-1, :-1] = True if part.allowed is None else part.allowed
            allowed[-1, -1] = True
            parts.append(Part(part.size + 1, part.ordered, 0, allowed, part.pooled))
        return tuple(parts)

    def encode(self, values: Values) -> np.ndarray:
        """Levels `(n, parts)`; of missing cells the last ones, or `UNKNOWN`."""
        codes = self.coding.encode(values.values)
        last = [part.size - 1 for part in self.parts] if self.missing else UNKNOWN
        return np.where(values.missing[:, None], last, codes)

    def decode(
        self, codes: np.ndarray, uniforms: np.ndarray, wanted: Wanted | None = None
    ) -> Values:
        """Values of levels `(n, parts)`."""
        missing = codes[:, 0] == self.parts[0].size - 1
        missing = missing if self.missing else np.zeros(len(codes), bool)
        codes = np.where(missing[:, None], 0, codes)
        return Values(self.coding.decode(codes, uniforms, wanted), missing)

    def enumerated(self) -> tuple[np.ndarray, list[Any]]:
        """All values, one by one: their levels `(m, parts)`, and the values as a user writes them.

        Raises:
            DataError: Some levels stand for several values.
        """
        if isinstance(self.column, Category | Boolean):
            values = np.arange(len(self.column.levels))
            return self.coding.encode(values), list(self.column.levels)
        intervals = self.coding
        if not isinstance(intervals, coding.Intervals) or np.any(intervals.high > intervals.low):
            raise DataError(
                f"Column '{self.column.name}' is a {self.column.kind} whose values cannot be "
                "counted. Expected a category, or a number with few values; impute() draws others."
            )
        shown = self.column.write(Values(intervals.low, np.zeros(len(intervals.low), bool)))
        return intervals.encode(intervals.low), shown.tolist()

    def share(self, wanted: Wanted | None) -> list[np.ndarray]:
        """As `Coding.share`, never of a missing cell; None: any value that is not missing."""
        if wanted is None:
            shares = [np.ones(part.size) for part in self.coding.parts]
        else:
            shares = self.coding.share(wanted)
        if not self.missing:
            return shares
        return [
            np.pad(share, [(0, 1)] * share.ndim)  # a missing cell has a share of zero
            for share in shares
        ]


class TableCodec:
    """A table as levels `(n, parts)`, and back.

    Columns with few values come first: what is asked for is mostly of these, and in this order the
    others follow from them as they do in the joint distribution.

    Args:
        schema: The columns.
        columns: How each that is learned is coded, in any order.
        shares: For each part, how often its levels occur in training, `(size,)`; of a part with a
            parent given that, `(levels of the parent, size)`. Zero: it cannot be.
    """

    def __init__(
        self, schema: Schema, columns: Sequence[Coded], shares: Sequence[np.ndarray]
    ) -> None:
        self.schema, self.columns = schema, _by_size(columns)
        self.shares = [np.asarray(share, np.float64) for share in shares]
        self._places = {coded.column.name: place for place, coded in enumerate(self.columns)}
        self.parts: list[Part] = []
        self.column_of: list[int] = []  # position of the column that a part belongs to
        for place, coded in enumerate(self.columns):
            start = len(self.parts)
            for part in coded.parts:
                parent = None if part.parent is None else part.parent + start
                self.parts.append(part._replace(parent=parent))
                self.column_of.append(place)

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, schema: Schema | None = None, most: int = coding.MOST
    ) -> TableCodec:
        """Choose codings from the rows that are trained on.

        Args:
            frame: The table.
            schema: Its columns; None infers them.
            most: Levels of a part, at most.

        Raises:
            DataError: A table of which none can be made, or that does not fit the schema.
        """
        if schema is None:
            schema = Schema.infer(frame)
        else:
            schema.checked().check(frame)
        read = {column.name: column.read(frame[column.name]) for column in schema.learned}
        columns = []
        for column in schema.learned:
            values, missing = read[column.name]
            columns.append(Coded(column, _coding(column, values[~missing], most)))
        codec = cls(schema, columns, [])
        codec.shares = _shares(codec.parts, codec.encode(read, len(frame)))
        return codec

    def __len__(self) -> int:
        return len(self.parts)

    def slice(self, name: str) -> slice:
        """Positions of a column's parts.

        Raises:
            UnknownColumnError: It is not there.
        """
        place = self.place(name)
        return slice(self.column_of.index(place), len(self) - self.column_of[::-1].index(place))

    def place(self, name: str) -> int:
        """Position of a column in the order of the code.

        Raises:
            UnknownColumnError: It is not there.
        """
        return self._places[self.schema[name].name]

    def read(
        self, frame: pd.DataFrame, *, all_columns: bool = True, warn: bool = True
    ) -> dict[str, Values]:
        """The values of a frame's columns; columns that are left out are ignored.

        Args:
            frame: The table, with columns in any order.
            all_columns: Whether all must be there.
            warn: Say which numbers lie outside of what was seen in training.

        Raises:
            DataError: A column that is not there or not known, or a value that it cannot have.
        """
        check_names(frame.columns)
        out = {column.name for column in self.schema.left_out}
        names = [name for name in frame.columns if name not in out]
        if unknown := [name for name in names if name not in self.schema.names]:
            raise UnknownColumnError(
                f"Column '{unknown[0]}' was not in training."
                f"{nearest(unknown[0], self.schema.names)}"
            )
        if all_columns and (lacking := [n for n in self.schema.names if n not in names]):
            raise UnknownColumnError(f"The table has no column '{lacking[0]}'; it was in training.")
        read = {}
        for coded in self.columns:
            if coded.column.name in names:
                values = coded.column.read(frame[coded.column.name])
                read[coded.column.name] = values
                if warn:
                    _say_outside(coded, values)
        return read

    def encode(self, values: Mapping[str, Values], n: int, *, gaps: bool = False) -> np.ndarray:
        """Levels `(n, parts)` of columns; `UNKNOWN` where a column is not there.

        Args:
            values: By column.
            n: Number of rows.
            gaps: Missing cells are unknown, also where missing is a state.
        """
        codes = np.full((n, len(self)), UNKNOWN, np.int64)
        for name, column in values.items():
            coded = self.columns[self.place(name)]
            part = coded.encode(column)
            codes[:, self.slice(name)] = (
                np.where(column.missing[:, None], UNKNOWN, part) if gaps else part
            )
        return codes

    def decode(
        self,
        codes: np.ndarray,
        rng: np.random.Generator,
        wanted: Mapping[str, Wanted] | None = None,
    ) -> dict[str, Values]:
        """Values by column of levels `(n, parts)`; places within bins are drawn."""
        values = {}
        for coded in self.columns:
            name = coded.column.name
            part = codes[:, self.slice(name)]
            values[name] = coded.decode(part, rng.random(part.shape), (wanted or {}).get(name))
        return values

    def write(self, values: Mapping[str, Values]) -> pd.DataFrame:
        """A frame with the columns of the schema, in order, and their dtypes."""
        return pd.DataFrame(
            {column.name: column.write(values[column.name]) for column in self.schema.learned}
        )

    def log_density(self, values: Mapping[str, Values], codes: np.ndarray) -> np.ndarray:
        """Log p(values | levels) in nats, `(n, columns)`: zero but for numbers in bins."""
        out = np.zeros((len(codes), len(self.columns)))
        for place, coded in enumerate(self.columns):
            column = values.get(coded.column.name)
            if column is None:
                continue
            there = ~column.missing
            part = codes[:, self.slice(coded.column.name)][there]
            out[there, place] = coded.coding.log_density(column.values[there], part)
        return out

    def asked(self, name: str, value: Any) -> Values | Wanted:
        """What a condition on a column means.

        Args:
            name: The column.
            value: A value: `Values` of one row. None or NaN: a missing cell. A tuple of two,
                (low, high), either of which may be None, or a set, list or Series of values:
                `Wanted`.

        Raises:
            DataError: No such column; a value that it cannot have, with the nearest; an empty set
                or range.
        """
        coded = self.columns[self.place(name)]
        column = coded.column
        if isinstance(value, tuple):
            return self._range(column, value)
        if pd.api.types.is_list_like(value) and not isinstance(value, Mapping):
            if not len(value):
                raise DataError(f"Column '{name}': received an empty set. Expected some values.")
            several = self._one(column, list(value))
            if several.missing.any():
                raise DataError(
                    f"Column '{name}': received a set with a missing value. Expected values, or "
                    "None alone for a missing cell."
                )
            return Among(_seen(coded, several))
        values = self._one(column, [value])
        if values.missing[0] and not coded.missing:
            raise DataError(
                f"Column '{name}': received {value!r}, a missing cell, and there was none in "
                "training. Expected a value."
            )
        first = self.shares[self.slice(name).start]
        if not first[coded.encode(values)[0, 0]] > 0:
            raise nothing_seen(column, Among(values.values))
        _say_outside(coded, values)
        return values

    def meets(self, frame: pd.DataFrame, conditions: Mapping[str, Any]) -> np.ndarray:
        """Which rows of a frame meet conditions, booleans `(n,)`; for these see `asked`."""
        met = np.ones(len(frame), bool)
        for name, value in conditions.items():
            asked = self.asked(name, value)
            values, missing = self.schema[name].read(frame[name])
            if isinstance(asked, Values):
                met &= missing if asked.missing[0] else ~missing & (values == asked.values[0])
            else:
                met &= ~missing & asked.holds(values)
        return met

    def _one(self, column: AnyColumn, values: list) -> Values:
        return column.read(pd.Series(values, dtype=object, name=column.name).infer_objects())

    def _range(self, column: AnyColumn, value: tuple) -> Range:
        if isinstance(column, Category) and not isinstance(column, Ordered):
            raise DataError(
                f"Column '{column.name}': received the range {value!r}, but a category has no "
                "order. Expected a value, or a set of them."
            )
        if len(value) != 2:
            raise DataError(
                f"Column '{column.name}': received {value!r}. Expected a range (low, high), or a "
                "set of values."
            )
        ends: list[Any] = []
        for end, place in zip(value, (0, 1), strict=True):
            if end is None or (isinstance(end, float) and end == (-math.inf, math.inf)[place]):
                ends.append(None)
                continue
            ends.append(column.bound(end, low=place == 0))
        if None not in ends and ends[0] > ends[1]:
            raise DataError(
                f"Column '{column.name}': nothing lies in the range {value!r}. Expected "
                "(low, high) with low below high."
            )
        return Range(*ends)

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` makes this again of; JSON."""
        return {
            "schema": self.schema.model_dump(mode="json"),
            "codings": {coded.column.name: coded.coding.to_dict() for coded in self.columns},
            "shares": [share.tolist() for share in self.shares],
        }

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> TableCodec:
        """The codec that `to_dict` described."""
        schema = Schema.model_validate(config["schema"])
        columns = [
            Coded(column, coding.from_dict(config["codings"][column.name]))
            for column in schema.learned
        ]
        return cls(schema, columns, config["shares"])


def _by_size(columns: Sequence[Coded]) -> tuple[Coded, ...]:
    return tuple(sorted(columns, key=lambda c: math.prod(part.size for part in c.coding.parts)))


def _coding(column: AnyColumn, values: np.ndarray, most: int) -> Coding:
    """How to code the values that are there."""
    if isinstance(column, Boolean):
        return coding.Levels(2)
    if isinstance(column, Category):
        size = len(column.levels)
        if size <= most:
            return coding.Levels(size, isinstance(column, Ordered))
        return coding.Digits.fit(values, size)
    intervals = coding.Intervals.fit(values, most)
    binned = np.any(intervals.high > intervals.low)
    if isinstance(column, Datetime) and column.has_date and binned:
        return coding.Calendar.fit(values, column.steps_a_day, most)
    return intervals


def _shares(parts: Sequence[Part], codes: np.ndarray) -> list[np.ndarray]:
    """How often levels occur, given the parent's; where that was never seen, what is allowed."""
    shares = []
    for place, part in enumerate(parts):
        own = codes[:, place]
        if part.parent is None:
            there = own != UNKNOWN
            counts = np.bincount(own[there], minlength=part.size).astype(float)
            shares.append(counts / counts.sum())
            continue
        parent = codes[:, part.parent]
        there = (own != UNKNOWN) & (parent != UNKNOWN)
        allowed = np.asarray(part.allowed, float)
        counts = np.zeros_like(allowed)
        np.add.at(counts, (parent[there], own[there]), 1.0)
        if part.pooled:  # over all levels of the parent with which the same can be
            alike = np.unique(allowed, axis=0, return_inverse=True)[1].ravel()
            pooled = np.zeros((alike.max() + 1, part.size))
            np.add.at(pooled, alike, counts)
            counts = pooled[alike]
        counts = np.where(counts.sum(axis=1, keepdims=True) > 0, counts, allowed)
        shares.append(counts / counts.sum(axis=1, keepdims=True))
    return shares


def _seen(coded: Coded, several: Values) -> np.ndarray:
    """The different values of a set that can be drawn; a warning names the others."""
    outside = coded.coding.outside(several.values)
    if outside.all():
        raise nothing_seen(coded.column, Among(several.values))
    _say_outside(coded, several, "No row will have them.")
    return np.unique(several.values[~outside])


def nothing_seen(column: AnyColumn, wanted: Wanted) -> DataError:
    """What to raise where nothing that is wanted was ever seen."""
    if isinstance(wanted, Range):
        ends = ("" if end is None else column.shown(end) for end in wanted)
        what = "..".join(ends)
    else:
        what = listed(map(column.shown, wanted.values), 6)
    return DataError(
        f"Column '{column.name}': received {what}, and nothing of it was seen in training. "
        f"Expected some of what was: {column.describe()}."
    )


def _say_outside(
    coded: Coded, values: Values, then: str = "The nearest that it saw stand for them."
) -> None:
    """Warn about numbers that were not seen, nor lie between those of a bin."""
    column = coded.column
    if not isinstance(column, Number | Datetime):
        return
    there = ~values.missing
    outside = coded.coding.outside(values.values[there])
    if outside.any():
        first = values.values[there][outside][:1]
        shown = column.write(Values(first, np.zeros(1, bool))).iloc[0]
        warn(
            f"Column '{column.name}': {outside.sum()} of {len(outside)} values were not in "
            f"training, such as {shown}; it saw {column.low} to {column.high}. {then}"
        )
