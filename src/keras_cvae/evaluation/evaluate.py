"""How good is a model? Every figure a function on arrays and a model; `evaluate` runs them all.

Likelihoods are in nats with a standard error and a fixed seed. Samples are judged by a classifier
that was trained on real data only. A figure that does not apply is absent, never zero.
"""

import math
import time
from typing import Any, Literal, NamedTuple

import numpy as np

from keras_cvae.conditions.base import Unconditional
from keras_cvae.conditions.joint import Joint
from keras_cvae.conditions.optional import classes_of
from keras_cvae.data.containers import Data, Split
from keras_cvae.evaluation.bound import (
    Bound,
    active_units,
    aggregate_gap,
    bound,
    mutual_information,
    verdict,
)
from keras_cvae.evaluation.calibration import calibration
from keras_cvae.evaluation.judge import Judge
from keras_cvae.evaluation.likelihood import bits_per_dimension, negative, reliability
from keras_cvae.evaluation.likeness import NEIGHBOURS, diversity, frechet_distance, memorising
from keras_cvae.evaluation.prepare import drawn, is_continuous, is_image, known_part, prepared
from keras_cvae.inference import importance, results
from keras_cvae.inference.importance import Progress
from keras_cvae.inference.results import LogProb
from keras_cvae.probability.likelihoods.bernoulli import Bernoulli
from keras_cvae.trees import take

COMPONENTS = 64  # principal components in which samples are compared where there are no classes


FEW = 10.0  # effective samples below which log p is low by 1/20 nat and more


