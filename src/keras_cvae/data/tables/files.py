"""Tables in files: CSV as people have it, Parquet, Arrow; written row by row."""

from __future__ import annotations

import contextlib
import csv
import gzip
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import pandas as pd

from keras_cvae.data.kinds import CSV, PARQUET, TABLES, suffix
from keras_cvae.data.tables.frames import from_arrow
from keras_cvae.errors import DataError, counted, to_install
from keras_cvae.files import atomic

WRITTEN = (".csv", ".parquet", ".feather")
DECIMAL_COMMA = r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?"  # 1.234,5
EMPTY = {"NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "None", "-", "."}


def read(path: str | Path, text: Collection[str] = ()) -> pd.DataFrame:
    """Read a table.

    CSV may be compressed by gzip, have any usual separator, quote, line end or encoding. Spaces
    after a separator are no part of a value. An empty cell is missing; words such as NA are, where
    all the rest of a column are numbers. Whole numbers stay whole where some are missing. Digits
    that begin with a zero (a postcode) or have more than 64 bits (an account) are text. Where
    another separator than the comma is used, 1,5 is a number.

    Args:
        path: The file.
        text: Columns of a CSV that are text, whatever they look like; see `Schema.text`.

    Raises:
        DataError: There is no such file, it is none of these kinds, is damaged, or rows have
            different numbers of cells; the message says where.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"There is no file '{path}'.")
    if suffix(path) in CSV:
        return _read_csv(path, text)
    if suffix(path) not in TABLES:
        raise DataError(f"'{path}' is no table. Expected one of {', '.join(TABLES)}.")
    return _damaged(path, _read_parquet if suffix(path) in PARQUET else _read_feather)


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow.parquet as pq

    return from_arrow(pq.read_table(path))


def _read_feather(path: Path) -> pd.DataFrame:
    from pyarrow import feather

    return from_arrow(feather.read_table(path))


def _damaged(path: Path, reader: Any) -> Any:
    """Read a binary file; what it says of damage is no pandas user's language."""
    try:
        return reader(path)
    except ImportError as error:
        raise ImportError(f"Reading '{path.name}' needs pyarrow: {to_install('tables')}") from error
    except (OSError, ValueError) as error:  # pyarrow's errors are subclasses of these
        raise DataError(
            f"'{path}' could not be read: {str(error).splitlines()[0].rstrip('.')}. It may be cut "
            "short, or be no table at all."
        ) from error


def _read_csv(path: Path, text: Collection[str]) -> pd.DataFrame:
    encoding = _encoding(path)
    with _opened(path, encoding) as file:
        start = file.read(2**16)
    if not start.strip():
        raise DataError(f"'{path}' is empty. Expected a row of names, and rows of values.")
    separator = _separator(start)
    names, codes = _names(path, encoding, separator)
    codes |= {place for place, name in enumerate(names) if name in text}
    frame = pd.read_csv(
        path,
        sep=separator,
        encoding=encoding,
        names=list(range(len(names))),  # pandas would make names that occur twice different
        header=0,
        dtype=dict.fromkeys(codes, str),
        skipinitialspace=True,
        keep_default_na=False,
        na_values=[""],
        index_col=False,
        low_memory=False,
    )
    for place in range(frame.shape[1]):
        before = column = frame.iloc[:, place]
        if not pd.api.types.is_numeric_dtype(column.dtype) and place not in codes:
            column = _numbers(column, comma=separator != ",")
        if column.dtype.kind == "f" and column.isna().any() and column.notna().any():
            present = column.dropna()
            if (present == present.round()).all() and present.abs().max() < 2**53:
                column = column.astype("Int64")
        if column is not before:
            frame.isetitem(place, column)
    frame.columns = pd.Index(names)
    # Each line of a spreadsheet may end in a separator.
    none = [
        place for place, name in enumerate(names) if not name and frame.iloc[:, place].isna().all()
    ]
    return frame if not none else frame.iloc[:, [i for i in range(len(names)) if i not in none]]


def _numbers(column: pd.Series, comma: bool) -> pd.Series:
    """The column as numbers, if it is one but for words that mean an empty cell.

    Args:
        column: Text, or whole numbers of more than 64 bits, which become text.
        comma: Whether 1,5 is a number.
    """
    if column.dtype == object and any(type(value) is int for value in column):
        return column.astype("str")
    if column.dtype == object:
        return column
    words = column.isin(EMPTY)
    plain = column
    if comma and column.str.fullmatch(DECIMAL_COMMA).where(column.notna() & ~words, True).all():
        plain = column.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    elif not words.any():
        return column
    numbers = pd.to_numeric(plain.mask(words), errors="coerce")
    return column if (numbers.isna() & ~words & column.notna()).any() else numbers


def _opened(path: Path, encoding: str) -> IO[str]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding=encoding, newline=None)
    return path.open(encoding=encoding, newline=None)


