"""How alike real and synthetic rows are: columns, pairs of columns, whole rows."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from keras_cvae.data.tables.schema import Schema
from keras_cvae.errors import DataError
from keras_cvae.evaluation.tables.plain import Figures, Plain, plain, stacked, subset, threads

BINS = 10


@dataclass(frozen=True)
class Shapes(Figures):
    """How alike the columns are on their own, 1 at best.

    Attributes:
        score: Mean over the columns.
        columns: For each column, 1 - the Kolmogorov-Smirnov distance (numbers) or 1 - the total
            variation distance (categories); a missing cell is a state below all numbers.
    """

    score: float
    columns: dict[str, float]


def shapes(real: pd.DataFrame, synthetic: pd.DataFrame, schema: Schema | None = None) -> Shapes:
    """Compare the marginal distribution of every column.

    Real rows against other real rows do not reach 1 either: about .992 for 16,000 of each of Adult.
    """
    columns = {
        name: 1.0 - (_ks if column.number else _tv)(*column.tables)
        for name, column in plain([real, synthetic], schema).items()
    }
    return Shapes(float(np.mean(list(columns.values()))), columns)


def _ks(real: np.ndarray, synthetic: np.ndarray) -> float:
    real, synthetic = (np.sort(np.where(np.isnan(x), -np.inf, x)) for x in (real, synthetic))
    grid = np.union1d(real, synthetic)
    below = (np.searchsorted(x, grid, side="right") / len(x) for x in (real, synthetic))
    return float(np.abs(np.subtract(*below)).max())


def _tv(real: np.ndarray, synthetic: np.ndarray) -> float:
    size = max(real.max(), synthetic.max()) + 2
    shares = (np.bincount(x + 1, minlength=size) / len(x) for x in (real, synthetic))
    return float(np.abs(np.subtract(*shares)).sum() / 2)


@dataclass(frozen=True)
class Trends(Figures):
    """How alike all pairs of columns are, 1 at best.

    Attributes:
        score: Mean over all pairs.
        names: The columns.
        matrix: `(columns, columns)`; 1 on the diagonal.
        real: The real dependence of each pair: |correlation| of two numbers, Cramer's V otherwise.
        synthetic: The same of the synthetic rows.
    """

    score: float
    names: list[str]
    matrix: np.ndarray
    real: np.ndarray
    synthetic: np.ndarray

    def worst(self, most: int = 10) -> list[tuple[str, str, float]]:
        """The pairs that are least alike, worst first."""
        pairs = itertools.combinations(range(len(self.names)), 2)
        scored = sorted((self.matrix[i, j], i, j) for i, j in pairs)
        return [(self.names[i], self.names[j], float(score)) for score, i, j in scored[:most]]


def trends(
    real: pd.DataFrame, synthetic: pd.DataFrame, schema: Schema | None = None, bins: int = BINS
) -> Trends:
    """Compare every pair of columns.

    Two numbers: 1 - |difference of their correlations| / 2. Otherwise 1 - the total variation
    distance of the two contingency tables, in which numbers are in `bins` bins of equal width
    between the lowest and the highest REAL value: one odd synthetic value must not move the bins.
    """
    columns = plain([real, synthetic], schema)
    names = list(columns)
    binned = {name: _binned(column, bins) for name, column in columns.items()}
    matrix, of_real, of_synthetic = (np.eye(len(names)) for _ in range(3))
    for i, j in itertools.combinations(range(len(names)), 2):
        a, b = columns[names[i]], columns[names[j]]
        if a.number and b.number:
            two = [_correlation(x, y) for x, y in zip(a.tables, b.tables, strict=True)]
            alike, ends = 1 - abs(two[0] - two[1]) / 2, [abs(rho) for rho in two]
        else:
            tables = _contingency(binned[names[i]], binned[names[j]])
            alike = 1 - np.abs(tables[0] - tables[1]).sum() / 2
            ends = [_cramer(table) for table in tables]
        matrix[i, j] = matrix[j, i] = alike
        of_real[i, j] = of_real[j, i] = ends[0]
        of_synthetic[i, j] = of_synthetic[j, i] = ends[1]
    upper = matrix[np.triu_indices(len(names), 1)]
    return Trends(float(upper.mean()) if len(upper) else 1.0, names, matrix, of_real, of_synthetic)


def _binned(column: Plain, bins: int) -> list[np.ndarray]:
    """Positions from 0, which is a missing cell."""
    if not column.number:
        return [table + 1 for table in column.tables]
    real = column.tables[0][~np.isnan(column.tables[0])]
    low, high = (real.min(), real.max()) if len(real) else (0.0, 0.0)
    inner = np.linspace(low, high, bins + 1)[1:-1]
    return [
        np.where(np.isnan(table), 0, np.searchsorted(inner, table, side="right") + 1)
        for table in column.tables
    ]


def _contingency(a: list[np.ndarray], b: list[np.ndarray]) -> list[np.ndarray]:
    rows, columns = (max(x.max() for x in pair) + 1 for pair in (a, b))
    return [
        np.bincount(x * columns + y, minlength=rows * columns).reshape(rows, columns) / len(x)
        for x, y in zip(a, b, strict=True)
    ]


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    there = ~np.isnan(x) & ~np.isnan(y)
    x, y = x[there], y[there]
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def _cramer(table: np.ndarray) -> float:
    """Cramer's V of a contingency table of shares."""
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    if min(table.shape) < 2:
        return 0.0
    expected = np.outer(table.sum(1), table.sum(0))
    return float(np.sqrt((np.square(table - expected) / expected).sum() / (min(table.shape) - 1)))


