"""From a model's arguments to its three parts and the hierarchy that walks them."""

import dataclasses
from typing import Any, NamedTuple

from keras_cvae.models.hierarchy import Factored, Hierarchy
from keras_cvae.models.latentless import Direct, DirectGeneration, NoPrior, NoRecognition
from keras_cvae.models.parts import (
    GenerationNetwork,
    Part,
    PriorNetwork,
    RecognitionNetwork,
    likelihood_for,
)
from keras_cvae.models.topdown import TopDownGeneration, TopDownRecognition
from keras_cvae.networks.backbone import BACKBONES, Backbone
from keras_cvae.networks.topdown import TopDownNetwork
from keras_cvae.probability.likelihoods.base import Likelihood


class Parts(NamedTuple):
    """The three parts as Keras models, and how they hang together."""

    encoder: Part
    prior: PriorNetwork
    decoder: Part
    hierarchy: Hierarchy


@dataclasses.dataclass(frozen=True)
class Builder:
    """What a model is to be made of, and the ways to make it; a backbone takes one of them.

    Attributes:
        x_shape: Shape of one example.
        groups: Lengths of the latent groups.
        condition: The condition.
        likelihood: The likelihood.
        parameter_shape: Shape of the likelihood's parameters of one example.
        prior: A prior, its name, or None.
        encoder: A Keras model in place of the backbone's encoder, or None.
        decoder: A Keras model in place of the backbone's decoder, or None.
    """

    x_shape: tuple[int, ...]
    groups: tuple[int, ...]
    condition: Any
    likelihood: Likelihood
    parameter_shape: tuple[int, ...]
    prior: Any = None
    encoder: Any = None
    decoder: Any = None

    def separate(self, backbone: Backbone) -> Parts:
        """Build encoder, prior and decoder as three networks."""
        size = sum(self.groups)
        body = self.encoder or backbone
        encoder = RecognitionNetwork(
            self.x_shape, size, body, self.condition, self.likelihood.view, name="encoder"
        )
        prior = PriorNetwork(
            self.groups,
            "standard" if self.prior is None else self.prior,
            self.condition,
            name="prior",
        )
        body = self.decoder or backbone
        decoder = GenerationNetwork(
            self.x_shape, size, body, self.likelihood, self.condition, name="decoder"
        )
        return Parts(encoder, prior, decoder, Factored(encoder, prior, decoder))

    def direct(self, backbone: Backbone) -> Parts:
        """Build p(x | y) without a latent; of the backbone, its decoder.

        Raises:
            ValueError: A prior, an encoder or a decoder is given.
        """
        self._refuse_own("A model without a latent has no prior, encoder or decoder to replace", "")
        encoder = NoRecognition(self.x_shape, self.condition, name="encoder")
        prior = NoPrior(self.condition, name="prior")
        decoder = DirectGeneration(
            self.x_shape, backbone, self.likelihood, self.condition, name="decoder"
        )
        return Parts(encoder, prior, decoder, Direct(prior, decoder))

    def _refuse_own(self, why: str, instead: str) -> None:
        own = {"prior": self.prior, "encoder": self.encoder, "decoder": self.decoder}
        if given := [name for name, value in own.items() if value is not None]:
            raise ValueError(f"{why}; received {', '.join(given)}. Leave them out{instead}.")

    def shared(self, network: TopDownNetwork, groups: tuple[int, ...]) -> Parts:
        """Build encoder, prior and decoder as views of one network.

        Args:
            network: The network.
            groups: Lengths of its latent groups.

        Raises:
            ValueError: A prior, an encoder or a decoder is given beside the network.
        """
        why = "This backbone brings its own prior, encoder and decoder"
        self._refuse_own(why, ", or choose another backbone")
        encoder = TopDownRecognition(
            network, groups, self.condition, self.likelihood.view, name="encoder"
        )
        prior = PriorNetwork(groups, network, self.condition, name="prior")
        decoder = TopDownGeneration(
            network, groups, self.likelihood, self.condition, name="decoder"
        )
        return Parts(encoder, prior, decoder, encoder.hierarchy)


def assemble(
    x_shape: tuple[int, ...],
    groups: tuple[int, ...],
    condition: Any,
    likelihood: Any = "bernoulli",
    prior: Any = None,
    backbone: Any = "mlp",
    encoder: Any = None,
    decoder: Any = None,
) -> Parts:
    """Build the parts of a model from the arguments of `ConditionalVAE`.

    Raises:
        ValueError: Arguments that do not fit each other.
    """
    backbone, likelihood = BACKBONES.get(backbone), likelihood_for(x_shape, condition, likelihood)
    shape = likelihood.parameter_shape(x_shape)
    builder = Builder(x_shape, groups, condition, likelihood, shape, prior, encoder, decoder)
    return backbone.assemble(builder) if groups else builder.direct(backbone)
