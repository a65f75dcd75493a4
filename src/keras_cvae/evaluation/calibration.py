"""Simulation-based calibration of posteriors."""

import math
from typing import NamedTuple

import numpy as np

from keras_cvae import errors
from keras_cvae.trees import take


class Calibration(NamedTuple):
    """Ranks of true values among draws from p(x | y): uniform, if the model is right about both.

    Args:
        ranks: How many draws lie below the truth, `(n, *x_shape)`, whole numbers 0 .. draws.
        draws: For each y.
    """

    ranks: np.ndarray
    draws: int

    def chi_square(self, bins: int | None = None) -> np.ndarray:
        """p-values of uniform ranks, `(*x_shape)`, by a chi-square test.

        Args:
            bins: Of the ranks, as equal as can be; None: 20, or fewer for less than 200 examples.
        """
        from scipy import stats

        n = len(self.ranks)
        bins = min(bins or int(np.clip(n // 10, 2, 20)), self.draws + 1)
        edges = np.arange(self.draws + 1) * bins // (self.draws + 1)
        expected = n * np.bincount(edges, minlength=bins) / (self.draws + 1)
        which = edges[self.ranks.reshape(n, -1)]
        found = np.stack([np.bincount(column, minlength=bins) for column in which.T])
        p = stats.chisquare(found, np.broadcast_to(expected, found.shape), axis=1).pvalue
        return np.reshape(p, self.ranks.shape[1:])

    def kolmogorov_smirnov(self) -> np.ndarray:
        """p-values of uniform ranks, `(*x_shape)`, by the largest gap of the distributions.

        Sharper than `chi_square` where all is too high or too low, blunter where the spread is off.
        """
        from scipy import stats

        u = (self.ranks + 0.5) / (self.draws + 1)
        p = [stats.kstest(one, "uniform").pvalue for one in u.reshape(len(u), -1).T]
        return np.reshape(p, u.shape[1:])

    def coverage(self, levels=(0.5, 0.8, 0.9, 0.95)) -> np.ndarray:
        """Share of truths in the central interval of each level, `(levels, *x_shape)`."""
        u = (self.ranks + 0.5) / (self.draws + 1)
        return np.stack([np.mean(np.abs(u - 0.5) <= level / 2, axis=0) for level in levels])


def calibration(model, x, y, *, draws: int = 199, seed: int = 0) -> Calibration:
    """Simulation-based calibration (Talts et al. 2018, algorithm 1).

    Args:
        model: A `ConditionalVAE`.
        x: True values `(n, *x_shape)` that were not trained on: parameters drawn from their prior.
        y: What was simulated from each, conditions `(n, ...)`.
        draws: From p(x | y), for each y. Equal values, of discrete x, are ordered at random.
        seed: Of the draws.
    """
    x, y, draws = np.asarray(x), model.condition.prepare(y), errors.whole("draws", draws)
    at_once = max(1, 2**22 // (draws * math.prod(model.x_shape)))
    rng, ranks = np.random.default_rng([seed, 1]), []
    for start in range(0, len(x), at_once):
        truth = x[start : start + at_once, None]
        some = take(y, slice(start, start + at_once))
        drawn = model.generate(some, draws, seed=seed + start, output="sample")
        drawn = drawn.reshape(len(truth), draws, *model.x_shape)
        ties = np.sum(drawn == truth, axis=1)
        ranks.append(np.sum(drawn < truth, axis=1) + rng.integers(0, ties + 1))
    return Calibration(np.concatenate(ranks), draws)
