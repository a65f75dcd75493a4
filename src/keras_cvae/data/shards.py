"""Tar shards of pictures, as WebDataset writes them: `0001.png` beside `0001.cls` or `0001.json`.

All members of one name, up to its first dot, are a sample: a picture, `.cls` with its class, other
texts, and a `.json` of fields. Where nothing says the class, the folder in a member's name does.
Shards are gone through once; where each picture lies is then kept in the user's cache.
"""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from keras_cvae.data.folders import in_order
from keras_cvae.data.images import IMAGE_SUFFIXES, Progress
from keras_cvae.data.listing import LABEL, SPOILED, Listing
from keras_cvae.data.places import Places, made_once
from keras_cvae.data.tars import Member, members
from keras_cvae.errors import DataError, listed
from keras_cvae.files import parsed

_LABELS = ("cls", LABEL, "class")  # what may say the class, the first that is there
_LONGEST = 2**16  # bytes of a text or a .json beside a picture
_SPLITS = ("train", "test", "val", "validation")


def list_shards(source: Path, shards: Sequence[Path], progress: Progress | None = None) -> Listing:
    """List the pictures in tar shards.

    Args:
        source: What the user named: a shard or a folder of them.
        shards: Its tars.
        progress: Wraps the loop over them, the first time.

    Raises:
        DataError: A shard is damaged or compressed, or there are no pictures.
    """
    root = source if source.is_dir() else source.parent
    names = [path.relative_to(root).as_posix() for path in shards]
    about = [(name, _written(path)) for name, path in zip(names, shards, strict=True)]

    def make(folder: Path) -> None:
        _indexed(source, root, names, progress).keep(folder)

    try:
        folder = made_once("shards", [str(root.resolve()), about], make)
    except OSError as error:
        raise DataError(
            f"Where the pictures in {source} lie cannot be kept in the user's cache: {error}"
        ) from error
    return _Index.kept(folder, source, root)


