"""What importance sampling gives, and Bayes' rule on it."""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax


class LogProb(NamedTuple):
    """Importance-sampled log-densities of n examples, in nats, higher is better.

    Args:
        log_prob: `(n,)`. In expectation a lower bound of the truth, short of it by about half the
            squared standard error.
        standard_error: `(n,)`, Monte Carlo error of `log_prob` (delta method).
        effective_sample_size: `(n,)`, (sum w)^2 / sum w^2. `log_prob` is short of the truth by
            about half of its inverse; below ten or so the errors are too small as well, because q
            misses part of the true posterior.
        num_samples: Draws of z per example (for a marginal: per likely class).
        seed: Of the noise.
    """

    log_prob: np.ndarray
    standard_error: np.ndarray
    effective_sample_size: np.ndarray
    num_samples: int
    seed: int

    @property
    def mean(self) -> float:
        """Mean over the examples, nats."""
        return float(np.mean(self.log_prob))

    @property
    def mean_standard_error(self) -> float:
        """Error of `mean` as an estimate for new examples: they differ, and so do the draws."""
        n = len(self.log_prob)
        return float(np.std(self.log_prob, ddof=1) / math.sqrt(n)) if n > 1 else math.nan

    @property
    def monte_carlo_error(self) -> float:
        """Error of `mean` as an estimate for these very examples: only the draws of z differ."""
        return float(np.sqrt(np.sum(np.square(self.standard_error))) / len(self.standard_error))


class ClassLogProb(NamedTuple):
    """log p(x | y) of n examples under each of K classes, `(n, K)` in nats, as in `LogProb`."""

    log_prob: np.ndarray
    standard_error: np.ndarray
    effective_sample_size: np.ndarray
    num_samples: int
    seed: int

    def marginal(self, class_prior: Any = None) -> LogProb:
        """log p(x) = log sum_y p(y) p(x | y), y uniform unless `class_prior` `(K,)` is given."""
        joint = self.joint(class_prior)
        log_p = logsumexp(joint, axis=1)
        share = np.exp(joint - log_p[:, None])  # p(y | x)
        return LogProb(
            log_p,
            np.sqrt(np.sum(np.square(share * self.standard_error), axis=1)),
            self.effective_sample_size[np.arange(len(joint)), np.argmax(joint, axis=1)],
            self.num_samples,
            self.seed,
        )

    def of(self, y: np.ndarray) -> LogProb:
        """log p(x | y) of the classes `y` `(n,)`."""
        rows = np.arange(len(y))
        log_p, error, effective = (part[rows, y] for part in self[:3])
        return LogProb(log_p, error, effective, self.num_samples, self.seed)

    def joint(self, class_prior: Any = None) -> np.ndarray:
        """log p(y) + log p(x | y), `(n, K)`."""
        with np.errstate(divide="ignore"):  # a class that cannot be: log 0
            return self.log_prob + np.log(check_class_prior(class_prior, self.log_prob.shape[1]))


def class_posterior(joint: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """p(y | x) `(n, K)` from log p(x, y): Bayes' rule, softened by a temperature."""
    return softmax(joint / temperature, axis=1)


def fit_temperature(joint: np.ndarray, y: np.ndarray) -> float:
    """The temperature that gives held-out labels the highest likelihood (Guo et al. 2017).

    Args:
        joint: log p(x, y) of examples that the model was not trained on, `(n, K)`.
        y: Their classes `(n,)`.
    """

    def loss(log_t: float) -> float:
        log_posterior = log_softmax(joint / math.exp(log_t), axis=1)
        return -float(np.mean(log_posterior[np.arange(len(y)), y]))

    # The loss is convex in 1 / T, so it has one minimum in log T.
    bounds = (math.log(0.05), math.log(100.0))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)


def percentile(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Share of reference scores at or below each score, `(n,)`; a conformal p-value.

    Of examples like the reference at most a share a gets a value of at most a, whatever the model.
    """
    reference = np.sort(np.asarray(reference, "float64").ravel())
    below = np.searchsorted(reference, scores, side="right")
    return (below + 1.0) / (len(reference) + 1.0)


def check_class_prior(class_prior: Any, classes: int) -> np.ndarray:
    """Check p(y) `(K,)`; uniform for None.

    Raises:
        ValueError: Not numbers, another shape, negative weights, or a sum that is not 1.
    """
    if class_prior is None:
        return np.full(classes, 1.0 / classes)
    prior = np.asarray(class_prior)
    numbers = prior.shape == (classes,) and prior.dtype.kind in "iuf"
    if not numbers or not (prior >= 0).all() or abs(prior.sum() - 1.0) > 1e-3:
        raise ValueError(
            f"class_prior: received {np.array2string(prior, precision=3, threshold=12)}, expected "
            f"{classes} weights of at least 0 that sum to 1."
        )
    return prior / prior.sum()
