"""Tables of other libraries, as pandas has them."""

from __future__ import annotations

from typing import Any

import pandas as pd


def to_pandas(table: Any) -> pd.DataFrame:
    """A table as a pandas DataFrame: itself, or what narwhals makes of a polars or pyarrow one.

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
            f"Received {type(table).__name__}. Tables that are not pandas' need narwhals: pip "
            "install 'keras-cvae[tables]'"
        ) from error
    try:
        frame = narwhals.from_native(table)
    except TypeError:
        raise TypeError(
            f"Received {type(table).__name__}. Expected a table: of pandas, polars or pyarrow."
        ) from None
    if isinstance(frame, narwhals.LazyFrame):
        frame = frame.collect()
    return frame.to_pandas()
