"""What there is in a data set, before anything is decided about it: facts, and no more."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from keras_cvae.data import sources
from keras_cvae.data.images import Progress
from keras_cvae.data.listing import LABEL, Listing
from keras_cvae.data.pictures import pictures_of

Kind = Literal["pictures", "signals", "vectors"]
Values = Literal["binary", "drawn", "shades", "counts", "numbers"]

_SAMPLE = 64  # files that are decoded
SMOOTH = 0.4  # below this ratio vectors are signals; within a factor of two they may be either
SKEWED = 0.5  # skewness above which values may differ by factors
FEW = 20  # examples, of which nothing is said that two values explain
_ROWS = 5000  # examples whose values are looked at


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What there is in a data set.

    Args:
        kind: What one x is.
        shape: Of one x; of pictures `(h, w, channels)`, the commonest where they differ.
        values: "binary": nothing but two values. "drawn": pixels that are black or white almost
            everywhere. "shades": pixels of all levels. "counts": whole numbers from 0.
            "numbers": any.
        examples: How many there are to train on, before any are held out.
        test: How many test examples there are.
        classes: How many training examples each class has; None without classes.
        numbers: Whether y are numbers.
        named: The other arrays of the file with one entry an example, by name: their kind as
            conditions ("" for none), and words.
        sizes: How many pictures have which size `(h, w)`, the commonest first.
        light: Whether pictures are dark on light.
        spread: Of counts, the median of variance over mean, within classes; 1 is a Poisson's.
        ratios: Of vectors of numbers, which values are above 0 and differ by factors: their
            logarithm is less skewed than they are. Empty if none are.
        pairs: Of vectors of numbers, which values are one of two. Empty if none are.
        notes: What was left out, or is doubtful, a sentence each.
        perhaps: What they may be as well, of vectors and signals that can hardly be told apart.
    """

    kind: Kind
    shape: tuple[int, ...]
    values: Values
    examples: int
    test: int = 0
    classes: dict[str, int] | None = None
    numbers: bool = False
    named: dict[str, tuple[str, str]] | None = None
    sizes: dict[tuple[int, int], int] | None = None
    light: bool = False
    spread: float = 1.0
    ratios: tuple[bool, ...] = ()
    pairs: tuple[bool, ...] = ()
    notes: tuple[str, ...] = ()
    perhaps: Kind | None = None

    @property
    def color(self) -> bool:
        """Whether these are colour pictures."""
        return self.kind == "pictures" and self.shape[-1] == 3

    @property
    def side(self) -> int:
        """The shorter side of pictures; where they differ, of all but a tenth at least."""
        sides = np.repeat([min(size) for size in self.sizes or {}], [*(self.sizes or {}).values()])
        return int(np.quantile(sides, 0.1)) if len(sides) else min(self.shape[:2])

    @property
    def alone(self) -> list[str]:
        """Classes of one example."""
        return [name for name, count in (self.classes or {}).items() if count == 1]

    def describe(self) -> dict[str, Any]:
        """Returns, as JSON has them, the facts that are worth a look."""
        about: dict[str, Any] = {"kind": self.kind, "values": self.values}
        if self.sizes and len(self.sizes) > 1:
            said = [f"{n} of {w}x{h}" for (h, w), n in [*self.sizes.items()][:5]]
            about["sizes"] = said + [f"{len(self.sizes) - 5} other sizes"] * (len(self.sizes) > 5)
        if self.light:
            about["colours"] = "dark on light"
        if self.alone:
            about["classes_of_one_example"] = self.alone
        if self.named:
            about["also_holds"] = {name: words for name, (_, words) in self.named.items()}
        return about


