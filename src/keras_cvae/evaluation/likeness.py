"""How like the data draws are: distances, diversity, memorisation."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

from keras_cvae.data.containers import Split
from keras_cvae.evaluation.chance import SURE, Gap, share_error
from keras_cvae.evaluation.metrics import Metric, Metrics
from keras_cvae.inference.importance import Progress

FEWEST = 30  # examples and draws, below which such figures are chance
PART = 5000  # rows that are compared at once
NEIGHBOURS = 5  # whose balls stand for where data are


@dataclass(frozen=True, kw_only=True)
class Likeness(Metrics):
    """How like the test data draws are, in some features of both; None where they are too few.

    Args:
        frechet_distance: Squared Frechet distance of draws from test data, see `frechet_distance`.
        frechet_distance_real: The same of as many training examples: what perfect draws would get.
        precision: Share of draws within a ball of test data.
        recall: Share of test data within a ball of draws.
        density: How many balls of test data hold a draw, over the number of neighbours.
        coverage: Share of balls of test data that hold a draw.
        compared_draws: Of how many draws precision is a share.
        compared_examples: Of how many test examples recall and coverage are.
    """

    frechet_distance: Annotated[
        float | None,
        Metric("Fréchet distance", better=-1, note="Between samples and test data; not the FID."),
    ] = None
    frechet_distance_real: Annotated[
        float | None, Metric("the same, of training data", note="What perfect samples would get.")
    ] = None
    precision: Annotated[
        float | None,
        Metric(
            "precision",
            unit="%",
            better=1,
            note="Samples that look real.",
            error="precision_error",
        ),
    ] = None
    recall: Annotated[
        float | None,
        Metric(
            "recall",
            unit="%",
            better=1,
            note="Real data that samples reach.",
            error="recall_error",
        ),
    ] = None
    density: Annotated[float | None, Metric("density", note="1 is like real data.")] = None
    coverage: Annotated[
        float | None,
        Metric(
            "coverage",
            unit="%",
            better=1,
            note="Real data with a sample near.",
            error="coverage_error",
        ),
    ] = None
    compared_draws: int | None = None
    compared_examples: int | None = None

    @property
    def precision_error(self) -> float | None:
        """Standard error of `precision`."""
        return share_error(self.precision, self.compared_draws)

    @property
    def recall_error(self) -> float | None:
        """Standard error of `recall`."""
        return share_error(self.recall, self.compared_examples)

    @property
    def coverage_error(self) -> float | None:
        """Standard error of `coverage`."""
        return share_error(self.coverage, self.compared_examples)


def likeness(
    real: np.ndarray, draws: np.ndarray, train: np.ndarray, progress: Progress | None = None
) -> Likeness:
    """Compare features `(n, d)` of draws with those of test data.

    Args:
        real: Of test data.
        draws: Of draws; as many as test data are used for the balls.
        train: Of training data.
        progress: Wraps the loop over parts of the draws.
    """
    if min(len(real), len(draws)) < FEWEST:
        return Likeness()
    return Likeness(
        frechet_distance=frechet_distance(draws, real),
        frechet_distance_real=frechet_distance(train, real),
        **diversity(real, draws[: len(real)], NEIGHBOURS, progress),
        compared_draws=min(len(draws), len(real)),
        compared_examples=len(real),
    )


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Frechet distance of Gaussians with the moments of a and b, `(n, d)` each.

    |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a^1/2 S_b S_a^1/2)^1/2) (Heusel et al. 2017, eq. 6). In a
    judge's features it is comparable only with the same judge; it is not the FID.
    """
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    # With S = R^T R the trace of the last term is the sum of the singular values of R_a R_b^T; no
    # covariance has to be regular for that.
    r_a, r_b = _root(a), _root(b)
    shift = np.sum(np.square(a.mean(axis=0) - b.mean(axis=0)))
    traces = np.sum(np.square(r_a)) + np.sum(np.square(r_b))
    return float(shift + traces - 2.0 * np.linalg.norm(r_a @ r_b.T, "nuc"))


def _root(x: np.ndarray) -> np.ndarray:
    """R of the covariance R^T R of x."""
    return np.asarray(np.linalg.qr((x - x.mean(axis=0)) / np.sqrt(len(x) - 1), mode="r"))


