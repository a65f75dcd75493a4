"""Folders of images: one class a sub-folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_cvae.data.containers import Data, Split
from keras_cvae.data.images import (
    IMAGE_SUFFIXES,
    Color,
    ImageFiles,
    Progress,
    decode,
    lies_sideways,
    opened,
    threaded,
    unreadable,
)
from keras_cvae.data.splits import split_data
from keras_cvae.errors import DataError

_LAYOUT = (
    "Expected one sub-folder per class with images in it (FOLDER/CLASS/*.png), the same under "
    "train/ and test/, or images directly in the folder (no classes). "
    f"Image files end in {', '.join(sorted(IMAGE_SUFFIXES))}."
)


_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L"})


_COLOUR_SAMPLE = 64  # files decoded to see whether RGB files are really grey


def load_folder(
    root: Path,
    size: tuple[int, int] | None,
    color: Color,
    memory_limit: int,
    progress: Progress | None,
    **options: Any,
) -> Data:
    """Read a folder of images, with one class a sub-folder, or none."""
    folders = {p.name for p in _listed(root) if p.is_dir()}
    if "train" in folders and folders <= {"train", "test", "val", "valid", "validation"}:
        if extra := folders - {"train", "test"}:
            raise DataError(
                f"{root} has {sorted(extra)[0]}/ beside train/. Expected train/ and, optionally, "
                "test/. Move those images into train/ (a part of it is held out by --validation) "
                "or into test/ (with --validation test)."
            )
        parts = [root / part for part in ("train", "test") if part in folders]
    else:
        parts = [root]
    listings = [_class_files(part) for part in parts]
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

    every = [path for part in paths for path in part]
    headers = threaded(_header, every, progress, "checking images")
    if size is None:
        first = headers[0][0]
        for path, (other, _) in zip(every, headers, strict=True):
            if other != first:
                raise DataError(
                    f"The images differ in size: {every[0]} is {first[1]}x{first[0]} pixels "
                    f"(width x height), {path} is {other[1]}x{other[0]}. "
                    f"Choose one for all with --image-size N, e.g. --image-size {min(first)}."
                )
    channels = {"grey": 1, "rgb": 3}.get(color) or _channels(every, [mode for _, mode in headers])
    x: list[Any] = [ImageFiles(p, size or headers[0][0], channels, size is not None) for p in paths]
    if sum(files.nbytes for files in x) <= memory_limit:
        x = [files.decoded(progress) for files in x]
    splits = [Split(images, y) for images, y in zip(x, ys, strict=True)]
    test = splits[1] if len(splits) > 1 else None
    return split_data(root.resolve().name, splits[0], test, names, **options)


def _class_files(folder: Path) -> tuple[list[tuple[Path, str]], tuple[str, ...] | None]:
    """`(file, class)` pairs and the class names; names are None without sub-folders."""
    folders = [p for p in _listed(folder) if p.is_dir()]
    found = {p.name: _images(p) for p in folders} or {"": _images(folder)}
    if not any(found.values()):
        raise DataError(f"{folder} holds no images. {_LAYOUT}")
    if empty := [name for name, files in found.items() if not files]:
        raise DataError(
            f"{folder / empty[0]} holds no images. Remove it or fill it: every sub-folder of "
            f"{folder} is a class."
        )
    pairs = [(path, name) for name, files in found.items() for path in files]
    return pairs, tuple(found) if folders else None


def _listed(folder: Path) -> list[Path]:
    """Entries that are not hidden, sorted so that 10 comes after 9."""

    def natural(path: Path) -> tuple:
        parts = re.split(r"([0-9]+)", path.name.casefold())
        return [int(p) if i % 2 else p for i, p in enumerate(parts)], path.name

    return sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=natural)


def _images(folder: Path) -> list[Path]:
    return [p for p in _listed(folder) if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]


def _header(path: Path) -> tuple[tuple[int, int], str]:
    """`((h, w), mode)` without decoding."""
    try:
        with opened(path) as image:
            width, height = image.size
            return ((width, height) if lies_sideways(image) else (height, width)), image.mode
    except Exception as error:  # PIL's parsers raise all sorts of things
        raise unreadable(path, error) from error


def _channels(paths: Sequence[Path], modes: Sequence[str]) -> int:
    """1 if all files are grey; of those in a colour mode, a sample is looked at."""
    colour = [p for p, mode in zip(paths, modes, strict=True) if mode not in _GREY_MODES]
    for path in colour[:: max(1, len(colour) // _COLOUR_SAMPLE)]:
        pixels = np.asarray(decode(path).convert("RGB"))
        if (pixels != pixels[..., :1]).any():
            return 3
    return 1
