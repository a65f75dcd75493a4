"""Folders of images: one class a sub-folder."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_cvae.data.containers import Data, Split
from keras_cvae.data.copies import copies
from keras_cvae.data.images import (
    IMAGE_SUFFIXES,
    Color,
    Fit,
    ImageFiles,
    Progress,
    UnreadableError,
    decode,
    lies_sideways,
    opened,
    threaded,
)
from keras_cvae.data.splits import split_data
from keras_cvae.errors import DataError, listed

_LAYOUT = (
    "Expected one sub-folder per class with images in it (FOLDER/CLASS/*.png), the same under "
    "train/ and test/, or images directly in the folder (no classes). "
    f"Image files end in {', '.join(sorted(IMAGE_SUFFIXES))}."
)


_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L"})


SPOILED = 0.05  # share of files that may be unreadable
COPIES = 0.2  # share of files above which copies may be meant, as of pictures that weigh more
_COLOUR_SAMPLE = 64  # files decoded to see whether RGB files are really grey


def load_folder(
    root: Path,
    size: tuple[int, int] | None,
    color: Color,
    memory_limit: int,
    progress: Progress | None,
    fit: Fit = "crop",
    **options: Any,
) -> Data:
    """Read a folder of images, with one class a sub-folder, or none."""
    found, headers = Listing.of(root).checked(progress)
    if size is None:
        first = headers[0].size
        for path, header in zip(found.paths, headers, strict=True):
            if header.size != first:
                height, width = header.size
                raise DataError(
                    f"The images differ in size: {found.paths[0]} is {first[1]}x{first[0]} pixels "
                    f"(width x height), {path} is {width}x{height}. "
                    f"Choose one for all with --image-size N, e.g. --image-size {min(first)}."
                )
    channels = {"grey": 1, "rgb": 3}.get(color) or found.channels(headers)
    parts: list[Any] = [
        ImageFiles(part, size or headers[0].size, channels, size is not None, fit)
        for part in found.parts
    ]
    if sum(files.nbytes for files in parts) <= memory_limit:
        bad: dict[Path, UnreadableError] = {}
        parts = [files.decoded(progress, bad) for files in parts]
        if bad:
            whole = [[path not in bad for path in part] for part in found.parts]
            found = found.without(bad)
            parts = [images[rows] for images, rows in zip(parts, whole, strict=True)]
    splits = [Split(images, y) for images, y in zip(parts, found.classes, strict=True)]
    test = splits[1] if len(splits) > 1 else None
    data = split_data(root.resolve().name, splits[0], test, found.names, **options)
    return replace(data, notes=found.notes)


@dataclass(frozen=True)
class Header:
    """What a file says of its image without being decoded.

    Args:
        size: `(h, w)`, upright.
        mode: Pillow's name of its colours.
    """

    size: tuple[int, int]
    mode: str


@dataclass(frozen=True)
class Listing:
    """The images in a folder.

    Args:
        parts: Those of train, and of test where there is one.
        classes: Indices of their classes `(n,)`, or None without sub-folders.
        names: Of the classes.
        notes: What was left out, or may not be what was meant, a sentence each.
    """

    parts: list[list[Path]]
    classes: list[np.ndarray | None]
    names: tuple[str, ...] | None
    notes: tuple[str, ...]

    @property
    def paths(self) -> list[Path]:
        """All of them."""
        return [path for part in self.parts for path in part]

    def checked(self, progress: Progress | None = None) -> tuple[Listing, list[Header]]:
        """The images that can be opened, copies but once, and the header of each.

        Raises:
            DataError: Those that cannot be opened are too many, see `without`.
        """
        found = threaded(_header, self.paths, progress, "checking images")
        each = dict(zip(self.paths, found, strict=True))
        bad = {path: one for path, one in each.items() if isinstance(one, UnreadableError)}
        kept = self.without(bad)._once()
        return kept, [each[path] for path in kept.paths]

    def without(self, bad: Mapping[Path, UnreadableError]) -> Listing:
        """Leave out files that cannot be read, and say so.

        Raises:
            DataError: They are more than `SPOILED` of all, or all of a class.
        """
        if not bad:
            return self
        kept, (first, *others) = self._kept(set(bad)), bad.values()
        learned = kept.classes[0]
        emptied = learned is not None and len(set(learned.tolist())) < len(self.names or ())
        if emptied or len(bad) > SPOILED * len(self.paths):
            raise DataError(f"{first}{f' {len(others)} more cannot be read.' * bool(others)}")
        said = listed((f"{path} ({error.reason})" for path, error in bad.items()), 3)
        return replace(kept, notes=(*self.notes, f"Left out, as they cannot be read: {said}."))

    def _kept(self, out: set[Path]) -> Listing:
        """Without some files."""
        rows = [[path not in out for path in part] for part in self.parts]
        parts = [list(compress(part, keep)) for part, keep in zip(self.parts, rows, strict=True)]
        classes = [y if y is None else y[k] for y, k in zip(self.classes, rows, strict=True)]
        return replace(self, parts=parts, classes=classes)

    def _once(self) -> Listing:
        """Without copies within a class, where they are few: many may be meant."""
        where: dict[Path, Hashable] = {}
        for i, (part, y) in enumerate(zip(self.parts, self.classes, strict=True)):
            where |= {path: (i, 0 if y is None else y[j]) for j, path in enumerate(part)}
        twice: dict[Path, Path] = {}
        apart: dict[Path, Path] = {}
        notes = list(self.notes)
        for group in copies(self.paths):
            firsts: dict[Hashable, Path] = {}
            for path in group:
                if (first := firsts.setdefault(where[path], path)) != path:
                    twice[path] = first
            first, *others = firsts.values()
            apart |= dict.fromkeys(others, first)
        few = len(twice) <= COPIES * len(self.paths)
        if twice and few:
            notes.append(f"Taken once, as they are byte for byte the same: {_same(twice)}.")
        elif twice:
            notes.append(
                f"Byte for byte the same: {_same(twice)}. All are taken, as so many may be meant; "
                "some are held out while the same are learned."
            )
        if apart:
            notes.append(
                f"The same picture is in several classes, or in train and test: {_same(apart)}."
            )
        found = self._kept(set(twice)) if few else self
        return replace(found, notes=tuple(notes))

    def channels(self, headers: Sequence[Header]) -> int:
        """1 if all images are grey, else 3."""
        return _channels(self.paths, [header.mode for header in headers])

    @classmethod
    def of(cls, root: Path) -> Listing:
        """List a folder.

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
            seen.register(part)
        listings = [_class_files(part, seen) for part in parts]
        names = listings[0][1]
        index = {name: i for i, name in enumerate(names or ())}
        paths, ys = [], []
        for part, (files, part_names) in zip(parts, listings, strict=True):
            if (names is None) != (part_names is None):
                raise DataError(f"Only one of {parts[0]} and {part} has sub-folders. {_LAYOUT}")
            if new := [n for n in part_names or () if n not in index]:
                raise DataError(
                    f"{part} has a class {new[0]!r} that {parts[0]} has not. "
                    f"The classes in train are: {', '.join(names or ())}."
                )
            paths.append([path for path, _ in files])
            ys.append(np.array([index[c] for _, c in files], np.int32) if names else None)
        return cls(paths, ys, names, tuple(seen.notes(root)))