def diversity(
    real: np.ndarray, samples: np.ndarray, k: int = 5, progress: Progress | None = None
) -> dict[str, float]:
    """Precision, recall, density and coverage of samples, by balls to the k-th neighbour.

    Args:
        real: Features of real data `(n, d)`.
        samples: Features of as many samples `(m, d)`.
        k: Neighbours.
        progress: Wraps the loop over parts of the samples.

    Returns:
        `precision`: share of samples within a ball of real data; `recall`: share of real data
        within a ball of samples (Kynkäänniemi et al. 2019, eq. 2). `density`: how many real balls
        hold a sample, over k; `coverage`: share of real balls that hold a sample (Naeem et al.
        2020, eq. 3, 4); both near 1 for samples as good as real data.
    """
    real_ball, sample_ball = (
        NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x).kneighbors()[0][:, -1]
        for x in (real, samples)
    )
    precise, hits = [], 0
    recalled, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for start in _parts(len(samples), progress, "distances"):
        distance = pairwise_distances(samples[start : start + PART], real)  # (rows, n)
        within = distance <= real_ball
        precise.append(within.any(axis=1))
        covered |= within.any(axis=0)
        hits += int(within.sum())
        recalled |= (distance <= sample_ball[start : start + PART, None]).any(axis=0)
    return {
        "precision": float(np.concatenate(precise).mean()),
        "recall": float(recalled.mean()),
        "density": hits / (k * len(samples)),
        "coverage": float(covered.mean()),
    }


def _parts(n: int, progress: Progress | None, description: str) -> Iterable[int]:
    """Where parts of `PART` rows begin."""
    starts = range(0, n, PART)
    if progress is None:
        return starts
    return progress(starts, total=len(starts), description=description)


def nearest(
    x: np.ndarray, train: Split, k: int = 1, progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Distances to and indices of the k nearest training examples, `(n, k)` each, nearest first.

    Args:
        x: `(n, *x_shape)` floats.
        train: The training data, at least k; read in parts, as they may be files.
        k: Neighbours.
        progress: Wraps the loop over these parts.
    """
    x = np.asarray(x, "float32").reshape(len(x), -1)
    distance, index = np.empty((len(x), 0)), np.empty((len(x), 0), int)
    for start in _parts(len(train), progress, "copies"):
        part = train.floats(slice(start, start + PART))
        part = part.reshape(len(part), -1)
        found = NearestNeighbors(n_neighbors=min(k, len(part)), algorithm="brute").fit(part)
        nearer, where = found.kneighbors(x)
        distance = np.concatenate([distance, nearer], axis=1)
        index = np.concatenate([index, where + start], axis=1)
        best = np.argsort(distance, axis=1, kind="stable")[:, :k]
        distance = np.take_along_axis(distance, best, axis=1)
        index = np.take_along_axis(index, best, axis=1)
    return distance, index


@dataclass(frozen=True, kw_only=True)
class Memorising(Metrics):
    """Whether draws are copies of training examples, see `memorising`.

    Args:
        share: Of draws that are as near to a training example as 1 % of unseen real data.
        memorised: Whether that is more than 0.05, and more than chance explains of so few.
        median_ratio: Of the draws: distance of the nearest training example over the mean of the
            50 nearest.
        median_ratio_held_out: The same of real data that was not trained on.
    """

    share: Annotated[
        float,
        Metric(
            "possible copies of training data",
            unit="%",
            better=-1,
            note="1 % is expected of samples that copy nothing.",
        ),
    ]
    memorised: bool
    median_ratio: float
    median_ratio_held_out: float


def memorising(
    samples: np.ndarray, train: Split, held_out: np.ndarray, progress: Progress | None = None
) -> Memorising:
    """Whether samples are copies of training examples.

    A copy is much nearer to one training example than to that example's neighbours: the ratio of
    the nearest distance to the mean of the 50 nearest (Carlini et al. 2023, sec. 4.2) is compared
    with the same ratio of real data that was not trained on, of which 1 % lies below the threshold.

    Args:
        samples: `(n, *x_shape)` floats.
        train: What the model was trained on.
        held_out: Real data that it was not trained on, `(m, *x_shape)` floats.
        progress: Wraps the search.
    """
    k = min(50, len(train))

    def ratio(x: np.ndarray) -> np.ndarray:
        distance, _ = nearest(x, train, k, progress)
        return distance[:, 0] / np.maximum(distance.mean(axis=1), 1e-12)

    of_samples, of_real = ratio(samples), ratio(held_out)
    share = float(np.mean(of_samples < np.quantile(of_real, 0.01)))
    more = Gap.between(0.01, len(of_real), share, len(of_samples))
    return Memorising(
        share=share,
        memorised=share > 0.05 and more.exceeds(SURE),
        median_ratio=float(np.median(of_samples)),
        median_ratio_held_out=float(np.median(of_real)),
    )
