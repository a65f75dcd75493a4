"""log p(x | y) by importance sampling, with q(z | x, y) as the proposal (Burda et al. 2016, eq. 8).

    log p(x | y) = log E_q[ w ],    w = p(x | z, y) p(z | y) / q(z | x, y)

The mean of w is unbiased; its logarithm is a lower bound that rises to log p(x | y) with the number
of samples. x is encoded once; z is drawn, decoded and weighed in compiled steps, a few draws at a
time, and of the weights only the first two moments are kept: memory does not grow with the samples.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_cvae import devices, errors
from keras_cvae.conditions.candidates import enumerated
from keras_cvae.inference.results import ClassLogProb, LogProb
from keras_cvae.inference.steps import EXAMPLES, Snapshot, Step, decoded_at_once, features
from keras_cvae.inference.steps import batch_size as even
from keras_cvae.probability.normal import DiagonalNormal
from keras_cvae.trees import take

PILOT = 16  # samples that every class gets before the likely ones get all
MARGIN = 12.0  # nats below the likeliest class where p(y | x) < 1e-5 and the pilot is enough

Progress = Callable[..., Iterable[Any]]


class _Moments:
    """Running sums of w and w^2 of each example, relative to its largest log w so far."""

    def __init__(self, n: int):
        self.peak = np.full(n, -np.inf)
        self.first, self.second = np.zeros(n), np.zeros(n)
        self.count = np.zeros(n)
        self.added = np.zeros(n, bool)  # by this process

    def add(self, rows: Any, log_w: np.ndarray) -> None:
        """Add log w `(samples, rows)`."""
        log_w = log_w.astype("float64")
        peak = np.maximum(self.peak[rows], log_w.max(axis=0))
        old, w = np.exp(self.peak[rows] - peak), np.exp(log_w - peak)
        self.first[rows] = self.first[rows] * old + w.sum(axis=0)
        self.second[rows] = self.second[rows] * old**2 + np.square(w).sum(axis=0)
        self.count[rows] += len(log_w)
        self.peak[rows] = peak
        self.added[rows] = True

    def gather(self) -> None:
        """Take in what other processes have added, where the work is divided among them."""
        if devices.share()[1] > 1:
            by = devices.gathered(self.added).argmax(axis=0)[None]
            for name in ("peak", "first", "second", "count"):
                found = devices.gathered(getattr(self, name))
                setattr(self, name, np.take_along_axis(found, by, axis=0)[0])
            self.added[:] = False

    def results(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log of the mean, its standard error, effective sample size."""
        effective = self.first**2 / self.second
        spread = np.maximum(self.count / effective - 1.0, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):  # one sample has no error: NaN
            error = np.where(self.count > 1, np.sqrt(spread / (self.count - 1.0)), np.nan)
        return self.peak + np.log(self.first / self.count), error, effective


def observed(model: Any, inputs: dict[str, Any]) -> Any:
    """What q(z | x, y) needs of `x`: once for all draws."""
    evidence = model.hierarchy.observe(inputs["x"], features(model, inputs))
    return evidence.bounded() if isinstance(evidence, DiagonalNormal) else evidence


def log_weights(model: Any, inputs: dict[str, Any]) -> Any:
    """log w `(samples, batch)` of z ~ q(z | x, y), made of noise `(samples, batch, latent_dim)`."""
    latents, parameters = model.hierarchy.infer(
        inputs["evidence"], features(model, inputs), inputs["noise"]
    )
    log_ratio = sum(g.prior.log_prob(g.z) - g.posterior.log_prob(g.z) for g in latents)
    p = model.distribution(parameters, inputs.get("condition"))
    return p.log_prob(inputs["x"]) + log_ratio


def prior_weights(model: Any, inputs: dict[str, Any]) -> Any:
    """log w `(samples, batch)` of z ~ p(z | y): w = p(x | z, y)."""
    parameters = model.hierarchy.generate(features(model, inputs), inputs["noise"])
    return model.distribution(parameters, inputs.get("condition")).log_prob(inputs["x"])


PROPOSALS: dict[str, Step] = {"posterior": log_weights, "prior": prior_weights}