def look(
    source: str | Path, progress: Progress | None = None, signals: bool | None = None
) -> Facts:
    """Look at a data set without splitting it.

    Args:
        source: As in `sources.load`.
        progress: Wraps long loops, as there.
        signals: Whether x `(n, length)` or `(n, length, channels)` are signals; None looks at how
            smooth they are.

    Raises:
        DataError: As there, but for pictures that differ in size.
    """
    path = Path(source).expanduser()
    if isinstance(source, str) and source in sources.NAMED:
        return _of_arrays(sources.named(source), signals=signals)
    if listing := pictures_of(source, progress):
        return _of_pictures(listing, progress)
    if path.is_file() and path.suffix.lower() == ".npz":
        arrays = sources.read_npz(path)
        return _of_arrays(arrays, sources.other_arrays(path, len(arrays["x"])), signals)
    raise sources.unknown(source, path)


def _of_pictures(listing: Listing, progress: Progress | None) -> Facts:
    found, headers = listing.checked(progress)
    sizes = dict(Counter(header.size for header in headers).most_common())
    channels = found.channels(headers)
    mode = "L" if channels == 1 else "RGB"
    pixels = [np.asarray(image.convert(mode)) for image in found.some(_SAMPLE)]
    values, light = _shades(pixels)
    (y, *_), names = found.conditions((), False)
    counts = None if names is None else np.bincount(y, minlength=len(names))
    others = {name: y for name, y in found.named()[0].items() if name != LABEL}
    return Facts(
        kind="pictures",
        shape=(*next(iter(sizes)), channels),
        values=values,
        examples=len(found.parts[0]),
        test=len(found.parts[1]) if len(found.parts) > 1 else 0,
        classes=None if counts is None else dict(zip(names, counts.tolist(), strict=True)),
        numbers=y is not None and names is None,
        named={name: _condition(y) for name, y in others.items()} or None,
        sizes=sizes,
        light=light,
        notes=found.notes,
    )


def _of_arrays(
    arrays: Mapping[str, Any],
    others: Mapping[str, np.ndarray] | None = None,
    signals: bool | None = None,
) -> Facts:
    x = np.asarray(arrays["x"])
    test = arrays.get("test")
    rows = slice(0, None, max(1, math.ceil(len(x) / _ROWS))) if x.ndim else slice(0)
    some = x[rows] if x.ndim else x
    y = None if arrays.get("y") is None else np.asarray(arrays["y"])
    if not x.size or x.ndim not in (2, 3, 4) or x.dtype.kind not in "buif":  # `load` says why
        return Facts(kind="vectors", shape=x.shape[1:], values="numbers", examples=len(x))
    if some.dtype.kind == "f":  # whoever reads them says what is wrong with them
        some = np.nan_to_num(some, posinf=0.0, neginf=0.0)
    kind, shape, perhaps = _kind(some, signals)
    facts: dict[str, Any] = {"light": False, "spread": 1.0}
    if kind == "pictures":
        facts["values"], facts["light"] = _shades([some * _scale(some)])
        if facts["values"] in ("drawn", "shades") and not _levels(some, facts["values"]):
            facts["values"], facts["light"] = "numbers", False
    else:
        facts["values"] = _numbers(some)
        if facts["values"] == "counts":
            facts["spread"] = _spread(some, None if y is None or _are_numbers(y) else y[rows])
        if kind == "vectors" and facts["values"] == "numbers":
            all_x = [x] if test is None else [x, np.asarray(test[0])]
            facts |= {"ratios": _ratios(all_x, some), "pairs": _pairs(all_x)}
    numbers = y is not None and _are_numbers(y)
    return Facts(
        kind=kind,
        shape=shape,
        examples=len(x),
        test=0 if test is None else len(test[0]),
        classes=None if y is None or numbers else _counted(y, arrays.get("class_names")),
        numbers=numbers,
        named={n: _condition(v) for n, v in (others or {}).items()} or None,
        perhaps=perhaps,
        **facts,
    )


def _are_numbers(y: np.ndarray) -> bool:
    """Whether y are no classes."""
    return y.dtype.kind == "f" or (y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "iub")


