"""From a model's arguments to its three parts and the hierarchy that walks them."""

from typing import Any, NamedTuple

from keras_cvae.models.hierarchy import Factored, Hierarchy
from keras_cvae.models.parts import GenerationNetwork, Part, PriorNetwork, RecognitionNetwork
from keras_cvae.models.topdown import TopDownGeneration, TopDownHierarchy, TopDownRecognition
from keras_cvae.networks.backbone import BACKBONES
from keras_cvae.networks.topdown import TopDown, TopDownNetwork
from keras_cvae.probability.likelihoods.base import LIKELIHOODS


class Parts(NamedTuple):
    """The three parts as Keras models, and how they hang together."""

    encoder: Part
    prior: PriorNetwork
    decoder: Part
    hierarchy: Hierarchy


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
    """Build the parts, as described at `ConditionalVAE`.

    Raises:
        ValueError: Arguments that do not fit each other.
    """
    backbone, likelihood = BACKBONES.get(backbone), LIKELIHOODS.get(likelihood)
    likelihood.parameter_shape(x_shape)  # refuses an x that it is not for
    if isinstance(backbone, TopDown):
        own = {"prior": prior, "encoder": encoder, "decoder": decoder}
        given = [name for name, value in own.items() if value is not None]
        if given:
            raise ValueError(
                f"A top-down backbone brings its own prior, encoder and decoder; received "
                f"{', '.join(given)}. Leave them out, or choose another backbone."
            )
        return _topdown(x_shape, groups, condition, likelihood, backbone)
    parts = (
        RecognitionNetwork(x_shape, sum(groups), encoder or backbone, condition, likelihood.view),
        PriorNetwork(groups, "standard" if prior is None else prior, condition),
        GenerationNetwork(x_shape, sum(groups), decoder or backbone, likelihood, condition),
    )
    return Parts(*parts, Factored(*parts))


def _topdown(x_shape, channels, condition, likelihood, backbone: TopDown) -> Parts:
    shape_out = likelihood.parameter_shape(x_shape)
    network = TopDownNetwork(backbone, x_shape, shape_out)
    areas = backbone.areas(x_shape, len(channels))
    groups = tuple(n * area for n, area in zip(channels, areas, strict=True))
    return Parts(
        TopDownRecognition(network, groups, condition, likelihood.view),
        PriorNetwork(groups, network, condition),
        TopDownGeneration(network, groups, likelihood, condition),
        TopDownHierarchy(network, condition, likelihood.view),
    )
