"""Rows under a condition, in law: proposals are drawn with what is known in sight, and resampled.

Columns that come after all that is asked for follow from it as in the joint distribution. Those
before are drawn by a network that has rarely seen just this set. Both densities are known, that of
the proposal and that of the joint, so resampling by their ratio gives draws from the joint's
p(rest | condition):

    w = p(x) / q(x),    q(x) = prod_i p(x_i | known, before) / P(wanted_i | known, before)

over the columns up to the last that is asked for; the others are drawn for the rows that were
chosen. The mean of w estimates the probability of the condition (importance sampling; Rubin 1987).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from keras_cvae.data.tables.codec import UNKNOWN, TableCodec, nothing_seen
from keras_cvae.data.tables.coding import Wanted
from keras_cvae.data.tables.columns import Values
from keras_cvae.errors import DataError
from keras_cvae.models.tables.walks import walk
from keras_cvae.probability.likelihoods.columns import IMPOSSIBLE

AT_MOST = 64  # proposals for each row, before it is said that they do not suffice
LEAST = 512  # proposals at once
FEW = 8  # proposals at least for each row with gaps
AT_ONCE = 50_000  # of them, for all rows together
CONTRADICTION = 1e-6  # probability below which it is said that conditions contradict each other


class Asked(NamedTuple):
    """What is asked of every row.

    Args:
        known: Column -> its value, one row of `Values`.
        wanted: Column -> a set or range of values.
    """

    known: dict[str, Values]
    wanted: dict[str, Wanted]

    @classmethod
    def of(cls, codec: TableCodec, conditions: Mapping[str, Any]) -> Asked:
        """Read conditions as a user gives them; see `TableCodec.asked`."""
        known, wanted = {}, {}
        for name, value in conditions.items():
            asked = codec.asked(name, value)
            if isinstance(asked, Values):
                known[name] = asked
            else:
                wanted[name] = asked
        return cls(known, wanted)


class Rows(NamedTuple):
    """Rows that were drawn under a condition.

    Args:
        x: Levels `(n, parts)`.
        values: The same as values, by column.
        effective: Effective sample size of the proposals: how many independent draws they are
            worth.
        probability: Estimate of the condition's probability (density, for a number in a bin).
    """

    x: np.ndarray
    values: dict[str, Values]
    effective: float
    probability: float


def draw(
    model: Any,
    codec: TableCodec,
    n: int,
    asked: Asked,
    rng: np.random.Generator,
    resample: bool = True,
) -> Rows:
    """Draw n rows under a condition.

    Args:
        model: A `ConditionalVAE` with the `Columns` likelihood.
        codec: The table's.
        n: How many rows.
        asked: The condition.
        rng: Of the draws.
        resample: Whether rows follow p(rest | condition) of the joint, as above. If not, the
            proposals themselves are returned.

    Raises:
        DataError: No row meets the conditions.

    Warns:
        UserWarning: The proposals do not suffice: rows repeat, or are few.
    """
    condition = _Condition(model, codec, asked)
    if not resample or not condition.end:
        proposals = condition.propose(n, len(codec), rng)
        return condition.rows(proposals, float(n), 1.0, rng)
    proposals = condition.weighed(1 if condition.exact else max(LEAST, n), rng)
    effective = float(n) if condition.exact else _effective(proposals.log_w)
    most = AT_MOST * n + 8 * LEAST
    while effective < 2 * n and len(proposals.x) < most and not condition.exact:
        have = len(proposals.x)
        more = have if not effective else math.ceil(have * (2.2 * n / effective - 1.0))
        more = min(max(more, LEAST), 3 * have, most - have)
        proposals = proposals.and_(condition.weighed(more, rng))
        effective = _effective(proposals.log_w)
    log_w = proposals.log_w
    if not np.isfinite(log_w).any():
        raise DataError(
            f"No row meets the conditions on {condition.names} together: of {len(log_w)} that were "
            "drawn for them, the model thinks all impossible."
        )
    if effective < n:
        warnings.warn(
            f"The conditions on {condition.names} are rare together: {len(log_w)} proposals are "
            f"worth {effective:.0f} draws, fewer than the {n} rows that were asked for. Rows "
            "repeat, and they vary less than real ones would.",
            stacklevel=3,
        )
    probability = float(np.exp(np.logaddexp.reduce(log_w) - np.log(len(log_w))))
    if probability < CONTRADICTION * math.exp(condition.log_density):
        warnings.warn(
            f"The conditions on {condition.names} seem to contradict each other: the model thinks "
            f"that one row in {math.exp(condition.log_density) / probability:.1g} meets them.",
            stacklevel=3,
        )
    chosen = proposals.take(_systematic(log_w, n, rng))
    return condition.rows(chosen, effective, probability, rng)


class _Proposals(NamedTuple):
    """Rows that may be chosen.

    Args:
        x: Levels `(n, parts)`, UNKNOWN where they are still to be drawn.
        z: The latent, `(n, latent_dim)`.
        wanted: Values of the columns of which some are wanted.
        log_w: The logarithms of their weights, `(n,)`.
    """

    x: np.ndarray
    z: np.ndarray
    wanted: dict[str, Values]
    log_w: np.ndarray

    def take(self, rows: np.ndarray) -> _Proposals:
        wanted = {name: Values(*(part[rows] for part in of)) for name, of in self.wanted.items()}
        return _Proposals(self.x[rows], self.z[rows], wanted, self.log_w[rows])

    def and_(self, other: _Proposals) -> _Proposals:
        x, z, log_w = (
            np.concatenate(parts)
            for parts in ((self.x, other.x), (self.z, other.z), (self.log_w, other.log_w))
        )
        wanted = {
            name: Values(
                *(np.concatenate(parts) for parts in zip(of, other.wanted[name], strict=True))
            )
            for name, of in self.wanted.items()
        }
        return _Proposals(x, z, wanted, log_w)


class _Condition:
    """What is asked, in levels.

    Attributes:
        known: Levels `(parts,)`, UNKNOWN where none is asked for.
        order: Parts in the order of a proposal: those first of which some values are wanted.
        end: Where the parts end that have to be weighed; 0 if nothing is asked.
        log_density: Log p of the values that are asked for, given their levels.
        exact: Whether all of these are known, so that there is nothing to weigh.
    """

    def __init__(self, model: Any, codec: TableCodec, asked: Asked):
        self.model, self.codec, self.asked = model, codec, asked
        self.known = codec.encode(asked.known, 1)[0]
        self.log_density = float(codec.log_density(asked.known, self.known[None]).sum())
        parts = np.arange(len(codec))
        slices = [codec.slice(name) for name in (*asked.known, *asked.wanted)]
        self.end = max((part.stop for part in slices), default=0)
        if (
            self.end and model.latent_dim
        ):  # all parts follow from z, which follows from what is known
            self.end = len(codec)
        first = [i for name in asked.wanted for i in parts[codec.slice(name)]]
        self.order = np.array([*first, *(i for i in parts if i not in first)])
        self.wanted = _shares(model, codec, asked.wanted) if asked.wanted else None
        self.exact = not model.latent_dim and bool((self.known[: self.end] != UNKNOWN).all())

    @property
    def names(self) -> str:
        return ", ".join([*self.asked.known, *self.asked.wanted])

    def propose(self, n: int, end: int, rng: np.random.Generator) -> _Proposals:
        """Draw the parts before `end`; the weights are those of a uniform choice, times q."""
        x = np.broadcast_to(self.known, (n, len(self.known)))
        seen = x != UNKNOWN
        order = self.order[self.order < end]
        walked = walk(self.model, x, seen, rng, order, self.wanted)
        levels = walked.x.astype(np.int64)
        values = {}
        for name, wanted in self.asked.wanted.items():
            part = levels[:, self.codec.slice(name)]
            coded = self.codec.columns[self.codec.place(name)]
            values[name] = coded.decode(part, rng.random(part.shape), wanted)
        return _Proposals(levels, walked.z, values, walked.log_share - walked.log_p)

    def weighed(self, n: int, rng: np.random.Generator) -> _Proposals:
        """Draw and weigh n proposals."""
        drawn = self.propose(n, self.end, rng)
        nothing = np.zeros(drawn.x.shape, bool)
        joint = walk(self.model, drawn.x, nothing, order=np.arange(self.end), z=drawn.z)
        log_w = possible(joint.log_p) + drawn.log_w
        for name, wanted in self.asked.wanted.items():
            there = wanted.holds(drawn.wanted[name].values) & ~drawn.wanted[name].missing
            log_w = np.where(there, log_w, -np.inf)
        return drawn._replace(log_w=log_w + self.log_density)

    def rows(
        self,
        drawn: _Proposals,
        effective: float,
        probability: float,
        rng: np.random.Generator,
    ) -> Rows:
        """Draw the parts that are still unknown, and the values of all."""
        x = drawn.x
        if (x == UNKNOWN).any():
            x = walk(self.model, x, x != UNKNOWN, rng).x.astype(np.int64)
        values = self.codec.decode(x, rng) | drawn.wanted
        for name, value in self.asked.known.items():  # exactly as it was asked for
            values[name] = Values(*(np.repeat(part, len(x)) for part in value))
        return Rows(x, values, effective, probability)


def _shares(model: Any, codec: TableCodec, wanted: Mapping[str, Wanted]) -> np.ndarray:
    """Which share of each level is wanted, laid out as the likelihood's `rows`."""
    shares = [np.ones_like(share) for share in model.likelihood.shares]
    for name, asked in wanted.items():
        parts = range(*codec.slice(name).indices(len(codec)))
        coded = codec.columns[codec.place(name)]
        found = coded.share(asked)
        seen = codec.shares[codec.slice(name).start] > 0
        if not all(part.any() for part in found) or not (found[0] * seen).any():
            raise nothing_seen(coded.column, asked)
        for i, part in zip(parts, found, strict=True):
            shares[i] = np.broadcast_to(np.atleast_2d(part), shares[i].shape)
    return model.likelihood.table(shares)


