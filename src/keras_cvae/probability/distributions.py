"""Distributions of x at one set of parameters: what a `Likelihood` makes.

To write one whose values are independent, subclass `Independent`: `log_density`, `mean` and
`sample` are all that it takes.
"""

import math
from collections.abc import Callable

from keras import ops

from keras_cvae.tensors import Tensor


class Distribution:
    """p(x) for each example of a batch, at the parameters that the decoder gave.

    Leading axes of the parameters, such as several draws of z, are kept.
    """

    def log_prob(self, x: Tensor) -> Tensor:
        """Compute log p(x) in nats, `(..., batch)`: a sum over the values of x.

        Args:
            x: Tensor `(batch, *x_shape)`.
        """
        raise NotImplementedError

    def mean(self) -> Tensor:
        """Compute E[x], `(..., batch, *x_shape)`."""
        raise NotImplementedError

    def sample(self, uniforms: Tensor) -> Tensor:
        """Draw x `(..., batch, *x_shape)`.

        Args:
            uniforms: Numbers from U(0, 1), never 0 or 1, `(..., batch, *uniforms_shape)` with the
                likelihood's `uniforms_shape`. The same uniforms give the same x, on every backend.
        """
        raise NotImplementedError

    def given(self, values: Tensor, known: Tensor) -> "Distribution":
        """Fix some values of x: the distribution of the others, given these.

        Its `log_prob` scores the values that are not known, and its mean and its draws hold the
        known ones exactly.

        Args:
            values: Tensor `(batch, *x_shape)`; where they are not known, any finite numbers.
            known: Booleans `(batch or 1, *x_shape)`: which values are fixed.
        """
        raise NotImplementedError

    def scaled(self, log_factor: Tensor) -> "Distribution":
        """Multiply the means of x.

        Args:
            log_factor: Logarithm of the factor of each example, `(batch,)`.

        Raises:
            ValueError: This distribution cannot be scaled.
        """
        raise ValueError(f"{type(self).__name__} has no scale that an exposure could multiply.")


class Independent(Distribution):
    """A distribution whose values of x are independent of each other."""

    def log_density(self, x: Tensor) -> Tensor:
        """Compute the log-density of each value, `(..., batch, *x_shape)`, in nats."""
        raise NotImplementedError

    def log_prob(self, x: Tensor, scored: Tensor | None = None) -> Tensor:
        """Compute log p of the values that are scored, `(..., batch)` in nats.

        Args:
            x: Tensor `(batch, *x_shape)`.
            scored: Booleans `(batch or 1, *x_shape)`; None scores all values.
        """
        density = self.log_density(x)
        if scored is not None:
            density = ops.where(scored, density, 0.0)
        return ops.sum(density, axis=tuple(range(1 - len(x.shape), 0)))

    def given(self, values: Tensor, known: Tensor) -> Distribution:
        return PartlyKnown(self, values, known)


class PartlyKnown(Distribution):
    """Independent values of which some are fixed; the others are distributed as before.

    Args:
        free: The distribution in which nothing is known.
        values: The fixed values, `(batch, *x_shape)`.
        known: Where they are fixed, booleans `(batch or 1, *x_shape)`.
    """

    def __init__(self, free: Independent, values: Tensor, known: Tensor):
        self.free, self.values, self.known = free, values, known

    def log_prob(self, x: Tensor) -> Tensor:
        return self.free.log_prob(x, scored=ops.logical_not(self.known))

    def mean(self) -> Tensor:
        return ops.where(self.known, self.values, self.free.mean())

    def sample(self, uniforms: Tensor) -> Tensor:
        return ops.where(self.known, self.values, self.free.sample(uniforms))

    def given(self, values: Tensor, known: Tensor) -> Distribution:
        return PartlyKnown(self.free, *more_known(self.values, self.known, values, known))


def more_known(values: Tensor, known: Tensor, more: Tensor, also: Tensor) -> tuple[Tensor, Tensor]:
    """Join what is `known` with what is `also` known, which has the last word; values and where."""
    return ops.where(also, more, values), ops.logical_or(known, also)


def sum_over_values(
    density: Callable[..., Tensor], x: Tensor, *parameters: Tensor, scored: Tensor | None = None
) -> Tensor:
    """Sum `density(x, *parameters)` over the values of x that are scored, `(..., batch)`.

    Does what `Independent.log_prob` does, for a density that works value by value. Everything is
    laid out as vectors first: XLA vectorises over the last axis, often that of a single channel.

    Args:
        density: Called with x and its parameters, all of them vectors.
        x: Tensor `(batch, *x_shape)`.
        *parameters: Tensors `(..., batch, *x_shape)`, or numbers and tensors that broadcast
            against x_shape.
        scored: Booleans `(batch or 1, *x_shape)`; None scores all values.
    """
    rank, size = len(x.shape) - 1, math.prod(x.shape[1:])

    def vector(part: Tensor) -> Tensor:
        axes = len(getattr(part, "shape", ()))
        if axes == 0:
            return part
        if axes <= rank:
            return ops.reshape(ops.broadcast_to(part, x.shape[1:]), (size,))
        return ops.reshape(part, (*ops.shape(part)[:-rank], size))

    summands = density(ops.reshape(x, (-1, size)), *map(vector, parameters))
    if scored is not None:
        summands = ops.where(ops.reshape(scored, (-1, size)), summands, 0.0)
    return ops.sum(summands, axis=-1)
