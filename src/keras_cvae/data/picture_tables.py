"""Pictures in Parquet files and in data sets of the Hugging Face hub.

A column holds them encoded: bytes, or `{bytes, path}` as the hub has it. They are copied once, as
they are, into one file of the user's cache, where each can be read by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_cvae.data.kinds import HUB
from keras_cvae.data.listing import LABEL, Listing
from keras_cvae.data.places import PICTURES, Places, made_once
from keras_cvae.errors import DataError, listed, to_install
from keras_cvae.files import parsed

_PICTURES = ("image", "img", "picture", "jpg", "jpeg", "png", "webp")  # columns of bytes
_LABELS = (LABEL, "labels", "cls", "class", "fine_label")
_ROWS = 1024  # read together
_SPLITS = ("train", "test")


def picture_column(path: Path) -> str | None:
    """The column of a Parquet file that holds pictures, if there is one."""
    try:
        import pyarrow.parquet as pq

        return _picture_column(pq.read_schema(path))
    except (ImportError, OSError, ValueError):  # whoever reads it says what is wrong with it
        return None


def list_parquet(source: Path, paths: Sequence[Path]) -> Listing:
    """List the pictures in Parquet files.

    Args:
        source: What the user named: a file or a folder of them.
        paths: Its files.

    Raises:
        DataError: They hold no pictures, are damaged, or pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataError(f"Reading {source} needs pyarrow: {to_install('tables')}") from error
    splits: dict[str, list[Path]] = {}
    for path in paths:
        splits.setdefault(_split(path, source), []).append(path)

    def parts() -> Iterator[tuple[str, Any, Iterator[Any]]]:
        for split in _ordered(splits):
            files = splits[split]

            def batches(files: list[Path] = files) -> Iterator[Any]:
                for path in files:
                    with pq.ParquetFile(path) as file:
                        yield from file.iter_batches(_ROWS)

            yield split, pq.read_schema(files[0]), batches()

    about = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    try:
        folder = made_once("tables", about, lambda folder: _copy(parts(), str(source), folder))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"The pictures in {source} could not be read: {error}") from error
    return _kept(folder, source.resolve().stem, _left_out(splits))


def list_hub(name: str) -> Listing:
    """List the pictures of `hf://NAME`, or `hf://NAME:CONFIGURATION`, a data set of the hub.

    `datasets` fetches it, or reads it if NAME is a folder. Its splits train and test are taken.

    Raises:
        DataError: There is none, it holds no pictures, or `datasets` is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"'{name}' is read by the package datasets: {to_install('hub')}") from error
    path, _, configuration = name.removeprefix(HUB).partition(":")
    try:
        found = datasets.load_dataset(path, configuration or None)
    except Exception as error:  # of the network, the hub, the files
        raise DataError(f"'{name}' could not be fetched or read: {error}") from error
    splits = dict(found)

    def parts() -> Iterator[tuple[str, Any, Iterator[Any]]]:
        for split in _ordered(splits):
            rows = splits[split].with_format("arrow")
            batches = (
                batch for table in rows.iter(_ROWS) for batch in table.combine_chunks().to_batches()
            )
            yield split, splits[split].features.arrow_schema, batches

    about = [name, *((split, rows._fingerprint) for split, rows in splits.items())]
    folder = made_once("tables", about, lambda folder: _copy(parts(), name, folder))
    return _kept(folder, Path(path).name, _left_out(splits))


def _split(path: Path, source: Path) -> str:
    """`train-00000-of-00002.parquet` and `train/0.parquet` are of train, as others are."""
    word = path.name.lower().replace("_", "-").replace(".", "-").split("-")[0]
    words = (word, path.parent.name.lower() if path.parent != source else "")
    return next((w for w in words if w in ("train", "test", "validation", "val", "valid")), "train")


def _ordered(splits: Mapping[str, Any]) -> list[str]:
    return [name for name in _SPLITS if name in splits] or list(splits)[:1]


def _left_out(splits: Mapping[str, Any]) -> tuple[str, ...]:
    left = [name for name in splits if name not in _ordered(splits)]
    said = f"Left out: {listed(left)}. A part of train is held out by --validation."
    return (said,) if left else ()


def _picture_column(schema: Any) -> str | None:
    import pyarrow as pa

    def binary(kind: Any) -> bool:
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    for column in schema:
        kind = column.type
        if pa.types.is_struct(kind) and any(f.name == "bytes" and binary(f.type) for f in kind):
            return str(column.name)
    named = (column.name for column in schema if binary(column.type))
    return next((str(name) for name in named if name.lower() in _PICTURES), None)


def _class_names(schema: Any, column: str) -> list[str] | None:
    """The names of classes, where the hub's description of a column has them."""
    if b"huggingface" not in (schema.metadata or {}):
        return None
    features = parsed(schema.metadata[b"huggingface"]).get("info", {}).get("features", {})
    names = features.get(column, {}).get("names")
    return [str(name) for name in names] if isinstance(names, list) else None


