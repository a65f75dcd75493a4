"""A model whose values do not know of each other: what any other has to be better than."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from scipy import stats
from scipy.special import ndtr

from keras_cvae.evaluation.metrics import Metric, Metrics
from keras_cvae.evaluation.prepare import is_binary
from keras_cvae.probability.likelihoods.counts import Counts
from keras_cvae.probability.likelihoods.discrete import CategoricalValues
from keras_cvae.probability.likelihoods.logistic import DiscretizedLogistic

Values = Literal["binary", "counts", "density"] | int
MOST = 50  # numbers that a line is fitted to
UNSEEN = 1e-3  # probability that levels have beside their Gaussian


@dataclass(frozen=True, kw_only=True)
class Independent(Metrics):
    """-log p in the mean over the examples of a model whose values do not know of each other.

    Of each class the frequencies of ones, or the means and variances, of the training data; where
    the condition is numbers, a mean that is linear in them. What a model has learned is what it is
    better by.

    Args:
        nats: -log p, lower is better.
        standard_error: Of `nats`; None of a single example.
    """

    nats: Annotated[float, Metric(unit="nats", error="standard_error")]
    standard_error: float | None

    @classmethod
    def of(
        cls,
        train: tuple[np.ndarray, np.ndarray | None],
        test: tuple[np.ndarray, np.ndarray | None],
        values: Values,
    ) -> "Independent | None":
        """Learn from training examples and score others.

        Args:
            train: x `(n, *x_shape)` and classes `(n,)`, numbers `(n, d)`, or None.
            test: The same of other examples.
            values: "binary": x is 0 or 1 (grey levels of training examples are probabilities).
                "counts": whole numbers, negative binomial or Poisson. "density": a Gaussian. A
                number of levels: a Gaussian's share of each of 0 .. levels - 1.

        Returns:
            None where a value is constant and x has a density, which can then be as high as one
            likes; or of more numbers than the examples tell apart.
        """
        (learn, y), (score, y_test) = (
            (x.reshape(len(x), -1).astype(float), c) for x, c in (train, test)
        )
        if values == "density" and not (_variance(learn) > 0).all():
            return None
        if y is not None and y_test is not None and (y.dtype.kind == "f" or y.ndim == 2):
            learn_y, test_y = (np.reshape(c, (len(c), -1)).astype(float) for c in (y, y_test))
            if values == "binary" or values == "counts" or len(learn) < 10 * learn_y.shape[1]:
                return None
            if learn_y.shape[1] > MOST:
                return None
            mean, mean_test = _lines(learn, learn_y, test_y)
            found = _scored(learn - mean, score - mean_test, values, mean_test)
        else:
            found = np.zeros(len(score))
            pooled = _variance(learn)
            for label in [None] if y_test is None else np.unique(y_test):
                one = slice(None) if label is None else y == label
                rows = slice(None) if label is None else y_test == label
                part = _scored(learn[one], score[rows], values, 0.0, pooled)
                if part is None:
                    return None
                found[rows] = part
        if found is None:
            return None
        error = float(found.std(ddof=1) / math.sqrt(len(found))) if len(found) > 1 else None
        return cls(nats=-float(found.mean()), standard_error=error)


def kind_of(model: Any) -> tuple[Values, Callable[[np.ndarray], np.ndarray]] | None:
    """What values a model's x have, and what makes them of x; None where they have no baseline."""
    likelihood = model.likelihood
    if is_binary(model):
        return "binary", np.asarray
    if isinstance(likelihood, Counts):
        return "counts", np.asarray
    if isinstance(likelihood, DiscretizedLogistic):
        return likelihood.levels, lambda x: np.rint(x * (likelihood.levels - 1))
    if isinstance(likelihood, CategoricalValues):
        return likelihood.levels, lambda x: np.rint(likelihood.level(x))
    return None if likelihood.discrete else ("density", np.asarray)


def _variance(x: np.ndarray) -> np.ndarray:
    """Variances of columns `(n, d)`: 0 where all are the same, whatever their mean rounds to."""
    return np.where((x == x[:1]).all(axis=0), 0.0, x.var(axis=0))


def _lines(x: np.ndarray, y: np.ndarray, y_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of x `(n, d)` that are linear in y, at y and at other ones."""
    mean, scale = y.mean(axis=0), y.std(axis=0)
    known, asked = (
        np.column_stack([np.ones(len(part)), (part - mean) / np.where(scale > 0, scale, 1.0)])
        for part in (y, y_test)
    )
    weights = np.linalg.lstsq(known, x, rcond=None)[0]
    return known @ weights, asked @ weights


def _scored(
    learn: np.ndarray,
    score: np.ndarray,
    values: Values,
    shift: Any = 0.0,
    pooled: np.ndarray | None = None,
) -> np.ndarray | None:
    """log p of examples `(m, d)` under what others `(n, d)` say, `(m,)`.

    Args:
        learn: Less their means, where these are known.
        score: The same.
        values: As in `Independent.of`.
        shift: What was taken from `score`.
        pooled: Variances of all classes, for values that do not vary in this one.
    """
    n = len(learn)
    if values == "binary":
        p = (learn.sum(axis=0) + 1.0) / (n + 2.0)
        return (score * np.log(p) + (1.0 - score) * np.log1p(-p)).sum(axis=1)
    mean = learn.mean(axis=0) if n else np.zeros(learn.shape[1])
    variance = _variance(learn) if n > 1 else np.zeros(learn.shape[1])
    if values == "counts":
        mean = (learn.sum(axis=0) + 0.5) / (n + 1.0)
        over = np.maximum(variance - mean, 1e-6 * mean)
        size = np.square(mean) / over
        log_p = stats.nbinom.logpmf(score, size, size / (size + mean))
        return np.asarray(log_p.sum(axis=1))
    if pooled is not None:
        variance = np.where(variance > 0, variance, pooled)
    if values == "density":
        if variance.min() == 0.0:
            return None
        z = np.square(score - mean) / variance
        return np.asarray(-0.5 * (z + np.log(2.0 * np.pi * variance)).sum(axis=1))
    deviation = np.sqrt(np.maximum(variance, 1.0 / 12.0))
    above, below = (ndtr((score - mean + half) / deviation) for half in (0.5, -0.5))
    level = score + shift
    share = np.where(level >= values - 1, 1.0, above) - np.where(level <= 0, 0.0, below)
    return np.log((1.0 - UNSEEN) * share + UNSEEN / values).sum(axis=1)
