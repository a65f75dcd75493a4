"""Rows under a condition, in law: proposals are drawn with what is known in sight, and resampled.

A column late in the order may be the condition; those before it are then drawn by a network that
has rarely seen just this set. Both densities are known, that of the proposal and that of the whole
row, so resampling by their ratio gives draws from p(rest | condition) of the joint p(x):

    w = p(x) / q(x),    q(x) = prod_i p(x_i | known, before) / P(wanted_i | known, before)

The mean of w estimates the probability of the condition (importance sampling; Rubin 1987).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from keras_cvae.data.tables.codec import UNKNOWN, TableCodec
from keras_cvae.data.tables.coding import Wanted
from keras_cvae.data.tables.columns import Values
from keras_cvae.errors import DataError
from keras_cvae.models.tables.walks import walk

AT_MOST = 64  # proposals for each row, before it is said that they do not suffice
LEAST = 512  # proposals at once


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
    batches: list[_Proposals] = []
    if not asked.known and not asked.wanted:
        resample = False
    while True:
        left = max(LEAST, n) if resample else n
        batches.append(_Proposals.draw(model, codec, left, asked, rng, resample))
        log_w = np.concatenate([batch.log_w for batch in batches])
        if not resample:
            break
        effective = _effective(log_w)
        if effective >= 2 * n or len(log_w) >= AT_MOST * n + 8 * LEAST:
            break
    values = {
        name: Values(*(np.concatenate(parts) for parts in zip(*column, strict=True)))
        for name, column in _by_column(batches).items()
    }
    x = np.concatenate([batch.x for batch in batches])
    if not resample:
        return Rows(x, values, float(n), 1.0)
    if not np.isfinite(log_w).any():
        raise DataError(
            f"No row meets the conditions on {_names(asked)} together: of {len(log_w)} that were "
            "drawn for them, the model thinks all impossible."
        )
    if effective < n:
        warnings.warn(
            f"The conditions on {_names(asked)} are rare together: {len(log_w)} proposals are "
            f"worth {effective:.0f} draws, fewer than the {n} rows that were asked for. Rows "
            "repeat, and they vary less than real ones would.",
            stacklevel=3,
        )
    chosen = _systematic(log_w, n, rng)
    probability = float(np.exp(np.logaddexp.reduce(log_w) - np.log(len(log_w))))
    kept = {name: Values(*(part[chosen] for part in column)) for name, column in values.items()}
    return Rows(x[chosen], kept, effective, probability)


class _Proposals(NamedTuple):
    x: np.ndarray
    values: dict[str, Values]
    log_w: np.ndarray

    @classmethod
    def draw(
        cls,
        model: Any,
        codec: TableCodec,
        n: int,
        asked: Asked,
        rng: np.random.Generator,
        weigh: bool,
    ) -> _Proposals:
        known = codec.encode(asked.known, 1)[0]
        x = np.broadcast_to(known, (n, len(codec)))
        seen = np.broadcast_to(known != UNKNOWN, x.shape)
        order, wanted = None, None
        if asked.wanted:
            first = [
                i for name in asked.wanted for i in range(*codec.slice(name).indices(len(x[0])))
            ]
            order = np.array([*first, *(i for i in range(len(codec)) if i not in first)])
            wanted = _shares(model, codec, asked.wanted)
        walked = walk(model, x, seen, rng, order, wanted)
        levels = walked.x.astype(np.int64)
        values = codec.decode(levels, rng, asked.wanted)
        log_w = np.zeros(n)
        if weigh:
            joint = walk(model, levels, np.zeros_like(seen), z=walked.z)
            log_w = joint.log_p.astype(float) - walked.log_p + walked.log_share
            for name, column in asked.wanted.items():
                there = column.holds(values[name].values) & ~values[name].missing
                log_w = np.where(there, log_w, -np.inf)
            log_w += codec.log_density(asked.known, known[None]).sum()
        for name, value in asked.known.items():  # exactly as it was asked for
            values[name] = Values(*(np.repeat(part, n) for part in value))
        return cls(levels, values, log_w)


def _by_column(batches: list[_Proposals]) -> dict[str, list[Values]]:
    return {name: [batch.values[name] for batch in batches] for name in batches[0].values}


def _shares(model: Any, codec: TableCodec, wanted: Mapping[str, Wanted]) -> np.ndarray:
    """Which share of each level is wanted, laid out as the likelihood's `rows`."""
    shares = [np.ones_like(share) for share in model.likelihood.shares]
    for name, asked in wanted.items():
        parts = range(*codec.slice(name).indices(len(codec)))
        coded = codec.columns[codec.place(name)]
        found = coded.share(asked)
        if not any(part.any() for part in found):
            raise DataError(
                f"Column '{name}': nothing that was seen in training lies in {asked}. Expected "
                f"some of {coded.column.describe()}."
            )
        for i, part in zip(parts, found, strict=True):
            shares[i] = np.broadcast_to(np.atleast_2d(part), shares[i].shape)
    return model.likelihood.table(shares)


def not_empty(model: Any, codec: TableCodec) -> np.ndarray:
    """All but the level of an empty cell, laid out as the likelihood's `rows`."""
    shares = [np.ones_like(share) for share in model.likelihood.shares]
    for coded in codec.columns:
        if coded.missing:
            shares[codec.slice(coded.column.name).start][:, -1] = 0.0
    return model.likelihood.table(shares)


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


def _names(asked: Asked) -> str:
    return ", ".join([*asked.known, *asked.wanted])


def frame_of(codec: TableCodec, rows: Rows) -> pd.DataFrame:
    """The rows as a frame; what is known of the draw is in `attrs`."""
    frame = codec.write(rows.values)
    frame.attrs["effective_sample_size"] = rows.effective
    frame.attrs["probability"] = rows.probability
    return frame