def _kind(x: np.ndarray, signals: bool | None) -> tuple[Kind, tuple[int, ...], Kind | None]:
    """What x `(n, ...)` are, the shape of one, and what they may be as well; see `look`."""
    if x.ndim == 2:
        roughness = _roughness(x) if signals is None and _numbers(x) == "numbers" else math.inf
        near = 0.5 * SMOOTH <= roughness < _rough(x.shape[1])
        if signals or roughness < SMOOTH:
            return "signals", (x.shape[1], 1), "vectors" if near else None
        return "vectors", x.shape[1:], "signals" if near else None
    if signals is None:
        signals = x.dtype.kind == "f" and x.shape[1] >= 4 * x.shape[2]
    if x.ndim == 3 and signals:
        return "signals", x.shape[1:], None
    return "pictures", x.shape[1:] if x.ndim == 4 else (*x.shape[1:], 1), None


def _rough(length: int) -> float:
    """The ratio from which vectors are no signals: of noise it is 1 with deviation 1 / sqrt(d), so
    that two of these below 1 the order begins to mean something."""
    return min(2.0 * SMOOTH, 1.0 - 2.0 / math.sqrt(length))


def _roughness(x: np.ndarray) -> float:
    """How little neighbouring values of vectors `(n, d)` go together; infinite of short ones.

    The median of the ratio of von Neumann (1941): the mean squared difference of neighbours over
    twice the variance, which is 1 where their order means nothing.
    """
    if x.shape[1] < 32:
        return math.inf
    x = x.astype("float64")
    variance = x.var(axis=1)
    moving = variance > 0
    ratio = np.square(np.diff(x[moving])).mean(axis=1) / (2.0 * variance[moving])
    return float(np.median(ratio)) if moving.mean() > 0.5 else math.inf


def _scale(x: np.ndarray) -> float:
    """What brings pictures to 0..255."""
    high = float(x.max())
    return 255.0 if high <= 1 and float(x.min()) >= 0 else 255.0 / max(high, 255.0)


def _levels(x: np.ndarray, values: Values) -> bool:
    """Whether pictures hold levels, 0..255 or 255ths, or if drawn anything within 0..1."""
    if x.dtype.kind != "f":
        return bool(x.min() >= 0 and x.max() <= 255)
    within = bool(x.min() >= 0 and x.max() <= 1)
    return within and (
        values == "drawn" or bool((np.abs(255 * x - np.round(255 * x)) < 1e-3).all())
    )


def _shades(pictures: list[np.ndarray]) -> tuple[Values, bool]:
    """What values pictures within 0..255 have, and whether they are dark on light."""
    values = np.concatenate([np.asarray(one, "float32").reshape(-1) for one in pictures])
    edge = ((values < 26) | (values > 229)).mean()
    found = np.unique(values)
    dark, light = (values < 85).mean(), (values > 170).mean()
    if len(found) <= 2:
        return "binary", bool(light > dark)
    return ("drawn", bool(light > 2 * dark)) if edge > 0.55 else ("shades", False)


def _numbers(x: np.ndarray) -> Values:
    """What values vectors have."""
    if x.dtype.kind == "b" or (x.dtype.kind in "iu" and x.min() >= 0 and x.max() <= 1):
        return "binary"
    if x.dtype == np.uint8 or (x.dtype.kind == "f" and x.min() >= 0 and 0.5 < x.max() <= 1):
        pixels = np.asarray(x * _scale(x), "float32")
        if ((pixels < 26) | (pixels > 229)).mean() > 0.55 and not np.isin(pixels, (0, 255)).all():
            return "drawn"
        if x.dtype == np.uint8:
            return "shades"
    values = x.astype("float64")
    if values.min() == 0 and values.max() == 1 and np.isin(values, (0.0, 1.0)).all():
        return "binary"
    whole = x.dtype.kind in "iu" or bool((values == np.round(values)).all())
    # Whole numbers far from 0 are readings of a device, which a density describes.
    typical = np.median(values.mean(axis=0))
    if whole and values.min() >= 0 and (values == 0).mean() > 0.005 and typical < 1000:
        return "counts"
    return "numbers"


