"""All figures of a table's model in one go."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from keras_cvae.evaluation.tables.fidelity import (
    Detection,
    Impossible,
    Shapes,
    Trends,
    detection,
    impossible,
    shapes,
    trends,
)
from keras_cvae.evaluation.tables.imputing import Imputation, imputation
from keras_cvae.evaluation.tables.plain import Figures
from keras_cvae.evaluation.tables.privacy import Privacy, privacy
from keras_cvae.evaluation.tables.utility import Utility, utility


@dataclass(frozen=True)
class Likelihood(Figures):
    """Log p of held-out rows.

    Attributes:
        nats: Mean over the rows, higher is better.
        standard_error: Of that mean.
        train_nats: Of as many rows that were learned.
        rows: How many.
    """

    nats: float
    standard_error: float
    train_nats: float
    rows: int


@dataclass(frozen=True)
class Conditional(Figures):
    """Rows under a condition against the real rows that meet it.

    Attributes:
        condition: What was asked.
        rows: Real rows that meet it, and as many drawn ones.
        violated: Drawn rows that do not meet it.
        auc: Of boosted trees that tell them apart by the other columns; .5 at best.
        filtered_auc: The same of unconditional draws that meet it; None if there are few.
        probability: The model's estimate of the condition's probability.
        share: Its share of the real rows.
        effective_sample_size: What the proposals were worth.
    """

    condition: dict[str, Any]
    rows: int
    violated: int
    auc: float
    filtered_auc: float | None
    probability: float
    share: float
    effective_sample_size: float


@dataclass(frozen=True)
class TableEvaluation(Figures):
    """What a model of a table is worth.

    Attributes:
        likelihood: Log p of held-out rows.
        shapes: Marginals, against the rows that were learned.
        trends: Pairs of columns, against the rows that were learned.
        trees: Whether boosted trees tell synthetic rows from the learned ones.
        held_out_trees: Whether they tell them from rows that were held out.
        logistic: Whether a logistic regression does.
        privacy: Distances to the closest record.
        impossible: Pairs of values that the data never have.
        imputation: A fifth of the cells of held-out rows, hidden and imputed.
        utility: Predicting the target, if one is asked for.
        conditional: For each condition that was asked for.
        seconds: How long it took.
    """

    likelihood: Likelihood
    shapes: Shapes
    trends: Trends
    trees: Detection
    held_out_trees: Detection
    logistic: Detection
    privacy: Privacy
    impossible: Impossible
    imputation: Imputation
    utility: Utility | None
    conditional: list[Conditional]
    seconds: float


def evaluate_table(
    model: Any,
    train: pd.DataFrame,
    holdout: pd.DataFrame,
    *,
    target: str | None = None,
    conditions: Sequence[Mapping[str, Any]] = (),
    seed: int = 0,
    synthetic: pd.DataFrame | None = None,
) -> TableEvaluation:
    """Measure a `TableCVAE`.

    Args:
        model: The model.
        train: The rows that it learned.
        holdout: Rows that it did not.
        target: A column to predict from synthetic rows.
        conditions: Conditions under which rows are drawn and compared with real ones.
        seed: Of all draws.
        synthetic: Rows that it drew, as many as `train`; drawn here by default.
    """
    started, schema = time.monotonic(), model.schema
    names = schema.names
    train, holdout = train[names], holdout[names]
    if synthetic is None:
        synthetic = model.sample(len(train), seed=seed)
    return TableEvaluation(
        likelihood=likelihood(model, train, holdout, seed),
        shapes=shapes(train, synthetic, schema),
        trends=trends(train, synthetic, schema),
        trees=detection(train, synthetic, schema=schema, seed=seed),
        held_out_trees=detection(holdout, synthetic, schema=schema, seed=seed),
        logistic=detection(train, synthetic, by="logistic", schema=schema, seed=seed),
        privacy=privacy(train, holdout, synthetic, schema, seed=seed),
        impossible=impossible(pd.concat([train, holdout]), synthetic, schema),
        imputation=imputed(model, holdout, seed),
        utility=target and utility(train, synthetic, holdout, target, schema),  # type: ignore[arg-type]
        conditional=[
            conditional(model, pd.concat([train, holdout]), synthetic, asked, seed)
            for asked in conditions
        ],
        seconds=time.monotonic() - started,
    )


def likelihood(model: Any, train: pd.DataFrame, holdout: pd.DataFrame, seed: int = 0) -> Likelihood:
    """Log p of held-out rows, and of as many that were learned."""
    log_p = model.log_prob(holdout)
    some = train.sample(min(len(train), len(holdout)), random_state=seed)
    error = float(np.std(log_p, ddof=1) / math.sqrt(len(log_p))) if len(log_p) > 1 else math.nan
    learned = float(model.log_prob(some).mean())
    return Likelihood(float(log_p.mean()), error, learned, len(log_p))


def imputed(
    model: Any, holdout: pd.DataFrame, seed: int = 0, share: float = 0.2, draws: int = 20
) -> Imputation:
    """Hide some cells of held-out rows, draw them, and compare with what was there.

    Args:
        model: A `TableCVAE`.
        holdout: Rows that it did not learn; at most 500 of them are taken.
        seed: Of what is hidden, and of the draws.
        share: Of the cells.
        draws: How many for each cell; 20 are enough for intervals of 80 %.
    """
    truth = holdout.sample(min(500, len(holdout)), random_state=seed)
    hidden = np.random.default_rng(seed).random(truth.shape) < share
    gaps = truth.astype(object).mask(hidden)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numbers that were not seen are named by `likelihood`
        drawn = model.impute(gaps, draws, seed=seed)
    return imputation(truth, drawn, hidden, model.schema)


def conditional(
    model: Any,
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    condition: Mapping[str, Any],
    seed: int = 0,
    least: int = 30,
) -> Conditional:
    """Draw as many rows under a condition as real ones meet it, and compare them.

    Args:
        model: A `TableCVAE`.
        real: All real rows.
        synthetic: Unconditional draws.
        condition: What is asked of every row.
        seed: Of the draws.
        least: Rows that a comparison takes at least.
    """
    met = real[model.codec.meets(real, condition)]
    drawn = model.sample(max(len(met), least), condition, seed=seed)
    others = [name for name in model.schema.names if name not in condition]
    filtered = synthetic[model.codec.meets(synthetic, condition)]

    def auc(rows: pd.DataFrame) -> float:
        return detection(met[others], rows[others], schema=model.schema, seed=seed).auc

    return Conditional(
        condition={name: _shown(value) for name, value in condition.items()},
        rows=len(met),
        violated=int((~model.codec.meets(drawn, condition)).sum()),
        auc=auc(drawn) if len(met) >= least else math.nan,
        filtered_auc=auc(filtered) if min(len(met), len(filtered)) >= least else None,
        probability=drawn.attrs["probability"],
        share=len(met) / len(real),
        effective_sample_size=drawn.attrs["effective_sample_size"],
    )


def _shown(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, set | frozenset) else value
