"""The three parts of a top-down model: views of one network."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_cvae.models.hierarchy import Hierarchy
from keras_cvae.models.parts import PARTS, Part, likelihood_for
from keras_cvae.networks.topdown import TopDownNetwork
from keras_cvae.probability.likelihoods.base import Likelihood


class TopDownHierarchy(Hierarchy):
    """A top-down network as what the model walks.

    Args:
        network: The network.
        view: A layer that the network sees x through; None: x itself.
    """

    separate = False

    def __init__(self, network: TopDownNetwork, view: Any = None) -> None:
        self.prior = self.network = network
        self.view = view

    def observe(self, x: Any, features: Any) -> Any:
        return self.network.observe(x if self.view is None else self.view(x), features)

    def posterior(self, group: Any, state: Any, evidence: Any) -> Any:
        return self.network.posterior(group, state, evidence)

    def parameters(self, state: Any) -> Any:
        return self.network.parameters(state)


class TopDownPart(Part):
    """One of a top-down model's three parts: a view of the network that they share.

    Args:
        network: The network.
        latent_groups: Lengths of the groups.
        condition: The condition.
        view: A layer that the network sees x through; None: x itself.
    """

    def __init__(
        self,
        network: TopDownNetwork,
        latent_groups: Sequence[int],
        condition: Any = None,
        view: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(condition, **kwargs)
        self.network, self.latent_groups = network, tuple(latent_groups)
        network.build_groups(self.latent_groups, self.condition.shared)
        self.hierarchy = TopDownHierarchy(network, view)

    def arguments(self) -> dict[str, Any]:
        return {"network": self.network, "latent_groups": self.latent_groups}


@PARTS.register("topdown_recognition")
class TopDownRecognition(TopDownPart):
    """q(z | x, y) along the means of the groups above; called as a `RecognitionNetwork` is.

    Args:
        network: The network.
        latent_groups: Lengths of the groups.
        condition: The condition.
        view: A layer that the network sees x through, the likelihood's; None: x itself.
    """

    def __init__(
        self,
        network: Any,
        latent_groups: Sequence[int],
        condition: Any = None,
        view: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, latent_groups, condition, view, **kwargs)
        self.view = view
        self.build_on(x=network.x_shape)

    def arguments(self) -> dict[str, Any]:
        return super().arguments() | {"view": self.view}

    def call(self, inputs: dict[str, Any]) -> Any:
        features = self.features(inputs)
        evidence = self.hierarchy.observe(inputs["x"], features)
        still = ops.zeros((1, ops.shape(inputs["x"])[0], sum(self.latent_groups)), "float32")
        latents, _ = self.hierarchy.infer(evidence, features, still)
        # The first group's q may lack the axis of samples that its z has: z broadcasts it.
        factors = [[p + 0.0 * g.z for p in g.posterior] for g in latents]
        mean, log_var = (ops.concatenate(parts, axis=-1)[0] for parts in zip(*factors, strict=True))
        return {"mean": mean, "log_var": log_var}


@PARTS.register("topdown_generation")
class TopDownGeneration(TopDownPart):
    """p(x | z, y); called as a `GenerationNetwork` is.

    Args:
        network: The network.
        latent_groups: Lengths of the groups.
        likelihood: The likelihood.
        condition: The condition.
    """

    takes = "z"

    def __init__(
        self,
        network: Any,
        latent_groups: Sequence[int],
        likelihood: Any = "bernoulli",
        condition: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, latent_groups, condition, **kwargs)
        self.likelihood: Likelihood = likelihood_for(network.x_shape, self.condition, likelihood)
        self.build_on(z=(sum(self.latent_groups),))

    def call(self, inputs: dict[str, Any]) -> Any:
        z = ops.cast(inputs["z"], "float32")
        p = self.likelihood.distribution(self.hierarchy.decode(z, self.features(inputs)))
        return self.condition.fix(p, inputs.get("condition")).mean()

    def arguments(self) -> dict[str, Any]:
        return super().arguments() | {"likelihood": self.likelihood}