def _spread(x: np.ndarray, y: np.ndarray | None) -> float:
    """How much counts `(n, d)` spread within their classes `(n,)`: see `Facts`."""
    x = x.astype("float64")
    mean, variance = x.mean(axis=0), x.var(axis=0)
    if y is not None and len(y) == len(x):
        which = np.unique(y.reshape(-1), return_inverse=True)[1]
        sums = np.stack([np.bincount(which, column) for column in x.T], axis=1)
        means = sums / np.bincount(which)[:, None]
        variance = np.square(x - means[which]).sum(axis=0) / max(1, len(x) - len(means))
    seen = mean > 0
    return float(np.median(variance[seen] / mean[seen])) if seen.any() else 1.0


def _ratios(all_x: list[np.ndarray], some: np.ndarray) -> tuple[bool, ...]:
    """Which values of vectors differ by factors, as far as some of them tell."""
    least = np.min([x.min(axis=0, initial=np.inf) for x in all_x], axis=0)
    positive = least > np.finfo("float32").tiny
    values = np.where(positive, some, 1.0).astype("float64")
    skew = _skewness(values)
    chance = 3.0 * math.sqrt(6.0 / len(values))  # three deviations of a normal's skewness
    found = positive & (skew > max(SKEWED, chance))
    found &= np.abs(_skewness(np.log(values))) < 0.8 * skew
    return tuple(found.tolist()) if found.any() else ()


def _pairs(all_x: list[np.ndarray]) -> tuple[bool, ...]:
    """Which values of vectors are their least or their greatest, never in between."""
    low = np.min([x.min(axis=0, initial=np.inf) for x in all_x], axis=0)
    high = np.max([x.max(axis=0, initial=-np.inf) for x in all_x], axis=0)
    found = low < high
    for x in all_x:
        found &= ((x == low) | (x == high)).all(axis=0)
    few = sum(map(len, all_x)) < FEW  # any value of two examples is one of two
    return tuple(found.tolist()) if found.any() and not few else ()


def _skewness(x: np.ndarray) -> np.ndarray:
    """The third standardised moment of each column `(n, d)`, `(d,)`; 0 of one that is constant."""
    away = x - x.mean(axis=0)
    spread = away.std(axis=0)
    return ((away / np.where(spread > 0, spread, 1.0)) ** 3).mean(axis=0)


def _counted(y: np.ndarray, names: Any) -> dict[str, int]:
    labels, counts = np.unique(y.reshape(-1), return_counts=True)
    found = dict(zip([str(label) for label in labels], counts.tolist(), strict=True))
    if names is not None and labels.dtype.kind in "iub":
        named = [str(name) for name in np.asarray(names).reshape(-1)]
        if labels[0] >= 0 and labels[-1] < len(named):
            return {named[int(label)]: int(n) for label, n in zip(labels, counts, strict=True)}
    return found


def _condition(values: np.ndarray) -> tuple[str, str]:
    """The kind of a condition that an array may be, as `declaration` names it; and words."""
    if values.dtype.kind in "US":
        names = np.unique(values)
        if len(names) > max(20, len(values) // 2):
            return "", f"names, {len(names)} different ones"
        if any("|" in str(name) for name in names[:100]):
            return "tags", "tags"
        return "categorical", f"{len(names)} names: {', '.join(map(str, names[:5]))}"
    if values.ndim > 2:
        return "image", f"pictures {values.shape[1:]}"
    if values.ndim == 2 and values.shape[1] > 1:
        if np.isin(values, (0, 1)).all():
            return "tags", f"{values.shape[1]} tags"
        if values.shape[1] >= 32:
            return "signal", f"signals of length {values.shape[1]}"
    found = np.unique(values[~np.isnan(values)] if values.dtype.kind == "f" else values)
    if len(found) and values.size == len(values):
        whole = bool((found == np.round(found)).all())
        low, high = found[0].item(), found[-1].item()
        if whole and len(found) <= 20 and values.dtype.kind != "f":
            return "categorical", f"{len(found)} classes, {low} to {high}"
        return "continuous", f"numbers from {low:.4g} to {high:.4g}"
    return "continuous", f"{values.shape[1:] or 'no'} numbers"
