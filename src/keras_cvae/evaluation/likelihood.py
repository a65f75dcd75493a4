"""Metrics made of log-likelihoods."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from keras_cvae.evaluation.metrics import Metric, Metrics
from keras_cvae.inference.results import LogProb

FEW = 10.0  # effective samples below which log p is low by 1/20 nat and more


@dataclass(frozen=True, kw_only=True)
class LogLikelihood(Metrics):
    """-log p in the mean over the examples, by importance sampling.

    Args:
        nats: -log p, lower is better.
        standard_error: Of `nats` as an estimate for new examples; None of a single one.
        monte_carlo_error: Of `nats` as an estimate for these very examples.
        median_effective_sample_size: Of the examples: how many draws of z an estimate rests on.
        num_samples: Draws of z per example.
        examples: How many.
        seed: Of the draws.
        per_class: The same of each class by its name; None where there are no classes.
    """

    nats: Annotated[float, Metric(unit="nats", better=-1, error="standard_error")]
    standard_error: float | None
    monte_carlo_error: float
    median_effective_sample_size: Annotated[float, Metric(digits=0, of="num_samples", few=FEW)]
    num_samples: int
    examples: int
    seed: int
    per_class: dict[str, "LogLikelihood"] | None = None

    @classmethod
    def of(
        cls, estimate: LogProb, per_class: "dict[str, LogLikelihood] | None" = None
    ) -> "LogLikelihood":
        """The means of an estimate."""
        error = estimate.mean_standard_error
        return cls(
            nats=-estimate.mean,
            standard_error=error if math.isfinite(error) else None,
            monte_carlo_error=estimate.monte_carlo_error,
            median_effective_sample_size=float(np.median(estimate.effective_sample_size)),
            num_samples=estimate.num_samples,
            examples=len(estimate.log_prob),
            seed=estimate.seed,
            per_class=per_class,
        )

    @property
    def warning(self) -> str:
        """What it means if importance samples are too few for their errors; else "".

        The logarithm of a mean of weights lies below the truth by half its relative variance, which
        is about one over the effective sample size.
        """
        effective = self.median_effective_sample_size
        if effective >= FEW:
            return ""
        return (
            f"Half of the estimates rest on at most {effective:.1f} effective samples of "
            f"{self.num_samples}: −log p is too high, by about {0.5 / effective:.2f} nats or more, "
            "and its errors are too small. Take more samples; if that changes little, q(z | x, y) "
            "misses part of the true posterior."
        )


@dataclass(frozen=True, kw_only=True)
class GreyLevels(Metrics):
    """A Bernoulli likelihood on grey levels: a cross-entropy, which is no likelihood.

    Args:
        loss: Reconstruction + KL, nats.
        standard_error: Of `loss`; None of a single example.
        importance_weighted: The same by importance sampling, in place of -log p(x | y).
    """

    loss: Annotated[
        float,
        Metric(
            "grey-level cross-entropy",
            unit="nats",
            better=-1,
            error="standard_error",
            note="Reconstruction + KL on grey levels: no likelihood, compare only with the same.",
        ),
    ]
    standard_error: float | None
    importance_weighted: float


@dataclass(frozen=True, kw_only=True)
class BitsPerDimension(Metrics):
    """-log2 p(x | y) for each value of x, of images with 256 levels.

    Args:
        bits: Lower is better; uniform noise needs 8.
        standard_error: Of `bits`; None of a single example.
        examples: How many.
    """

    bits: Annotated[
        float,
        Metric(
            "bits per dimension",
            unit="bits",
            better=-1,
            digits=3,
            error="standard_error",
            note="The same, for each value of x.",
        ),
    ]
    standard_error: float | None
    examples: int


def bits_per_dimension(nats: float, x_shape: tuple[int, ...], levels: int | None = None) -> float:
    """-log2 p per value of x.

    Args:
        nats: -log p(x) per example.
        x_shape: Shape of one example.
        levels: For a density on [0, 1] of dequantised data, how many levels there were: 256 for
            8-bit images. None: p is a probability already.
    """
    return nats / (math.prod(x_shape) * math.log(2.0)) + (math.log2(levels) if levels else 0.0)


@dataclass(frozen=True, kw_only=True)
class Classification(Metrics):
    """How good p(y | x) is, by Bayes' rule on the likelihoods of the classes.

    Args:
        accuracy: Share of examples whose likeliest class is the true one.
        calibration_error: Expected calibration error (Guo et al. 2017, eq. 3).
        log_loss: -log p(y | x) of the true class, in the mean, nats.
        confidence: Of each bin that is not empty, the mean p(y | x) of the likeliest class.
        accuracy_in_bin: Of each bin, the share that is right.
        count: Of each bin, how many examples.
        temperature: What log p(x, y) was divided by, fitted on held-out data; 1: nothing was.
        uncalibrated: The same at temperature 1, if another one was fitted.
    """

    accuracy: Annotated[
        float,
        Metric(
            "accuracy of p(y | x)",
            unit="%",
            better=1,
            note="Bayes' rule on the likelihoods of the classes.",
        ),
    ]
    calibration_error: Annotated[
        float,
        Metric(
            "calibration error",
            unit="%",
            better=-1,
            note="How far the confidence is from the share that is right.",
        ),
    ]
    log_loss: float
    confidence: tuple[float, ...]
    accuracy_in_bin: tuple[float, ...]
    count: tuple[int, ...]
    temperature: float = 1.0
    uncalibrated: "Classification | None" = None


def reliability(probabilities: np.ndarray, y: np.ndarray, bins: int = 15) -> Classification:
    """Accuracy, expected calibration error and reliability curve (Guo et al. 2017, eq. 3).

    Args:
        probabilities: p(y | x), `(n, K)`.
        y: True classes `(n,)`.
        bins: Of equal width in the confidence.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    which = np.clip((confidence * bins).astype(int), 0, bins - 1)
    count = np.bincount(which, minlength=bins)
    full = count > 0
    sure = np.bincount(which, confidence, bins)[full] / count[full]
    hit = np.bincount(which, right, bins)[full] / count[full]
    log_p = np.log(np.maximum(probabilities[np.arange(len(y)), y], 1e-30))
    return Classification(
        accuracy=float(right.mean()),
        calibration_error=float(np.sum(count[full] * np.abs(sure - hit)) / len(y)),
        log_loss=float(-log_p.mean()),
        confidence=tuple(sure.tolist()),
        accuracy_in_bin=tuple(hit.tolist()),
        count=tuple(count[full].tolist()),
    )
