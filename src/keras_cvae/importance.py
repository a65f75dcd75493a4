"""log p(x | y) by importance sampling, with q(z | x, y) as the proposal (Burda et al. 2016, eq. 8).

    log p(x | y) = log E_q[ w ],    w = p(x | z, y) p(z | y) / q(z | x, y)

The mean of w is unbiased; its logarithm is a lower bound that rises to log p(x | y) with the number
of samples. x is encoded once; z is drawn, decoded and weighed chunk by chunk in one compiled step,
and of the weights only their first two moments are kept, so memory does not grow with the samples.
"""

import math
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_cvae import errors
from keras_cvae.conditions import enumerated, take
from keras_cvae.fastpath import UntrackedState

EXAMPLES = 64  # examples that share one compiled call; part of what defines the noise of a seed
NOISE = 2**21  # numbers of noise that one compiled call takes at most: 8 MiB
PILOT = 16  # samples that every class gets before the likely ones get all
MARGIN = 12.0  # nats below the likeliest class where p(y | x) < 1e-5 and the pilot is enough

Progress = Callable[..., Iterable]


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

    def marginal(self, class_prior=None) -> LogProb:
        """log p(x) = log sum_y p(y) p(x | y), y uniform unless `class_prior` `(K,)` is given."""
        joint = self.joint(class_prior)
        log_p = _logsumexp(joint)
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

    def joint(self, class_prior=None) -> np.ndarray:
        """log p(y) + log p(x | y), `(n, K)`."""
        with np.errstate(divide="ignore"):  # a class that cannot be: log 0
            return self.log_prob + np.log(check_class_prior(class_prior, self.log_prob.shape[1]))