def _written(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


class _Column:
    """Values of a field: numbers, or names; what is missing is NaN or ""."""

    def __init__(self) -> None:
        self.numbers, self.codes = array("d"), array("i")
        self.names: dict[str, int] = {"": 0}
        self.whole = True

    def set(self, row: int, value: Any) -> None:
        """Say the value of a row; those before it that were not said are missing."""
        if len(self.numbers) < row:
            self.fill(row)
        if isinstance(value, int | float):
            self.numbers.append(value)
            self.codes.append(0)
            self.whole = self.whole and value % 1 == 0
        else:
            self.numbers.append(math.nan)
            self.codes.append(self.names.setdefault(str(value), len(self.names)))
            self.whole = False

    def fill(self, rows: int) -> None:
        """Let all rows be missing that were not said."""
        for values, missing in ((self.numbers, math.nan), (self.codes, 0)):
            values.extend([missing] * (rows - len(values)))  # type: ignore[list-item]

    def known(self) -> np.ndarray:
        """`(n,)`, where a value was said."""
        return (np.array(self.codes) > 0) | ~np.isnan(np.array(self.numbers))

    def values(self) -> np.ndarray:
        """`(n,)` names, whole numbers, or float32."""
        numbers = np.array(self.numbers)
        if len(self.names) > 1:
            names, codes = np.array([*self.names]), np.array(self.codes)
            if not np.isnan(numbers).all():  # some were numbers
                return np.where(np.isnan(numbers), names[codes], [f"{v:g}" for v in numbers])
            return names[codes]
        if self.whole and not np.isnan(numbers).any():
            return numbers.astype(np.int64)
        return numbers.astype(np.float32)


class _Index:
    """What the shards of a data set hold, in arrays."""

    def __init__(self, root: Path, shards: Sequence[str]):
        self.root, self.shards = root, shards
        self.file, self.start, self.size = array("I"), array("q"), array("q")
        self.split, self.folder = array("b"), array("i")
        self.folders: dict[str, int] = {}
        self.fields: dict[str, _Column] = {}
        self.other: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()

    def add(
        self, shard: int, pictures: list[Member], others: list[Member], texts: dict[str, bytes]
    ) -> None:
        """Take in one sample: the members of one name, and the content of small ones."""
        if not pictures:
            self.other.update(_parts(m.name)[1] or m.name for m in others)
            return
        picture, row = pictures[0], len(self.file)
        if len(pictures) > 1:
            self.other.update(f"further {_parts(m.name)[1]}" for m in pictures[1:])
        folder = picture.name.removeprefix("./").rpartition("/")[0]
        split = _split(self.shards[shard], folder)
        if split > 1:
            self.left_out[_SPLITS[split]] += 1
            return
        for name, content in texts.items():
            self._say(row, name, content, picture)
        self.file.append(shard)
        self.start.append(picture.start)
        self.size.append(picture.size)
        self.split.append(split)
        self.folder.append(self.folders.setdefault(folder, len(self.folders)))

    def _column(self, name: str) -> _Column:
        """The column of a field, made if there is none."""
        if (column := self.fields.get(name)) is None:
            column = self.fields[name] = _Column()
        return column

    def _say(self, row: int, name: str, content: bytes, picture: Member) -> None:
        if name != "json":
            try:
                text = content.decode().strip()
            except UnicodeDecodeError as error:
                if name in _LABELS:
                    raise ValueError(f"the .{name} beside {picture.name!r} is no text") from error
                return  # no field: something else that lies beside pictures
            self._column(name).set(row, _number(text))
            return
        try:
            said = parsed(content)
            if not isinstance(said, dict):
                raise ValueError(f"expected an object, received {said!r:.40}")
        except ValueError as error:
            raise ValueError(f"the .json beside {picture.name!r} is damaged: {error}") from error
        for key, value in said.items():
            if isinstance(value, str | int | float):
                self._column(key).set(row, value)

    def keep(self, folder: Path) -> None:
        """Write all into a folder."""
        split = np.array(self.split)
        for column in self.fields.values():
            column.fill(len(split))
        columns = {name: column.values() for name, column in self.fields.items()}
        label = next((name for name in _LABELS if name in columns), None)
        classes, names = (None, None) if label else self._by_folder()
        known = self.fields[label].known() if label else np.ones(len(split), bool)
        if label and self.fields[label].whole:
            columns[label] = np.nan_to_num(columns[label], nan=0.0).astype(np.int64)
        about: dict[str, Any] = {"label": label, "names": names, "fields": sorted(columns)}
        about["notes"] = self._notes() + self._unlabelled(~known)
        parts = [np.flatnonzero(known & (split == part)) for part in (0, 1)]
        if not len(parts[0]):  # all are called test
            parts = [parts[1], parts[0]]
        for part, rows in enumerate(parts):
            if not len(rows):
                continue
            (inside := folder / str(part)).mkdir()
            self._places(rows).keep(inside)
            if classes is not None:
                np.save(inside / "class.npy", classes[rows])
            for i, name in enumerate(about["fields"]):
                np.save(inside / f"field{i}.npy", columns[name][rows])
        (folder / "about.json").write_text(json.dumps(about))

    def _by_folder(self) -> tuple[np.ndarray | None, list[str] | None]:
        """Classes by the folders in the names of members, where they differ."""
        folders = [[p for p in path.split("/") if p] for path in self.folders]
        folders = [parts[1:] if parts and parts[0] in _SPLITS else parts for parts in folders]
        while folders and all(parts and parts[0] == folders[0][0] for parts in folders):
            if len({tuple(parts) for parts in folders}) == 1:
                return None, None
            folders = [parts[1:] for parts in folders]
        names = in_order({parts[0] if parts else "" for parts in folders})
        if len(names) < 2:
            return None, None
        index = {name: i for i, name in enumerate(names)}
        of_folder = np.array([index[parts[0] if parts else ""] for parts in folders], np.int32)
        return of_folder[np.array(self.folder)], [name or "(none)" for name in names]

    def _places(self, rows: np.ndarray) -> Places:
        """Where some of the pictures lie."""
        about = {"file": self.file, "start": self.start, "size": self.size}
        return Places.of(self.shards, self.root, **{k: np.array(v)[rows] for k, v in about.items()})

    def _unlabelled(self, rows: np.ndarray) -> list[str]:
        """What to say of pictures without a label where others have one: they are left out.

        Raises:
            DataError: They are more than `SPOILED` of all.
        """
        count = int(rows.sum())
        if not count:
            return []
        which = np.flatnonzero(rows)[:3]
        places = self._places(which)
        said = listed((places.name(i) for i in range(len(which))), 3)
        if count > SPOILED * len(rows):
            raise DataError(
                f"{count} of {len(rows)} pictures have no label, among them {said}. Expected one "
                "beside each, or beside none."
            )
        more = f", ... ({count} in all)" if count > len(which) else ""
        return [f"Left out, as they have no label: {said}{more}."]

    def _notes(self) -> list[str]:
        notes = []
        if self.other:
            kinds = listed(f"{n} {kind}" for kind, n in self.other.items())
            notes.append(f"Left out of the shards, as no picture is beside them: {kinds}.")
        for name, n in self.left_out.items():
            notes.append(
                f"Left out: {n} pictures of {name}. A part of train is held out by --validation."
            )
        return notes

    @classmethod
    def kept(cls, folder: Path, source: Path, root: Path) -> Listing:
        """Read what `keep` wrote."""
        about = parsed((folder / "about.json").read_text())
        inside = [path for part in (0, 1) if (path := folder / str(part)).is_dir()]
        fields = [
            {
                name: np.load(path / f"field{i}.npy", mmap_mode="r")
                for i, name in enumerate(about["fields"])
            }
            for path in inside
        ]
        if label := about["label"]:
            classes: list[Any] = [part[label] for part in fields]
            fields = [part | {LABEL: part[label]} for part in fields]
            for part in fields:
                part.pop(label if label != LABEL else "", None)
        else:
            named = about["names"] is not None
            classes = [np.load(path / "class.npy") if named else None for path in inside]
        return Listing(
            source.resolve().name.removesuffix(".tar"),
            [Places.mapped(path, root) for path in inside],
            classes,
            tuple(about["names"]) if about["names"] else None,
            tuple(about["notes"]),
            fields,
        )


def _indexed(source: Path, root: Path, shards: Sequence[str], progress: Progress | None) -> _Index:
    """Go through all shards."""
    index = _Index(root, shards)
    numbers: Iterable[int] = range(len(shards))
    if progress is not None:
        numbers = progress(numbers, total=len(shards), description="looking into shards")
    for shard in numbers:
        path, key = root / shards[shard], None
        pictures: list[Member] = []
        others: list[Member] = []
        texts: dict[str, bytes] = {}
        try:
            with path.open("rb", buffering=0) as file:
                for member in members(path):
                    base, kind, field = _parts(member.name)
                    if not base:  # hidden
                        continue
                    if base != key:
                        index.add(shard, pictures, others, texts)
                        key, pictures, others, texts = base, [], [], {}
                    if kind in IMAGE_SUFFIXES:
                        pictures.append(member)
                        continue
                    others.append(member)
                    if member.size <= _LONGEST:
                        file.seek(member.start)
                        texts[field] = file.read(member.size)
                index.add(shard, pictures, others, texts)
        except ValueError as error:
            raise DataError(f"The shard {path} could not be read: {error}.") from error
    if not len(index.file):
        raise DataError(
            f"{source} holds no pictures. Expected tars of images, such as 0001.png beside "
            "0001.cls or 0001.json."
        )
    return index


def _parts(name: str) -> tuple[str, str, str]:
    """What the members of a sample share ("" if hidden), the kind of file, and its field."""
    dot = name.find(".", name.rfind("/") + 1)
    if dot < 0:
        return name, "", ""
    hidden = not dot or name[dot - 1] == "/"
    return "" if hidden else name[:dot], *_endings(name[dot + 1 :])


@lru_cache(4096)
def _endings(field: str) -> tuple[str, str]:
    """The kind of file, and the field as it is called."""
    return f".{field.rpartition('.')[2]}".lower(), field.lower()


@lru_cache(4096)
def _split(shard: str, folder: str) -> int:
    """Which of `_SPLITS` a picture is of, by its shard's name or its own folder."""
    first = folder.partition("/")[0]
    if first in _SPLITS:
        return _SPLITS.index(first)
    parts = shard.split("/")
    name = parts[0] if len(parts) > 1 and parts[0] in _SPLITS else parts[-1]
    word = name.replace("_", "-").replace(".", "-").split("-")[0]
    return _SPLITS.index(word) if word in _SPLITS else 0


def _number(text: str) -> Any:
    """A text as a number, where it is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
