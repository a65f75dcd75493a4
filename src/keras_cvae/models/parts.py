"""The three parts of a CVAE as Keras models, named as in Sohn, Lee & Yan (2015).

    recognition network   q(z | x, y)
    prior network         p(z | y)
    generation network    p(x | z, y)

Each can be called, used to predict, saved and loaded on its own, on the raw condition. The model
calls the method that the paper's letter names, on features that it computes once.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvae.checks import checked
from keras_cvae.columns import as_array
from keras_cvae.conditions import composed
from keras_cvae.conditions.base import ConditionEncoder
from keras_cvae.inference.steps import Snapshot
from keras_cvae.models.own import call_own, check_linear, check_own_model
from keras_cvae.models.serialization import serialize
from keras_cvae.models.state import Model, outputs
from keras_cvae.networks.backbone import BACKBONES
from keras_cvae.probability.likelihoods.base import LIKELIHOODS, Likelihood
from keras_cvae.probability.normal import DiagonalNormal, split_normal
from keras_cvae.probability.priors import PRIORS, Prior
from keras_cvae.registry import Registry
from keras_cvae.tensors import Tensor, first

PARTS = Registry("part")


class Part(Model):
    """Base of the three: holds the condition, and serialises its arguments."""

    own = False  # whether the body is a user's Keras model

    def __init__(self, condition: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.condition: ConditionEncoder = composed.get(condition)

    def features(self, inputs: dict[str, Any]) -> Any:
        """Features of `inputs["condition"]`, or None."""
        return self.condition.features(inputs.get("condition"))

    def build_on(self, **inputs: Sequence[int]) -> None:
        """Create the weights by a symbolic call on inputs of these shapes."""
        self.sizes = {name: tuple(shape) for name, shape in inputs.items()}
        symbols = {name: keras.Input(shape, name=name) for name, shape in inputs.items()}
        condition = self.condition.symbolic()
        self(symbols if condition is None else symbols | {"condition": condition})

    def _asked(self, data: Any) -> dict[str, Any]:
        inputs = super()._asked(data)
        for name, shape in self.sizes.items():
            checked(as_array(inputs[name], name), shape, name)
        if "condition" in inputs:
            self.condition.spec.positional().prepare(inputs["condition"])
        return inputs

    def apply(self, inputs: dict[str, np.ndarray], batch_size: int) -> Any:
        """As `predict` on arrays, without Keras' loop around it."""
        return Snapshot(self).whole(outputs, inputs, batch_size)

    def get_config(self) -> dict[str, Any]:
        own = {name: serialize(value) for name, value in self.arguments().items()}
        return super().get_config() | {"condition": serialize(self.condition)} | own

    def arguments(self) -> dict[str, Any]:
        """The constructor's own arguments."""
        raise NotImplementedError


