"""Values of a column as a few small integers ("levels"), and back: exact in log p.

A column is coded in one part or in several, p(value) = prod_parts p(level) * p(value | levels). The
last factor is uniform within what a level stands for; for most columns that is a single value.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

MOST = 256  # levels of a part
ROWS = 8  # rows that a bin of numbers has at least
SEGMENTS = 8  # in which the density within a bin may differ, at most


class Part(NamedTuple):
    """One part of a code.

    Args:
        size: Number of levels.
        ordered: Whether neighbouring levels are alike.
        parent: Position of the part that must be known before this one, if any.
        allowed: Booleans `(levels of the parent, size)`: what can be. None: everything.
        pooled: Whether levels mean the same whatever the parent's is, so that their shares may be
            counted over all of them.
    """

    size: int
    ordered: bool = False
    parent: int | None = None
    allowed: np.ndarray | None = None
    pooled: bool = True


class Range(NamedTuple):
    """From `low` to `high`, both included; None is no limit."""

    low: Any = None
    high: Any = None

    def holds(self, values: np.ndarray) -> np.ndarray:
        """Where values `(n,)` lie within it."""
        above = np.ones(len(values), bool) if self.low is None else values >= self.low
        return above if self.high is None else above & (values <= self.high)


class Among(NamedTuple):
    """One of some values, `(m,)`."""

    values: np.ndarray

    def holds(self, values: np.ndarray) -> np.ndarray:
        """Where values `(n,)` are among them."""
        return np.isin(values, self.values)


Wanted = Range | Among


class Coding:
    """Base of all codings; values are those of `columns.Values` where nothing is missing."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """What a code consists of."""
        raise NotImplementedError

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Levels `(n, parts)` of values `(n,)`; the nearest, for numbers never seen."""
        raise NotImplementedError

    def decode(
        self, codes: np.ndarray, uniforms: np.ndarray, wanted: Wanted | None = None
    ) -> np.ndarray:
        """Values `(n,)` of levels `(n, parts)`.

        Args:
            codes: Levels.
            uniforms: `(n, parts)` in [0, 1), by which a value is chosen within its level.
            wanted: Chooses only among these, of a level that has some of them.
        """
        raise NotImplementedError

    def log_density(self, values: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Log p(value | levels) in nats, `(n,)`."""
        return np.zeros(len(values))

    def outside(self, values: np.ndarray) -> np.ndarray:
        """Where values `(n,)` were never seen, nor lie between those that were."""
        return np.zeros(len(values), bool)

    def share(self, wanted: Wanted) -> list[np.ndarray]:
        """For each part, the probability of what is wanted within each level.

        `(size,)` each, or `(levels of the parent, size)`. Where a column has several parts, all
        that is wanted has a share, but what has a share need not be wanted.
        """
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` makes this again of."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Levels(Coding):
    """Values 0 .. size - 1, each a level of its own."""

    size: int
    ordered: bool = False

    @property
    def parts(self):
        return (Part(self.size, self.ordered),)

    def encode(self, values):
        return values[:, None]

    def decode(self, codes, uniforms, wanted=None):
        return codes[:, 0].astype(np.int64)

    def share(self, wanted):
        return [wanted.holds(np.arange(self.size)).astype(float)]

    def to_dict(self):
        return {"coding": "levels", "size": self.size, "ordered": self.ordered}


@dataclass(frozen=True, eq=False)
class Digits(Coding):
    """Many categories, as two digits: those of alike frequency share the first.

    Attributes:
        rank: Place of each value when the most frequent comes first, `(size,)`.
    """

    rank: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, size: int) -> Digits:
        """Number `size` categories by how often they occur."""
        counts = np.bincount(values, minlength=size)
        return cls(np.argsort(np.argsort(-counts, kind="stable"), kind="stable"))

    @property
    def base(self) -> int:
        """How many values share a first digit."""
        return math.ceil(math.sqrt(len(self.rank)))

    @property
    def parts(self):
        first = math.ceil(len(self.rank) / self.base)
        allowed = np.arange(first * self.base).reshape(first, self.base) < len(self.rank)
        return Part(first), Part(self.base, parent=0, allowed=allowed, pooled=False)

    def encode(self, values):
        return np.stack(np.divmod(self.rank[values], self.base), axis=1)

    def decode(self, codes, uniforms, wanted=None):
        return np.argsort(self.rank)[codes[:, 0] * self.base + codes[:, 1]]

    def share(self, wanted):
        first, second = self.parts
        both = np.zeros((first.size, second.size))
        place = self.encode(np.flatnonzero(wanted.holds(np.arange(len(self.rank)))))
        both[place[:, 0], place[:, 1]] = 1.0
        return [both.max(axis=1), both]

    def to_dict(self):
        return {"coding": "digits", "rank": self.rank.tolist()}


@dataclass(frozen=True, eq=False)
class Intervals(Coding):
    """Numbers: values that occur often are levels of their own, the others share quantile bins.

    A bin is cut into segments of equal share at most, within which p is uniform: over the whole
    numbers in it, or a density.

    Attributes:
        low: The lowest value of each segment, `(segments,)`, int64 or float64, ascending.
        high: The highest.
        level: The level that each belongs to, ascending.
        weight: Its share of that level.
    """

    low: np.ndarray
    high: np.ndarray
    level: np.ndarray
    weight: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, most: int = MOST) -> Intervals:
        """Choose levels for values `(n,)`.

        Up to `most` different values that occur three times in the mean have a level each; else
        there are bins, and levels of their own for values that would fill a bin.
        """
        distinct, counts = np.unique(values, return_counts=True)
        n = len(values)
        bins = min(most, max(2, n // ROWS))
        if len(distinct) <= most and (3 * len(distinct) <= n or len(distinct) <= bins):
            own = np.ones(len(distinct), bool)
        else:
            own = counts >= n / bins
        segments: list[tuple[Any, Any, int, float]] = []
        level = 0
        runs = np.flatnonzero(np.diff(own)) + 1
        for run in np.split(np.arange(len(distinct)), runs):
            if own[run[0]]:
                for value in distinct[run]:
                    segments.append((value, value, level, 1.0))
                    level += 1
            else:
                share = max(1, round(bins * counts[run].sum() / n))
                for some in _cut(distinct[run], counts[run], share):
                    segments += [(*part[:2], level, part[2]) for part in some]
                    level += 1
        return cls.of(*zip(*segments, strict=True), whole=values.dtype.kind == "i")

    @classmethod
    def of(cls, low: Any, high: Any, level: Any, weight: Any, *, whole: bool) -> Intervals:
        """Intervals of lists; `whole`: of whole numbers."""
        kinds = (np.int64 if whole else np.float64,) * 2 + (np.int64, np.float64)
        lists = zip((low, high, level, weight), kinds, strict=True)
        return cls(*(np.asarray(values, kind) for values, kind in lists))

    @property
    def parts(self):
        return (Part(int(self.level[-1]) + 1, ordered=True),)

    def encode(self, values):
        return self.level[self._segment(values)][:, None]

    def _segment(self, values: np.ndarray) -> np.ndarray:
        """The segment that holds each value, or is the nearest to it."""
        at = np.clip(np.searchsorted(self.low, values, side="right") - 1, 0, len(self.low) - 1)
        after = np.minimum(at + 1, len(self.low) - 1)
        past = values.astype(np.float64) - self.high[at]  # differences of integers may overflow
        nearer = (values > self.high[at]) & (self.low[after].astype(np.float64) - values < past)
        return np.where(nearer & (after > at), after, at)

    @property
    def _width(self) -> np.ndarray:
        """How many whole numbers a segment has, or how long it is; 0 for a single real number."""
        return self.high.astype(np.float64) - self.low + (self.low.dtype.kind == "i")

    def outside(self, values):
        at = self._segment(values)
        return (values < self.low[at]) | (values > self.high[at])

    def decode(self, codes, uniforms, wanted=None):
        level, place = codes[:, 0], uniforms[:, 0]
        if isinstance(wanted, Among):
            return self._one_of(wanted.values, level, place)
        if wanted is not None:
            start, stop = self._places(wanted.low, False), self._places(wanted.high, True)
            place = start[level] + place * (stop - start)[level]
        first = self._first
        at = np.searchsorted(first, level + np.minimum(place, 1 - 2**-40), side="right") - 1
        part = np.clip((level + place - first[at]) / self.weight[at], 0.0, 1.0)
        place = part * self._width[at]
        if self.low.dtype.kind == "i":
            place = np.floor(place).astype(np.int64)
        return np.minimum(self.low[at] + place, self.high[at])

    @property
    def _first(self) -> np.ndarray:
        """Level plus the share of it that lies before each segment, ascending."""
        before = np.cumsum(self.weight) - self.weight
        return self.level + before - before[np.searchsorted(self.level, self.level)]

    def _places(self, value: Any, included: bool) -> np.ndarray:
        """For each level, the share of it that lies below a value (and at it), `(size,)`."""
        if value is None:
            return np.full(self.parts[0].size, float(included))
        width = np.maximum(self._width, np.finfo(float).tiny)
        passed = float(value) + (included and self.low.dtype.kind == "i") - self.low
        single = (self.low < value) | (included & (self.low == value))
        below = np.where(self.low == self.high, single, np.clip(passed / width, 0.0, 1.0))
        return np.bincount(self.level, self.weight * below, minlength=self.parts[0].size)

    def share(self, wanted):
        if isinstance(wanted, Among):
            codes = self.encode(wanted.values)
            p = np.exp(self.log_density(wanted.values, codes))
            return [np.bincount(codes[:, 0], p, minlength=self.parts[0].size)]
        return [np.maximum(self._places(wanted.high, True) - self._places(wanted.low, False), 0.0)]

    def _one_of(self, values: np.ndarray, level: np.ndarray, place: np.ndarray) -> np.ndarray:
        """One of these values of each level, by their probability in it."""
        codes = self.encode(values)
        order = np.lexsort((values, codes[:, 0]))
        values, of = values[order], codes[order, 0]
        p = np.exp(self.log_density(values, of[:, None]))
        p = p / np.bincount(of, p, minlength=self.parts[0].size)[of]
        before = np.cumsum(p) - p
        first = of + np.minimum(before - before[np.searchsorted(of, of)], 1 - 2**-40)
        return values[np.maximum(np.searchsorted(first, level + place, side="right") - 1, 0)]

    def log_density(self, values, codes):
        at = self._segment(values)
        width = self._width[at]
        return np.log(self.weight[at]) - np.log(np.where(width == 0, 1.0, width))

    def to_dict(self):
        lists = {name: getattr(self, name).tolist() for name in ("low", "high", "level", "weight")}
        return {"coding": "intervals", "whole": self.low.dtype.kind == "i"} | lists


@dataclass(frozen=True, eq=False)
class Calendar(Coding):
    """Points in time, as a week, the day of the week, and the time of the day.

    Attributes:
        steps: How many steps a day has.
        week: Weeks, each begins on a Thursday, as 1970 did.
        time: Steps since midnight.
    """

    steps: int
    week: Intervals
    time: Intervals

    @classmethod
    def fit(cls, values: np.ndarray, steps: int, most: int = MOST) -> Calendar:
        """Choose levels for steps since 1970, `(n,)`."""
        days, time = np.divmod(values, steps)
        return cls(steps, Intervals.fit(days // 7, most), Intervals.fit(time, most))

    @property
    def parts(self):
        return (*self.week.parts, Part(7), *self.time.parts)

    def encode(self, values):
        days, time = np.divmod(values, self.steps)
        week, day = np.divmod(days, 7)
        return np.concatenate([self.week.encode(week), day[:, None], self.time.encode(time)], 1)

    def decode(self, codes, uniforms, wanted=None):
        weeks, _, times = (None,) * 3 if wanted is None else self._parts_of(wanted)
        week = self.week.decode(codes[:, :1], uniforms[:, :1], weeks)
        time = self.time.decode(codes[:, 2:], uniforms[:, 2:], times)
        return (week * 7 + codes[:, 1]) * self.steps + time

    def _parts_of(self, wanted: Wanted) -> tuple[Wanted, np.ndarray, Wanted | None]:
        """The weeks, the days of the week, and the times of the day of all that is wanted.

        Together they may have more than that. Times are None where any may be.
        """
        if isinstance(wanted, Among):
            days, times = np.divmod(wanted.values, self.steps)
            return Among(np.unique(days // 7)), np.unique(days % 7), Among(np.unique(times))
        first, last = (None if end is None else end // self.steps for end in wanted)
        weeks = Range(*(None if day is None else day // 7 for day in (first, last)))
        if first is None or last is None or last - first >= 6:
            return weeks, np.arange(7), None
        within = Range(wanted.low % self.steps, wanted.high % self.steps)
        return weeks, np.arange(first, last + 1) % 7, within if first == last else None

    def log_density(self, values, codes):
        days, time = np.divmod(values, self.steps)
        week = self.week.log_density(days // 7, codes[:, :1])
        return week + self.time.log_density(time, codes[:, 2:])

    def outside(self, values):
        days, time = np.divmod(values, self.steps)
        return self.week.outside(days // 7) | self.time.outside(time)

    def share(self, wanted):
        weeks, days, times = self._parts_of(wanted)
        time = self.time.share(Range() if times is None else times)
        return [*self.week.share(weeks), np.isin(np.arange(7), days).astype(float), *time]

    def to_dict(self):
        parts = {"week": self.week.to_dict(), "time": self.time.to_dict()}
        return {"coding": "calendar", "steps": self.steps} | parts


def from_dict(config: dict[str, Any]) -> Coding:
    """The coding that `to_dict` described."""
    match config["coding"]:
        case "levels":
            return Levels(config["size"], config["ordered"])
        case "digits":
            return Digits(np.asarray(config["rank"], np.int64))
        case "calendar":
            week, time = (from_dict(config[name]) for name in ("week", "time"))
            return Calendar(config["steps"], week, time)  # type: ignore[arg-type]
    return Intervals.of(**{name: value for name, value in config.items() if name != "coding"})


def _cut(distinct: np.ndarray, counts: np.ndarray, bins: int) -> list[list[tuple]]:
    """Bins of equal share, each a list of segments (low, high, weight), that cover a run."""
    cumulative, out = np.cumsum(counts), []
    edges = _edges(cumulative, bins)
    for start, stop in itertools.pairwise(edges):
        inside = cumulative[start:stop] - (cumulative[start - 1] if start else 0)
        pieces = _edges(inside, int(np.clip(inside[-1] // (2 * ROWS), 1, SEGMENTS))) + start
        segments = []
        for a, b in itertools.pairwise(pieces):
            weight = counts[a:b].sum() / inside[-1]
            segments.append((_between(distinct, a)[1], _between(distinct, b)[0], weight))
        out.append(segments)
    return out


def _edges(cumulative: np.ndarray, parts: int) -> np.ndarray:
    """Positions that cut counts into parts of about equal share, `(parts + 1,)` or fewer."""
    wanted = cumulative[-1] * np.arange(1, parts) / parts
    inner = np.searchsorted(cumulative, wanted, side="left") + 1
    return np.unique(np.concatenate([[0], inner, [len(cumulative)]]))


def _between(distinct: np.ndarray, at: int) -> tuple[Any, Any]:
    """Where the values before `at` end, and where those from it on begin."""
    if at in (0, len(distinct)):
        return distinct[-1], distinct[0]
    below, above = distinct[at - 1 : at + 1].tolist()
    if distinct.dtype.kind == "i":
        middle = below + (above - below) // 2
        return middle, middle + 1
    middle = below + (above - below) / 2
    return middle, middle
