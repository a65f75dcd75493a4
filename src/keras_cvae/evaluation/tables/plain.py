"""Frames as what every figure is computed from: numbers, or categories; missing is a state."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from keras_cvae.data.tables.columns import Category, Datetime, Number
from keras_cvae.data.tables.schema import Schema, UnknownColumnError
from keras_cvae.errors import DataError, nearest


class Figures:
    """Base of the figures' dataclasses."""

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain Python: JSON can hold them."""
        return {name: _json(value) for name, value in asdict(self).items()}  # type: ignore[call-overload]


class Plain(NamedTuple):
    """The same column of several tables.

    Args:
        number: Whether it is a number (or a date), not a category.
        tables: For each table `(n,)`: float64 with NaN, or the positions of categories, -1 where
            missing.
        size: How many categories there are.
    """

    number: bool
    tables: list[np.ndarray]
    size: int


def plain(tables: Sequence[pd.DataFrame], schema: Schema | None = None) -> dict[str, Plain]:
    """The columns that tables have in common with the first one.

    Args:
        tables: At least one; the others must have its columns.
        schema: Says which columns are categories, and what is a date or a number though it is
            text or objects. None: dtypes say so.

    Raises:
        UnknownColumnError: A table lacks a column of the first.
    """
    first, *others = tables
    for other in others:
        if lacking := [name for name in first if name not in other]:
            raise UnknownColumnError(
                f"A table has no column '{lacking[0]}'; the other has one."
                f"{nearest(lacking[0], other.columns)}"
            )
        if not len(other):
            raise DataError("A table has no rows. Expected at least one.")
    columns = {column.name: column for column in schema or ()}
    found = {}
    for name in first:
        parts, column = [table[name] for table in tables], columns.get(name)
        if is_number(first[name]) and not isinstance(column, Category):
            found[name] = Plain(True, [_numbers(part) for part in parts], 0)
        elif isinstance(column, Number | Datetime):  # dates in text, numbers as objects
            found[name] = Plain(True, [_read(column, part) for part in parts], 0)
        else:
            whole = pd.concat([part.astype(object) for part in parts], ignore_index=True)
            codes, seen = pd.factorize(whole)
            ends = np.cumsum([len(part) for part in parts])[:-1]
            found[name] = Plain(False, np.split(codes, ends), len(seen))
    return found


def is_number(series: pd.Series) -> bool:
    """Whether a column holds numbers or dates."""
    types = pd.api.types
    number = types.is_numeric_dtype(series.dtype) and not types.is_bool_dtype(series.dtype)
    return number or _is_time(series)


def _is_time(series: pd.Series) -> bool:
    types = pd.api.types
    return types.is_datetime64_any_dtype(series.dtype) or types.is_timedelta64_dtype(series.dtype)


def _numbers(series: pd.Series) -> np.ndarray:
    if _is_time(series):
        start = series.min() - series.min() if series.dtype.kind == "m" else pd.Timestamp(0)
        zone = getattr(series.dtype, "tz", None)
        start = start.tz_localize("UTC") if zone is not None else start
        return ((series - start) / pd.Timedelta(1, "s")).to_numpy(float, na_value=np.nan)
    return series.to_numpy(float, na_value=np.nan)


def _read(column: Number | Datetime, series: pd.Series) -> np.ndarray:
    values, missing = column.read(series)
    return np.where(missing, np.nan, values.astype(float))


def stacked(
    tables: Sequence[pd.DataFrame], schema: Schema | None = None, most: int = 250
) -> pd.DataFrame:
    """Tables above each other, as scikit-learn's boosted trees take them.

    Numbers are floats with NaN, categories pandas' own; those beyond the `most` most frequent,
    counted over all tables, are missing.
    """
    columns: dict[str, Any] = {}
    for name, column in plain(tables, schema).items():
        whole = np.concatenate(column.tables)
        if column.number:
            columns[name] = whole
            continue
        counts = np.bincount(whole[whole >= 0], minlength=column.size)
        rank = np.argsort(np.argsort(-counts, kind="stable"), kind="stable")
        kept = np.where((whole >= 0) & (rank[whole] < most), rank[whole], -1)
        names = range(min(most, column.size))
        columns[name] = pd.Categorical.from_codes(kept, list(names))
    return pd.DataFrame(columns)


def meets(table: pd.DataFrame, conditions: Mapping[str, Any]) -> np.ndarray:
    """Which rows meet conditions, booleans `(n,)`.

    Args:
        table: The rows.
        conditions: By column: a value, None for a missing cell, a set or list of values, or a
            tuple (low, high), both included, either of which may be None.

    Raises:
        UnknownColumnError: A column that is not there.
    """
    met = np.ones(len(table), bool)
    for name, wanted in conditions.items():
        if name not in table:
            raise UnknownColumnError(f"Column '{name}' is not there.{nearest(name, table.columns)}")
        column = table[name]
        if isinstance(wanted, tuple):
            low, high = wanted
            inside = column.notna()
            inside &= True if low is None else column >= low
            inside &= True if high is None else column <= high
        elif isinstance(wanted, set | frozenset | list | np.ndarray):
            inside = column.isin(list(wanted))
        else:
            inside = column.isna() if pd.isna(wanted) else column == wanted
        met &= inside.fillna(False).to_numpy(bool)
    return met


def threads(rows: int) -> AbstractContextManager:
    """As many threads for boosted trees as so many rows keep busy.

    Threads that wait for each other spin: on a loaded machine a small table takes minutes with two
    and a second with one.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(max(1, min(os.cpu_count() or 1, rows // 20_000)), "openmp")


def subset(table: pd.DataFrame, rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """So many rows, drawn without replacement; all of them in order if there are no more."""
    if rows >= len(table):
        return table
    return table.iloc[np.sort(rng.choice(len(table), rows, replace=False))]


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json(each) for key, each in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_json(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
