"""log p(x | y) by importance sampling, with q(z | x, y) as the proposal (Burda et al. 2016, eq. 8).

    log p(x | y) = log E_q[ w ],    w = p(x | z, y) p(z | y) / q(z | x, y)

The mean of w is unbiased; its logarithm is a lower bound that rises to log p(x | y) with the number
of samples. x is encoded once; z is drawn, decoded and weighed chunk by chunk in one compiled step,
and of the weights only their first two moments are kept, so memory does not grow with the samples.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from keras import ops

from keras_cvae import errors
from keras_cvae.conditions.candidates import enumerated
from keras_cvae.inference.results import ClassLogProb, LogProb
from keras_cvae.inference.steps import EXAMPLES, Step, compiled, decoded_at_once
from keras_cvae.trees import take

NOISE = 2**21  # numbers of noise that one compiled call takes at most: 8 MiB


PILOT = 16  # samples that every class gets before the likely ones get all


MARGIN = 12.0  # nats below the likeliest class where p(y | x) < 1e-5 and the pilot is enough


Progress = Callable[..., Iterable]


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
        return self.distribution(parameters, inputs).log_prob(inputs["x"]) + log_ratio


class PriorWeights(LogWeights):
    """The same with the prior as the proposal: w = p(x | z, y), z ~ p(z | y)."""

    def weigh(self, inputs):
        parameters = self.hierarchy.generate(self.features(inputs), inputs["noise"])
        return self.distribution(parameters, inputs).log_prob(inputs["x"])


PROPOSALS: dict[str, type[Step]] = {"posterior": LogWeights, "prior": PriorWeights}


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
    num_samples = num_samples if model.latent_dim else 1  # exact: there is nothing to draw
    moments, index = _Moments(len(x)), np.arange(len(x))
    step = compiled(model, PROPOSALS[proposal])
    _weigh(model, moments, x, y, index, num_samples, [seed], batch_size, progress, step=step)
    log_p, error, effective = moments.results()
    error = error if model.latent_dim else np.zeros_like(error)
    return LogProb(log_p, error, effective, num_samples, seed)


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
    num_samples = num_samples if model.latent_dim else 1
    n, pilot = len(x), min(num_samples, PILOT)
    classes, condition_of = enumerated(model.condition.spec, candidates, given, n)
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


def _weigh(
    model, moments, x, y, index, num_samples, seed, batch_size, progress=None, rows=None, step=None
) -> None:
    """Draw, decode and weigh: add log w of `x[index]` under `y` to the rows of `moments`."""
    step = step or compiled(model, LogWeights)
    examples = min(EXAMPLES, 2 ** math.ceil(math.log2(max(len(index), 1))))
    at_once = _even(num_samples, max(1, decoded_at_once(model, batch_size) // examples))
    chunk = (at_once, examples, model.latent_dim)
    size = max(1, math.prod(chunk))  # 0 without a latent
    chunks = _even(math.ceil(num_samples / at_once), max(1, NOISE // size))
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
            log_w = step.predict_on_batch(inputs | {"noise": noise.reshape(chunks, *chunk)})
            log_w = np.asarray(log_w).reshape(-1, examples)
            moments.add(rows[start : start + count], log_w[:part, :count])


def _even(n: int, at_most: int) -> int:
    """The size of parts that cuts n with the least left over: one shape, compiled once."""
    at_most = min(n, at_most)
    return min(range(at_most, at_most // 2, -1), key=lambda size: -n % size)
