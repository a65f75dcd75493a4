"""What there is of pictures before any of them is decoded, however they are stored."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from keras_cvae.data.arrays import encoded
from keras_cvae.data.containers import Data, Split
from keras_cvae.data.copies import copies
from keras_cvae.data.decoded import Decoded, not_kept, place
from keras_cvae.data.images import (
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
from keras_cvae.data.places import Places
from keras_cvae.data.splits import split_data
from keras_cvae.errors import DataError, listed, nearest

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L"})
SPOILED = 0.05  # share of files that may be unreadable
COPIES = 0.2  # share of files above which copies may be meant, as of pictures that weigh more
_COLOUR_SAMPLE = 64  # files decoded to see whether RGB files are really grey
_ALL_READ = 2**15  # pictures whose headers are all read before a training; of more, a sample is
_SAMPLE = 2**11
LABEL = "label"  # what the class is called as a named condition


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
    """The pictures of a data set.

    Args:
        name: What the data set is called.
        parts: Where those of train lie, and of test where there is one.
        classes: Of each part: what y is, `(n,)` labels or numbers; None without.
        names: Of the classes, where y are their indices.
        notes: What was left out, or may not be what was meant, a sentence each.
        fields: Of each part: what else is known of each picture, by name, `(n,)` each.
    """

    name: str
    parts: list[Places]
    classes: list[np.ndarray | None]
    names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    fields: Sequence[Mapping[str, np.ndarray]] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def at(self, i: int, count: int) -> tuple[Places, int]:
        """Picture i of `count` that are evenly spread over all: the part, and its place there."""
        row, first = i * len(self) // count, len(self.parts[0])
        return (self.parts[0], row) if row < first else (self.parts[1], row - first)

    def checked(self, progress: Progress | None = None) -> tuple[Listing, list[Header]]:
        """The pictures that can be opened, copies but once, and the header of each.

        Of more than 32,768 pictures 2,048 are looked at, evenly spread.

        Raises:
            DataError: Those that cannot be opened are too many, see `without`; of a sample, one.
        """
        count = len(self) if len(self) <= _ALL_READ else _SAMPLE
        found = threaded(
            lambda i: _header(*self.at(i, count)), range(count), progress, "checking images"
        )
        bad = {i: one for i, one in enumerate(found) if isinstance(one, UnreadableError)}
        if count < len(self):
            if bad:
                raise next(iter(bad.values()))
            return self, found
        twice, notes = self._copies([i for i in range(count) if i not in bad])
        kept = self.without(bad, twice)
        out = bad.keys() | twice
        return replace(kept, notes=(*kept.notes, *notes)), [
            header for i, header in enumerate(found) if i not in out
        ]

    def without(self, bad: Mapping[int, UnreadableError], others: Iterable[int] = ()) -> Listing:
        """Leave out pictures that cannot be read, and say so; and others.

        Raises:
            DataError: They are more than `SPOILED` of all, or all of a class.
        """
        if not bad and not others:
            return self
        keep = np.ones(len(self), bool)
        keep[[*bad, *others]] = False
        rows = np.split(keep, np.cumsum([len(part) for part in self.parts])[:-1])
        kept = replace(
            self,
            parts=[part.take(k) for part, k in zip(self.parts, rows, strict=True)],
            classes=[y if y is None else y[k] for y, k in zip(self.classes, rows, strict=True)],
            fields=[
                {name: values[k] for name, values in part.items()}
                for part, k in zip(self.fields, rows, strict=False)
            ],
        )
        if not bad:
            return kept
        first, *more = bad.values()
        learned = kept.classes[0]
        emptied = self.names and learned is not None and len(set(learned)) < len(self.names)
        if emptied or len(bad) > SPOILED * len(self):
            raise DataError(f"{first}{f' {len(more)} more cannot be read.' * bool(more)}")
        said = listed((f"{self.called(i)} ({error.reason})" for i, error in bad.items()), 3)
        return replace(kept, notes=(*self.notes, f"Left out, as they cannot be read: {said}."))

    def called(self, i: int) -> str:
        """The name of picture i of all."""
        places, j = self.at(i, len(self))
        return places.name(j)

    def _copies(self, rows: Sequence[int]) -> tuple[set[int], list[str]]:
        """Copies within a class to leave out, where they are few: many may be meant. And notes."""
        where: list[Hashable] = []
        for i, (part, y) in enumerate(zip(self.parts, self.classes, strict=True)):
            named = y is not None and y.dtype.kind != "f"
            where += [(i, y[j] if named and y is not None else 0) for j in range(len(part))]
        twice: dict[int, int] = {}
        apart: dict[int, int] = {}
        for group in copies(rows, lambda i: self.at(i, len(self))):
            firsts: dict[Hashable, int] = {}
            for row in group:
                if (first := firsts.setdefault(where[row], row)) != row:
                    twice[row] = first
            first, *others = firsts.values()
            apart |= dict.fromkeys(others, first)
        few, notes = len(twice) <= COPIES * len(self), []
        if twice and few:
            notes.append(f"Taken once, as they are byte for byte the same: {self._same(twice)}.")
        elif twice:
            notes.append(
                f"Byte for byte the same: {self._same(twice)}. All are taken, as so many may be "
                "meant; some are held out while the same are learned."
            )
        if apart:
            notes.append(
                "The same picture is in several classes, or in train and test: "
                f"{self._same(apart)}."
            )
        return (set(twice) if few else set()), notes

    def _same(self, pairs: Mapping[int, int]) -> str:
        some = itertools.islice(pairs.items(), 2)  # the name of a member costs a look at its shard
        said = ", ".join(f"{self.called(i)} = {self.called(j)}" for i, j in some)
        return said + (f", ... ({len(pairs)} in all)" if len(pairs) > 2 else "")

    def channels(self, headers: Sequence[Header]) -> int:
        """1 if all images are grey, else 3; of those in a colour mode, a sample is looked at."""
        colour = [i for i, header in enumerate(headers) if header.mode not in _GREY_MODES]
        some = colour[:: max(1, len(colour) // _COLOUR_SAMPLE)]
        for i in some:
            with contextlib.suppress(UnreadableError):  # where all are read it is named
                if not _is_grey(*self.at(i, len(headers))):
                    return 3
        return 1

    def some(self, count: int) -> list[Image.Image]:
        """At most so many pictures, decoded, evenly spread."""
        count = min(count, len(self))
        found = []
        for i in range(count):
            with contextlib.suppress(UnreadableError):  # where all are read it is named
                found.append(decode(*self.at(i, count)))
        return found

    def conditions(self, names: Sequence[str], unlabelled: bool) -> tuple[list[Any], Any]:
        """What y is of each part, and the names of classes: of named conditions, by name.

        Raises:
            DataError: There is no such condition.
        """
        if not names:
            if self.names is not None or all(y is None for y in self.classes):
                return self.classes, self.names
            return encoded(self.classes, None, unlabelled)
        parts = self.named()
        for name in names:
            if name not in parts[0]:
                raise DataError(
                    f"{self.name} has {listed(sorted(parts[0])) or 'nothing'} beside its pictures. "
                    f"Expected the condition {name} among them.{nearest(name, parts[0])}"
                )
        return [{name: part[name] for name in names} for part in parts], None

    def named(self) -> list[dict[str, np.ndarray]]:
        """Of each part: all that is known of each picture, by name; the class as "label"."""
        found = [dict(part) for part in self.fields] or [{} for _ in self.parts]
        for part, y in zip(found, self.classes, strict=True):
            if y is not None and LABEL not in part:
                part[LABEL] = y if self.names is None else np.array(self.names)[y]
        return found


def load_listed(
    found: Listing,
    size: tuple[int, int] | None,
    color: Color,
    memory_limit: int,
    progress: Progress | None,
    fit: Fit = "crop",
    conditions: Sequence[str] = (),
    unlabelled: bool = False,
    **options: Any,
) -> Data:
    """Read the pictures of a listing, or prepare them to be read when they are needed."""
    found, headers = found.checked(progress)
    ys, names = found.conditions(conditions, unlabelled)
    first = headers[0].size
    odd = next((i for i, header in enumerate(headers) if header.size != first), None)
    if size is None and odd is not None:
        height, width = headers[odd].size
        (one, i), (other, j) = found.at(0, 1), found.at(odd, len(headers))
        raise DataError(
            f"The images differ in size: {one.name(i)} is {first[1]}x{first[0]} pixels "
            f"(width x height), {other.name(j)} is {width}x{height}. "
            f"Choose one for all with --image-size N, e.g. --image-size {min(first)}."
        )
    channels = {"grey": 1, "rgb": 3}.get(color) or found.channels(headers)
    parts: list[Any] = [
        ImageFiles(part, size or first, channels, size is not None, fit) for part in found.parts
    ]
    notes: list[str] = []
    if sum(files.nbytes for files in parts) <= memory_limit:
        bad: list[dict[int, UnreadableError]] = [{} for _ in parts]
        parts = [files.decoded(progress, one) for files, one in zip(parts, bad, strict=True)]
        if any(bad):
            whole = [
                [i not in one for i in range(len(x))] for x, one in zip(parts, bad, strict=True)
            ]
            of_test = {i + len(parts[0]): error for one in bad[1:] for i, error in one.items()}
            found = found.without(bad[0] | of_test)
            parts = [images[rows] for images, rows in zip(parts, whole, strict=True)]
            ys, names = found.conditions(conditions, unlabelled)
    else:
        parts, said = _kept(parts)
        notes.append(said)
        if len(headers) < len(found):
            notes.append(
                f"{len(headers):,} of {len(found):,} pictures were looked at; what is wrong with "
                "others is said when they come."
            )
    splits = [Split(images, y) for images, y in zip(parts, ys, strict=True)]
    test = splits[1] if len(splits) > 1 else None
    data = split_data(found.name, splits[0], test, names, **options)
    return replace(data, notes=(*found.notes, *notes))


def _kept(parts: list[ImageFiles]) -> tuple[list[ImageFiles], str]:
    """The same pictures, decoded once if there is room for that; and a sentence."""
    key = "-".join(files.fingerprint() for files in parts)
    folder, said = place(key, sum(files.nbytes for files in parts))
    if folder is None:
        return parts, said
    try:
        kept = [
            files.keeping(Decoded(folder / name, len(files), files.shape[1:]))
            for name, files in zip(("train", "test"), parts, strict=False)
        ]
    except OSError as error:  # the disk is full, or another user's
        return parts, not_kept(folder, error)
    return kept, said


def _header(places: Places, i: int) -> Header | UnreadableError:
    try:
        with places.open(i) as file, opened(file) as image:
            width, height = image.size
            size = (width, height) if lies_sideways(image) else (height, width)
            return Header(size, image.mode)
    except Exception as error:  # PIL's parsers raise all sorts of things
        return UnreadableError(places.name(i), error, lambda: places.open(i))


def _is_grey(places: Places, i: int) -> bool:
    pixels = np.asarray(decode(places, i).convert("RGB"))
    return bool((pixels == pixels[..., :1]).all())