def fill(
    model: Any,
    codec: TableCodec,
    x: np.ndarray,
    n: int,
    rng: np.random.Generator,
    resample: bool = True,
    empty: bool = True,
) -> np.ndarray:
    """Fill the gaps of rows, each n times, `(n, rows, parts)`.

    Args:
        model: A `ConditionalVAE` with the `Columns` likelihood.
        codec: The table's.
        x: Levels `(rows, parts)`, UNKNOWN in the gaps.
        n: How many times.
        rng: Of the draws.
        resample: Whether the draws follow p(gaps | rest) of the joint: of twice as many proposals,
            `FEW` at least, n are chosen by the ratio of the two densities.
        empty: Whether gaps may be filled with empty cells.
    """
    wanted = None if empty else not_empty(model, codec)
    proposals = max(FEW, 2 * n) if resample else n
    some = max(1, AT_ONCE // proposals)
    parts = [
        _filled(model, x[start : start + some], n, proposals, rng, wanted)
        for start in range(0, len(x), some)
    ]
    return np.concatenate(parts, axis=1) if parts else np.zeros((n, 0, len(codec)), np.int64)


def _filled(
    model: Any,
    x: np.ndarray,
    n: int,
    proposals: int,
    rng: np.random.Generator,
    wanted: np.ndarray | None,
) -> np.ndarray:
    given = x.repeat(proposals, axis=0)
    walked = walk(model, given, given != UNKNOWN, rng, wanted=wanted)
    levels = walked.x.astype(np.int64)
    if proposals > n:
        joint = walk(model, levels, np.zeros(given.shape, bool), z=walked.z)
        log_w = (possible(joint.log_p) - walked.log_p + walked.log_share).reshape(len(x), -1)
        # What is known can be impossible by itself; the proposals then stay as they are.
        log_w = np.where(np.isfinite(log_w).any(axis=1, keepdims=True), log_w, 0.0)
        chosen = np.stack([_systematic(each, n, rng) for each in log_w])
        levels = levels[chosen + np.arange(len(x))[:, None] * proposals]
    return levels.reshape(len(x), n, -1).swapaxes(0, 1)


def not_empty(model: Any, codec: TableCodec) -> np.ndarray:
    """All but the level of an empty cell, laid out as the likelihood's `rows`."""
    shares = [np.ones_like(share) for share in model.likelihood.shares]
    for coded in codec.columns:
        if coded.missing:
            shares[codec.slice(coded.column.name).start][:, -1] = 0.0
    return model.likelihood.table(shares)


def possible(log_p: np.ndarray) -> np.ndarray:
    """Log p as float64, -inf where a level cannot be."""
    log_p = log_p.astype(float)
    return np.where(log_p > IMPOSSIBLE / 2, log_p, -np.inf)


def _effective(log_w: np.ndarray) -> float:
    if not np.isfinite(log_w).any():
        return 0.0
    w = np.exp(log_w - log_w.max())
    return float(w.sum() ** 2 / np.square(w).sum())


def _systematic(log_w: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Choose n by weight: each is taken n w times, rounded down or up; in random order."""
    w = np.exp(log_w - log_w.max())
    place = (rng.random() + np.arange(n)) / n
    chosen = np.searchsorted(np.cumsum(w) / w.sum(), place, side="right")
    return rng.permutation(np.minimum(chosen, len(w) - 1))


def frame_of(codec: TableCodec, rows: Rows) -> pd.DataFrame:
    """The rows as a frame; what is known of the draw is in `attrs`."""
    frame = codec.write(rows.values)
    frame.attrs["effective_sample_size"] = rows.effective
    frame.attrs["probability"] = rows.probability
    return frame
