"""A Parquet file whose rows are never in memory all at once, and its schema."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_cvae.data.tables.columns import (
    STEPS,
    Category,
    Datetime,
    LeftOut,
    Missing,
    Number,
)
from keras_cvae.data.tables.files import batches, parquet_rows
from keras_cvae.data.tables.infer import decimals_of, step_of
from keras_cvae.data.tables.schema import Schema

SAMPLE = 300_000  # rows from which the schema and the bins are inferred


class ParquetRows:
    """The rows of a Parquet file, which are never in memory all at once.

    Args:
        path: The file.
        every: Hold out each so manieth row, for validation. None: none.

    Raises:
        DataError: The file is not there, or is damaged.
    """

    def __init__(self, path: str | Path, every: int | None = None):
        self.path, self.every = Path(path), every
        self.rows = parquet_rows(path)

    def parts(self) -> Iterator[pd.DataFrame]:
        """Yield the rows that are not held out, part by part."""
        for part, number in self._numbered():
            yield part[number % self.every > 0] if self.every else part

    def held(self) -> pd.DataFrame:
        """The rows that are held out."""
        every = self.every or self.rows + 1
        return self._gathered(lambda number: (number % every == 0) & bool(self.every))

    def sample(self, rows: int | None = None) -> pd.DataFrame:
        """About so many rows that are not held out, `SAMPLE` if not said, evenly spread."""
        step = max(1, self.rows // (rows or SAMPLE))
        if self.every is None or self.every == 1:
            return self._gathered(lambda number: number % step == 0)
        # Counted among those that are not held out, which is what `step` is of.
        every = self.every
        return self._gathered(
            lambda number: (number % every > 0) & ((number - number // every - 1) % step == 0)
        )

    def _numbered(self) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
        start = 0
        for part in batches(self.path):
            yield part, np.arange(start, start + len(part))
            start += len(part)

    def _gathered(self, chosen: Callable[[np.ndarray], np.ndarray]) -> pd.DataFrame:
        parts = [part[chosen(number)] for part, number in self._numbered()]
        return pd.concat(parts, ignore_index=True)


def infer_schema(
    file: ParquetRows, missing: Missing = "state", sample: pd.DataFrame | None = None
) -> tuple[Schema, dict[str, Counter]]:
    """Infer the schema of a Parquet file: the kinds from a sample, the values from all rows.

    Returns:
        The schema, and how often each category occurs, by column.

    Raises:
        DataError: A column of which nothing can be made.
    """
    inferred = Schema.infer(file.sample() if sample is None else sample, missing)
    counts: dict[str, Counter] = {
        column.name: Counter() for column in inferred.learned if isinstance(column, Category)
    }
    empty: Counter = Counter()
    ends: dict[str, list[Any]] = {}
    finest: dict[str, Any] = {}
    for part in file.parts():
        for column in inferred.learned:
            present = part[column.name].dropna()
            empty[column.name] += len(part) - len(present)
            if isinstance(column, Category):
                counts[column.name].update(present.value_counts().to_dict())
            elif isinstance(column, Number) and len(present):
                low, high = ends.get(column.name, [math.inf, -math.inf])
                ends[column.name] = [min(low, present.min()), max(high, present.max())]
                most = finest.get(column.name, column.decimals)
                if most is not None:
                    digits = decimals_of(present)
                    finest[column.name] = None if digits is None else max(digits, most)
            elif isinstance(column, Datetime) and len(present):
                times = column.moments(present)
                ends.setdefault(column.name, []).extend([times.min(), times.max()])
                steps = [*STEPS]
                step = max(step_of(times), finest.get(column.name, column.step), key=steps.index)
                finest[column.name] = step
    columns = tuple(_completed(column, counts, empty, ends, finest, missing) for column in inferred)
    return Schema(columns=columns), counts


def _completed(
    column: Any, counts: dict, empty: Counter, ends: dict, finest: dict, missing: Missing
) -> Any:
    """A column with all values that the whole file has."""
    if isinstance(column, LeftOut):
        return column
    more: dict[str, Any] = {}
    if column.missing == "never" and empty[column.name]:
        more["missing"] = missing
    if isinstance(column, Category):
        new = [level for level in counts[column.name] if level not in column.levels]
        more["levels"] = (*column.levels, *sorted(new, key=str))
    if isinstance(column, Number) and column.name in ends:
        low, high = (np.asarray(end).item() for end in ends[column.name])
        more |= {"low": min(low, column.low), "high": max(high, column.high)}
        more["decimals"] = finest.get(column.name, column.decimals)
    if isinstance(column, Datetime) and column.name in ends:
        column = column.model_copy(update={"step": finest[column.name]})
        more |= column.ends(np.asarray(ends[column.name]))
    return column.model_copy(update=more)
