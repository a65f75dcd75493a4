"""How good imputations are: of what was hidden, and whether their spread is honest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from keras_cvae.data.tables.schema import Schema
from keras_cvae.errors import DataError
from keras_cvae.evaluation.tables.plain import Figures, plain

LEVELS = (0.5, 0.8, 0.95)


@dataclass(frozen=True)
class Imputation(Figures):
    """Several imputations of each hidden cell against the truth.

    Attributes:
        accuracy: Share of hidden categories whose most frequent draw is the truth; mean of columns.
        brier: Brier score of the draws' shares, minus its excess for there being few draws.
        rmse: Root mean squared error of the draws' mean, in standard deviations of the column; mean
            over the number columns.
        crps: Continuous ranked probability score in standard deviations, the fair estimate for n
            draws (Ferro 2014); mean over the number columns. Of a single draw or a point estimate
            it is the absolute error.
        coverage: Interval -> share of hidden numbers within the central interval of their draws.
        columns: Column -> its own figures.
        cells: How many were hidden.
    """

    accuracy: float
    brier: float
    rmse: float
    crps: float
    coverage: dict[str, float]
    columns: dict[str, dict[str, float]]
    cells: int


def imputation(
    truth: pd.DataFrame,
    imputed: Sequence[pd.DataFrame],
    hidden: np.ndarray,
    schema: Schema | None = None,
    levels: Sequence[float] = LEVELS,
) -> Imputation:
    """Compare imputations with the truth.

    Args:
        truth: The rows as they were.
        imputed: One or several tables with the same rows, in which the hidden cells are drawn.
        hidden: Booleans `(rows, columns)`: what was hidden.
        schema: Says which columns are categories.
        levels: Of the central intervals whose coverage is measured; with n draws at most
            (n - 1) / (n + 1).

    Raises:
        DataError: Tables of another length.
    """
    hidden = np.asarray(hidden, bool)
    if hidden.shape != truth.shape or any(len(table) != len(truth) for table in imputed):
        raise DataError(
            f"Received {len(imputed)} tables of {[len(t) for t in imputed[:3]]} rows and hidden "
            f"cells {hidden.shape}. Expected those of the truth, {truth.shape}."
        )
    figures: dict[str, dict[str, float]] = {}
    inside: dict[float, list[np.ndarray]] = {level: [] for level in levels}
    for place, (name, column) in enumerate(plain([truth, *imputed], schema).items()):
        true, *draws = column.tables
        cells = hidden[:, place] & (~np.isnan(true) if column.number else true >= 0)
        if not cells.any():
            continue
        drawn = np.stack([table[cells] for table in draws])  # (draws, cells)
        if column.number:
            figures[name] = _number(true[cells], drawn, np.nanstd(true) or 1.0)
            for level in levels:
                inside[level].append(_within(true[cells], drawn, level))
        else:
            figures[name] = _category(true[cells], drawn, column.size)

    def mean(figure: str) -> float:
        values = [each[figure] for each in figures.values() if figure in each]
        return float(np.mean(values)) if values else float("nan")

    coverage = {
        f"{level:g}": float(np.concatenate(parts).mean())
        for level, parts in inside.items()
        if parts and level <= (len(imputed) - 1) / (len(imputed) + 1)
    }
    return Imputation(
        accuracy=mean("accuracy"),
        brier=mean("brier"),
        rmse=mean("rmse"),
        crps=mean("crps"),
        coverage=coverage,
        columns=figures,
        cells=int(hidden.sum()),
    )


def _number(true: np.ndarray, drawn: np.ndarray, scale: float) -> dict[str, float]:
    n = len(drawn)
    error = np.abs(drawn - true).mean(axis=0)
    if n > 1:  # E|X - X'| over pairs of draws, from their order
        rank = (2 * np.arange(1, n + 1) - n - 1)[:, None]
        error = error - (rank * np.sort(drawn, axis=0)).sum(axis=0) / (n * (n - 1))
    rmse = np.sqrt(np.square(drawn.mean(axis=0) - true).mean())
    return {"rmse": float(rmse / scale), "crps": float(error.mean() / scale)}


def _category(true: np.ndarray, drawn: np.ndarray, size: int) -> dict[str, float]:
    n = len(drawn)
    share = np.stack([np.bincount(cell + 1, minlength=size + 1) for cell in drawn.T]) / n
    of_truth = share[np.arange(len(true)), true + 1]
    squares = np.square(share).sum(axis=1)
    if n > 1:  # without the draws' own noise
        squares = (n * squares - 1) / (n - 1)
    accuracy = (share.argmax(axis=1) == true + 1).mean()
    return {"accuracy": float(accuracy), "brier": float((1 - 2 * of_truth + squares).mean())}


def _within(true: np.ndarray, drawn: np.ndarray, level: float) -> np.ndarray:
    """Whether the truth lies in the central interval; at its ends, in part.

    The truth's rank among n draws is uniform over n + 1 places if they come from the same law; ties
    are spread over the places that they could have.
    """
    n = len(drawn)
    below, at = (drawn < true).sum(axis=0), (drawn == true).sum(axis=0)
    low, high = (1 - level) / 2 * (n + 1), (1 + level) / 2 * (n + 1)
    overlap = np.minimum(below + at + 1, high) - np.maximum(below, low)
    return np.clip(overlap / (at + 1), 0.0, 1.0)
