"""Where encoded pictures lie: files, or ranges of bytes of larger files."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

import filelock
import numpy as np

from keras_cvae.backend import cache_folder
from keras_cvae.data.tars import members

VERSION = 2  # of what is kept; another one is made anew
PICTURES = ".pictures"  # what encoded pictures lie in, one after another
_PARTS = ("names", "ends", "file", "start", "size")


@dataclass(frozen=True, eq=False)
class Places:
    """Where n encoded pictures lie.

    Each is a range of bytes of a file, or without `file` a file of its own. Names are one array of
    bytes, so that ten million of them are a few hundred megabytes of a mapped file, not objects.

    Args:
        root: What the names of files are relative to.
        names: The names of all files one after another, as the file system has them, bytes.
        ends: Where each ends in `names`, `(files,)`.
        file: Which file each picture lies in, `(n,)`; None where each is a file.
        start: Where each begins in its file, `(n,)`, or None.
        size: How many bytes each has, `(n,)`, or None.
        origin: In place of files that are a cache: what pictures are counted in for an error.
        kept: The folder that the arrays are mapped from; None where they are in memory.
    """

    root: Path
    names: np.ndarray
    ends: np.ndarray
    file: np.ndarray | None = None
    start: np.ndarray | None = None
    size: np.ndarray | None = None
    origin: str = ""
    kept: Path | None = field(default=None, repr=False)

    @classmethod
    def of(cls, paths: Iterable[str | Path], root: Path = Path(), **others: Any) -> Places:
        """Take names of files; what follows says where in them pictures lie."""
        names, ends = bytearray(), []
        for path in paths:
            names += os.fsencode(path)
            ends.append(len(names))
        return cls(root, np.frombuffer(bytes(names), np.uint8), np.array(ends, np.int64), **others)

    def __len__(self) -> int:
        return len(self.ends if self.file is None else self.file)

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: of mapped arrays, where they are."""
        left_out = _PARTS if self.kept else ()
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["kept"]:
            state = state | _mapped(state["kept"])
        self.__dict__.update(state)

    def path(self, i: int) -> Path:
        """The file that picture i lies in."""
        return Path(self._path(i))

    def _path(self, i: int) -> str:
        which = int(i if self.file is None else self.file[i])
        begins = int(self.ends[which - 1]) if which else 0
        name = os.fsdecode(self.names[begins : int(self.ends[which])].tobytes())
        return os.path.join(self.root, name)  # noqa: PTH118  a Path takes as long as to open it

    def open(self, i: int) -> BinaryIO:
        """Open picture i.

        Raises:
            OSError: There is no such file, or it ends before the picture does.
        """
        if self.file is None or self.start is None or self.size is None:
            return open(self._path(i), "rb")  # noqa: PTH123
        size = int(self.size[i])
        with open(self._path(i), "rb", buffering=0) as file:  # noqa: PTH123
            file.seek(int(self.start[i]))
            content = file.read(size)
        if len(content) < size:
            raise OSError("its file ends before it does")
        return io.BytesIO(content)

    def bytes_of(self, i: int) -> int:
        """How many bytes picture i has, encoded."""
        return self.path(i).stat().st_size if self.size is None else int(self.size[i])

    def take(self, rows: np.ndarray) -> Places:
        """Some of the pictures, `rows` a mask or numbers."""
        parts = (np.arange(len(self)) if self.file is None else self.file, self.start, self.size)
        file, start, size = (None if part is None else part[rows] for part in parts)
        return replace(self, file=file, start=start, size=size, kept=None)

    def name(self, i: int) -> str:
        """What picture i is called in an error."""
        if self.origin:
            return f"{i} (counted from 0) of {self.origin}"
        if self.start is None:
            return str(self.path(i))
        path = self.path(i)
        with contextlib.suppress(ValueError, OSError):
            for member in members(path):
                if member.start == self.start[i]:
                    return f"{member.name} in {path}"
        return f"at byte {self.start[i]} of {path}"

    def fingerprint(self) -> str:
        """A hash of where all pictures lie, and of when their files were written last."""
        about = hashlib.sha256(f"{VERSION}{self.root.resolve()}".encode())
        for part in _PARTS:
            if (array := getattr(self, part)) is not None:
                about.update(np.ascontiguousarray(array).data.cast("B"))
        root = os.fsencode(self.root)
        begin, names, written = 0, self.names.tobytes(), np.empty((len(self.ends), 2), np.int64)
        for row, end in zip(written, self.ends.tolist(), strict=True):
            found = os.stat(os.path.join(root, names[begin:end]))  # noqa: PTH116, PTH118
            row[:], begin = (found.st_size, found.st_mtime_ns), end
        about.update(written.tobytes())
        return about.hexdigest()[:32]

    def keep(self, folder: Path) -> Places:
        """Write the arrays into a folder; returns the same, mapped from there."""
        for part in _PARTS:
            if (array := getattr(self, part)) is not None:
                np.save(folder / f"{part}.npy", array)
        return self.mapped(folder, self.root, self.origin)

    @classmethod
    def mapped(cls, folder: Path, root: Path, origin: str = "") -> Places:
        """Map what `keep` wrote."""
        return cls(root, **_mapped(folder), origin=origin, kept=folder)


def _mapped(folder: Path) -> dict[str, Any]:
    found = {part: folder / f"{part}.npy" for part in _PARTS}
    return {  # as plain arrays, which are read in a tenth of the time of a memmap
        part: np.asarray(np.load(path, mmap_mode="r")) if path.is_file() else None
        for part, path in found.items()
    }


_MANY = 2**17  # pictures whose places are no longer kept in memory


def spilled(places: Places) -> Places:
    """Map the places of many pictures from the user's cache; those of a few stay in memory."""
    if len(places) < _MANY:
        return places
    content = hashlib.sha256()
    for part in _PARTS:
        if (array := getattr(places, part)) is not None:
            content.update(array.data.cast("B"))
    try:
        about = [str(places.root.resolve()), content.hexdigest()]
        return Places.mapped(made_once("places", about, places.keep), places.root)
    except OSError:  # there is no room
        return places


def made_once(kind: str, about: Sequence[Any], make: Callable[[Path], Any]) -> Path:
    """A folder of the user's cache that is filled once.

    Args:
        kind: What is kept there: the name of the folder around it.
        about: All that its content depends on.
        make: Called with an empty folder, which it fills.
    """
    key = hashlib.sha256(repr((VERSION, *about)).encode()).hexdigest()[:32]
    folder = cache_folder() / kind / key
    if _is_whole(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder.with_name(f".{key}.lock")):  # others wait, then find it made
        if _is_whole(folder):
            return folder
        unfinished = folder.with_name(f".{key}")
        for left in (folder, unfinished):  # damaged; by one that was killed
            shutil.rmtree(left, ignore_errors=True)
        try:
            unfinished.mkdir()
            make(unfinished)
            (unfinished / _SUMS).write_text(json.dumps(_sums(unfinished)))
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder


_SUMS = "sums.json"


def _is_whole(folder: Path) -> bool:
    """Whether what was made is there as it was made."""
    try:
        return bool(json.loads((folder / _SUMS).read_text()) == _sums(folder))
    except (OSError, ValueError):
        return False


def _sums(folder: Path) -> dict[str, str]:
    """A hash of each file; of encoded pictures, which are large, the size."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == PICTURES:
            found[path.relative_to(folder).as_posix()] = f"{path.stat().st_size} bytes"
        elif path.is_file() and path.name != _SUMS:
            with path.open("rb") as file:
                about = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = about
    return found
