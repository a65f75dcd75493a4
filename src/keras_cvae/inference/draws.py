"""Draws that are made part by part: any number of them, in the memory of a part."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_cvae import devices, errors, trees
from keras_cvae.checks import as_float32
from keras_cvae.inference import drawing, steps
from keras_cvae.inference.steps import Snapshot

HELD = 2**22  # numbers that are kept where every condition has the same
SKIPPED = 4096  # rows that are gone past at once


class Noise:
    """What draws are made of, row after row: a function of the seed and of the row alone.

    Args:
        seed: Of all of it.
        latent_dim: Standard normal numbers for each row, multiplied by `temperature`.
        temperature: A number of at least 0.
        uniforms: Shape of the uniform numbers that each row has besides; None: none.
        period: Rows after which it begins again.

    Raises:
        ValueError: The temperature takes some of the noise beyond single precision.
    """

    def __init__(
        self,
        seed: int,
        latent_dim: int,
        temperature: float,
        uniforms: tuple[int, ...] | None,
        period: int,
    ):
        self.seed, self.latent_dim, self.temperature = seed, latent_dim, temperature
        self.uniforms, self.period = uniforms, period
        self._restart()
        few = period * (latent_dim + math.prod(uniforms or ())) <= HELD
        self.held = self._drawn(period) if few else None
        self.at = 0

    def _restart(self) -> None:
        self.at = 0
        self.normal = np.random.default_rng(self.seed)
        self.uniform = np.random.default_rng([self.seed, 1])

    def rows(self, n: int) -> dict[str, np.ndarray]:
        """The next n rows: `noise` `(n, latent_dim)` and, if there are any, `uniforms`."""
        if self.held is not None:
            places = (self.at + np.arange(n)) % self.period
            self.at = (self.at + n) % self.period
            rows: dict[str, np.ndarray] = trees.take(self.held, places)
            return rows
        parts = []
        while n:
            if self.at == self.period:
                self._restart()
            parts.append(self._drawn(min(n, self.period - self.at)))
            n -= len(parts[-1]["noise"])
        return parts[0] if len(parts) == 1 else steps.concatenated(parts)

    def skip(self, n: int) -> None:
        """Go past n rows, without the time that drawing their uniforms would take."""
        n = (self.at + n) % self.period
        if self.held is not None:
            self.at = n
            return
        self._restart()
        self.at = n
        for start in range(0, n, SKIPPED):
            self.normal.standard_normal((min(SKIPPED, n - start), self.latent_dim))
        if self.uniforms is not None:  # two to a word of 64 bits
            words, half = divmod(n * math.prod(self.uniforms), 2)
            self.uniform.bit_generator.advance(words)  # type: ignore[attr-defined]
            self.uniform.random(half, "float32")

    def _drawn(self, n: int) -> dict[str, np.ndarray]:
        self.at += n
        noise = as_float32(self.temperature * self.normal.standard_normal((n, self.latent_dim)))
        if not np.isfinite(noise).all():
            raise ValueError(
                f"temperature: received {self.temperature:g}, beyond single precision."
            )
        if self.uniforms is None:
            return {"noise": noise}
        return {
            "noise": noise,
            "uniforms": drawing.uniforms(self.uniform, (n, *self.uniforms)),
        }


class Draws:
    """Draws x ~ p(x | y), n for each condition in turn, made when they are asked for.

    A draw is a function of the model, the seed and its row: the same numbers whatever the size of a
    part, and wherever parts begin. `ConditionalVAE.draws` makes these.

    Args:
        weights: Of the model.
        y: Canonical conditions `(conditions, ...)`, or None.
        n: How many for each condition.
        step: `drawing.means` or `drawing.samples`.
        noise: Arguments of `Noise` but for the period.
        shared: What guidance needs beside the noise and the condition.
        at_once: How many are decoded at once.
        alike: Whether every condition has the same noise.
    """

    def __init__(
        self,
        weights: Snapshot,
        y: Any,
        n: int,
        step: steps.Step,
        noise: tuple[int, int, float, tuple[int, ...] | None],
        shared: dict[str, Any],
        at_once: int,
        alike: bool = False,
    ):
        self.weights, self.step, self.shared = weights, step, shared
        self.n, self.total = n, n if y is None else n * trees.count(y)
        self._noise = (*noise, n if alike else self.total)
        self.size = steps.batch_size(self.total, at_once)
        self.given = {} if y is None else {"condition": y}
        condition = weights.model.condition
        if n > 1 and condition.has_encoder:  # once for all draws of a condition
            once = weights.whole(steps.features, self.given, at_once)
            if not (condition.knows_part or condition.scales):
                self.given = {}
            self.given |= {"features": once}

    def __len__(self) -> int:
        return self.total

    def parts(self, rows: int, start: int = 0) -> Iterator[np.ndarray]:
        """Yield the draws from row `start` on, `(rows, *x_shape)` at a time; the last part is
        smaller where they do not divide.

        Processes that have joined, within `devices.dividing()`, each compute a part of them and
        send it to all; then all have to go through them alike.

        Raises:
            ValueError: A number of rows below 1, or a start that is no row.
        """
        rows, start = errors.whole("rows", rows), errors.whole("start", start, 0)
        if start > self.total:
            raise ValueError(f"start: received {start}. There are {self.total} draws.")
        return self._parts(rows, start)

    def _parts(self, rows: int, start: int) -> Iterator[np.ndarray]:
        first = start - start % self.size  # what is computed together is the same wherever it is
        made = self._made(first)
        left, filled, part = self.total - start, 0, None
        for batch in made:
            batch, first = batch[max(0, start - first) :], start
            while len(batch):
                if part is None:
                    part, filled = np.empty((min(rows, left), *batch.shape[1:]), batch.dtype), 0
                some = batch[: len(part) - filled]
                part[filled : filled + len(some)] = some
                filled, batch = filled + len(some), batch[len(some) :]
                if filled == len(part):
                    yield part
                    left, part = left - filled, None

    def _made(self, first: int) -> Iterator[np.ndarray]:
        """The draws from a row on, batch by batch, whichever process computes them."""
        index, among = devices.share()
        own = itertools.islice(self._batches(first), index, None, among)
        made = self.weights.each(self.step, own)
        if among == 1:
            yield from made
            return
        part = np.zeros((self.size, *self.weights.model.x_shape), "float32")
        while first < self.total:
            for some in itertools.islice(made, 1):
                part[: len(some)] = some
            for batch in devices.gathered(part)[: math.ceil((self.total - first) / self.size)]:
                yield batch[: self.total - first]
                first += self.size

    def _batches(self, first: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """How many rows of each batch count, and its inputs, filled up."""
        noise = Noise(*self._noise)
        noise.skip(first)
        for start in range(first, self.total, self.size):
            count = min(self.size, self.total - start)
            inputs: dict[str, Any] = noise.rows(count)
            filled = np.resize(np.arange(count), self.size)
            inputs = trees.take(inputs, filled) if count < self.size else inputs
            yield count, inputs | trees.take(self.given, (start + filled) // self.n) | self.shared
