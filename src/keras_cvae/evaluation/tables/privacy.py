"""Whether synthetic rows are nearer to the rows that were trained on than to others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from keras_cvae.data.tables.schema import Schema
from keras_cvae.evaluation.tables.plain import Figures, Plain, plain, subset


@dataclass(frozen=True)
class Privacy(Figures):
    """Distances to the closest record (DCR) in train and in rows that were held out.

    Attributes:
        dcr_share: Share of synthetic rows nearer to train than to the holdout, ties counted half;
            .5 is neutral, for both have the same number of rows.
        standard_error: Of that share.
        copies: Share of synthetic rows that stand in train exactly.
        holdout_copies: Share that stand in the holdout exactly, by chance; of as many rows.
        rows: Of train and holdout that were compared with.
    """

    dcr_share: float
    standard_error: float
    copies: float
    holdout_copies: float
    rows: int


def privacy(
    train: pd.DataFrame,
    holdout: pd.DataFrame,
    synthetic: pd.DataFrame,
    schema: Schema | None = None,
    *,
    at_most: int = 10_000,
    seed: int = 0,
) -> Privacy:
    """Compare distances to train and to a holdout of the same size (the larger one is cut).

    A distance is the sum over the columns of |difference| / range for numbers and of 0 or 1 for
    categories (Gower).

    Args:
        train: What the model was trained on.
        holdout: Rows that it never saw.
        synthetic: Rows that it drew; `at_most` so many are used.
        schema: Says which columns are categories.
        at_most: As above.
        seed: Of the choice of rows.
    """
    rng = np.random.default_rng(seed)
    rows = min(len(train), len(holdout))
    tables = [subset(train, rows, rng), subset(holdout, rows, rng)]
    tables.append(subset(synthetic[list(train)], at_most, rng))
    columns = list(plain(tables, schema).values())
    near = [_nearest(columns, other) for other in (0, 1)]
    closer = np.sign(near[1] - near[0]) / 2 + 0.5
    error = float(closer.std() / np.sqrt(len(closer)))
    copies, by_chance = (float((distance == 0).mean()) for distance in near)
    return Privacy(float(closer.mean()), error, copies, by_chance, rows)


def _nearest(columns: list[Plain], other: int, chunk: int = 512) -> np.ndarray:
    """Distance of each row of the last table to the nearest of another, `(n,)`."""
    from scipy.spatial.distance import cdist

    numbers: list[np.ndarray] = []
    theirs: list[np.ndarray] = []
    one_hot: list[np.ndarray] = []
    their_one_hot: list[np.ndarray] = []
    for column in columns:
        a, b = column.tables[-1], column.tables[other]
        if not column.number:
            own = np.arange(-1, column.size)
            one_hot.append(a[:, None] == own)
            their_one_hot.append(b[:, None] == own)
            continue
        reference = np.concatenate(column.tables[:2])
        low, high = np.nanmin(reference), np.nanmax(reference)
        for values, out in ((a, numbers), (b, theirs)):
            scaled = (values - low) / (high - low or 1.0)
            out.append(np.where(np.isnan(scaled), -1.0, scaled))  # missing: far from all
    n = len(columns[0].tables[-1])
    near = []
    x, y = (np.stack(p, 1) if p else None for p in (numbers, theirs))
    c, d = (np.concatenate(p, 1).astype("float32") if p else None for p in (one_hot, their_one_hot))
    for start in range(0, n, chunk):
        distance = np.zeros(1)
        if x is not None and y is not None:
            distance = distance + cdist(x[start : start + chunk], y, "cityblock")
        if c is not None and d is not None:
            distance = distance + (len(one_hot) - c[start : start + chunk] @ d.T)
        near.append(np.where(distance < 1e-9, 0.0, distance).min(axis=1))
    return np.concatenate(near)