class _Moments:
    """Running sums of w and w^2 of each example, relative to its largest log w so far."""

    def __init__(self, n: int):
        self.peak = np.full(n, -np.inf)
        self.first, self.second = np.zeros(n), np.zeros(n)
        self.count = np.zeros(n)

    def add(self, rows, log_w: np.ndarray) -> None:
        """Add log w `(samples, rows)`."""
        log_w = log_w.astype("float64")
        peak = np.maximum(self.peak[rows], log_w.max(axis=0))
        old, w = np.exp(self.peak[rows] - peak), np.exp(log_w - peak)
        self.first[rows] = self.first[rows] * old + w.sum(axis=0)
        self.second[rows] = self.second[rows] * old**2 + np.square(w).sum(axis=0)
        self.count[rows] += len(log_w)
        self.peak[rows] = peak

    def results(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log of the mean, its standard error, effective sample size."""
        effective = self.first**2 / self.second
        spread = np.maximum(self.count / effective - 1.0, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):  # one sample has no error: NaN
            error = np.where(self.count > 1, np.sqrt(spread / (self.count - 1.0)), np.nan)
        return self.peak + np.log(self.first / self.count), error, effective


class Step(UntrackedState, keras.Model):
    """A compiled step on the parts of a model; holds their weights, but not the model itself."""

    def __init__(self, model: Any):
        super().__init__(autocast=False)
        self.condition, self.likelihood = model.condition, model.likelihood
        self.hierarchy = model.hierarchy
        self.parts = [model.encoder, model.prior, model.decoder]
        self.built = True

    def features(self, inputs: dict) -> Any:
        """Features of the condition, or None; given already, if several draws share them."""
        if "features" in inputs:
            return inputs["features"]
        return self.condition.features(inputs.get("condition"))


class Observe(Step):
    """What q(z | x, y) needs of x: once for all draws."""

    def call(self, inputs):
        return self.hierarchy.observe(inputs["x"], self.features(inputs))


class LogWeights(Step):
    """log w `(chunks, samples, batch)` of z drawn with noise of that shape, chunk by chunk."""

    def call(self, inputs):
        return ops.map(lambda noise: self.weigh(inputs | {"noise": noise}), inputs["noise"])

    def weigh(self, inputs):
        """log w `(samples, batch)` of one chunk."""
        latents, parameters = self.hierarchy.infer(
            inputs["evidence"], self.features(inputs), inputs["noise"]
        )
        log_ratio = sum(g.prior.log_prob(g.z) - g.posterior.log_prob(g.z) for g in latents)
        return self.likelihood.log_prob(inputs["x"], parameters) + log_ratio


class PriorWeights(LogWeights):
    """The same with the prior as the proposal: w = p(x | z, y), z ~ p(z | y)."""

    def weigh(self, inputs):
        parameters = self.hierarchy.generate(self.features(inputs), inputs["noise"])
        return self.likelihood.log_prob(inputs["x"], parameters)


PROPOSALS: dict[str, type[Step]] = {"posterior": LogWeights, "prior": PriorWeights}

_STEPS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def compiled(model: Any, step: type[Step]) -> Step:
    """The step of this kind for this model, made (and so compiled) once."""
    known = _STEPS.setdefault(model, {})
    if step not in known:
        known[step] = step(model)
    return known[step]


def log_prob(
    model: Any,
    x: np.ndarray,
    y: Any,
    num_samples: int = 500,
    seed: int = 0,
    batch_size: int | None = None,
    progress: Progress | None = None,
    proposal: str = "posterior",
) -> LogProb:
    """Estimate log p(x | y).

    Args:
        model: A `ConditionalVAE`.
        x: `(n, *x_shape)` float32.
        y: Canonical conditions `(n, ...)` or None.
        num_samples: Draws of z per example.
        seed: Of the noise: the same number again on every machine and, but for rounding, backend.
        batch_size: How many z are decoded at once; bounds the memory, does not change the result.
        progress: Wraps the loop over blocks as `progress(iterable, total=, description=)`.
        proposal: What z is drawn from: the "posterior" q(z | x, y), or the "prior" p(z | y): what
            a user meets who draws from the model, far below the truth unless z says little of x.

    Raises:
        ValueError: A number of samples below 1, or another proposal.
    """
    if proposal not in PROPOSALS:
        raise ValueError(f"proposal: received {proposal!r}, expected one of {tuple(PROPOSALS)}.")
    num_samples, seed = errors.whole("num_samples", num_samples), errors.whole("seed", seed, 0)
    moments, index = _Moments(len(x)), np.arange(len(x))
    step = compiled(model, PROPOSALS[proposal])
    _weigh(model, moments, x, y, index, num_samples, [seed], batch_size, progress, step=step)
    return LogProb(*moments.results(), num_samples, seed)


def class_log_prob(
    model: Any,
    x: np.ndarray,
    num_samples: int = 500,
    seed: int = 0,
    batch_size: int | None = None,
    always: np.ndarray | None = None,
    progress: Progress | None = None,
    candidates: Any = None,
    given: Any = None,
) -> ClassLogProb:
    """Estimate log p(x | y) for every class, or for K conditions of any kind.

    Every class gets `PILOT` samples; those within `MARGIN` nats of the likeliest get all of them,
    the pilot's included. The others keep their pilot's estimate, so log p(x) and p(y | x) of
    unlikely classes lean down: a class that truly lies d nats below the best is missed where its
    pilot is too low by MARGIN - d, and then costs log p(x) at most exp(-d) nats.

    Args:
        model: A `ConditionalVAE`.
        x: `(n, *x_shape)` float32.
        num_samples: As in `log_prob`, of likely classes.
        seed: As in `log_prob`.
        batch_size: As in `log_prob`.
        always: Classes `(n,)` that get all samples in any case, such as the labels to be scored.
        progress: As in `log_prob`.
        candidates: The K conditions, `(K, ...)`; by default all classes.
        given: Of a model with named conditions, those that are known of each x, by name; the
            candidates are of the others.

    Raises:
        ValueError: No candidates, and the condition is not `Categorical`.
    """
    num_samples, seed = errors.whole("num_samples", num_samples), errors.whole("seed", seed, 0)
    n, pilot = len(x), min(num_samples, PILOT)
    classes, condition_of = enumerated(model.condition, candidates, given, n)
    index, which = np.divmod(np.arange(n * classes), classes)
    y = condition_of(index, which)
    moments = _Moments(n * classes)
    pairs = np.arange(n * classes)
    shared = (batch_size, progress)
    _weigh(model, moments, x, y, index, pilot, [seed], *shared, pairs)
    if num_samples > pilot:
        rough = moments.results()[0].reshape(n, classes)
        likely = rough > rough.max(axis=1, keepdims=True) - MARGIN
        if always is not None:
            likely[np.arange(n), always] = True
        pairs = np.flatnonzero(likely)
        more = num_samples - pilot
        y = take(y, pairs)
        _weigh(model, moments, x, y, index[pairs], more, [seed, 1], *shared, pairs)
    log_p, error, effective = (part.reshape(n, classes) for part in moments.results())
    return ClassLogProb(log_p, error, effective, num_samples, seed)


def class_posterior(joint: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """p(y | x) `(n, K)` from log p(x, y): Bayes' rule, softened by a temperature."""
    scaled = joint / temperature
    return np.exp(scaled - _logsumexp(scaled)[:, None])


def fit_temperature(joint: np.ndarray, y: np.ndarray) -> float:
    """The temperature that gives held-out labels the highest likelihood (Guo et al. 2017).

    Args:
        joint: log p(x, y) of examples that the model was not trained on, `(n, K)`.
        y: Their classes `(n,)`.
    """

    def loss(log_t: float) -> float:
        scaled = joint / math.exp(log_t)
        return float(np.mean(_logsumexp(scaled) - scaled[np.arange(len(y)), y]))

    low, high, golden = math.log(0.05), math.log(100.0), (math.sqrt(5.0) - 1.0) / 2.0
    for _ in range(40):  # golden section: the loss is convex in 1 / T, so unimodal in log T
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return math.exp(0.5 * (low + high))


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


def _weigh(
    model, moments, x, y, index, num_samples, seed, batch_size, progress=None, rows=None, step=None
) -> None:
    """Draw, decode and weigh: add log w of `x[index]` under `y` to the rows of `moments`."""
    step = step or compiled(model, LogWeights)
    examples = min(EXAMPLES, 2 ** math.ceil(math.log2(max(len(index), 1))))
    at_once = _even(num_samples, max(1, decoded_at_once(model, batch_size) // examples))
    chunk = (at_once, examples, model.latent_dim)
    chunks = _even(math.ceil(num_samples / at_once), max(1, NOISE // math.prod(chunk)))
    noise = np.zeros((chunks * at_once, *chunk[1:]), "float32")
    rows = index if rows is None else rows
    starts: Iterable = range(0, len(index), examples)
    if progress is not None:
        blocks = math.ceil(len(index) / examples)
        starts = progress(starts, total=blocks, description="importance sampling")
    for start in starts:
        some = index[start : start + examples]
        count, filled = len(some), np.resize(np.arange(start, start + len(some)), examples)
        inputs = {"x": np.asarray(x[index[filled]], "float32")}
        if y is not None:
            inputs["condition"] = take(y, filled)
        inputs["evidence"] = compiled(model, Observe).predict_on_batch(inputs)
        rng = np.random.default_rng([*seed, start // examples])
        for done in range(0, num_samples, len(noise)):
            part = min(len(noise), num_samples - done)
            rng.standard_normal(out=noise[:part], dtype="float32")
            log_w = step.predict_on_batch(inputs | {"noise": noise.reshape(-1, *chunk)})
            log_w = np.asarray(log_w).reshape(-1, examples)
            moments.add(rows[start : start + count], log_w[:part, :count])


def _even(n: int, at_most: int) -> int:
    """The size of parts that cuts n with the least left over: one shape, compiled once."""
    at_most = min(n, at_most)
    return min(range(at_most, at_most // 2, -1), key=lambda size: -n % size)


def decoded_at_once(model: Any, batch_size: int | None = None) -> int:
    """How many z to decode at once; by default enough for fast products, few enough for caches."""
    if batch_size is not None:
        return errors.whole("batch_size", batch_size)
    size = math.prod(model.likelihood.parameter_shape(model.x_shape))
    return int(np.clip(2**21 // size, EXAMPLES, 1024))


def _logsumexp(values: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    peak = values.max(axis=-1, keepdims=True)
    return (peak + np.log(np.sum(np.exp(values - peak), axis=-1, keepdims=True)))[..., 0]
