"""p(z | y): the latent before the data are seen, group by group.

    p(z | y) = p(z_1 | y) p(z_2 | y, z_1) ...

To add a prior, subclass `Prior`, write `conditional`, and register it.
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_cvae.distributions import Gaussian, split_gaussian, standard_normal
from keras_cvae.registry import Registry

PRIORS = Registry("prior")


class Latent(NamedTuple):
    """One group of the latent: a draw z `(samples, batch, size)`, q(z|x,y) and p(z|y)."""

    z: Any
    posterior: Gaussian
    prior: Gaussian


class Prior(keras.layers.Layer):
    """Base of all priors. `build_groups` tells the sizes; `conditional` gives one factor."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.built = True

    def build_groups(self, sizes: tuple[int, ...], features: int) -> None:
        """Create the weights for groups of these sizes and a condition of so many features."""
        self.sizes = sizes

    def conditional(self, group: int, features, before) -> Gaussian:
        """p(z_group | y, z_<group).

        Args:
            group: Index of the group.
            features: The condition's features `(batch, width)`, or None without a condition.
            before: The groups already drawn, a list of `(..., batch, size)`.

        Returns:
            A Gaussian whose parameters broadcast against `(..., batch, size)`.
        """
        raise NotImplementedError

    def sample(self, features, noise):
        """Ancestral sampling: one group after the other.

        Args:
            features: `(batch, width)` or None.
            noise: Standard normal `(batch, sum of sizes)`, scaled by the temperature.

        Returns:
            The drawn groups and the Gaussians that they come from, two lists.
        """
        groups: list = []
        factors: list[Gaussian] = []
        for g, part in enumerate(split_groups(noise, self.sizes)):
            factors.append(self.conditional(g, features, groups))
            groups.append(factors[-1].sample(part))
        return groups, factors

    def noise(self, features, z):
        """Undo `sample`: the noise `(..., batch, sum of sizes)` that gives z."""
        groups = split_groups(z, self.sizes)
        parts = []
        for g, part in enumerate(groups):
            factor = self.conditional(g, features, groups[:g])
            parts.append((part - factor.mean) * ops.exp(-0.5 * factor.log_var))
        return ops.concatenate(parts, axis=-1)

    def meet(self, features, q: Gaussian, noise) -> list[Latent]:
        """Draw z from q(z | x, y), and meet it with p(z | y), group by group.

        Args:
            features: `(batch, width)` or None.
            q: The posterior of all groups, parameters `(batch, sum of sizes)`.
            noise: Standard normal `(samples, batch, sum of sizes)`.
        """
        latents: list[Latent] = []
        parts = (split_groups(t, self.sizes) for t in (q.mean, q.log_var, noise))
        for g, (mean, log_var, part) in enumerate(zip(*parts, strict=True)):
            posterior = Gaussian(mean, log_var)
            prior = self.conditional(g, features, [group.z for group in latents])
            latents.append(Latent(posterior.sample(part), posterior, prior))
        return latents


def split_groups(z, sizes: tuple[int, ...]) -> list:
    """Cut `(..., sum of sizes)` into its groups."""
    ends = [sum(sizes[: g + 1]) for g in range(len(sizes))]
    return [z[..., end - size : end] for end, size in zip(ends, sizes, strict=True)]


@PRIORS.register("standard")
class StandardNormal(Prior):
    """p(z | y) = N(0, I)."""

    def conditional(self, group, features, before):
        return standard_normal(self.sizes[group])


@PRIORS.register("conditional")
class ConditionalNormal(Prior):
    """A normal whose mean and variance are learned functions of y (Sohn, Lee & Yan 2015, eq. 4).

    Starts as N(0, I). What has nothing to depend on, the first group of an unconditional model,
    stays N(0, I).

    Args:
        units: Widths of the hidden layers; `()` makes the parameters linear in y.
        activation: Of the hidden layers.
    """

    def __init__(self, units=(128,), activation="relu", **kwargs):
        super().__init__(**kwargs)
        self.units, self.activation = tuple(units), activation
        self.bodies: list[keras.Sequential | None] = []

    def get_config(self):
        return super().get_config() | {"units": self.units, "activation": self.activation}

    def build_groups(self, sizes, features):
        if self.bodies:
            raise ValueError("This prior belongs to another model already. Make a new one.")
        super().build_groups(sizes, features)
        for g, size in enumerate(sizes):
            width = features + sum(sizes[:g])
            if not width:
                self.bodies.append(None)
                continue
            hidden = [keras.layers.Dense(n, activation=self.activation) for n in self.units]
            head = keras.layers.Dense(2 * size, kernel_initializer="zeros", dtype="float32")
            self.bodies.append(keras.Sequential([keras.Input((width,)), *hidden, head]))

    def conditional(self, group, features, before):
        body = self.bodies[group]
        if body is None:
            return standard_normal(self.sizes[group])
        inputs = concatenate([*before, features])
        out = body(ops.reshape(inputs, (-1, inputs.shape[-1])))
        return split_gaussian(ops.reshape(out, (*ops.shape(inputs)[:-1], out.shape[-1])))


def concatenate(parts: list):
    """Join `(..., batch, n)` tensors on the last axis; None is skipped, leading axes broadcast."""
    parts = [ops.convert_to_tensor(part) for part in parts if part is not None]
    if len(parts) == 1:
        return parts[0]
    longest = max(parts, key=lambda part: len(part.shape))
    lead = ops.shape(longest)[:-1]
    dtype = keras.backend.result_type(*(part.dtype for part in parts))
    parts = [
        ops.broadcast_to(ops.cast(part, dtype), (*lead, part.shape[-1]))
        if len(part.shape) < len(longest.shape)
        else ops.cast(part, dtype)
        for part in parts
    ]
    return ops.concatenate(parts, axis=-1)
