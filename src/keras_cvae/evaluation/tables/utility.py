"""Whether a model that learned from synthetic rows predicts real ones (TSTR)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from keras_cvae.data.tables.schema import Schema
from keras_cvae.errors import DataError, nearest
from keras_cvae.evaluation.tables.fidelity import classifier
from keras_cvae.evaluation.tables.plain import Figures, plain, stacked, threads


@dataclass(frozen=True)
class Utility(Figures):
    """Boosted trees that predict a column of real rows.

    Attributes:
        target: The column.
        metric: "auc" of two classes, or "macro auc" (each against the rest); "r2" of a number.
        synthetic: Trained on synthetic rows.
        real: Trained on real rows.
    """

    target: str
    metric: str
    synthetic: float
    real: float


def utility(
    train: pd.DataFrame,
    synthetic: pd.DataFrame,
    test: pd.DataFrame,
    target: str,
    schema: Schema | None = None,
) -> Utility:
    """Train on synthetic and on real rows, test both on the same real ones.

    Raises:
        DataError: The target is not there, or has one value only.
    """
    if target not in test:
        raise DataError(f"Column '{target}' is not there.{nearest(target, test.columns)}")
    tables = [train, synthetic, test]
    inputs = [table.drop(columns=target) for table in tables]
    x = stacked([part[list(inputs[0])] for part in inputs], schema)
    ends = np.cumsum([len(table) for table in tables])[:-1]
    x_train, x_synthetic, x_test = (x.iloc[rows] for rows in np.split(np.arange(len(x)), ends))
    targets = [table[target] for table in tables]
    column = plain([table[[target]] for table in tables], schema)[target]
    score = _r2 if column.number and test[target].nunique() > 20 else _auc
    if score is _r2:  # dates, too
        targets = [pd.Series(values, name=target) for values in column.tables]
    metric, scores = "", []
    for some, of in ((x_synthetic, targets[1]), (x_train, targets[0])):
        there, known = of.notna().to_numpy(), targets[2].notna().to_numpy()
        y, y_test = of[there], targets[2][known]
        with threads(len(y)):
            metric, value = score(some[there], y, x_test[known], y_test)
        scores.append(value)
    return Utility(target, metric, *scores)


def _auc(x: pd.DataFrame, y: pd.Series, x_test: pd.DataFrame, y_test: pd.Series):
    from sklearn.metrics import roc_auc_score

    classes = sorted(y_test.astype(str).unique())
    if len(classes) < 2 or y.nunique() < 2:
        raise DataError(f"Column '{y.name}' has one value only. Expected at least two classes.")
    model = classifier("trees", x).fit(x, y.astype(str))
    p = pd.DataFrame(model.predict_proba(x_test), columns=model.classes_)
    p = p.reindex(columns=classes, fill_value=0.0).to_numpy()
    one = y_test.astype(str).to_numpy()[:, None] == np.asarray(classes)
    each = [roc_auc_score(one[:, k], p[:, k]) for k in range(len(classes))]
    return ("auc", each[-1]) if len(classes) == 2 else ("macro auc", float(np.mean(each)))


def _r2(x: pd.DataFrame, y: pd.Series, x_test: pd.DataFrame, y_test: pd.Series):
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(categorical_features="from_dtype", random_state=0)
    model.fit(x, y.astype(float))
    return "r2", float(model.score(x_test, y_test.astype(float)))