@dataclass
class _Seen:
    """What was met on the way through a folder, and what of it was left out."""

    real: dict[Path, Path] = field(default_factory=dict)  # where it lies -> how it is reached
    twice: list[Path] = field(default_factory=list)
    nested: list[Path] = field(default_factory=list)
    beside: list[Path] = field(default_factory=list)
    broken: list[Path] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)

    def register(self, folder: Path, within: bool = False) -> None:
        """Note where images lie themselves: links come after them.

        Args:
            folder: The folder of all classes, or without classes of all images.
            within: Whether it is a folder within that one.
        """
        here = [path for path in _listed(folder) if not path.is_symlink()]
        folders = [path for path in here if path.is_dir()]
        if within or not folders:  # beside folders of classes, images are left out
            self.real |= {path.resolve(): path for path in here if path not in folders}
        for one in folders:
            self.real[one.resolve()] = one
            self.register(one, within=True)

    def images(self, folder: Path, nested: bool = True) -> Iterator[Path]:
        """Images in a folder, and in those within it; what links lead to is met once."""
        for path in _listed(folder):
            real = path.resolve()
            if not path.exists():
                self.broken.append(path)
            elif self.real.get(real, path) != path:
                self.twice.append(path)
            elif path.is_dir():
                if nested:
                    self.real[real] = path
                    inside = [*self.images(path)]
                    self.nested += [path] * bool(inside)
                    yield from inside
            elif path.suffix.lower() in IMAGE_SUFFIXES:
                self.real[real] = path
                yield path
            else:
                self.other[path.suffix.lower() or path.name] += 1

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
            first = self.twice[0]
            yield (
                f"Not followed, as these links lead to pictures that are taken already: "
                f"{_some(self.twice)} (the first leads to {self.real[first.resolve()]})."
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


def _same(pairs: Mapping[Path, Path]) -> str:
    return listed((f"{one} = {other}" for one, other in pairs.items()), 2)


def _some(paths: Sequence[Path]) -> str:
    return listed(paths, 3)


def _class_files(
    folder: Path, seen: _Seen
) -> tuple[list[tuple[Path, str]], tuple[str, ...] | None]:
    """`(file, class)` pairs and the class names; names are None without sub-folders."""
    folders = [p for p in _listed(folder) if p.is_dir()]
    directly = [*seen.images(folder, nested=False)]
    if folders:
        seen.real |= {p.resolve(): p for p in (folder, *folders)}  # links may lead back to them
        seen.beside += directly
        found = {p.name: [*seen.images(p)] for p in folders}
    else:
        found = {"": directly}
    if not any(found.values()):
        raise DataError(f"{folder} holds no images. {_LAYOUT}{_unread(seen)}")
    if empty := [name for name, files in found.items() if not files]:
        raise DataError(
            f"{folder / empty[0]} holds no images. Remove it or fill it: every sub-folder of "
            f"{folder} is a class.{_unread(seen)}"
        )
    pairs = [(path, name) for name, files in found.items() for path in files]
    return pairs, tuple(found) if folders else None


def _unread(seen: _Seen) -> str:
    """What lies there instead of images."""
    kinds = [f"{n} {kind}" for kind, n in seen.other.items()]
    kinds += [f"{len(seen.twice)} links to images that are there already"] * bool(seen.twice)
    kinds += [f"{len(seen.broken)} links that lead nowhere"] * bool(seen.broken)
    return f" There are {listed(kinds)}." if kinds else ""


def _listed(folder: Path) -> list[Path]:
    """Entries that are not hidden, sorted so that 10 comes after 9."""

    def natural(path: Path) -> tuple:
        parts = re.split(r"([0-9]+)", path.name.casefold())
        return [int(p) if i % 2 else p for i, p in enumerate(parts)], path.name

    return sorted((p for p in folder.iterdir() if not _hidden(p)), key=natural)


def _hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "__MACOSX"


def _header(path: Path) -> Header | UnreadableError:
    try:
        with opened(path) as image:
            width, height = image.size
            size = (width, height) if lies_sideways(image) else (height, width)
            return Header(size, image.mode)
    except Exception as error:  # PIL's parsers raise all sorts of things
        return UnreadableError(path, error)


def _channels(paths: Sequence[Path], modes: Sequence[str]) -> int:
    """1 if all files are grey; of those in a colour mode, a sample is looked at."""
    colour = [p for p, mode in zip(paths, modes, strict=True) if mode not in _GREY_MODES]
    for image in decodable(colour[:: max(1, len(colour) // _COLOUR_SAMPLE)]):
        pixels = np.asarray(image.convert("RGB"))
        if (pixels != pixels[..., :1]).any():
            return 3
    return 1


def decodable(paths: Iterable[Path]) -> Iterator[Image.Image]:
    """Decode files, but those that cannot be, which are named where all of them are read."""
    for path in paths:
        with contextlib.suppress(UnreadableError):
            yield decode(path)
