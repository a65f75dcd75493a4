"""How like the data draws are: distances, diversity, memorisation."""

from typing import Any

import numpy as np

from keras_cvae.data.containers import Split

NEIGHBOURS = 5  # whose balls stand for where data are


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Frechet distance of Gaussians with the moments of a and b, `(n, d)` each.

    |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a^1/2 S_b S_a^1/2)^1/2) (Heusel et al. 2017, eq. 6). In a
    judge's features it is comparable only with the same judge; it is not the FID.
    """
    a, b = a.astype("float64"), b.astype("float64")
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = _root(np.atleast_2d(cov_a))
    cross = np.linalg.eigvalsh(root @ np.atleast_2d(cov_b) @ root)
    shift = np.sum(np.square(a.mean(axis=0) - b.mean(axis=0)))
    traces = np.trace(np.atleast_2d(cov_a)) + np.trace(np.atleast_2d(cov_b))
    return float(shift + traces - 2.0 * np.sum(np.sqrt(np.maximum(cross, 0.0))))


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def diversity(real: np.ndarray, samples: np.ndarray, k: int = 5) -> dict[str, float]:
    """Precision, recall, density and coverage of samples, by balls to the k-th neighbour.

    Args:
        real: Features of real data `(n, d)`.
        samples: Features of as many samples `(m, d)`.
        k: Neighbours.

    Returns:
        `precision`: share of samples within a ball of real data; `recall`: share of real data
        within a ball of samples (Kynkäänniemi et al. 2019, eq. 2). `density`: how many real balls
        hold a sample, over k; `coverage`: share of real balls that hold a sample (Naeem et al.
        2020, eq. 3, 4); both near 1 for samples as good as real data.
    """
    real_ball = _radii(real, k)
    sample_ball = _radii(samples, k)
    precise, recalled = np.zeros(len(samples), bool), np.zeros(len(real), bool)
    covered, hits = np.zeros(len(real), bool), 0
    for rows, squared in _squared_distances(samples, real):
        within = squared <= real_ball
        precise[rows] = within.any(axis=1)
        covered |= within.any(axis=0)
        hits += int(within.sum())
        recalled |= (squared <= sample_ball[rows, None]).any(axis=0)
    return {
        "precision": float(precise.mean()),
        "recall": float(recalled.mean()),
        "density": hits / (k * len(samples)),
        "coverage": float(covered.mean()),
    }


def _radii(points: np.ndarray, k: int) -> np.ndarray:
    """Squared distance to the k-th other point, `(n,)`."""
    parts = [np.partition(s, k, axis=1)[:, k] for _, s in _squared_distances(points, points)]
    return np.concatenate(parts)


def _squared_distances(a: np.ndarray, b: np.ndarray, chunk: int = 1000):
    """Yield slices of a and their squared distances to b, `(rows, m)`."""
    a, b = a.astype("float32"), b.astype("float32")
    centre = b.mean(axis=0)
    a, b = a - centre, b - centre  # smaller numbers, smaller rounding errors
    norm = np.einsum("nd,nd->n", b, b)
    for start in range(0, len(a), chunk):
        part = a[start : start + chunk]
        squared = np.einsum("nd,nd->n", part, part)[:, None] + norm - 2.0 * part @ b.T
        yield slice(start, start + len(part)), np.maximum(squared, 0.0)


def nearest(x: np.ndarray, train: Split, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Distances to and indices of the k nearest training examples, `(n, k)` each, nearest first.

    Args:
        x: `(n, *x_shape)` floats.
        train: The training data; read in parts.
        k: Neighbours.
    """
    x = np.asarray(x, "float32").reshape(len(x), -1)
    best = np.full((len(x), k), np.inf, "float32")
    index = np.zeros((len(x), k), int)
    for start in range(0, len(train), 5000):
        part = train.floats(slice(start, start + 5000))
        part = part.reshape(len(part), -1)
        for rows, squared in _squared_distances(x, part):
            both = np.concatenate([best[rows], squared], axis=1)
            known = np.arange(start, start + len(part))
            names = np.concatenate([index[rows], np.broadcast_to(known, squared.shape)], axis=1)
            few = np.argpartition(both, k - 1, axis=1)[:, :k]
            few = np.take_along_axis(few, np.argsort(np.take_along_axis(both, few, 1), axis=1), 1)
            best[rows] = np.take_along_axis(both, few, 1)
            index[rows] = np.take_along_axis(names, few, 1)
    return np.sqrt(best), index


def memorising(samples: np.ndarray, train: Split, held_out: np.ndarray) -> dict[str, Any]:
    """Whether samples are copies of training examples.

    A copy is much nearer to one training example than to that example's neighbours: the ratio of
    the nearest distance to the mean of the 50 nearest (Carlini et al. 2023, sec. 4.2) is compared
    with the same ratio of real data that was not trained on, of which 1 % lies below the threshold.

    Args:
        samples: `(n, *x_shape)` floats.
        train: What the model was trained on.
        held_out: Real data that it was not trained on, `(m, *x_shape)` floats.

    Returns:
        `share`: of samples below the threshold, 0.01 expected; `memorised`: whether that is more
        than 0.05; `median_ratio` and `median_ratio_held_out`.
    """
    k = min(50, len(train))

    def ratio(x):
        distance, _ = nearest(x, train, k)
        return distance[:, 0] / np.maximum(distance.mean(axis=1), 1e-12)

    of_samples, of_real = ratio(samples), ratio(held_out)
    share = float(np.mean(of_samples < np.quantile(of_real, 0.01)))
    return {
        "share": share,
        "memorised": share > 0.05,
        "median_ratio": float(np.median(of_samples)),
        "median_ratio_held_out": float(np.median(of_real)),
    }
