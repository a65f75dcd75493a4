"""p(z | y): the latent before the data are seen, group by group.

    p(z | y) = p(z_1 | y) p(z_2 | y, z_1) ...

One walk down the groups serves training, sampling and every estimate: `begin`, then for each group
its `conditional`, a z from wherever it comes, and `descend`.

To add a prior, subclass `Prior`, write `conditional`, and register it.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_cvae.probability.normal import DiagonalNormal, split_normal, standard_normal
from keras_cvae.registry import Registry
from keras_cvae.tensors import Tensor, concatenate, first

PRIORS = Registry("prior")


class Latent(NamedTuple):
    """One group of the latent.

    Args:
        z: A draw of it, `(samples, batch, size)`.
        posterior: q(z | x, y), given the groups above.
        prior: p(z | y), given the groups above.
    """

    z: Tensor
    posterior: DiagonalNormal
    prior: DiagonalNormal


class Path(NamedTuple):
    """What is known on the way down the groups.

    Args:
        features: The condition's features `(batch, width)`, or None.
        groups: The groups above, each `(..., batch, size)`.
    """

    features: Tensor | None
    groups: tuple[Tensor, ...] = ()


class Ancestral:
    """A distribution of z that is drawn from one group after the other.

    Attributes:
        sizes: Lengths of the groups.
    """

    sizes: tuple[int, ...]

    def begin(self, features: Tensor | None) -> Any:
        """Return the state above the first group.

        Args:
            features: The condition's features `(batch, width or more)`, or None. What there are
                more is for q(z | x, y) alone.
        """
        raise NotImplementedError

    def conditional(self, group: int, state: Any) -> DiagonalNormal:
        """Return p(z_group | y, z_<group).

        Args:
            group: Index of the group.
            state: From `begin` and `descend`.

        Returns:
            A normal whose parameters broadcast against `(..., batch, size)`.
        """
        raise NotImplementedError

    def descend(self, group: int, state: Any, z: Tensor) -> Any:
        """Return the state below the group, given its z `(..., batch, size)`."""
        raise NotImplementedError

    def sample(
        self, features: Tensor | None, noise: Tensor
    ) -> tuple[list[Tensor], list[DiagonalNormal], Any]:
        """Draw the groups one after the other (ancestral sampling).

        Args:
            features: The condition's features `(batch, width)`, or None.
            noise: Standard normal `(..., batch, sum of sizes)`, scaled by the temperature.

        Returns:
            The drawn groups, the normals that they come from, and the state below them all.
        """
        state = self.begin(features)
        groups, factors = [], []
        for g, part in enumerate(split_groups(noise, self.sizes)):
            factors.append(self.conditional(g, state))
            groups.append(factors[-1].sample(part))
            state = self.descend(g, state, groups[-1])
        return groups, factors, state


class Prior(Ancestral, keras.layers.Layer):
    """Base of all priors: `build_groups` tells the sizes; `conditional` gives one factor.

    A prior that keeps more than the groups above (a top-down network) writes `begin` and `descend`
    too, and has a state of its own in place of a `Path`.

    Attributes:
        learned: Whether p(z | y) changes in training; if not, it is N(0, I).
    """

    learned = True

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.built = True

    def build_groups(self, sizes: tuple[int, ...], features: int) -> None:
        """Create the weights for groups of these sizes and a condition of so many features."""
        self.sizes, self.width = sizes, features

    def begin(self, features: Tensor | None) -> Any:
        return Path(first(features, self.width))

    def descend(self, group: int, state: Any, z: Tensor) -> Any:
        return Path(state.features, (*state.groups, z))

    def factors(self, features: Tensor | None, z: Tensor) -> tuple[list[DiagonalNormal], Any]:
        """Return the factors of p(z | y) at z `(..., batch, sum of sizes)`, and the state below."""
        state = self.begin(features)
        factors = []
        for g, part in enumerate(split_groups(z, self.sizes)):
            factors.append(self.conditional(g, state))
            state = self.descend(g, state, part)
        return factors, state

    def noise(self, features: Tensor | None, z: Tensor) -> Tensor:
        """Undo `sample`: the noise `(..., batch, sum of sizes)` that gives z."""
        factors, _ = self.factors(features, z)
        parts = split_groups(z, self.sizes)
        return ops.concatenate(
            [(z - f.mean) * ops.exp(-0.5 * f.log_var) for z, f in zip(parts, factors, strict=True)],
            axis=-1,
        )

    def infer(
        self,
        features: Tensor | None,
        posterior: Callable[[int, Any], DiagonalNormal],
        noise: Tensor,
    ) -> tuple[list[Latent], Any]:
        """Draw z from the posterior, and evaluate the prior of each group at the same ancestors.

        Args:
            features: The condition's features `(batch, width)`, or None.
            posterior: q(z_group | x, y, z_<group), called with the group and the state above it.
            noise: Standard normal `(samples, batch, sum of sizes)`.

        Returns:
            The latents, and the state below them all.
        """
        state = self.begin(features)
        latents = []
        for g, part in enumerate(split_groups(noise, self.sizes)):
            q, p = posterior(g, state), self.conditional(g, state)
            latents.append(Latent(q.sample(part), q, p))
            state = self.descend(g, state, latents[-1].z)
        return latents, state


def split_groups(z: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Cut `(..., sum of sizes)` into its groups."""
    ends = [sum(sizes[: g + 1]) for g in range(len(sizes))]
    return [z[..., end - size : end] for end, size in zip(ends, sizes, strict=True)]


@PRIORS.register("standard")
class StandardNormal(Prior):
    """p(z | y) = N(0, I).

    Examples:
        >>> free = ConditionalVAE((6,), 3, 2, prior=StandardNormal(), backbone=MLP((8,)))
        >>> free.sample_prior(1, n=5).shape
        (5, 2)
    """

    learned = False

    def conditional(self, group: int, state: Any) -> DiagonalNormal:
        return standard_normal(self.sizes[group])


@PRIORS.register("conditional")
class ConditionalNormal(Prior):
    """A normal whose mean and variance are learned functions of y (Sohn, Lee & Yan 2015, eq. 4).

    Starts as N(0, I). What has nothing to depend on, the first group of an unconditional model,
    stays N(0, I).

    Args:
        units: Widths of the hidden layers; `()` makes the parameters linear in y.
        activation: Of the hidden layers.

    Examples:
        >>> prior = ConditionalNormal(units=(16,))
        >>> learned = ConditionalVAE((6,), 3, [2, 2], prior=prior, backbone=MLP((8,)))
        >>> learned.sample_prior(1, n=5).shape  # two groups of two, side by side
        (5, 4)
    """

    def __init__(self, units: Sequence[int] = (128,), activation: str = "relu", **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.activation = tuple(units), activation
        self.bodies: list[keras.Sequential | None] = []

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"units": self.units, "activation": self.activation}

    def build_groups(self, sizes: tuple[int, ...], features: int) -> None:
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

    def conditional(self, group: int, state: Any) -> DiagonalNormal:
        body = self.bodies[group]
        if body is None:
            return standard_normal(self.sizes[group])
        inputs = concatenate([*state.groups, state.features])
        out = body(ops.reshape(inputs, (-1, inputs.shape[-1])))
        return split_normal(ops.reshape(out, (*ops.shape(inputs)[:-1], out.shape[-1])))
