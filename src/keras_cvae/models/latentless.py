"""p(x | y) without a latent: no encoder, and log p(x | y) is exact.

    elbo(x | y) = log p(x | y)

An honest choice where the likelihood itself says how the values of x depend on each other, as
`Columns` does, and z would carry nothing.
"""

import math
from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_cvae.models.hierarchy import Hierarchy
from keras_cvae.models.parts import PARTS, Part, likelihood_for
from keras_cvae.networks.backbone import BACKBONES
from keras_cvae.probability.likelihoods.base import Likelihood
from keras_cvae.probability.priors import Latent, StandardNormal
from keras_cvae.tensors import Tensor, first


@PARTS.register("no_recognition")
class NoRecognition(Part):
    """Stands where q(z | x, y) is in other models; there is no z to infer.

    Called with `{"x": (batch, *x_shape), "condition": ...}`, gives `{"mean", "log_var"}` of no
    dimensions, `(batch, 0)`.

    Args:
        x_shape: Shape of one example.
        condition: The condition.
    """

    def __init__(self, x_shape: Sequence[int], condition: Any = None, **kwargs: Any) -> None:
        super().__init__(condition, **kwargs)
        self.x_shape = tuple(x_shape)
        self.build_on(x=self.x_shape)

    def call(self, inputs: dict[str, Any]) -> Any:
        nothing = ops.zeros((ops.shape(inputs["x"])[0], 0))
        return {"mean": nothing, "log_var": nothing}

    def arguments(self) -> dict[str, Any]:
        return {"x_shape": self.x_shape}


@PARTS.register("no_prior")
class NoPrior(Part):
    """Stands where p(z | y) is in other models.

    Called with `{"noise": (batch, 0), "condition": ...}`, gives `{"z", "mean", "log_var"}` of no
    dimensions.

    Args:
        condition: The condition.
    """

    takes = "noise"

    latent_groups: tuple[int, ...] = ()

    def __init__(self, condition: Any = None, **kwargs: Any) -> None:
        super().__init__(condition, **kwargs)
        self.prior = StandardNormal()
        self.prior.build_groups((), self.condition.shared)
        self.build_on(noise=(0,))

    def call(self, inputs: dict[str, Any]) -> Any:
        return dict.fromkeys(("z", "mean", "log_var"), inputs["noise"])

    def arguments(self) -> dict[str, Any]:
        return {}


@PARTS.register("direct_generation")
class DirectGeneration(Part):
    """p(x | y): a body that gives the likelihood's parameters from the condition alone.

    Called with `{"z": (batch, 0), "condition": ...}`, gives the mean of x, `(batch, *x_shape)`.
    Without a condition the parameters are weights; a likelihood that takes none needs no body.

    Args:
        x_shape: Shape of one example.
        body: A backbone.
        likelihood: The likelihood.
        condition: The condition.
    """

    takes = "z"

    def __init__(
        self,
        x_shape: Sequence[int],
        body: Any = "mlp",
        likelihood: Any = "bernoulli",
        condition: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(condition, **kwargs)
        self.x_shape = tuple(x_shape)
        self.likelihood: Likelihood = likelihood_for(self.x_shape, self.condition, likelihood)
        self.body = BACKBONES.get(body)
        self.shape_out = self.likelihood.parameter_shape(self.x_shape)
        self.network = self.constant = None
        if math.prod(self.shape_out) and self.condition.shared:
            self.network = self.body.decoder(self.shape_out)
        elif math.prod(self.shape_out):
            about: dict[str, Any] = {"initializer": "zeros", "dtype": "float32", "autocast": False}
            self.constant = self.add_weight(self.shape_out, name="parameters", **about)
        self.build_on(z=(0,))

    def parameters(self, z: Tensor, features: Tensor | None) -> Tensor:
        """Compute the likelihood's parameters `(..., batch, *parameter_shape)`.

        Args:
            z: `(..., batch, 0)`, for its leading axes.
            features: The condition's features `(batch, width)`, or None.
        """
        shape = (*ops.shape(z)[:-1], *self.shape_out)
        if self.network is not None:
            parameters = self.network([first(features, self.condition.shared)])
            return ops.broadcast_to(ops.cast(parameters, "float32"), shape)
        if self.constant is not None:
            return ops.broadcast_to(ops.convert_to_tensor(self.constant), shape)
        return ops.zeros(shape, "float32")

    def call(self, inputs: dict[str, Any]) -> Any:
        parameters = self.parameters(ops.cast(inputs["z"], "float32"), self.features(inputs))
        p = self.likelihood.distribution(parameters)
        return self.condition.fix(p, inputs.get("condition")).mean()

    def arguments(self) -> dict[str, Any]:
        return {"x_shape": self.x_shape, "body": self.body, "likelihood": self.likelihood}


class Direct(Hierarchy):
    """No group of z: p(x | y) from the condition's features.

    Args:
        prior: The part that stands for p(z | y).
        decoder: p(x | y).
    """

    separate = False

    def __init__(self, prior: NoPrior, decoder: DirectGeneration):
        self.prior, self.decoder = prior.prior, decoder

    def observe(self, x: Tensor, features: Tensor | None) -> Any:
        return {"nothing": ops.zeros((ops.shape(x)[0], 0))}

    def infer(
        self, evidence: Any, features: Tensor | None, noise: Tensor
    ) -> tuple[list[Latent], Tensor]:
        return [], self.decoder.parameters(noise, features)

    def generate(self, features: Tensor | None, noise: Tensor) -> Tensor:
        return self.decoder.parameters(noise, features)

    def decode(self, z: Tensor, features: Tensor | None) -> Tensor:
        return self.decoder.parameters(z, features)