@dataclass(frozen=True)
class Plan:
    """How the draws for some pairs of x and y are cut into compiled calls.

    Attributes:
        num_samples: Draws of z for each pair.
        seed: Of their noise, with the number of a block of pairs. It does not depend on `at_once`.
        examples: Pairs in a block, which share their calls; the last block is filled up.
        at_once: Draws of each pair in a call; the last call is filled up.
    """

    num_samples: int
    seed: tuple[int, ...]
    examples: int
    at_once: int

    @classmethod
    def of(
        cls, model: Any, pairs: int, num_samples: int, seed: tuple[int, ...], batch_size: int | None
    ) -> "Plan":
        """Plan as many draws a call as memory and caches allow."""
        examples = min(EXAMPLES, 2 ** math.ceil(math.log2(max(pairs, 1))))
        most = max(1, decoded_at_once(model, batch_size) // examples)
        return cls(num_samples, seed, examples, even(num_samples, most))

    def blocks(self, pairs: int, progress: Progress | None) -> Iterable[range]:
        """Positions of the pairs, block by block; of those that are this process' own."""
        first, parts = devices.share()
        starts: Any = range(first * self.examples, pairs, parts * self.examples)
        if progress is not None:
            starts = progress(starts, total=len(starts), description="importance sampling")
        return (range(start, min(start + self.examples, pairs)) for start in starts)

    def noise(self, block: range, latent_dim: int) -> Iterator[tuple[int, np.ndarray]]:
        """Noise `(at_once, examples, latent_dim)`, and how many of these draws count."""
        rng = np.random.default_rng([*self.seed, block.start // self.examples])
        for done in range(0, self.num_samples, self.at_once):
            noise = np.zeros((self.at_once, self.examples, latent_dim), "float32")
            part = min(self.at_once, self.num_samples - done)
            rng.standard_normal(out=noise[:part], dtype="float32")
            yield part, noise


def weigh(
    weights: Snapshot,
    step: Step,
    x: np.ndarray,
    y: Any,
    index: np.ndarray,
    plan: Plan,
    progress: Progress | None = None,
) -> Iterator[tuple[range, np.ndarray]]:
    """Draw z for pairs of x and y, and weigh each draw.

    Args:
        weights: Of the model.
        step: `log_weights` or `prior_weights`.
        x: Examples `(n, *x_shape)`.
        y: Canonical conditions, one for each pair, or None.
        index: Which x each pair has, `(pairs,)`.
        plan: How many draws, and how many at once.
        progress: Wraps the loop over blocks.

    Yields:
        Positions of pairs, and log w `(draws, positions)` of some of their draws.
    """
    for block in plan.blocks(len(index), progress):
        filled = np.resize(np.asarray(block), plan.examples)
        inputs = {"x": np.asarray(x[index[filled]], "float32")}
        if y is not None:
            inputs["condition"] = take(y, filled)
        inputs["evidence"] = weights(observed, inputs)
        for draws, noise in plan.noise(block, weights.model.latent_dim):
            log_w = ops.convert_to_numpy(weights(step, inputs | {"noise": noise}))
            yield block, log_w[:draws, : len(block)]


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
    moments = _Moments(len(x))
    plan = Plan.of(model, len(x), num_samples, (seed,), batch_size)
    step, index = PROPOSALS[proposal], np.arange(len(x))
    for rows, log_w in weigh(Snapshot(model), step, x, y, index, plan, progress):
        moments.add(rows, log_w)
    moments.gather()
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
    moments, weights = _Moments(n * classes), Snapshot(model)

    def draw(pairs: np.ndarray, num_samples: int, *seed: int) -> None:
        plan = Plan.of(model, len(pairs), num_samples, seed, batch_size)
        some = weigh(weights, log_weights, x, take(y, pairs), index[pairs], plan, progress)
        for rows, log_w in some:
            moments.add(pairs[rows], log_w)
        moments.gather()

    draw(np.arange(n * classes), pilot, seed)
    if num_samples > pilot:
        rough = moments.results()[0].reshape(n, classes)
        likely = rough > rough.max(axis=1, keepdims=True) - MARGIN
        if always is not None:
            likely[np.arange(n), always] = True
        draw(np.flatnonzero(likely), num_samples - pilot, seed, 1)
    log_p, error, effective = (part.reshape(n, classes) for part in moments.results())
    return ClassLogProb(log_p, error, effective, num_samples, seed)
