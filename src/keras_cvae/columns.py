"""What users hand over as numbers: lists, arrays, tensors, and tables whose columns have names.

Tables are those of pandas, polars and pyarrow; none of these is imported here.
"""

import numbers
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from keras_cvae.errors import DataError, listed

PLAIN = (str, int, float)
ARRAYS = (np.ndarray, np.generic)
ROWS = (np.ndarray, list, tuple)
NUMBER: tuple[Any, ...] = (int, float, np.number, np.bool, numbers.Real, Decimal)


def is_nothing(value: Any) -> bool:
    """Whether a value stands for a missing one: None, NaN (all of an array), pandas' NA."""
    if value is None or value is np.ma.masked:
        return True
    if isinstance(value, PLAIN):
        return bool(value != value)
    if isinstance(value, ARRAYS):
        return value.dtype.kind == "f" and value.size > 0 and bool(np.isnan(value).all())
    return type(value).__name__ in ("NAType", "NaTType")


def names_of(table: Any) -> tuple[str, ...] | None:
    """The names of a table's columns; None of anything else, and where they tell nothing apart."""
    names = labels_of(table)
    told = names and all(isinstance(name, str) for name in names)
    return names if names and told and len(set(names)) == len(names) else None


def labels_of(table: Any) -> tuple[Any, ...] | None:
    """The labels of a table's columns, which need not be text; None of anything else."""
    if hasattr(table, "column_names"):  # pyarrow
        return tuple(table.column_names)
    if hasattr(table, "get_columns") or hasattr(table, "iloc"):  # polars, pandas
        return tuple(table.columns) if hasattr(table, "columns") else None
    return None


def in_order(table: Any, names: Sequence[Any]) -> Any:
    """The columns of a table in this order, given by name."""
    return table.select(list(names)) if hasattr(table, "select") else table[list(names)]


def as_array(x: Any, name: str, expected: str = "an array of numbers") -> np.ndarray:
    """Read an array, a tensor, nested lists or a table; what is missing becomes NaN.

    Args:
        x: What a user gave.
        name: What to call it in messages.
        expected: What should have come.

    Returns:
        An array, of numbers if there were any.

    Raises:
        DataError: It is sparse, or a table with a column that is no numbers.
        ValueError: It is no array, or lists that differ in length.
    """
    check_dense(x, name)
    columns = _columns(x)
    if columns is not None:
        return _joined(columns, name)
    try:
        values = np.asarray(detached(x))
    except ValueError:
        several = f" of {len(x)} that differ in shape" if isinstance(x, list | tuple) else ""
        raise ValueError(f"{name} is a {type(x).__name__}{several}. Expected {expected}.") from None
    if not values.ndim and values.dtype.kind not in "iufb":
        came = f"{x!r:.40}" if isinstance(x, str | bytes | None) else f"a {type(x).__name__}"
        raise ValueError(f"{name} is {came}. Expected {expected}.")
    return _numbers(values)


def check_dense(x: Any, name: str) -> None:
    """Refuse sparse arrays and tensors.

    Raises:
        DataError: Saying how to make it dense.
    """
    dense = "to_dense" if getattr(x, "is_sparse", False) is True else "toarray"
    if dense == "to_dense" or hasattr(x, dense):
        raise DataError(
            f"{name} is sparse ({type(x).__name__}). Expected a dense array: {name}.{dense}()."
        )


def detached(x: Any) -> Any:
    """A tensor of PyTorch's that NumPy can read; anything else as it is."""
    if not hasattr(x, "detach"):
        return x
    x = x.detach().cpu()
    return x.float() if str(x.dtype) == "torch.bfloat16" else x


def _columns(table: Any) -> list[tuple[Any, Any]] | None:
    """The columns of a table with their names, in order; None if it is none."""
    names = labels_of(table)
    if names is None:
        return None
    if hasattr(table, "iloc"):
        return [(name, table.iloc[:, i]) for i, name in enumerate(names)]
    columns = table.get_columns() if hasattr(table, "get_columns") else table.columns
    return list(zip(names, columns, strict=True))


def _joined(columns: list[tuple[Any, Any]], table: str) -> np.ndarray:
    """Columns of numbers side by side, `(n, columns)`.

    Raises:
        DataError: Naming a column that is no numbers.
    """
    read = [_column(column) for _, column in columns]
    found = [values for values in read if values is not None]
    if len(found) < len(columns):
        pairs = zip(columns, read, strict=True)
        other = [(name, _dtype(column)) for (name, column), values in pairs if values is None]
        name, dtype = other[0]
        more = f", and {len(other) - 1} more like it" if len(other) > 1 else ""
        raise DataError(
            f"The column {name!r} of {table} holds {dtype} values{more}. Expected numbers. Leave "
            "it out of x; a column of names can be the condition."
        )
    return np.stack(found, axis=1) if found else np.zeros((0, 0))


def _column(column: Any) -> np.ndarray | None:
    """A column as numbers, NaN where one is missing; None if it holds something else."""
    dtype = _dtype(column)
    if hasattr(dtype, "na_value"):  # of pandas' own, which may be missing
        if dtype.kind not in "biuf":
            return None
        nullable: np.ndarray = column.to_numpy("float64", na_value=np.nan)
        return nullable
    values = _numbers(np.asarray(column))
    return values if values.dtype.kind in "biuf" else None


def _dtype(column: Any) -> Any:
    return column.dtype if hasattr(column, "dtype") else column.type


def _numbers(values: np.ndarray) -> np.ndarray:
    """Objects that are numbers, or missing, as such; small floats that NumPy does not know, too."""
    if values.dtype.kind == "V" and values.dtype.type.__module__ == "ml_dtypes":
        return values.astype("float32")
    if values.dtype.kind != "O":
        return values
    flat = values.ravel()
    if len(flat) and all(isinstance(row, ROWS) for row in flat):
        try:
            return np.asarray(values.tolist())  # of one shape
        except ValueError:
            return values
    if not all(isinstance(value, NUMBER) or is_nothing(value) for value in flat):
        return values
    read = [np.nan if is_nothing(value) else float(value) for value in flat]
    return np.array(read, "float64").reshape(values.shape) if read else values


def check_names(names: Sequence[str], known: Sequence[str], what: str) -> None:
    """Refuse other names of columns than those that are known.

    Args:
        names: Of the columns that came.
        known: Those of training.
        what: What has them, as the subject of a message.

    Raises:
        ValueError: Naming those that are missing and those that are new.
    """
    missing = [repr(name) for name in known if name not in names]
    new = [repr(name) for name in names if name not in known]
    if missing or new:
        lacks = f"lacks {listed(missing)}" if missing else ""
        has = f"has {listed(new)}, which training had not" if new else ""
        raise ValueError(
            f"{what} {' and '.join(part for part in (lacks, has) if part)}. Expected the columns "
            f"of training, in any order: {listed(known)}."
        )
