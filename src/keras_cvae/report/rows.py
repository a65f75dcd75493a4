"""The figures as rows of a table, and the comparison of runs."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from keras_cvae.evaluation import evaluate


class Row(NamedTuple):
    """One figure of a table.

    Args:
        group: What it belongs to.
        label: Its name.
        path: Where it stands in the metrics.
        unit: "nats", "%", "bits", "s", or "" for a number.
        better: 1: higher is better; -1: lower; 0: neither.
        error: Where its standard error stands, or None.
        note: What it means, in a sentence.
        of: Where it stands out of how many it is, or None.
    """

    group: str
    label: str
    path: str
    unit: str
    better: int
    error: str | None = None
    note: str = ""
    of: str | None = None


def _diversity(of: str, where: str = "") -> tuple[Row, ...]:
    """Rows for the figures of `evaluation.diversity`, in whatever samples were compared in."""
    figures = (
        ("precision", "%", 1, "Samples that look real."),
        ("recall", "%", 1, "Real data that samples reach."),
        ("density", "", 0, "1 is like real data."),
        ("coverage", "%", 1, "Real data with a sample near."),
    )
    return tuple(
        Row("Samples", f"{name}{where}", f"{of}.{name}", unit, better, note=note)
        for name, unit, better, note in figures
    )


ROWS = (
    Row(
        "Likelihood", "−log p(x | y)", "conditional.nats", "nats", -1,
        "conditional.standard_error", "How surprising a test example is, given its condition.",
    ),
    Row(
        "Likelihood", "the same, z drawn from p(z | y)", "from_prior.nats", "nats", -1,
        "from_prior.standard_error", "What completions are drawn from; an upper bound.",
    ),
    Row(
        "Likelihood", "−log p(x)", "marginal.nats", "nats", -1, "marginal.standard_error",
        "Without the class: comparable with unconditional models.",
    ),
    Row(
        "Likelihood", "effective samples, median", "conditional.median_effective_sample_size", "",
        0, None, "How many of the draws of z a test example's estimate rests on.",
        of="conditional.num_samples",
    ),
    Row(
        "Likelihood", "bits per dimension", "bits_per_dimension.bits", "bits", -1,
        "bits_per_dimension.standard_error", "The same, for each value of x.",
    ),
    Row(
        "Likelihood", "grey-level cross-entropy", "grey_level_cross_entropy.loss", "nats", -1,
        "elbo.standard_error",
        "Reconstruction + KL on grey levels. Not a likelihood: compare only with the same.",
    ),
    Row(
        "Likelihood", "−ELBO", "elbo.negative", "nats", -1, "elbo.standard_error",
        "The bound that training minimises.",
    ),
    Row("Likelihood", "reconstruction", "elbo.reconstruction", "nats", 0),
    Row("Likelihood", "KL", "elbo.kl", "nats", 0, None, "What the latent says about x."),
    Row("Latent", "active dimensions", "latent.active_units", "", 0),
    Row(
        "Latent", "I(x; z | y), at least", "latent.mutual_information", "nats", 0, None,
        "An estimate that cannot pass the logarithm of the number of examples.",
    ),
    Row(
        "Latent", "aggregate posterior to prior", "latent.aggregate_gap", "nats", -1, None,
        "0 when drawing from the prior is drawing from what the decoder knows.",
    ),
    Row(
        "Samples", "on-label accuracy", "samples.on_label_accuracy", "%", 1, None,
        "How often the judge sees the class that was asked for.",
    ),
    Row(
        "Samples", "train on samples, test on real", "samples.tstr", "%", 1, None,
        "A classifier that saw only samples.",
    ),
    Row(
        "Samples", "train on real, test on real", "samples.judge_accuracy", "%", 0, None,
        "The same classifier on real data: what the line above can reach.",
    ),
    Row(
        "Samples", "Fréchet distance (judge features)", "samples.frechet_distance", "", -1, None,
        "Between samples and test data; not the FID.",
    ),
    Row(
        "Samples", "the same, of training data", "samples.frechet_distance_real", "", 0, None,
        "What perfect samples would get.",
    ),
    *_diversity("samples"),
    Row(
        "Samples", "Fréchet distance, in components of x", "components.frechet_distance", "", -1,
        None, "Between samples and test data.",
    ),
    Row(
        "Samples", "the same, of training data, in components of x",
        "components.frechet_distance_real", "", 0,
    ),
    *_diversity("components", ", in components of x"),
    Row(
        "Samples", "possible copies of training data", "memorising.share", "%", -1, None,
        "1 % is expected of samples that copy nothing.",
    ),
    Row(
        "Classification", "accuracy of p(y | x)", "classification.accuracy", "%", 1, None,
        "Bayes' rule on the likelihoods of the classes.",
    ),
    Row(
        "Classification", "calibration error", "classification.calibration_error", "%", -1, None,
        "How far the confidence is from the share that is right.",
    ),
    Row(
        "Calibration", "truths within the central 50 %", "calibration.coverage_50", "%", 0, None,
        "Of draws from p(x | y), in mean over the values of x.",
    ),
    Row(
        "Calibration", "truths within the central 90 %", "calibration.coverage_90", "%", 0, None,
        "Fewer: the draws are too sure; more: not sure enough.",
    ),
    Row(
        "Calibration", "least p-value of uniform ranks", "calibration.least_p_value", "", 0, None,
        "Below 0.05, some value of x is drawn from the wrong distribution.",
    ),
)  # fmt: skip


def value(metrics: Mapping[str, Any], path: str) -> Any:
    """The figure at a dotted path, or None."""
    if path == "elbo.negative":
        elbo = value(metrics, "elbo.elbo")
        return None if elbo is None else -elbo
    found: Any = metrics
    for key in path.split("."):
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found


def written(metrics: Mapping[str, Any], row: Row) -> str:
    """A figure with its error and unit, "" if it is absent."""
    number = value(metrics, row.path)
    if number is None:
        return ""
    if row.unit == "%":
        return f"{100 * number:.1f} %" if number < 0.9995 else "100 %"
    if isinstance(number, int):
        return f"{number}"
    if row.of:
        few = " (few)" if number < evaluate.FEW else ""
        return f"{number:.0f} of {value(metrics, row.of)}{few}"
    error = value(metrics, row.error) if row.error else None
    digits = 3 if row.unit == "bits" else 2
    if error is not None and math.isfinite(error):
        return f"{number:.{digits}f} ± {error:.{digits}f} {row.unit}".rstrip()
    return f"{number:.{digits}f} {row.unit}".rstrip()


def few_samples(metrics: Mapping[str, Any]) -> str:
    """What it means where importance samples are too few for their errors; else "".

    The logarithm of a mean of weights lies below the truth by half its relative variance, which is
    about one over the effective sample size.
    """
    effective = value(metrics, "conditional.median_effective_sample_size")
    if effective is None or effective >= evaluate.FEW:
        return ""
    return (
        f"Half of the estimates rest on fewer than {effective:.1f} effective samples of "
        f"{value(metrics, 'conditional.num_samples')}: −log p is too high, by about "
        f"{0.5 / effective:.2f} nats or more, and its errors are too small. Take more samples; if "
        "that changes little, q(z | x, y) misses part of the true posterior."
    )


def compare(runs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Several metrics side by side.

    Args:
        runs: Metrics by the name of the run.

    Returns:
        For each figure that any run has: `group`, `label`, `values` (written, one a run), `best`
        (index of the best run, or None where it has no sense, or where the error bars of the best
        two meet).
    """
    table = []
    for row in ROWS:
        cells = [written(metrics, row) for metrics in runs.values()]
        if not any(cells):
            continue
        numbers = [value(metrics, row.path) for metrics in runs.values()]
        errors = [(value(m, row.error) or 0.0) if row.error else 0.0 for m in runs.values()]
        known = [i for i, number in enumerate(numbers) if number is not None]
        best = None
        if row.better and len(known) > 1:
            first, second, *_ = sorted(known, key=lambda i: -row.better * numbers[i])
            apart = abs(numbers[first] - numbers[second])
            if apart > math.hypot(errors[first], errors[second]):
                best = first
        table.append({"group": row.group, "label": row.label, "values": cells, "best": best})
    return table