@PARTS.register("recognition")
class RecognitionNetwork(Part):
    """q(z | x, y) = N(mean(x, y), diag(exp(log_var(x, y)))).

    Called with `{"x": (batch, *x_shape), "condition": ...}`, gives `{"mean", "log_var"}`, each
    `(batch, latent_dim)`.

    Args:
        x_shape: Shape of one example.
        latent_dim: Length of z.
        body: A backbone, or a Keras model of one's own from `[x, features]` (or `x` alone) to
            `[mean, log_var]`. It sees x through the `view`, too.
        condition: The condition.
        view: A layer that the body sees x through, the likelihood's; None: x itself.

    Raises:
        ValueError: A model of one's own whose shapes do not fit.
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        latent_dim: int,
        body: Any = "mlp",
        condition: Any = None,
        view: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(condition, **kwargs)
        self.view = view
        self.x_shape, self.latent_dim = tuple(x_shape), int(latent_dim)
        self.body = body if isinstance(body, keras.Model) else BACKBONES.get(body)
        self.own = isinstance(body, keras.Model)
        if self.own:
            two = [(self.latent_dim,), (self.latent_dim,)]
            check_own_model("encoder", body, "x", self.x_shape, self.condition.width, two)
            self.network = body
        else:
            self.network = self.body.encoder(self.x_shape)
            self.head = keras.layers.Dense(2 * self.latent_dim, dtype="float32", name="head")
        self.build_on(x=self.x_shape)

    def posterior(self, x: Any, features: Any) -> DiagonalNormal:
        """q(z | x, y) from the features of y."""
        x = ops.cast(x, "float32")
        inputs = [x if self.view is None else self.view(x)]
        inputs += [] if features is None else [features]
        if self.own:
            return DiagonalNormal(
                *(ops.cast(out, "float32") for out in call_own(self.body, inputs))
            )
        return split_normal(self.head(self.network(inputs)))

    def call(self, inputs: dict[str, Any]) -> Any:
        return self.posterior(inputs["x"], self.features(inputs))._asdict()

    def arguments(self) -> dict[str, Any]:
        return {
            "x_shape": self.x_shape,
            "latent_dim": self.latent_dim,
            "body": self.body,
            "view": self.view,
        }


@PARTS.register("prior_network")
class PriorNetwork(Part):
    """p(z | y), group by group.

    Called with `{"noise": (batch, latent_dim), "condition": ...}`, where the noise is standard
    normal times a temperature, gives `{"z", "mean", "log_var"}`, each `(batch, latent_dim)`: a draw
    and the normals that it came from. Noise of zeros gives the prior's mean.

    Args:
        latent_groups: Sizes of the groups.
        prior: The prior.
        condition: The condition.
    """

    takes = "noise"

    def __init__(
        self,
        latent_groups: Sequence[int],
        prior: Any = "standard",
        condition: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(condition, **kwargs)
        self.latent_groups = tuple(latent_groups)
        self.prior: Prior = prior if isinstance(prior, Prior) else PRIORS.get(prior)
        self.prior.build_groups(self.latent_groups, self.condition.shared)
        self.build_on(noise=(sum(self.latent_groups),))

    def call(self, inputs: dict[str, Any]) -> Any:
        noise = ops.cast(inputs["noise"], "float32")
        groups, factors, _ = self.prior.sample(self.features(inputs), noise)
        whole = {
            "z": groups,
            "mean": [factor.mean for factor in factors],
            "log_var": [factor.log_var for factor in factors],
        }
        return {
            name: ops.concatenate(
                [ops.broadcast_to(p, ops.shape(z)) for p, z in zip(parts, groups, strict=True)],
                axis=-1,
            )
            for name, parts in whole.items()
        }

    def arguments(self) -> dict[str, Any]:
        return {"latent_groups": self.latent_groups, "prior": self.prior}


@PARTS.register("generation")
class GenerationNetwork(Part):
    """p(x | z, y): a body that gives the likelihood's parameters.

    Called with `{"z": (batch, latent_dim), "condition": ...}`, gives the mean of x,
    `(batch, *x_shape)`.

    Args:
        x_shape: Shape of one example.
        latent_dim: Length of z.
        body: A backbone, or a Keras model of one's own from `[z, features]` (or `z` alone) to the
            likelihood's parameters: logits for Bernoulli, not probabilities; for Gaussian the mean
            of standardised x.
        likelihood: The likelihood.
        condition: The condition.

    Raises:
        ValueError: A model of one's own whose shapes do not fit.
    """

    takes = "z"

    def __init__(
        self,
        x_shape: Sequence[int],
        latent_dim: int,
        body: Any = "mlp",
        likelihood: Any = "bernoulli",
        condition: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(condition, **kwargs)
        self.x_shape, self.latent_dim = tuple(x_shape), int(latent_dim)
        self.likelihood: Likelihood = likelihood_for(self.x_shape, self.condition, likelihood)
        shape_out = self.likelihood.parameter_shape(self.x_shape)
        self.body = body if isinstance(body, keras.Model) else BACKBONES.get(body)
        self.own = isinstance(body, keras.Model)
        if self.own:
            width = self.condition.shared
            check_own_model("decoder", body, "z", (self.latent_dim,), width, [shape_out])
            taker = f"the {type(self.likelihood).__name__} likelihood takes"
            if self.likelihood.link:
                logits = f"{taker} logits and applies the {self.likelihood.link} itself"
                check_linear("decoder", body, logits)
            elif self.likelihood.view is not None:
                check_linear("decoder", body, f"{taker} x as it scales it, which is any number")
            self.network = body
        else:
            self.network = self.body.decoder(shape_out)
        self.build_on(z=(self.latent_dim,))

    def parameters(self, z: Tensor, features: Tensor | None) -> Tensor:
        """Compute the likelihood's parameters `(..., batch, *parameter_shape)`.

        Args:
            z: Tensor `(..., batch, latent_dim)`.
            features: The condition's features `(batch, width)`, or None.
        """
        lead, features = ops.shape(z)[:-1], first(features, self.condition.shared)
        if features is not None and len(z.shape) > len(features.shape):
            features = ops.broadcast_to(features, (*lead, features.shape[-1]))
            features = ops.reshape(features, (-1, features.shape[-1]))
        inputs = [ops.reshape(z, (-1, self.latent_dim))] + ([] if features is None else [features])
        out = call_own(self.body, inputs)[0] if self.own else self.network(inputs)
        return ops.reshape(ops.cast(out, "float32"), (*lead, *out.shape[1:]))

    def call(self, inputs: dict[str, Any]) -> Any:
        parameters = self.parameters(ops.cast(inputs["z"], "float32"), self.features(inputs))
        p = self.likelihood.distribution(parameters)
        return self.condition.fix(p, inputs.get("condition")).mean()

    def arguments(self) -> dict[str, Any]:
        return {
            "x_shape": self.x_shape,
            "latent_dim": self.latent_dim,
            "body": self.body,
            "likelihood": self.likelihood,
        }


def likelihood_for(
    x_shape: tuple[int, ...], condition: ConditionEncoder, likelihood: Any
) -> Likelihood:
    """Build a likelihood for examples of this shape beside a condition.

    Args:
        x_shape: Shape of one example.
        condition: The condition. If it is a part of x, the likelihood is built to be given that
            part, and the networks see it as they see x.
        likelihood: A likelihood, or its name.

    Raises:
        ValueError: There is none of that name; it is not for x of that shape; the condition is a
            part of x, or scales it, and the likelihood cannot be given it.
    """
    found: Likelihood = LIKELIHOODS.get(likelihood)
    found = found.completing() if condition.knows_part else found
    if condition.scales and not found.scalable:
        raise ValueError(
            f"An exposure multiplies the means of counts; received the likelihood "
            f"{type(found).__name__}. Expected 'poisson', 'negative_binomial' or 'zero_inflated'."
        )
    found.parameter_shape(x_shape)
    found.build(x_shape, condition.view)
    condition.look_through(found.view)
    return found
