"""Folders of images: one class a sub-folder."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from keras_cvae.data.images import IMAGE_SUFFIXES
from keras_cvae.data.listing import Listing
from keras_cvae.data.places import Places, spilled
from keras_cvae.errors import DataError, listed

_LAYOUT = (
    "Expected one sub-folder per class with images in it (FOLDER/CLASS/*.png), the same under "
    "train/ and test/, or images directly in the folder (no classes). "
    f"Image files end in {', '.join(sorted(IMAGE_SUFFIXES))}."
)


def list_folder(root: Path) -> Listing:
    """List the images in a folder.

    Raises:
        DataError: It holds no images, or is laid out in another way.
    """
    folders = {p.name for p in _listed(root) if p.is_dir()}
    if "train" in folders and folders <= {"train", "test", "val", "valid", "validation"}:
        if extra := folders - {"train", "test"}:
            raise DataError(
                f"{root} has {sorted(extra)[0]}/ beside train/. Expected train/ and, "
                "optionally, test/. Move those images into train/ (a part of it is held out by "
                "--validation) or into test/ (with --validation test)."
            )
        parts = [root / part for part in ("train", "test") if part in folders]
    else:
        parts = [root]
    seen = _Seen()
    for part in parts:
        seen.register(str(part))
    listings = [_class_files(part, seen) for part in parts]
    names = listings[0].names
    index = {name: i for i, name in enumerate(names or ())}
    ys: list[np.ndarray | None] = []
    for part, found in zip(parts, listings, strict=True):
        if (names is None) != (found.names is None):
            raise DataError(f"Only one of {parts[0]} and {part} has sub-folders. {_LAYOUT}")
        if new := [n for n in found.names or () if n not in index]:
            raise DataError(
                f"{part} has a class {new[0]!r} that {parts[0]} has not. "
                f"The classes in train are: {', '.join(names or ())}."
            )
        classes = [index[name] for name in found.names or ()]
        ys.append(np.repeat(np.array(classes, np.int32), found.counts) if names else None)
    places = [found.places for found in listings]
    return Listing(root.resolve().name, places, ys, names, tuple(seen.notes(root)))


@dataclass
class _Seen:
    """What was met on the way through a folder, and what of it was left out.

    Images belong to the class that they lie in, whatever links lead to them. Only links are
    followed by name: of a million files no more is kept than their names.
    """

    folders: dict[str, str] = field(default_factory=dict)  # where it lies -> how it is reached
    own: set[str] = field(default_factory=set)  # folders whose images are taken as they lie there
    linked: dict[str, str] = field(default_factory=dict)  # images elsewhere -> the link to it
    twice: list[tuple[Path, str]] = field(default_factory=list)  # a link, and what it leads to
    nested: list[Path] = field(default_factory=list)
    beside: list[Path] = field(default_factory=list)
    broken: list[Path] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)

    def register(self, folder: str, within: bool = False) -> None:
        """Note where images lie themselves: links come after them.

        Args:
            folder: The folder of all classes, or without classes of all images.
            within: Whether it is a folder within that one.
        """
        real = os.path.realpath(folder)
        self.folders[real] = folder
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
        names = [name for name in names if not _hidden(name)]
        if within or not names:  # beside folders of classes, images are left out
            self.own.add(real)
        for name in names:
            self.register(f"{folder}{os.sep}{name}", within=True)

    def images(self, folder: Path, nested: bool = True) -> Iterator[str]:
        """Images in a folder, and in those within it; what links lead to is met once."""
        real = os.path.realpath(folder)
        with os.scandir(folder) as entries:
            kinds = {e.name: (e.is_symlink(), e.is_dir()) for e in entries if not _hidden(e.name)}
        for name in in_order(kinds):
            (is_link, is_folder), kind = kinds[name], _suffix(name)
            path, lies = f"{folder}{os.sep}{name}", f"{real}{os.sep}{name}"
            lies = os.path.realpath(path) if is_link else lies
            if is_link and not Path(path).exists():
                self.broken.append(Path(path))
            elif (first := self._first(path, lies, is_link, is_folder)) != path:
                self.twice.append((Path(path), first))
            elif is_folder:
                if nested and (inside := [*self.images(Path(path))]):
                    self.nested.append(Path(path))
                    yield from inside
            elif kind in IMAGE_SUFFIXES:
                yield path
            else:
                self.other[kind or name] += 1

    def _first(self, path: str, lies: str, is_link: bool, is_folder: bool) -> str:
        """How something is reached that may have been met before."""
        if is_folder:
            return self.folders.setdefault(lies, path)
        if not is_link:
            return self.linked.get(lies, path) if self.linked else path
        folder, name = lies.rsplit(os.sep, 1)
        if folder in self.own and not _hidden(name):
            return f"{self.folders[folder]}{os.sep}{name}"
        return self.linked.setdefault(lies, path)

    def notes(self, root: Path) -> Iterator[str]:
        """What a user should know, a sentence each."""
        if self.nested:
            yield (f"Folders within folders belong to the class around them: {_some(self.nested)}.")
        if self.beside:
            yield (
                f"Left out, as they lie beside the folders of classes: {_some(self.beside)}. Move "
                "them into one."
            )
        if self.twice:
            again = _some([path for path, _ in self.twice])
            yield (
                f"Not followed, as these links lead to pictures that are taken already: {again} "
                f"(the first leads to {self.twice[0][1]})."
            )
        if self.broken:
            yield f"Left out, as links lead nowhere: {_some(self.broken)}."
        photos = {kind: n for kind, n in self.other.items() if kind in _PHOTOS}
        if photos:
            kinds = " and ".join(f"{n} {kind}" for kind, n in photos.items())
            yield (
                f"Left out: {kinds} in {root}, which cannot be read here. Convert them to .jpg or "
                ".png first."
            )
        if rest := {kind: n for kind, n in self.other.items() if kind not in _PHOTOS}:
            kinds = listed(f"{n} {kind}" for kind, n in rest.items())
            yield f"Left out, as they are no images: {kinds} in {root}."


_PHOTOS = frozenset([".heic", ".heif", ".avif", ".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw"])


def _some(paths: Sequence[Path]) -> str:
    return listed(paths, 3)


@dataclass
class _Part:
    """The images of train, or of test: where they lie, their classes, how many each class has."""

    places: Places
    names: tuple[str, ...] | None
    counts: list[int]


def _class_files(folder: Path, seen: _Seen) -> _Part:
    """Images by class; the names of classes are None without sub-folders."""
    folders = [p for p in _listed(folder) if p.is_dir()]
    counts: dict[str, int] = {}

    def within() -> Iterator[str]:
        for path in folders or [folder]:
            for count, image in enumerate(seen.images(path, nested=bool(folders)), 1):
                counts[path.name] = count
                yield image[len(f"{folder}{os.sep}") :]

    if folders:
        # Links may lead back to them.
        seen.folders |= {os.path.realpath(p): str(p) for p in (folder, *folders)}
        seen.beside += map(Path, seen.images(folder, nested=False))
    places = spilled(Places.of(within(), folder))
    if not len(places):
        raise DataError(f"{folder} holds no images. {_LAYOUT}{_unread(seen)}")
    if empty := [p.name for p in folders if p.name not in counts]:
        raise DataError(
            f"{folder / empty[0]} holds no images. Remove it or fill it: every sub-folder of "
            f"{folder} is a class.{_unread(seen)}"
        )
    return _Part(places, tuple(counts) if folders else None, [*counts.values()])


def _unread(seen: _Seen) -> str:
    """What lies there instead of images."""
    kinds = [f"{n} {kind}" for kind, n in seen.other.items()]
    kinds += [f"{len(seen.twice)} links to images that are there already"] * bool(seen.twice)
    kinds += [f"{len(seen.broken)} links that lead nowhere"] * bool(seen.broken)
    return f" There are {listed(kinds)}." if kinds else ""


def _listed(folder: Path) -> list[Path]:
    """Entries that are not hidden, sorted so that 10 comes after 9."""
    return [folder / name for name in in_order(os.listdir(folder)) if not _hidden(name)]  # noqa: PTH208


_DIGITS = re.compile("[0-9]+")


def natural(name: str) -> tuple[str, str]:
    """What sorts names so that 10 comes after 9: a number is its length, then its digits."""

    def number(found: re.Match[str]) -> str:
        digits = found.group().lstrip("0")
        return f"\0{chr(len(digits))}{digits}"

    return _DIGITS.sub(number, name.casefold()), name


def in_order(names: Iterable[str]) -> list[str]:
    """Names sorted so that 10 comes after 9."""
    return sorted(names, key=natural)


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
