"""How x, y and the groups of z hang together: what training, sampling and every estimate walk."""

from typing import Any

from keras import ops

from keras_cvae.probability.normal import DiagonalNormal
from keras_cvae.probability.priors import Latent, Prior
from keras_cvae.tensors import Tensor, concatenate


class Hierarchy:
    """q(z | x, y), p(z | y) and the parameters of p(x | z, y) as one object.

    Attributes:
        prior: p(z | y), which also keeps the state on the way down the groups.
        separate: Whether q(z | x, y) has weights of its own, none of which prior or decoder use.
    """

    prior: Prior
    separate = True

    def observe(self, x: Tensor, features: Tensor | None) -> Any:
        """Compute what q needs of x `(batch, *x_shape)`: once, whatever the number of draws."""
        raise NotImplementedError

    def posterior(self, group: int, state: Any, evidence: Any) -> DiagonalNormal:
        """Return q(z_group | x, y, z_<group).

        Args:
            group: Index of the group.
            state: The prior's state above the group.
            evidence: From `observe`.
        """
        raise NotImplementedError

    def parameters(self, state: Any) -> Tensor:
        """Compute the likelihood's parameters `(..., batch, *parameter_shape)`.

        Args:
            state: The prior's state below the last group.
        """
        raise NotImplementedError

    def infer(
        self, evidence: Any, features: Tensor | None, noise: Tensor
    ) -> tuple[list[Latent], Tensor]:
        """Draw z ~ q(z | x, y).

        Args:
            evidence: From `observe`.
            features: The condition's features `(batch, width)`, or None.
            noise: Standard normal `(samples, batch, latent_dim)`.

        Returns:
            One `Latent` for each group, and the likelihood's parameters at z,
            `(samples, batch, *parameter_shape)`.
        """
        latents, state = self.prior.infer(
            features, lambda group, state: self.posterior(group, state, evidence), noise
        )
        return latents, self.parameters(state)

    def generate(self, features: Tensor | None, noise: Tensor) -> Tensor:
        """Draw z ~ p(z | y) with standard normal noise `(..., batch, latent_dim)`; return the
        likelihood's parameters there, `(..., batch, *parameter_shape)`."""
        return self.parameters(self.prior.sample(features, noise)[-1])

    def decode(self, z: Tensor, features: Tensor | None) -> Tensor:
        """Compute the likelihood's parameters at z `(..., batch, latent_dim)`."""
        return self.parameters(self.prior.factors(features, z)[-1])


class Factored(Hierarchy):
    """Three separate networks; q is one normal distribution, cut into the groups."""

    def __init__(self, encoder: Any, prior: Any, decoder: Any):
        self.encoder, self.prior, self.decoder = encoder, prior.prior, decoder

    def observe(self, x: Tensor, features: Tensor | None) -> DiagonalNormal:
        return self.encoder.posterior(x, features)

    def posterior(self, group: int, state: Any, evidence: DiagonalNormal) -> DiagonalNormal:
        start = sum(self.prior.sizes[:group])
        part = slice(start, start + self.prior.sizes[group])
        return DiagonalNormal(evidence.mean[..., part], evidence.log_var[..., part])

    def parameters(self, state: Any) -> Tensor:
        return self.decoder.parameters(concatenate(state.groups), state.features)

    def decode(self, z: Tensor, features: Tensor | None) -> Tensor:
        return self.decoder.parameters(ops.convert_to_tensor(z), features)