@dataclass(frozen=True)
class Detection(Figures):
    """Whether a classifier tells synthetic rows from real ones (C2ST).

    Attributes:
        auc: Area under the ROC curve of predictions on held-out folds; .5: it cannot.
        score: 2 (1 - auc), at most 1: as others report it.
        rows: Of each kind.
    """

    auc: float
    score: float
    rows: int


def detection(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    *,
    by: Literal["trees", "logistic"] = "trees",
    schema: Schema | None = None,
    folds: int = 3,
    seed: int = 0,
) -> Detection:
    """Train a classifier to tell real from synthetic rows, and see how it does on other rows.

    Boosted trees (scikit-learn's, with native categories) see what a model gets wrong in pairs and
    beyond; a logistic regression on one-hot columns sees little more than means and shares.

    Raises:
        DataError: Fewer rows than folds of one of them.
    """
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    if by not in ("trees", "logistic"):
        raise ValueError(f"by: received {by!r}, expected 'trees' or 'logistic'.")
    rows = min(len(real), len(synthetic))
    if rows < folds:
        raise DataError(f"Received {rows} rows. Expected at least {folds} real and synthetic ones.")
    rng = np.random.default_rng(seed)
    tables = [subset(real, rows, rng), subset(synthetic[list(real)], rows, rng)]
    x = stacked(tables, schema)
    y = np.repeat([0, 1], rows)
    folder = StratifiedKFold(folds, shuffle=True, random_state=seed)
    with threads(rows):
        p = cross_val_predict(classifier(by, x), x, y, cv=folder, method="predict_proba")[:, 1]
    auc = float(roc_auc_score(y, p))
    return Detection(auc, min(1.0, 2.0 * (1.0 - auc)), rows)


def classifier(by: str, x: pd.DataFrame):
    """A classifier for what `stacked` gives: boosted trees or a logistic regression."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    if by == "trees":
        return HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)
    numbers = [name for name in x if x[name].dtype.kind == "f"]
    categories = [name for name in x if name not in numbers]
    filled = SimpleImputer(add_indicator=True, keep_empty_features=True)
    features = ColumnTransformer(
        [
            ("numbers", make_pipeline(filled, StandardScaler()), numbers),
            ("categories", OneHotEncoder(handle_unknown="ignore", min_frequency=5), categories),
        ]
    )
    return make_pipeline(features, LogisticRegression(max_iter=1000))


@dataclass(frozen=True)
class Impossible(Figures):
    """Pairs of values that never occur together in the data, though both are frequent.

    Attributes:
        share: Share of synthetic rows with at least one such pair.
        pairs: The most frequent ones: column, value, column, value, and how many rows.
    """

    share: float
    pairs: list[tuple[str, str, str, str, int]]


def impossible(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    schema: Schema | None = None,
    *,
    expected: float = 10.0,
    levels: int = 60,
) -> Impossible:
    """Find rows that break a rule which the data obey, such as a husband who is female.

    Args:
        real: All real rows that there are.
        synthetic: The rows to be judged.
        schema: Says which columns are categories.
        expected: A pair that never occurs counts as impossible if so many rows would have it were
            the columns independent: exp(-10) of them would then be absent by chance.
        levels: Columns with more different values than that are left out.
    """
    columns = {
        name: _values(real[name], synthetic[name])
        for name in plain([real, synthetic], schema)
        if real[name].nunique() <= levels
    }
    broken = np.zeros(len(synthetic), bool)
    found: list[tuple[str, str, str, str, int]] = []
    for first, second in itertools.combinations(columns, 2):
        (names_a, a), (names_b, b) = columns[first], columns[second]
        real_pairs, pairs = _contingency([a[0], a[1]], [b[0], b[1]])
        independent = np.outer(real_pairs.sum(1), real_pairs.sum(0)) * len(real)
        never = (real_pairs == 0) & (independent >= expected)
        broken |= never[a[1], b[1]]
        found += [
            (first, str(names_a[i]), second, str(names_b[j]), round(pairs[i, j] * len(synthetic)))
            for i, j in np.argwhere(never & (pairs > 0))
        ]
    found.sort(key=lambda pair: -pair[-1])
    return Impossible(float(broken.mean()), found[:20])


def _values(real: pd.Series, synthetic: pd.Series) -> tuple[list, list[np.ndarray]]:
    whole = pd.concat([real.astype(object), synthetic.astype(object)], ignore_index=True)
    codes, names = pd.factorize(whole, use_na_sentinel=False)
    return list(names), np.split(codes, [len(real)])
