"""x from noise: z ~ p(z | y), then p(x | z, y), both in one compiled step.

Many draws are cut into chunks that fit the caches; the step takes many chunks at once, so that
neither the calls nor copies between them cost what drawing costs.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import ops

from keras_cvae.importance import Step, compiled

VALUES = 2**24  # that one call gives at most: 64 MiB


class Parameters(Step):
    """The parameters of p(x | z, y), `(chunks, batch, *parameter_shape)`.

    Called with standard normal `noise` `(chunks, batch, latent_dim)`, scaled by the temperature,
    and the `condition` `(chunks, batch, ...)`.
    """

    def call(self, inputs):
        return ops.map(self.chunk, inputs)

    def chunk(self, inputs):
        """One chunk, `(batch, *parameter_shape)`."""
        return self.hierarchy.generate(self.features(inputs), inputs["noise"])


class Means(Parameters):
    """The means of p(x | z, y), `(chunks, batch, *x_shape)`."""

    def chunk(self, inputs):
        return self.likelihood.mean(super().chunk(inputs))


def run(
    model: Any, step: type[Step], inputs: dict[str, np.ndarray], batch_size: int
) -> Iterator[np.ndarray]:
    """Run a step that takes chunks, and yield what it gives for the rows of `inputs`, in parts.

    Args:
        model: A `ConditionalVAE`.
        step: Its kind of step.
        inputs: `{"noise": (n, latent_dim), "condition": (n, ...)}`.
        batch_size: Rows of a chunk, at most.
    """
    step, n = compiled(model, step), len(inputs["noise"])
    rows = min(batch_size, 2 ** math.ceil(math.log2(n)))  # few sizes are ever compiled
    size = math.prod(model.likelihood.parameter_shape(model.x_shape))
    chunks = min(math.ceil(n / rows), max(1, VALUES // (rows * size)))
    for start in range(0, n, chunks * rows):
        filled = np.resize(np.arange(start, min(start + chunks * rows, n)), chunks * rows)
        cut = {k: v[filled].reshape(chunks, rows, *v.shape[1:]) for k, v in inputs.items()}
        out = step.predict_on_batch(cut)
        yield out.reshape(-1, *out.shape[2:])[: n - start]
