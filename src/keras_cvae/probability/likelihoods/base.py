"""p(x | z, y): how the decoder's output becomes a distribution of the data.

To add a likelihood, subclass `Likelihood`: say how many parameters each value of x has, make a
distribution of them (see `keras_cvae.probability.distributions`), refuse data outside its support
in `check`, and register it. What depends on the shape of x, such as weights for each value, it
makes in `build`. The loss, draws and every estimate use the distribution and nothing else.
"""

from typing import Any

import keras
import numpy as np

from keras_cvae.probability.distributions import Distribution
from keras_cvae.registry import Registry
from keras_cvae.tensors import Tensor

LIKELIHOODS = Registry("likelihood")


class Likelihood(keras.layers.Layer):
    """Base of all likelihoods: makes the distribution of x from the decoder's output.

    Attributes:
        parameters_per_value: How many numbers the decoder gives for each value of x. They lie side
            by side on the last axis: all first parameters, then all second ones.
        link: The activation that turns logits into probabilities, where the parameters are logits.
        discrete: Whether `log_prob` is that of a probability of 8-bit values, not of a density.
        scalable: Whether its distribution can be scaled, as an exposure does.
        view: The layer through which the networks see x; None where they see x itself.
    """

    parameters_per_value = 1
    discrete = False
    scalable = False
    link: str | None = None

    def __init__(self, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.view: Any = None
        self.built = True

    def build(self, x_shape: tuple[int, ...], view: Any = None) -> None:
        """Create what depends on the shape of an example; models do so as they are built.

        Args:
            x_shape: Shape of one example.
            view: One that the condition sees x through already: it becomes this likelihood's where
                it can, so that both have the same scale.
        """

    def distribution(self, parameters: Tensor, training: bool = False) -> Distribution:
        """Make p(x | parameters).

        Args:
            parameters: Tensor `(..., batch, *parameter_shape)` in float32.
            training: Whether this is a training step.
        """
        raise NotImplementedError

    def parameter_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape, without the batch, that the decoder must give for data of `x_shape`.

        Raises:
            ValueError: This likelihood is not for data of that shape.
        """
        return (*x_shape[:-1], self.parameters_per_value * x_shape[-1])

    def uniforms_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape, without the batch, of the uniforms that a draw of one x takes."""
        return tuple(x_shape)

    def completing(self) -> "Likelihood":
        """Return this likelihood as it is built in a model that knows a part of x.

        Raises:
            ValueError: Values of x cannot be fixed under this likelihood.
        """
        return self

    def check(self, x: np.ndarray) -> None:
        """Refuse data outside the support.

        Raises:
            ValueError: Naming what was received and what this likelihood expects.
        """

    def check_known(self, x: np.ndarray) -> None:
        """Refuse known values outside the support, of x `(n, *x_shape)` with NaN elsewhere.

        Raises:
            ValueError: Naming what was received and what this likelihood expects.
        """
        known = x[~np.isnan(x)]
        if known.size:
            self.check(known)


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