def _copy(parts: Iterable[tuple[str, Any, Iterator[Any]]], source: str, folder: Path) -> None:
    """Copy pictures and what is known of them into a folder."""
    import pyarrow as pa

    about: dict[str, Any] = {}
    for part, (split, schema, batches) in enumerate(parts):
        column = _picture_column(schema)
        if column is None:
            raise DataError(
                f"{source} holds {listed(schema.names)}. Expected a column of encoded pictures: "
                "bytes, or a struct with bytes, as data sets of images on the hub have."
            )
        plain = [f.name for f in schema if f.name != column and _is_plain(f.type)]
        sizes, columns = [np.zeros(0, np.int64)], {name: [] for name in plain}  # type: ignore
        with (folder / f"{part}{PICTURES}").open("wb") as file:
            for batch in batches:
                pictures = batch.column(column)
                if pa.types.is_struct(pictures.type):
                    pictures = pictures.field("bytes")
                if pictures.null_count:
                    row = sum(map(len, sizes)) + pictures.is_null().to_pylist().index(True)
                    raise DataError(f"Row {row} (counted from 0) of {split}, {source}, is empty.")
                sizes.append(_written(file, pictures.cast(pa.large_binary())))
                for name in plain:
                    columns[name].append(_values(batch.column(name)))
        size = np.concatenate(sizes)
        if not len(size):
            raise DataError(f"{source} holds no pictures.")
        (inside := folder / str(part)).mkdir()
        label = next((name for name in _LABELS if name in plain), None)
        about.setdefault("names", label and _class_names(schema, label))
        about.setdefault("label", label)
        about.setdefault("fields", plain)
        about.setdefault("origins", []).append(f"{split} of {source}")
        Places.of(
            [f"{part}{PICTURES}"],
            file=np.zeros(len(size), np.uint32),
            start=np.cumsum(size) - size,
            size=size,
        ).keep(inside)
        for i, name in enumerate(about["fields"]):
            np.save(inside / f"field{i}.npy", np.concatenate(columns[name]))
    (folder / "about.json").write_text(json.dumps(about))


def _is_plain(kind: Any) -> bool:
    import pyarrow as pa

    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string)
    return any(test(kind) for test in (*tests, pa.types.is_large_string))


def _values(column: Any) -> np.ndarray:
    """Numbers with NaN where there is none; names with ""."""
    import pyarrow as pa

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.array(column.fill_null("").to_pylist(), str)
    values = column.cast(pa.float32()) if column.null_count else column
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _written(file: Any, pictures: Any) -> np.ndarray:
    """Write pictures one after another; how many bytes each has."""
    _, ends, content = pictures.buffers()
    at = np.frombuffer(ends, np.int64)[pictures.offset : pictures.offset + len(pictures) + 1]
    file.write(memoryview(content)[at[0] : at[-1]])
    return np.diff(at)


def _kept(folder: Path, name: str, notes: tuple[str, ...]) -> Listing:
    """Read what `_copy` wrote."""
    about = parsed((folder / "about.json").read_text())
    origins, label = about["origins"], about["label"]
    inside = [folder / str(part) for part in range(len(origins))]
    places = [
        Places.mapped(path, folder, origin) for path, origin in zip(inside, origins, strict=True)
    ]
    fields: list[dict[str, np.ndarray]] = [
        {
            LABEL if field == label else field: np.load(path / f"field{i}.npy", mmap_mode="r")
            for i, field in enumerate(about["fields"])
        }
        for path in inside
    ]
    classes: list[Any] = [part.get(LABEL) if label else None for part in fields]
    names = about["names"] and tuple(about["names"])
    if names:
        classes = [np.asarray(y, np.int32) for y in classes]
        fields = [{k: v for k, v in part.items() if k != LABEL} for part in fields]
    return Listing(name, places, classes, names or None, notes, fields)