def evaluate(
    model,
    data: Data,
    *,
    samples: int = 500,
    binarize: Literal["none", "dynamic"] = "none",
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """All figures of a model on a data set's test split (its validation split, if it has none).

    Args:
        model: A `ConditionalVAE`.
        data: What it was trained on. Its training split trains the judge and shows memorising; its
            validation split, if that is not the test split, calibrates p(y | x).
        samples: Importance samples per example.
        binarize: "dynamic": x ~ Bernoulli(pixel), one fixed draw. "none": x as it is; grey levels
            under a Bernoulli likelihood are then no likelihood, and not called one.
        limit: Test examples used, at most; evenly spread, as the first ones may be alike (those of
            MNIST are 1.4 nats harder).
        seed: Of every draw.
        progress: Wraps long loops as `progress(iterable, total=, description=)`.

    Returns:
        A JSON-able dictionary:

        - `settings`: `data`, `split`, `examples`, `samples`, `binarize`, `seed`
        - `elbo`: `elbo`, `standard_error`, `reconstruction`, `kl`, `kl_per_group`,
          `kl_per_dimension`, all in nats
        - `latent`: `latent_dim`, `active_units`, `mutual_information`,
          `mutual_information_ceiling`, `aggregate_gap`, `verdict`, `advice`
        - `conditional`: -log p(x | y) as in `negative`, with `per_class` where there are classes;
          `marginal`: -log p(x), likewise. For Bernoulli on grey levels in their place
          `grey_level_cross_entropy`: `loss` (reconstruction + KL), `importance_weighted`
        - `from_prior`, where y is the known part of x: as `conditional`, with draws from p(z | y),
          which is what completions are drawn from; then no figures of samples
        - `bits_per_dimension` for images that are not binarised, of dequantised 8-bit data
        - `classification`: as in `reliability`, with `temperature`; `uncalibrated`: the same at 1
        - `samples`: `output` (what is judged: "mean" or "sample"), `count`, `judge_accuracy` (real
          to real), `on_label_accuracy`, `tstr`, `frechet_distance`, `frechet_distance_real` (of
          as many training examples), and those of `diversity`. Of named conditions, the first that
          is one of several classes, called `label`, is asked for
        - `components`, where there are no classes: `output`, `count`, `frechet_distance`,
          `frechet_distance_real` and those of `diversity`, in principal components of x in place of
          a judge's features
        - `calibration` of vectors under a condition: `draws`, `examples`, `least_p_value` of
          uniform ranks (times the number of values, as the least of so many), `coverage_50`,
          `coverage_90`; see `Calibration`
        - `memorising`: as in `memorising`
        - `left_out`: sentences that say which figures have no meaning here, and why
        - `seconds`: of each part
    """
    test, name = (data.validation, "validation") if data.test is None else (data.test, "test")
    test = test if limit is None else test.spread(limit)
    x = prepared(model, test, binarize)
    y = None if isinstance(model.condition, Unconditional) else test.y
    if model.condition.knows_part:
        x, y = known_part(model, test, binarize)
    classes = test.y if data.class_names else None
    clock = _Clock()
    metrics: dict[str, Any] = {
        "settings": {
            "data": data.name,
            "split": name,
            "examples": len(x),
            "samples": samples,
            "binarize": binarize,
            "seed": seed,
        }
    }
    terms = bound(model, x, y, seed=seed)
    metrics["elbo"] = _elbo_figures(terms)
    labelled = y is not None and not model.condition.knows_part
    metrics["latent"] = _latent_figures(terms, classes if labelled else None)
    clock.lap("elbo")
    metrics |= _likelihood_figures(model, data, x, y, samples, binarize, seed, progress)
    if "grey_level_cross_entropy" in metrics:
        metrics["grey_level_cross_entropy"]["loss"] = -metrics["elbo"]["elbo"]
    clock.lap("likelihood")
    if model.condition.knows_part:
        drawn = model.log_prob(x, y, samples, seed, proposal="prior", progress=progress)
        metrics["from_prior"] = negative(drawn)
        clock.lap("from prior")
    else:
        metrics |= _sample_figures(model, data, test, y, seed, progress, clock)
        if y is not None and len(model.x_shape) == 1 and is_continuous(model):
            metrics["calibration"] = _calibration_figures(model, x, y, seed)
            clock.lap("calibration")
        if why := _left_out(model, y, metrics):
            metrics["left_out"] = why
    metrics["seconds"] = clock.laps
    return metrics


class _Clock:
    def __init__(self):
        self.laps, self.last = {}, time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self.last = round(now - self.last, 2), now


def _elbo_figures(terms: Bound) -> dict[str, Any]:
    elbo = terms.elbo
    return {
        "elbo": float(elbo.mean()),
        "standard_error": float(elbo.std(ddof=1) / math.sqrt(len(elbo))) if len(elbo) > 1 else None,
        "reconstruction": float(terms.reconstruction.mean()),
        "kl": float(terms.kl.sum(axis=1).mean()),
        "kl_per_group": terms.kl_per_group.tolist(),
        "kl_per_dimension": terms.kl.mean(axis=0).tolist(),
    }


def _latent_figures(terms: Bound, classes) -> dict[str, Any]:
    active = int(active_units(terms).sum())
    information, ceiling = mutual_information(terms, classes)
    said, advice = verdict(active, terms.z.shape[1], float(terms.kl.sum(axis=1).mean()))
    return {
        "latent_dim": terms.z.shape[1],
        "active_units": active,
        "mutual_information": information,
        "mutual_information_ceiling": ceiling,
        "aggregate_gap": float(aggregate_gap(terms).sum()),
        "verdict": said,
        "advice": advice,
    }


def _likelihood_figures(model, data, x, y, samples, binarize, seed, progress) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    likelihood = getattr(model.likelihood, "likelihood", model.likelihood)  # of a masked one
    grey = isinstance(likelihood, Bernoulli) and not np.isin(x, (0.0, 1.0)).all()
    options: dict[str, Any] = {"progress": progress}
    known = classes_of(model.condition)
    if known and y is not None:
        given = importance.class_log_prob(model, x, samples, seed, always=y, **options)
        prior = _class_frequencies(data.train.y, known.num_classes)
        conditional, marginal = given.of(y), given.marginal(prior)
        figures["classification"] = _classification_figures(
            model, data, given.joint(prior), y, prior, samples, binarize, seed, progress
        )
    else:
        conditional, marginal = model.log_prob(x, y, samples, seed, **options), None
    if grey:
        return {"grey_level_cross_entropy": {"importance_weighted": -conditional.mean}} | figures
    figures["conditional"] = negative(conditional)
    if marginal is not None:
        figures["marginal"] = negative(marginal)
        figures["conditional"]["per_class"] = {
            str(label): negative(_rows(conditional, y == k))
            for k, label in enumerate(data.class_names)
            if np.any(y == k)
        }
    whole = is_image(model) and not model.condition.knows_part
    if whole and binarize == "none" and not isinstance(likelihood, Bernoulli):
        figures["bits_per_dimension"] = _bits(model, data, x, y, conditional, samples, seed)
    return figures


def _rows(estimate: LogProb, rows) -> LogProb:
    log_p, error, effective = (part[rows] for part in estimate[:3])
    return LogProb(log_p, error, effective, estimate.num_samples, estimate.seed)


def _bits(model, data, x, y, conditional, samples, seed) -> dict[str, Any]:
    """Bits per dimension of p(x | y); a density needs dequantised data to mean anything."""
    n = len(x)
    if model.likelihood.discrete:
        estimate, levels = conditional, None
    else:  # uniform dequantisation (Theis et al. 2016, eq. 2), on as much as is needed
        n, levels = min(n, 1000), 256
        u = np.random.default_rng([seed, 2]).random(x[:n].shape, "float32")
        noisy = (x[:n] * 255.0 + u) / 256.0
        estimate = model.log_prob(noisy, take(y, slice(n)), samples, seed)
    per_nat = 1.0 / (math.prod(model.x_shape) * math.log(2.0))
    return {
        "bits": bits_per_dimension(-estimate.mean, model.x_shape, levels),
        "standard_error": estimate.mean_standard_error * per_nat,
        "examples": n,
    }


def _class_frequencies(y: np.ndarray, classes: int) -> np.ndarray:
    """p(y) in the training data, with one example more of each class."""
    count = np.bincount(y, minlength=classes) + 1.0
    return count / count.sum()


def _classification_figures(
    model, data, joint, y, prior, samples, binarize, seed, progress
) -> dict[str, Any]:
    plain = reliability(results.class_posterior(joint), y)
    if data.test is None or data.validation is data.test:
        return plain | {"temperature": 1.0}
    held = data.validation.take(slice(0, 1000))
    x = prepared(model, held, binarize)
    given = importance.class_log_prob(model, x, min(samples, 100), seed, progress=progress)
    temperature = results.fit_temperature(given.joint(prior), held.y)
    calibrated = reliability(results.class_posterior(joint, temperature), y)
    return calibrated | {"temperature": temperature, "uncalibrated": plain}


def _sample_figures(model, data, test, y, seed, progress, clock) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    train = data.train
    output = "mean" if is_image(model) else "sample"
    count = min(len(train), 60_000)
    rows = np.random.default_rng(seed).permutation(len(train))[:count]
    wanted = None if y is None else take(train.y, rows)
    fake = drawn(model, wanted, count, seed, output)
    about = {"output": output, "count": count}
    clock.lap("sampling")
    labels = _labels(model, data, test)
    if labels:
        judged = _judged(model, train, test, fake, rows, labels, wanted, seed, progress, clock)
        figures["samples"] = about | judged
    elif len(test) > NEIGHBOURS:
        figures["components"] = about | _by_components(train, test, fake, rows, seed)
        clock.lap("components")
    few = slice(0, 1000)
    floats = Split(fake).floats(few)
    figures["memorising"] = memorising(floats, train, test.floats(few))
    clock.lap("memorising")
    return figures


class _Labels(NamedTuple):
    """Classes of training and test examples, -1 where unknown, `(n,)` each.

    Args:
        name: Of the condition that they are, "" if there is but one.
        names: Of the classes.
        train: Of the training examples.
        test: Of the test examples.
        asked: Whether the model was conditioned on them.
    """

    name: str
    names: tuple[str, ...]
    train: np.ndarray
    test: np.ndarray
    asked: bool


def _labels(model, data, test) -> _Labels | None:
    """The classes that samples are judged by: the data's, or the first named ones."""
    if data.class_names:
        asked = classes_of(model.condition) is not None
        return _Labels("", data.class_names, data.train.y, test.y, asked)
    parts = model.condition.parts if isinstance(model.condition, Joint) else {}
    for name, part in parts.items():
        classes = classes_of(part)
        if classes:
            both = [part.prepare(split.y[name]) for split in (data.train, test)]
            if all(labels.ndim == 1 and (labels >= 0).any() for labels in both):
                return _Labels(name, classes.names, both[0], both[1], asked=True)
    return None


def _judged(
    model, train, test, fake, rows, labels: _Labels, wanted, seed, progress, clock
) -> dict[str, Any]:
    """What a classifier of real data says of draws for the conditions of `train` at `rows`."""
    some = slice(0, 10_000)
    known, tested = np.flatnonzero(labels.train >= 0), np.flatnonzero(labels.test >= 0)
    judge = Judge(model.x_shape, len(labels.names), seed=seed)
    judge.fit(train.x[known], labels.train[known], progress)
    real = judge.features(test.x[some])
    figures: dict[str, Any] = {"label": labels.name} if labels.name else {}
    figures["judge_accuracy"] = judge.accuracy(test.x[tested], labels.test[tested])
    figures |= _likeness(
        real, judge.features(fake[some]), judge.features(train.x[rows[: len(real)]])
    )
    clock.lap("judge")
    if labels.asked and wanted is not None:
        asked = labels.train[rows]
        said = asked[some] >= 0
        figures["on_label_accuracy"] = judge.accuracy(fake[some][said], asked[some][said])
        student = Judge(model.x_shape, len(labels.names), seed=seed)
        student.fit(fake[asked >= 0], asked[asked >= 0], progress)
        figures["tstr"] = student.accuracy(test.x[tested], labels.test[tested])
        clock.lap("tstr")
    return figures


def _likeness(real: np.ndarray, seen: np.ndarray, train: np.ndarray) -> dict[str, float]:
    """Figures of features `(n, d)`: of test data, of samples, of training data."""
    return {
        "frechet_distance": frechet_distance(seen, real),
        "frechet_distance_real": frechet_distance(train, real),
        **diversity(real, seen[: len(real)], NEIGHBOURS),
    }


def _by_components(train: Split, test: Split, fake, rows, seed) -> dict[str, float]:
    """The same without a judge: in the principal components of x, values of vectors to scale."""
    from sklearn.decomposition import PCA

    some = slice(0, 10_000)
    seen = Split(fake).floats(some)
    real = test.floats(some)
    own = train.floats(rows[: max(len(real), 4000)])
    flat = [part.reshape(len(part), -1).astype("float64") for part in (own, seen, real)]
    if seen.ndim == 2:
        spread = flat[0].std(axis=0)
        flat = [part / np.where(spread > 0, spread, 1.0) for part in flat]
    size = min(COMPONENTS, *flat[0].shape)
    axes = PCA(size, svd_solver="randomized", random_state=seed).fit(flat[0][:4000])
    own, seen, real = (axes.transform(part) for part in flat)
    return _likeness(real, seen, own[: len(real)])


def _calibration_figures(model, x, y, seed, limit: int = 1000) -> dict[str, Any]:
    ranks = calibration(model, x[:limit], take(y, slice(limit)), seed=seed)
    inside = ranks.coverage((0.5, 0.9)).mean(axis=1)
    p = ranks.chi_square()
    return {
        "draws": ranks.draws,
        "examples": len(ranks.ranks),
        "least_p_value": min(1.0, float(p.min() * p.size)),  # Bonferroni
        "coverage_50": float(inside[0]),
        "coverage_90": float(inside[1]),
    }


def _left_out(model, y, metrics) -> list[str]:
    """Which figures of a conditional model need classes that it does not have."""
    if y is None or "classification" in metrics:
        return []
    said = [
        f"−log p(x) and p(y | x) sum over classes; the condition is {model.condition.summary()}."
    ]
    if "samples" not in metrics:
        said.append(
            "On-label accuracy and TSTR need classes; samples are compared with real data "
            + ("in principal components of x." if "components" in metrics else "by copies alone.")
        )
    return said
