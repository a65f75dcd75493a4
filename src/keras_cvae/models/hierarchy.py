"""How x, y and the groups of z hang together: what training, sampling and every estimate walk."""

from typing import Any

from keras import ops

from keras_cvae.probability.normal import Gaussian
from keras_cvae.probability.priors import Latent, Prior, concatenate


class Hierarchy:
    """q(z | x, y), p(z | y) and p(x | z, y) as one object.

    Attributes:
        prior: p(z | y), which also keeps the state on the way down the groups.
        separate: Whether q(z | x, y) has weights of its own, none of which prior or decoder use.
    """

    prior: Prior
    separate = True

    def observe(self, x, features) -> Any:
        """What q needs of x `(batch, *x_shape)`: computed once, whatever the number of draws."""
        raise NotImplementedError

    def posterior(self, group: int, state, evidence) -> Gaussian:
        """q(z_group | x, y, z_<group), from the prior's state above the group and the evidence."""
        raise NotImplementedError

    def parameters(self, state):
        """The likelihood's parameters `(..., batch, *parameter_shape)`, from the lowest state."""
        raise NotImplementedError

    def infer(self, evidence, features, noise) -> tuple[list[Latent], Any]:
        """Draw z ~ q(z | x, y) with noise `(samples, batch, latent_dim)`; p(x | z, y) there."""
        latents, state = self.prior.meet(
            features, lambda group, state: self.posterior(group, state, evidence), noise
        )
        return latents, self.parameters(state)

    def generate(self, features, noise):
        """z ~ p(z | y) with noise `(batch, latent_dim)`: p(x | z, y) there."""
        return self.parameters(self.prior.sample(features, noise)[-1])

    def decode(self, z, features):
        """p(x | z, y) for z `(..., batch, latent_dim)`."""
        return self.parameters(self.prior.given(features, z)[-1])


class Factored(Hierarchy):
    """Three separate networks; q is one Gaussian, cut into the groups."""

    def __init__(self, encoder, prior, decoder):
        self.encoder, self.prior, self.decoder = encoder, prior.prior, decoder

    def observe(self, x, features):
        return self.encoder.posterior(x, features)._asdict()

    def posterior(self, group, state, evidence):
        start = sum(self.prior.sizes[:group])
        part = slice(start, start + self.prior.sizes[group])
        return Gaussian(evidence["mean"][..., part], evidence["log_var"][..., part])

    def parameters(self, state):
        return self.decoder.parameters(concatenate(list(state.groups)), state.features)

    def decode(self, z, features):
        return self.decoder.parameters(ops.convert_to_tensor(z), features)
