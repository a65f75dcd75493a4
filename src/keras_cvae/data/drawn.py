"""Draws in files, written as they come; or in a folder of files that can be gone on with."""

from __future__ import annotations

import csv
import itertools
import json
import math
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from keras_cvae.errors import DataError, counted
from keras_cvae.files import atomic, leftovers, read_json, write_json

KINDS = (".npz", ".parquet", ".csv")
ABOUT = "_draws.json"  # readers of folders of Parquet pass over such names
CHUNK = 2**16  # labels that are written at once


@dataclass(frozen=True)
class Labels:
    """The condition of each row: of each name so many rows, one after the other.

    Args:
        names: Of the conditions; "" where there are none.
        n: Rows of each.
        values: What the conditions are as numbers, `(names, ...)`; None where only text says it.
    """

    names: Sequence[str]
    n: int
    values: np.ndarray | None = None

    def __len__(self) -> int:
        return self.n * len(self.names)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Those of some rows, as text."""
        places = np.arange(start, stop) // self.n
        return np.array([self.names[k] for k in np.unique(places).tolist()])[places - places[0]]

    def y(self, start: int, stop: int) -> np.ndarray:
        """Those of some rows as a training takes them: numbers, or text."""
        if self.values is not None:
            return self.values[np.arange(start, stop) // self.n]
        return self.rows(start, stop).astype(f"U{max(1, max(map(len, self.names)))}")


class Feed:
    """Arrays as they come, taken in other portions.

    Args:
        parts: Arrays, whose rows follow each other.
    """

    def __init__(self, parts: Iterable[np.ndarray]):
        self.parts, self.left = iter(parts), np.empty(0)

    def take(self, rows: int) -> Iterator[np.ndarray]:
        """Yield the next rows, so many in all, within the memory of a part."""
        while rows:
            if not len(self.left):
                self.left = next(self.parts)
            some, self.left = self.left[:rows], self.left[rows:]
            rows -= len(some)
            yield some


def write(path: Path, feed: Feed, labels: Labels, start: int, stop: int) -> None:
    """Write rows to a file, which stands under its name once it is whole.

    `.npz` holds x `(rows, *x_shape)` and, where there are conditions, y, from which a training gets
    the same conditions; `.csv` and `.parquet` a column for the condition and one for each value of
    x. Values of pictures are one column of Parquet, a list of fixed size; its metadata say the
    `shape`.

    Args:
        path: Where to.
        feed: Whose next rows these are.
        labels: Of all rows.
        start: The first row.
        stop: The row after the last.

    Raises:
        WriteError: The disk is full or read-only.
    """
    kind = {".npz": _npz, ".csv": _csv, ".parquet": _parquet}[path.suffix.lower()]
    with atomic(path, durable=True) as temporary:
        kind(temporary, feed.take(stop - start), labels, start, stop)


def _npz(path: Path, parts: Iterator[np.ndarray], labels: Labels, start: int, stop: int) -> None:
    first = next(parts)
    # As np.savez_compressed, but part by part, and at a third of the time.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("x.npy", "w", force_zip64=True) as file:
            _header(file, first.dtype, (stop - start, *first.shape[1:]))
            for part in itertools.chain([first], parts):
                file.write(part.tobytes())
        if not any(labels.names):
            return
        with archive.open("y.npy", "w", force_zip64=True) as file:
            one = labels.y(start, start + 1)
            _header(file, one.dtype, (stop - start, *one.shape[1:]))
            for at in range(start, stop, CHUNK):
                file.write(labels.y(at, min(at + CHUNK, stop)).tobytes())


def _header(file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> None:
    described = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)


def _csv(path: Path, parts: Iterator[np.ndarray], labels: Labels, start: int, stop: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        for part in parts:
            values = part.reshape(len(part), -1)
            if not file.tell():
                rows.writerow(["condition", *_names(values)])
            names, start = labels.rows(start, start + len(part)), start + len(part)
            for name, row in zip(names, values.tolist(), strict=True):
                rows.writerow([name, *(f"{value:.7g}" for value in row)])


def _parquet(
    path: Path, parts: Iterator[np.ndarray], labels: Labels, start: int, stop: int
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer: Any = None
    try:
        for part in parts:
            values = part.reshape(len(part), -1)
            names, start = labels.rows(start, start + len(part)), start + len(part)
            columns = {"condition": pa.array(names.tolist(), pa.string())}
            if part.ndim == 2:
                columns |= {name: pa.array(values[:, i]) for i, name in enumerate(_names(values))}
            else:
                flat = pa.array(values.ravel())
                columns["x"] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
            table = pa.table(columns, metadata={"shape": json.dumps(part.shape[1:])})
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _names(values: np.ndarray) -> list[str]:
    return [f"x{i + 1}" for i in range(values.shape[1])]


@dataclass(frozen=True)
class Folder:
    """A folder of files of so many rows each, and a file that says what they are of.

    Args:
        path: The folder.
        kind: Suffix of the files.
        rows: Of each file; the last may have fewer.
        total: Of all of them.
        asked: All that a row depends on, in values that JSON has.
    """

    path: Path
    kind: str
    rows: int
    total: int
    asked: dict[str, Any]

    def __len__(self) -> int:
        return math.ceil(self.total / self.rows)

    def begin(self, overwrite: bool = False) -> None:
        """Make the folder, or find files of the very same draws in it.

        Raises:
            DataError: There is something else in it.
            WriteError: It cannot be written.
        """
        self.path.mkdir(exist_ok=True)
        about = {"kind": self.kind, "rows": self.rows, "total": self.total, "asked": self.asked}
        known = self.path / ABOUT
        if overwrite or not known.is_file():
            ours = [one for kind in KINDS for one in self.path.glob(f"part-*{kind}")]
            others = [one.name for one in self.path.iterdir() if one not in (known, *ours)]
            foreign = set(others) - {one.name for one in leftovers(known)}
            if foreign or (ours and not known.is_file()):  # --overwrite replaces draws alone
                raise DataError(
                    f"'{self.path}' holds other files. Expected an empty folder, or a new one."
                )
            for one in (*ours, *leftovers(known)):
                one.unlink()
            write_json(known, about)
        elif read_json(known) != about:
            raise DataError(
                f"'{self.path}' holds other draws; '{ABOUT}' in it says which. Choose another "
                "folder, or --overwrite."
            )
        for one in leftovers(self.path / f"part-*{self.kind}"):  # of a process that was killed
            one.unlink()

    def missing(self) -> list[int]:
        """The numbers of the files that are not there; those that are there are whole."""
        return [i for i in range(len(self)) if not self.file(i).is_file()]

    def file(self, i: int) -> Path:
        """The path of a file."""
        return self.path / f"part-{i:05d}{self.kind}"

    def files(self) -> list[Path]:
        """The paths of all files."""
        return [self.file(i) for i in range(len(self))]

    def write(self, parts: Iterable[np.ndarray], labels: Labels, first: int, stop: int) -> None:
        """Write the files from one on.

        Args:
            parts: The draws from the first row of that file on.
            labels: Of all rows.
            first: The number of that file.
            stop: That of the one before which to stop.
        """
        feed = Feed(parts)
        for i in range(first, stop):
            start = i * self.rows
            write(self.file(i), feed, labels, start, min(start + self.rows, self.total))

    def summary(self) -> str:
        """Say what is in it."""
        return f"{counted(self.total, 'draw')} in {counted(len(self), 'file')}"
