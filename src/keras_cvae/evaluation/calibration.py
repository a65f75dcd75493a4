"""Simulation-based calibration of posteriors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np

from keras_cvae import errors
from keras_cvae.evaluation.metrics import Metric, Metrics
from keras_cvae.inference.importance import Progress
from keras_cvae.trees import take


class Ranks(NamedTuple):
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

    def coverage(self, levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95)) -> np.ndarray:
        """Share of truths in the central interval of each level, `(levels, *x_shape)`."""
        u = (self.ranks + 0.5) / (self.draws + 1)
        return np.stack([np.mean(np.abs(u - 0.5) <= level / 2, axis=0) for level in levels])


@dataclass(frozen=True, kw_only=True)
class Calibration(Metrics):
    """Whether draws from p(x | y) are spread as the truth is, over all values of x.

    Args:
        draws: For each example.
        examples: How many.
        least_p_value: Of uniform ranks, the least of all values of x, times their number
            (Bonferroni), at most 1.
        coverage_50: Share of truths in the central interval of 50 %.
        coverage_90: Share of truths in the central interval of 90 %.
        worst: Which value of x has the least p-value, from 0.
        worst_coverage_90: `coverage_90` of that value alone.
        place: That value in words: "value 3" of a vector, "moment 3 of channel 2" of a signal.
    """

    draws: int
    examples: int
    coverage_50: Annotated[
        float,
        Metric(
            "truths within the central 50 %",
            unit="%",
            note="Of draws from p(x | y), in mean over the values of x.",
        ),
    ]
    coverage_90: Annotated[
        float,
        Metric(
            "truths within the central 90 %",
            unit="%",
            note="Fewer: the draws are too sure; more: not sure enough.",
        ),
    ]
    least_p_value: Annotated[
        float,
        Metric(
            "least p-value of uniform ranks",
            note="Below 0.01, some value of x is drawn from the wrong distribution.",
        ),
    ]
    worst: int | None = None
    worst_coverage_90: float | None = None
    place: str = ""

    @classmethod
    def of(cls, ranks: Ranks, varies: np.ndarray | None = None) -> "Calibration":
        """The metrics of ranks.

        Args:
            ranks: Of all values of x.
            varies: Which of them count, `(*x_shape)` booleans, at least one; None: all.
        """
        x_shape = ranks.ranks.shape[1:]
        which = np.arange(math.prod(x_shape)) if varies is None else np.flatnonzero(varies)
        counted = Ranks(ranks.ranks.reshape(len(ranks.ranks), -1)[:, which], ranks.draws)
        each = counted.coverage((0.5, 0.9))
        inside, p = each.mean(axis=1), counted.chi_square()
        least = int(p.argmin())
        worst = int(which[least])
        return cls(
            draws=ranks.draws,
            examples=len(ranks.ranks),
            coverage_50=float(inside[0]),
            coverage_90=float(inside[1]),
            least_p_value=min(1.0, float(p.min() * p.size)),
            worst=worst,
            worst_coverage_90=float(each[1, least]),
            place=in_words(worst, x_shape),
        )


def in_words(value: int, x_shape: tuple[int, ...]) -> str:
    """Name a value of x: "value 3" of a vector, "moment 3 of channel 2" of a signal."""
    if len(x_shape) < 2:
        return f"value {value + 1}"
    moment, channel = divmod(value, x_shape[1])
    return f"moment {moment + 1}" + f" of channel {channel + 1}" * (x_shape[1] > 1)


def calibration(
    model: Any,
    x: np.ndarray,
    condition: Any,
    *,
    draws: int = 199,
    seed: int = 0,
    progress: Progress | None = None,
) -> Ranks:
    """Simulation-based calibration (Talts et al. 2018, algorithm 1).

    Args:
        model: A `ConditionalVAE`.
        x: True values `(n, *x_shape)` that were not trained on: parameters drawn from their prior.
        condition: What was simulated from each, `(n, ...)`; None where a model has no condition,
            whose draws are then ranked against all x alike.
        draws: From p(x | y), for each example. Equal values (of discrete x) are ordered randomly.
        seed: Of the draws.
        progress: Wraps the loop over parts of the examples.
    """
    x, draws = np.asarray(x), errors.whole("draws", draws)
    y = model.condition.spec.prepare(condition)
    at_once = max(1, 2**22 // (draws * math.prod(model.x_shape)))
    rng, ranks = np.random.default_rng([seed, 1]), []
    starts: Any = range(0, len(x), at_once)
    if progress is not None:
        starts = progress(starts, total=len(starts), description="calibration")
    for start in starts:
        truth = x[start : start + at_once, None]
        some = take(y, slice(start, start + at_once))
        count = draws if some is not None else draws * len(truth)
        drawn = model.generate(some, count, seed=seed + start, output="sample")
        drawn = drawn.reshape(len(truth), draws, *model.x_shape)
        ties = np.sum(drawn == truth, axis=1)
        ranks.append(np.sum(drawn < truth, axis=1) + rng.integers(0, ties + 1))
    return Ranks(np.concatenate(ranks), draws)
