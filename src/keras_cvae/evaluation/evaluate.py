"""How good is a model? `evaluate` computes every metric that applies to it.

Likelihoods are in nats with a standard error and a fixed seed. Samples are judged by a classifier
that was trained on real data only. A metric that does not apply is absent, never zero.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydantic

from keras_cvae import devices
from keras_cvae.data.containers import Data, Split, shortened
from keras_cvae.evaluation.baseline import Independent, kind_of
from keras_cvae.evaluation.bound import Elbo, Generalization, Latent, bound
from keras_cvae.evaluation.calibration import Calibration, calibration, in_words
from keras_cvae.evaluation.likelihood import (
    BitsPerDimension,
    Classification,
    GreyLevels,
    LogLikelihood,
    bits_per_dimension,
    reliability,
)
from keras_cvae.evaluation.likeness import FEWEST, NEIGHBOURS, Memorising, memorising
from keras_cvae.evaluation.metrics import Metrics, Section
from keras_cvae.evaluation.prepare import (
    Binarize,
    at_most,
    check_fits,
    coding,
    digest,
    examples,
    in_parts,
    is_binary,
    is_continuous,
    is_image,
    judged_as,
    tested,
    varying,
    without,
)
from keras_cvae.evaluation.samples import (
    MOST,
    Components,
    Draws,
    Samples,
    by_components,
    draw,
    judge_of,
    judged,
    labels,
)
from keras_cvae.inference import importance, results
from keras_cvae.inference.importance import Progress
from keras_cvae.inference.results import LogProb
from keras_cvae.trees import take

COMPARED = 1000  # training examples whose bound is compared
PAIRS = 10**7  # of examples and classes that log p(x) and p(y | x) are computed from
CLASSES = 1000  # that a classifier of real data learns, and that a table has rows for
WITHOUT = "Of draws without guidance, at temperature 1."
PLAIN = 10_000  # draws from p(x | y) itself, where others are judged
RANKED = 2**20  # values of x whose true ones are ranked among draws
LEARNED = 20_000  # training examples that a model of independent values learns from


@dataclass(frozen=True, kw_only=True)
class Settings(Metrics):
    """What an evaluation was made with.

    Args:
        data: Name of the data set.
        split: Name of the split.
        examples: How many of it.
        scored: Of how many of these log p(x | y) was estimated; None: of all.
        samples: Importance samples for each of them.
        binarize: "dynamic": x ~ Bernoulli(pixel), one fixed draw. "none": x as it is.
        seed: Of every draw.
        test: A digest of the examples, by which two evaluations know that theirs are the same.
        coding: What a likelihood is of: "binary", "counts", "levels", "density".
        limit: The most examples that it was to take, or None.
        temperature: Of the draws that are judged.
        guidance: Of these; both are 1 for draws from p(x | y) itself.
        kind: What x were to the judge of draws: "pictures", "signals" or "vectors"; "" if that was
            not kept.
    """

    data: str
    split: str
    examples: int
    samples: int
    binarize: Binarize
    seed: int
    test: str = ""
    coding: str = ""
    limit: int | None = None
    scored: int | None = None
    temperature: float = 1.0
    guidance: float = 1.0
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Evaluation(Metrics):
    """The metrics of a model on a data set; None is what does not apply.

    Args:
        settings: What they were measured with.
        conditional: -log p(x | y).
        from_prior: The same with z drawn from p(z | y), of a model that completes: its completions
            are drawn like that.
        marginal: -log p(x), of a model of classes.
        baseline: -log p(x | y) of a model of independent values, where there are classes, numbers
            or no condition.
        bits_per_dimension: Of images that are not binarised; dequantised for a density.
        grey_level_cross_entropy: In place of likelihoods, for Bernoulli on grey levels.
        elbo: The bound that training maximises.
        generalization: The same of training examples.
        latent: What the latent is used for, of a model that has one.
        samples: What draws are worth where there are classes. Of named conditions, the first that
            is one of several classes is asked for.
        from_model: The same of draws from p(x | y) itself, if those that are judged have another
            temperature or guidance.
        components: What draws are worth where there are no classes.
        memorising: Whether draws are copies of training examples.
        classification: p(y | x) by Bayes' rule, of a model of classes.
        calibration: Whether draws of vectors and signals are spread as the truth is, value by
            value.
        left_out: Sentences that say which metrics have no meaning here, and why.
        seconds: What each part took.
    """

    settings: Settings
    conditional: Annotated[
        LogLikelihood | None,
        Section(
            "Likelihood",
            labels={
                "nats": ("−log p(x | y)", "How surprising a test example is, given its condition."),
                "median_effective_sample_size": (
                    "effective samples, median",
                    "How many of the draws of z a test example's estimate rests on.",
                ),
            },
        ),
    ] = None
    from_prior: Annotated[
        LogLikelihood | None,
        Section(
            "Likelihood",
            labels={
                "nats": (
                    "the same, z drawn from p(z | y)",
                    "What completions are drawn from; an upper bound.",
                )
            },
        ),
    ] = None
    marginal: Annotated[
        LogLikelihood | None,
        Section(
            "Likelihood",
            labels={
                "nats": ("−log p(x)", "Without the class: comparable with unconditional models.")
            },
        ),
    ] = None
    baseline: Annotated[
        Independent | None,
        Section(
            "Likelihood",
            labels={
                "nats": (
                    "−log p(x | y) of independent values",
                    "With the means of each class; what is below it was learned.",
                )
            },
        ),
    ] = None
    bits_per_dimension: Annotated[BitsPerDimension | None, Section("Likelihood")] = None
    grey_level_cross_entropy: Annotated[GreyLevels | None, Section("Likelihood")] = None
    elbo: Annotated[Elbo, Section("Likelihood")]
    generalization: Annotated[Generalization | None, Section("Likelihood")] = None
    latent: Annotated[Latent | None, Section("Latent")] = None
    samples: Annotated[Samples | None, Section("Samples")] = None
    from_model: Annotated[
        Samples | None,
        Section(
            "Samples",
            labels={
                "on_label_accuracy": (
                    "on-label accuracy of p(x | y)",
                    WITHOUT,
                ),
                "frechet_distance": ("Fréchet distance of p(x | y)", WITHOUT),
                "precision": ("precision of p(x | y)", WITHOUT),
                "recall": ("recall of p(x | y)", WITHOUT),
            },
        ),
    ] = None
    components: Annotated[Components | None, Section("Samples", ", in components of x")] = None
    memorising: Annotated[Memorising | None, Section("Samples")] = None
    classification: Annotated[Classification | None, Section("Classification")] = None
    calibration: Annotated[Calibration | None, Section("Calibration")] = None
    left_out: tuple[str, ...] = ()
    seconds: dict[str, float]

    @classmethod
    def from_dict(cls, metrics: Mapping[str, Any]) -> "Evaluation":
        """Undo `to_dict`.

        Raises:
            ValueError: Metrics that another version of the package wrote, or nobody.
        """
        try:
            return pydantic.TypeAdapter(cls).validate_python(metrics)
        except pydantic.ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise ValueError(
                f"These are not the metrics of an evaluation: {where}: {error.errors()[0]['msg']}. "
                "Evaluate the run again."
            ) from None


def evaluate(
    model: Any,
    data: Data,
    *,
    samples: int = 500,
    binarize: Binarize = "none",
    limit: int | None = None,
    scored: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    judges: Path | None = None,
    temperature: float = 1.0,
    guidance: float = 1.0,
) -> Evaluation:
    """Measure a model on a data set's test split (its validation split, if it has none).

    Args:
        model: A `ConditionalVAE`.
        data: What it was trained on. Its training split trains the judge and shows memorising; its
            validation split, if that is not the test split, calibrates p(y | x).
        samples: Importance samples per example.
        binarize: "dynamic": x ~ Bernoulli(pixel), one fixed draw. "none": x as it is; grey levels
            under a Bernoulli likelihood are then no likelihood, and not called one.
        limit: Test examples used, at most; evenly spread, as the first ones may be alike (those of
            MNIST are 1.4 nats harder). As many draws are made, and no classifier is trained that
            would take longer than some seconds.
        scored: Of these, whose log p(x | y) is estimated, at most, evenly spread; all else is of
            all. `budget.affordable` says how many take minutes.
        seed: Of every draw.
        progress: Wraps long loops as `progress(iterable, total=, description=)`.
        judges: A folder in which the judge of a data set is kept for the next evaluation.
        temperature: Of the draws that are judged, as in `ConditionalVAE.generate`; likelihoods and
            calibration are of p(x | y) in any case.
        guidance: Of the draws that are judged, as in `ConditionalVAE.generate`.

    Of processes that have joined each other, all call this and divide the importance sampling; the
    figures are those of one, and the draws are judged in the first alone.

    Raises:
        DataError: The data are not of the model's shape, or have other classes; or none are left to
            measure it on.
    """
    check_fits(model, data)
    held, test = data.validation.labelled, data.test and data.test.labelled
    held = test if test and data.validation is data.test else held
    data = replace(data, train=data.train.labelled, validation=held, test=test)
    test, split = tested(data)
    test = test if limit is None else test.spread(limit)
    x, condition = examples(model, test, binarize)
    scored = None if scored is None or scored >= len(test) else scored
    some = (x, condition) if scored is None else examples(model, test.spread(scored), binarize)
    measured = _Measured(
        model,
        data,
        test,
        *some,
        samples,
        binarize,
        limit,
        seed,
        progress,
        judges,
        {"temperature": temperature, "guidance": guidance},
        _Clock(),
    )
    terms = bound(model, x, condition, seed=seed, progress=progress)
    by_class = condition is not None and data.class_names and not model.condition.knows_part
    found: dict[str, Any] = {"elbo": Elbo.of(terms)}
    if model.latent_dim:
        found["latent"] = Latent.of(terms, test.y if by_class else None)
    learned = data.train.spread(min(len(x), COMPARED))
    own = bound(model, *examples(model, learned, binarize), seed=seed, progress=progress)
    found["generalization"] = Generalization.of(terms, own, len(data.train))
    measured.clock.lap("elbo")
    with devices.dividing():
        found |= measured.likelihoods(found["elbo"])
        if model.condition.knows_part:
            found |= measured.completions()
    if not model.condition.knows_part and devices.index() == 0:
        found |= measured.draws()
        found["left_out"] = (
            *_left_out(model, condition, found),
            *measured.constants(),
            *measured.too_few(found),
        )
    settings = Settings(
        data=data.name,
        split=split,
        examples=len(x),
        samples=samples,
        binarize=binarize,
        seed=seed,
        test=digest(x),
        coding=coding(model),
        limit=limit,
        scored=scored,
        temperature=temperature,
        guidance=guidance,
        kind=judged_as(model),
    )
    return Evaluation(settings=settings, **found, seconds=measured.clock.laps)


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self.last = round(now - self.last, 2), now


@dataclass(frozen=True)
class _Measured:
    """What all parts of an evaluation are made of; each method gives fields of `Evaluation`."""

    model: Any
    data: Data
    test: Split
    x: Any
    condition: Any
    num_samples: int
    binarize: Binarize
    limit: int | None
    seed: int
    progress: Progress | None
    judges: Path | None
    drawing: dict[str, Any]
    clock: _Clock

    @cached_property
    def varies(self) -> np.ndarray:
        """Which values of x are compared with those of draws: see `varying`."""
        return varying(self.data.train)

    @property
    def too_many_pairs(self) -> bool:
        """Whether p(x | y) of every example under every class is more than memory and time have."""
        classes = self.model.condition.spec.classes
        return classes is not None and classes.num_classes * len(self.x) > PAIRS

    def likelihoods(self, elbo: Elbo) -> dict[str, Any]:
        model, x, y = self.model, self.x, self.condition
        found: dict[str, Any] = {}
        marginal = None
        classes = model.condition.spec.classes
        if classes and y is not None and not self.too_many_pairs:
            given = importance.class_log_prob(
                model, x, self.num_samples, self.seed, always=y, progress=self.progress
            )
            frequencies = _frequencies(self.data.train.y, classes.num_classes)
            conditional, marginal = given.of(y), given.marginal(frequencies)
            found["classification"] = self._classification(given.joint(frequencies), frequencies)
        else:
            conditional = model.log_prob(x, y, self.num_samples, self.seed, progress=self.progress)
        if is_binary(model) and not all(np.isin(some, (0.0, 1.0)).all() for some in in_parts(x)):
            found["grey_level_cross_entropy"] = GreyLevels(
                loss=-elbo.elbo,
                standard_error=elbo.standard_error,
                importance_weighted=-conditional.mean,
            )
        else:
            by_class = self._per_class(conditional) if classes and y is not None else None
            found["conditional"] = LogLikelihood.of(conditional, by_class)
            if marginal is not None:
                found["marginal"] = LogLikelihood.of(marginal)
        if "conditional" in found:
            found["baseline"] = self._baseline()
        whole = is_image(model) and not model.condition.knows_part
        if whole and self.binarize == "none" and not is_binary(model):
            found["bits_per_dimension"] = self._bits(conditional)
        self.clock.lap("likelihood")
        return found

    def _baseline(self) -> Independent | None:
        model, kind, y = self.model, kind_of(self.model), self.condition
        if kind is None or (y is not None and not _known_to_baselines(model, y)):
            return None
        train, score, (values, made) = self.data.train, self.x, kind
        x, given = examples(model, train.spread(at_most(train.x, LEARNED, 16)), self.binarize)
        if (few := at_most(score, len(score), 16)) < len(score):
            rows = np.arange(few) * len(score) // few
            score, y = score[rows], None if y is None else take(y, rows)
        return Independent.of((made(x), given), (made(score), y), values)

    def _per_class(self, conditional: LogProb) -> dict[str, LogLikelihood] | None:
        """Of each class that the examples have, unless these are too many for a table."""
        there, names = np.unique(self.condition), self.data.class_names
        if names is None or len(there) > CLASSES:
            return None
        return {
            str(names[k]): LogLikelihood.of(_rows(conditional, self.condition == k)) for k in there
        }

    def _bits(self, conditional: LogProb) -> BitsPerDimension:
        """Of p(x | y); a density needs dequantised data to mean anything."""
        model, n = self.model, len(self.x)
        if model.likelihood.discrete:
            estimate, levels = conditional, None
        else:  # uniform dequantisation (Theis et al. 2016, eq. 2), on as much as is needed
            n, levels = min(n, 1000), 256
            u = np.random.default_rng([self.seed, 2]).random(self.x[:n].shape, "float32")
            noisy = (self.x[:n] * 255.0 + u) / 256.0
            some = take(self.condition, slice(n))
            estimate = model.log_prob(
                noisy, some, self.num_samples, self.seed, progress=self.progress
            )
        error = estimate.mean_standard_error / (math.prod(model.x_shape) * math.log(2.0))
        return BitsPerDimension(
            bits=bits_per_dimension(-estimate.mean, model.x_shape, levels),
            standard_error=error if math.isfinite(error) else None,
            examples=n,
        )

    def _classification(self, joint: np.ndarray, frequencies: np.ndarray) -> Classification:
        y, data = self.condition, self.data
        plain = reliability(results.class_posterior(joint), y)
        if data.test is None or data.validation is data.test or not len(data.validation):
            return plain
        most = min(self.limit or 1000, 1000, PAIRS // len(frequencies))
        held = data.validation.take(slice(0, most))
        x, labels = examples(self.model, held, self.binarize)
        few = min(self.num_samples, 100)
        given = importance.class_log_prob(self.model, x, few, self.seed, progress=self.progress)
        temperature = results.fit_temperature(given.joint(frequencies), labels)
        calibrated = reliability(results.class_posterior(joint, temperature), y)
        return Classification(
            **vars(calibrated) | {"temperature": temperature, "uncalibrated": plain}
        )

    def completions(self) -> dict[str, Any]:
        estimate = self.model.log_prob(
            self.x,
            self.condition,
            self.num_samples,
            self.seed,
            proposal="prior",
            progress=self.progress,
        )
        self.clock.lap("from prior")
        return {"from_prior": LogLikelihood.of(estimate)}

    def draws(self) -> dict[str, Any]:
        model, train, clock, varies = self.model, self.data.train, self.clock, self.varies
        found: dict[str, Any] = {}
        most = at_most(train.x, MOST if self.limit is None else max(self.limit, FEWEST), 1)
        asked = (model, train, self.condition is not None, self.seed)
        draws = draw(*asked, most, self.progress, **self.drawing)
        clock.lap("sampling")
        classes = labels(model, self.data, self.test)
        test, train = (replace(s, x=without(s.x, varies)) for s in (self.test, train))
        draws = draws._replace(x=without(draws.x, varies))
        if classes and len(classes.names) <= CLASSES:
            limited = self.limit is not None and self.limit < len(train)
            judge = judge_of(train, classes, self.seed, self.progress, self.judges, quick=limited)
            found["samples"] = None
            if judge is not None:
                by = (train, test, classes, self.seed, self.progress, clock.lap)
                found["samples"] = judged(judge, draws, *by, limited)
                if set(self.drawing.values()) != {1.0}:
                    plain = draw(*asked, min(most, PLAIN), self.progress)
                    plain = plain._replace(x=without(plain.x, varies))
                    found["from_model"] = judged(judge, plain, *by, limited=True)
        elif len(test) > NEIGHBOURS:
            found["components"] = by_components(draws, train, test, self.seed, self.progress)
            clock.lap("components")
        found["memorising"] = self._memorising(draws, train, test)
        clock.lap("memorising")
        if len(model.x_shape) < 3 and not is_binary(model) and varies.any():
            most = RANKED // math.prod(model.x_shape)  # of long signals fewer
            some, y = slice(0, min(1000, max(100, most))), self.condition
            y = None if y is None else take(y, some)
            ranks = calibration(model, self.x[some], y, seed=self.seed, progress=self.progress)
            found["calibration"] = Calibration.of(ranks, varies)
            clock.lap("calibration")
        return found

    def too_few(self, found: Mapping[str, Any]) -> tuple[str, ...]:
        """Which figures mean nothing at this size, or would take too long for it."""
        said = []
        samples, classes = found.get("samples"), self.model.condition.spec.classes
        if classes and "classification" not in found and self.too_many_pairs:
            most = max(1, PAIRS // classes.num_classes)
            said.append(
                f"−log p(x) and p(y | x) sum over {classes.num_classes} classes for each of "
                f"{len(self.x)} examples, which is too much; --limit {most} computes them."
            )
        if classes and classes.num_classes > CLASSES and "samples" not in found:
            said.append(
                f"Draws are judged by a classifier of at most {CLASSES} classes; there are "
                f"{classes.num_classes}."
            )
        n = len(self.data.train)
        if samples and (learned := at_most(self.data.train.x, n, 1)) < n:
            said.append(
                f"The judge learned from {learned:,} of {n:,} training pictures, evenly spread: "
                "all of them are not held in memory."
            )
        if "samples" in found and samples is None:
            said.append(
                "Draws are not judged: a classifier of these data takes a minute to train. "
                "Evaluate once without --limit, which keeps it."
            )
        elif samples and samples.tstr is None and samples.on_label_accuracy is not None:
            said.append(
                f"Train on samples, test on real, needs as many draws as training examples, not "
                f"{samples.count}."
            )
        if len(self.test) < FEWEST:
            said.append(
                f"Fréchet distance, precision and recall, and copies need {FEWEST} examples; there "
                f"are {len(self.test)}."
            )
        return tuple(said)

    def _memorising(self, draws: Draws, train: Split, test: Split) -> Memorising | None:
        if len(test) < FEWEST:
            return None
        few = slice(0, 1000)
        return memorising(Split(draws.x).floats(few), train, test.floats(few), self.progress)

    def constants(self) -> tuple[str, ...]:
        """Which values never vary in training, and what leaves them out."""
        found = [in_words(i, self.varies.shape) for i in np.flatnonzero(~self.varies).tolist()]
        if not found:
            return ()
        one = len(found) == 1
        which = f"{shortened(found)} never {'varies' if one else 'vary'} in training"
        each = "it" if one else "them"
        said = f"{which}: whatever compares draws with real data leaves {each} out."
        if is_continuous(self.model):
            said += (
                f" {'Its' if one else 'Their'} density has no upper bound, so −log p is compared "
                "with no independent values."
            )
        return (said[0].upper() + said[1:],)


def _rows(estimate: LogProb, rows: np.ndarray) -> LogProb:
    log_p, error, effective = (part[rows] for part in estimate[:3])
    return LogProb(log_p, error, effective, estimate.num_samples, estimate.seed)


def _known_to_baselines(model: Any, condition: Any) -> bool:
    """Whether conditions are classes or a few numbers."""
    if model.condition.spec.classes is not None:
        return True
    return isinstance(condition, np.ndarray) and condition.ndim <= 2 and condition.dtype.kind == "f"


def _frequencies(y: np.ndarray, classes: int) -> np.ndarray:
    """p(y) in the training data, with one example more of each class, `(classes,)`."""
    count = np.bincount(y, minlength=classes) + 1.0
    return count / count.sum()


def _left_out(model: Any, condition: Any, found: Mapping[str, Any]) -> tuple[str, ...]:
    """Which metrics of a conditional model need classes that it does not have."""
    if condition is None or model.condition.spec.classes:
        return ()
    said = (
        "−log p(x) and p(y | x) sum over classes; the condition is "
        f"{model.condition.spec.summary()}.",
    )
    if "samples" in found:
        return said
    how = "in principal components of x." if "components" in found else "by copies alone."
    return (
        *said,
        f"On-label accuracy and TSTR need classes; samples are compared with real data {how}",
    )
