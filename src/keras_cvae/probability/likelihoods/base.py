"""p(x | z, y): how the decoder's output becomes a distribution of the data.

To add a likelihood, subclass `Likelihood`, set `units`, write `log_density`, `mean`, `sample` and
`check`, and register it. The loss, sampling and every estimate use these four and nothing else.
"""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvae.registry import Registry

LIKELIHOODS = Registry("likelihood")


class Likelihood(keras.layers.Layer):
    """Base of all likelihoods: independent over the values of x given the decoder's parameters.

    The parameters have x's shape with the last axis `units` times as long.

    Attributes:
        units: Parameters for each value of x.
        link: The activation that turns logits into probabilities, where the parameters are logits.
        discrete: Whether log_prob is that of a probability of 8-bit values, not of a density.
        completes: Whether some values of x can be known while the others are drawn.
        view: What the recognition network sees in place of x, if not x itself: a layer.
    """

    units = 1
    discrete = False
    link: str | None = None
    completes = True

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.view: Any = None
        self.built = True

    def parameter_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape, without the batch, that the decoder must give for data of `x_shape`."""
        return (*x_shape[:-1], self.units * x_shape[-1])

    def log_prob(self, x, parameters, training: bool = False, scored=None):
        """Log p(x | parameters) in nats, summed over x's dimensions.

        Args:
            x: Tensor `(batch, *x_shape)`.
            parameters: Tensor `(..., batch, *parameter_shape)`.
            training: Whether this is a training step.
            scored: Booleans `(batch or 1, *x_shape)`: the values that count. None: all of them.

        Returns:
            Tensor `(..., batch)`.
        """
        if self.units == 1:  # as vectors: XLA vectorises over the last axis, often a single channel
            lead = ops.shape(parameters)[: 1 - len(x.shape)]
            size = math.prod(x.shape[1:])
            x, parameters = ops.reshape(x, (-1, size)), ops.reshape(parameters, (*lead, size))
            scored = None if scored is None else ops.reshape(scored, (-1, size))
        density = self.log_density(x, parameters, training, scored)
        if scored is not None:
            density = ops.where(scored, density, 0.0)
        return ops.sum(density, axis=tuple(range(1 - len(x.shape), 0)))

    def log_prob_given(self, x, parameters, known, training: bool = False, scored=None):
        """Log p of the values that are not known, given those that are: booleans like `scored`."""
        return self.log_prob(x, parameters, training, unknown(known, scored))

    def log_density(self, x, parameters, training: bool = False, scored=None):
        """Log-density of each value, `(..., batch, *x_shape)`.

        `scored` matters only to what is estimated from the batch; `log_prob` leaves the rest out.
        """
        raise NotImplementedError

    def mean(self, parameters):
        """E[x | parameters], `(..., *x_shape)`."""
        raise NotImplementedError

    def sample(self, parameters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw x in NumPy, so that a seed gives the same x on every backend."""
        raise NotImplementedError

    def mean_given(self, parameters, values, known):
        """The mean where some values are known: `values` where `known`, `(batch, *x_shape)`."""
        return ops.where(known, values, self.mean(parameters))

    def sample_given(self, parameters, values, known, rng: np.random.Generator) -> np.ndarray:
        """Draw the values that are not known, in NumPy."""
        return np.where(known, values, self.sample(parameters, rng)).astype("float32")

    def completing(self) -> "Likelihood":
        """This likelihood as it is built where a part of x is known."""
        return self

    def check(self, x: np.ndarray) -> None:
        """Refuse data outside the support.

        Raises:
            ValueError: Naming what was received and what this likelihood expects.
        """

    def call(self, parameters):
        """Return the mean, so that a likelihood also works as a layer."""
        return self.mean(parameters)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // self.units)


def unknown(known, scored):
    """What is to be scored where some values are known."""
    unknown = ops.logical_not(known)
    return unknown if scored is None else ops.logical_and(unknown, scored)


def mean_over(values, scored):
    """Over the values that count."""
    if scored is None:
        return ops.mean(values)
    weights = ops.broadcast_to(ops.cast(scored, "float32"), ops.shape(values))
    return ops.sum(values * weights) / ops.maximum(ops.sum(weights), 1.0)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-logits)), without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


def check_unit_interval(x: np.ndarray, name: str) -> None:
    """Refuse x outside [0, 1].

    Raises:
        ValueError: Naming the range that was received and what to do about it.
    """
    low, high = float(np.min(x)), float(np.max(x))
    if low < 0.0 or high > 1.0:
        hint = " Divide by 255 to scale 8-bit images." if 1.0 < high <= 255.0 and low >= 0 else ""
        raise ValueError(
            f"The {name} likelihood expects x in [0, 1]. Received values from {low:g} to {high:g}."
            f"{hint} For unbounded data use likelihood='gaussian'."
        )
