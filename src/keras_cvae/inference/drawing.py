"""x from noise: z ~ p(z | y), then p(x | z, y), both in one compiled step.

Many draws are cut into chunks that fit the caches; the step takes many chunks at once, so that
neither the calls nor copies between them cost what drawing costs.
"""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvae.inference.guidance import GuidedPrior, extrapolate
from keras_cvae.inference.steps import Step, compiled
from keras_cvae.trees import count, take

VALUES = 2**24  # that one call gives at most: 64 MiB


class Parameters(Step):
    """The parameters of p(x | z, y), `(chunks, batch, *parameter_shape)`.

    Called with standard normal `noise` `(chunks, batch, latent_dim)`, scaled by the temperature,
    the `condition` `(chunks, batch, ...)` or its `features`, and for guidance its weight and the
    `unconditional` condition.
    """

    def call(self, inputs):
        return ops.map(self.chunk, inputs)

    def chunk(self, inputs):
        """One chunk, `(batch, *parameter_shape)`."""
        features, noise = self.features(inputs), inputs["noise"]
        if "guidance" not in inputs:
            return self.hierarchy.generate(features, noise)
        weight = inputs["guidance"]
        free = self.condition.features(inputs["unconditional"])
        prior = GuidedPrior(self.hierarchy.prior, free, weight)
        ends = prior.sample(features, noise)[-1]  # with the condition and without it
        given, free = (self.hierarchy.parameters(end) for end in ends)
        return extrapolate(free, given, weight)


class Means(Parameters):
    """The means of p(x | z, y), `(chunks, batch, *x_shape)`."""

    def chunk(self, inputs):
        return self.distribution(super().chunk(inputs), inputs).mean()


class Samples(Parameters):
    """Draws from p(x | z, y), `(chunks, batch, *x_shape)`, made of `uniforms`.

    These are `(chunks, batch, *uniforms_shape)`, from U(0, 1); see `Likelihood.uniforms_shape`.
    """

    def chunk(self, inputs):
        return self.distribution(super().chunk(inputs), inputs).sample(inputs["uniforms"])


class Features(Step):
    """Features of the condition, `(chunks, batch, width)`."""

    def call(self, inputs):
        return ops.map(self.features, inputs)


def uniforms(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw from U(0, 1) in float32, never 0 nor 1: the same numbers whatever the backend."""
    return np.maximum(rng.random(shape, "float32"), np.float32(2.0**-25))


def run(model: Any, step: type[Step], inputs: dict[str, Any], batch_size: int) -> Iterator[Any]:
    """Run a step that takes chunks, and yield what it gives for the rows of `inputs`, in parts.

    Args:
        model: A `ConditionalVAE`.
        step: Its kind of step.
        inputs: `{"noise": (n, latent_dim), "condition": (n, ...)}`, or what else the step takes.
        batch_size: Rows of a chunk, at most.
    """
    step, n = compiled(model, step), count(inputs)
    rows = min(batch_size, 2 ** math.ceil(math.log2(n)))  # few sizes are ever compiled
    size = math.prod(model.likelihood.parameter_shape(model.x_shape))
    chunks = min(math.ceil(n / rows), max(1, VALUES // max(1, rows * size)))
    for start in range(0, n, chunks * rows):
        filled = np.resize(np.arange(start, min(start + chunks * rows, n)), chunks * rows)
        some = keras.tree.map_structure(
            lambda v: v.reshape(chunks, rows, *v.shape[1:]), take(inputs, filled)
        )
        out = step.predict_on_batch(some)
        flat = keras.tree.map_structure(lambda v: v.reshape(-1, *v.shape[2:]), out)
        yield take(flat, slice(n - start))
