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
from keras_cvae.inference.steps import (
    EXAMPLES,
    Snapshot,
    Step,
    concatenated,
    decoded_at_once,
    features,
)
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

    @classmethod
    def joined(cls, parts: "list[_Moments]") -> "_Moments":
        """The sums of all examples, from those of some each."""
        whole = cls(0)
        for name in vars(whole):
            setattr(whole, name, np.concatenate([getattr(part, name) for part in parts]))
        return whole

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

    def noise(self, block: int, latent_dim: int) -> Iterator[tuple[int, np.ndarray]]:
        """Noise `(at_once, examples, latent_dim)` of a block, and how many of these draws count."""
        rng = np.random.default_rng([*self.seed, block])
        for done in range(0, self.num_samples, self.at_once):
            noise = np.zeros((self.at_once, self.examples, latent_dim), "float32")
            part = min(self.at_once, self.num_samples - done)
            rng.standard_normal(out=noise[:part], dtype="float32")
            yield part, noise

    def weigh(
        self, weights: Snapshot, step: Step, block: int, x: np.ndarray, y: Any
    ) -> Iterator[np.ndarray]:
        """Draw z for the pairs of a block, and weigh each draw: log w `(draws, pairs)` of some.

        Args:
            weights: Of the model.
            step: `log_weights` or `prior_weights`.
            block: Its number.
            x: Examples `(pairs, *x_shape)`, at most as many as a block has.
            y: Canonical conditions, one for each, or None.
        """
        filled = np.resize(np.arange(len(x)), self.examples)
        inputs = {"x": np.asarray(x[filled], "float32")}
        if y is not None:
            inputs["condition"] = take(y, filled)
        inputs["evidence"] = weights(observed, inputs)
        for draws, noise in self.noise(block, weights.model.latent_dim):
            log_w = ops.convert_to_numpy(weights(step, inputs | {"noise": noise}))
            yield log_w[:draws, : len(x)]


def in_blocks(parts: Iterable[tuple[np.ndarray, Any]]) -> Iterator[tuple[np.ndarray, Any]]:
    """Regroup x and conditions that come part by part: `EXAMPLES` pairs each, but for the last."""
    held: list[tuple[np.ndarray, Any]] = []
    for x, y in parts:
        start, missing = 0, EXAMPLES - sum(len(some) for some, _ in held)
        while len(x) - start >= missing:
            rows = slice(start, start + missing)
            yield _joined([*held, (x[rows], take(y, rows))])
            held, start, missing = [], start + missing, EXAMPLES
        if start < len(x):
            held.append((x[start:], take(y, slice(start, None))))
    if held:
        yield _joined(held)


def _joined(pairs: list[tuple[np.ndarray, Any]]) -> tuple[np.ndarray, Any]:
    if len(pairs) == 1:
        return pairs[0]
    x, y = zip(*pairs, strict=True)
    return np.concatenate(x), None if y[0] is None else concatenated([*y])


def _is_own(block: int) -> bool:
    """Whether this process draws for a block, where the work is divided among several."""
    first, parts = devices.share()
    return block % parts == first


def _shown(blocks: Iterable[Any], pairs: int | None, progress: Progress | None) -> Iterable[Any]:
    """The blocks of so many pairs, if that is known, with their progress."""
    if progress is None:
        return blocks
    total = None if pairs is None else math.ceil(pairs / EXAMPLES)
    return progress(blocks, total=total, description="importance sampling")


def log_prob(
    model: Any,
    parts: Iterable[tuple[np.ndarray, Any]],
    num_samples: int = 500,
    seed: int = 0,
    batch_size: int | None = None,
    progress: Progress | None = None,
    proposal: str = "posterior",
    *,
    pairs: int | None = None,
) -> LogProb:
    """Estimate log p(x | y).

    Args:
        model: A `ConditionalVAE`.
        parts: x `(n, *x_shape)` float32 and canonical conditions `(n, ...)` or None, part by part:
            how they are parted does not change the result, and one part is in memory at once.
        num_samples: Draws of z per example.
        seed: Of the noise: the same number again on every machine and, but for rounding, backend.
        batch_size: How many z are decoded at once; bounds the memory, does not change the result.
        progress: Wraps the loop over blocks as `progress(iterable, total=, description=)`.
        proposal: What z is drawn from: the "posterior" q(z | x, y), or the "prior" p(z | y): what
            a user meets who draws from the model, far below the truth unless z says little of x.
        pairs: How many x there are in all, if that is known.

    Raises:
        ValueError: A number of samples below 1, another proposal, or nothing at all to score.
    """
    if proposal not in PROPOSALS:
        raise ValueError(f"proposal: received {proposal!r}, expected one of {tuple(PROPOSALS)}.")
    num_samples, seed = errors.whole("num_samples", num_samples), errors.whole("seed", seed, 0)
    num_samples = num_samples if model.latent_dim else 1  # exact: there is nothing to draw
    weights, found, plan = Snapshot(model), [], None
    for i, (x, y) in enumerate(_shown(in_blocks(parts), pairs, progress)):
        plan = plan or Plan.of(model, len(x), num_samples, (seed,), batch_size)
        found.append(_Moments(len(x)))
        if _is_own(i):
            for log_w in plan.weigh(weights, PROPOSALS[proposal], i, x, y):
                found[-1].add(slice(None), log_w)
    if not found:
        raise ValueError("x is empty. Expected at least one example.")
    moments = _Moments.joined(found)
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
        blocks = enumerate(range(0, len(pairs), EXAMPLES))
        for i, start in _shown(blocks, len(pairs), progress):
            rows = pairs[start : start + EXAMPLES]
            if _is_own(i):
                for log_w in plan.weigh(weights, log_weights, i, x[index[rows]], take(y, rows)):
                    moments.add(rows, log_w)
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
