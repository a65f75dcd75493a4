"""Tables of other libraries, as pandas has them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from keras_cvae.errors import to_install


def to_pandas(table: Any) -> pd.DataFrame:
    """A table as a pandas DataFrame: itself, or what comes of a polars or pyarrow one.

    Raises:
        TypeError: It is no table.
        ImportError: narwhals is not installed.
    """
    if isinstance(table, pd.DataFrame):
        return table
    if isinstance(table, dict):
        return pd.DataFrame(table)
    try:
        import narwhals.stable.v2 as narwhals
    except ImportError as error:
        raise ImportError(
            f"Received {type(table).__name__}. Tables that are not pandas' need narwhals: "
            f"{to_install('tables')}"
        ) from error
    try:
        frame = narwhals.from_native(table)
    except TypeError:
        raise TypeError(
            f"Received {type(table).__name__}. Expected a table: of pandas, polars or pyarrow."
        ) from None
    if isinstance(frame, narwhals.LazyFrame):
        frame = frame.collect()
    return from_arrow(frame.to_arrow())


def from_arrow(table: Any) -> pd.DataFrame:
    """A pyarrow table as a DataFrame; whole numbers stay whole where some are missing."""
    import pyarrow as pa

    frame = table.to_pandas()
    for place, name in enumerate(table.column_names):
        column = table.column(place)
        gaps = column.null_count and pa.types.is_integer(column.type)
        if gaps and table.column_names.count(name) == 1 and frame[name].dtype.kind == "f":
            column = column.combine_chunks()
            values = column.fill_null(0).to_numpy(zero_copy_only=False)
            missing = column.is_null().to_numpy(zero_copy_only=False)
            frame[name] = pd.arrays.IntegerArray(values, missing)
    return frame