def _encoding(path: Path) -> str:
    """UTF-8 with or without a mark, UTF-16 with one, else what Windows wrote."""
    try:
        with _opened(path, "latin-1") as file:
            start = file.read(2**16)
        if start.startswith(("\xff\xfe", "\xfe\xff")):
            return "utf-16"
        if "\0" in start or start.startswith(("PK\x03\x04", "PAR1")):
            raise DataError(f"'{path}' is no text, whatever it is called. Expected a CSV file.")
        for encoding in ("utf-8-sig", "cp1252"):
            with contextlib.suppress(UnicodeDecodeError), _opened(path, encoding) as file:
                for _ in file:
                    pass
                return encoding
    except (EOFError, gzip.BadGzipFile, OSError) as error:
        raise DataError(f"'{path}' could not be read: {error}. It may be cut short.") from error
    return "latin-1"  # which reads everything


def _separator(start: str) -> str:
    """The separator that cuts the first lines into the most equal cells."""
    lines = start.splitlines()[:50]
    lines = lines[:-1] if len(lines) > 2 else lines  # the last may be cut
    best, most = ",", 0
    for separator in (",", ";", "\t", "|"):
        widths = {len(row) for row in csv.reader(lines, delimiter=separator) if row}
        if len(widths) == 1 and (width := widths.pop()) > max(most, 1):
            best, most = separator, width
    if most:
        return best
    return max(",;\t|", key=lines[0].count)  # ragged: said below


def _names(path: Path, encoding: str, separator: str) -> tuple[list[str], set[int]]:
    """The names of the columns, and the places of those that hold codes: digits after a zero.

    Raises:
        DataError: A row has more or fewer cells.
    """
    codes: set[int] = set()
    with _opened(path, encoding) as file:
        rows = csv.reader(file, delimiter=separator, skipinitialspace=True)
        names = _stripped(next(row for row in rows if row))
        for row in rows:
            if row and len(row) != len(names):
                raise DataError(
                    f"'{path}': line {rows.line_num} has {counted(len(row), 'cell')}, and the "
                    f"first line names {counted(len(names), 'column')}. Expected as many in each "
                    f"row; a cell with a '{separator}' in it needs quotes."
                )
            for place, cell in enumerate(row):
                if cell[:1] == "0" and cell[1:].strip().isdigit():
                    codes.add(place)
    return names, codes


def _stripped(names: list[str]) -> list[str]:
    return [name.strip() for name in names]


class Writer:
    """Writes rows to a CSV (also .gz), Parquet or Feather file, as they come.

    The file stands under its name once all rows are there; on an error it is removed.

    Args:
        path: Where to.

    Raises:
        DataError: The suffix is none of these.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if suffix(self.path) not in WRITTEN:
            raise DataError(f"Cannot write '{path}'. Expected one of {', '.join(WRITTEN)}.")
        self._stack = contextlib.ExitStack()
        self._file: Any = None
        self._types: Any = None
        self.rows = 0

    def __enter__(self) -> Writer:
        self._temporary = self._stack.enter_context(atomic(self.path))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
        self._stack.__exit__(kind, error, trace)

    def write(self, frame: pd.DataFrame) -> None:
        """Append rows; all frames have the same columns and dtypes."""
        if suffix(self.path) == ".csv":
            if self._file is None:
                opener: Any = gzip.open if self.path.suffix == ".gz" else open
                self._file = opener(self._temporary, "wt", encoding="utf-8", newline="")
            frame.to_csv(self._file, index=False, header=self.rows == 0)
        else:
            self._write_arrow(frame)
        self.rows += len(frame)

    def _write_arrow(self, frame: pd.DataFrame) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # Of a part that has nothing but empty cells, only the first part's types say what it is.
        table = pa.Table.from_pandas(frame, schema=self._types, preserve_index=False)
        if self._file is None:
            self._types = table.schema
            if suffix(self.path) == ".parquet":
                self._file = pq.ParquetWriter(self._temporary, table.schema)
            else:
                self._file = pa.ipc.new_file(str(self._temporary), table.schema)
        self._file.write_table(table)


def parquet_rows(path: str | Path) -> int:
    """How many rows a Parquet file has, by its last bytes.

    Raises:
        DataError: It is not there, or is damaged.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"There is no file '{path}'.")

    def count(path: Path) -> int:
        import pyarrow.parquet as pq

        return int(pq.read_metadata(path).num_rows)

    return int(_damaged(path, count))


def batches(path: str | Path, rows: int = 2**18) -> Iterator[pd.DataFrame]:
    """Yield a Parquet file in parts of about so many rows, within the memory of one part.

    Raises:
        DataError: It is damaged.
    """
    import pyarrow.parquet as pq

    path = Path(path).expanduser()
    file = _damaged(path, pq.ParquetFile)
    parts = file.iter_batches(batch_size=rows)
    while (batch := _damaged(path, lambda _: next(parts, None))) is not None:
        yield from_arrow(batch)
