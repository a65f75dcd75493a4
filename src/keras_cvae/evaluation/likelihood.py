"""Figures made of log-likelihoods."""

import math
from typing import Any

import numpy as np

from keras_cvae.inference.results import LogProb


def negative(estimate: LogProb) -> dict[str, float | int]:
    """-log p in nats, its errors and settings, JSON-able."""
    return {
        "nats": -estimate.mean,
        "standard_error": estimate.mean_standard_error,
        "monte_carlo_error": estimate.monte_carlo_error,
        "median_effective_sample_size": float(np.median(estimate.effective_sample_size)),
        "examples": len(estimate.log_prob),
        "num_samples": estimate.num_samples,
        "seed": estimate.seed,
    }


def bits_per_dimension(nats: float, x_shape, levels: int | None = None) -> float:
    """-log2 p per value of x.

    Args:
        nats: -log p(x) per example.
        x_shape: Shape of one example.
        levels: For a density on [0, 1] of dequantised data, how many levels there were: 256 for
            8-bit images. None: p is a probability already.
    """
    return nats / (math.prod(x_shape) * math.log(2.0)) + (math.log2(levels) if levels else 0.0)


def reliability(probabilities: np.ndarray, y: np.ndarray, bins: int = 15) -> dict[str, Any]:
    """Accuracy, expected calibration error and reliability curve (Guo et al. 2017, eq. 3).

    Args:
        probabilities: p(y | x), `(n, K)`.
        y: True classes `(n,)`.
        bins: Of equal width in the confidence.

    Returns:
        `accuracy`, `calibration_error`, `log_loss` in nats, and for each bin that is not empty
        `confidence`, `accuracy_in_bin`, `count`.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    which = np.clip((confidence * bins).astype(int), 0, bins - 1)
    count = np.bincount(which, minlength=bins)
    full = count > 0
    sure = np.bincount(which, confidence, bins)[full] / count[full]
    hit = np.bincount(which, right, bins)[full] / count[full]
    log_p = np.log(np.maximum(probabilities[np.arange(len(y)), y], 1e-30))
    return {
        "accuracy": float(right.mean()),
        "calibration_error": float(np.sum(count[full] * np.abs(sure - hit)) / len(y)),
        "log_loss": float(-log_p.mean()),
        "confidence": sure.tolist(),
        "accuracy_in_bin": hit.tolist(),
        "count": count[full].tolist(),
    }
