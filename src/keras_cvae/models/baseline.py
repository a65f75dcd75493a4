"""The deterministic baseline: the same networks without a latent (Sohn, Lee & Yan 2015, "NN").

p(x | y), independent over the values of x: one guess, a blur of all that x could be
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_cvae import trees
from keras_cvae.checks import checked
from keras_cvae.columns import as_array
from keras_cvae.models.inputs import is_array
from keras_cvae.models.parts import PARTS, Part, likelihood_for
from keras_cvae.networks.backbone import BACKBONES
from keras_cvae.probability.likelihoods.base import Likelihood
from keras_cvae.tensors import first


@PARTS.register("baseline")
class Baseline(Part):
    """p(x | y) without a latent: what a `ConditionalVAE` has to beat, and a first guess for it.

    Called with `{"condition": ...}`, gives the mean of x, `(batch, *x_shape)`; with `"x"` as well,
    log p(x | y) `(batch,)` in nats, exactly.

    Args:
        x_shape: Shape of one example.
        body: A backbone; its decoder is used, on the condition alone.
        likelihood: The likelihood.
        condition: The condition.

    Raises:
        ValueError: Without a condition there is nothing to predict x from.

    Examples:
        >>> baseline = Baseline((8, 8, 1), MLP((16,)), condition=10)
        >>> baseline.compile("adam")
        >>> history = baseline.fit(x, y, verbose=0)
        >>> baseline.predict(y[:3], verbose=0).shape
        (3, 8, 8, 1)
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        body: Any = "mlp",
        likelihood: Any = "bernoulli",
        condition: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(condition, **kwargs)
        if not self.condition.shared:
            raise ValueError(
                "A Baseline predicts x from its condition. Expected condition=..., by name: the "
                "second argument is the network's body."
            )
        self.x_shape = tuple(x_shape)
        self.likelihood: Likelihood = likelihood_for(self.x_shape, self.condition, likelihood)
        self.body = BACKBONES.get(body)
        self.network = self.body.decoder(self.likelihood.parameter_shape(self.x_shape))
        self.build_on()

    def parameters(self, features: Any) -> Any:
        """The likelihood's parameters `(batch, *parameter_shape)`."""
        return ops.cast(self.network([first(features, self.condition.shared)]), "float32")

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        parameters = self.parameters(self.features(inputs))
        p = self.likelihood.distribution(parameters, training)
        p = self.condition.fix(p, inputs["condition"])
        return p.log_prob(ops.cast(inputs["x"], "float32")) if "x" in inputs else p.mean()

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """-log p(x | y), averaged over the batch with `sample_weight`; in nats."""
        weight = ops.ones_like(y_pred) if sample_weight is None else sample_weight
        weight = ops.reshape(ops.cast(weight, "float32"), (-1,))
        loss = -ops.sum(weight * y_pred) / ops.maximum(ops.sum(weight), 1e-12)
        return loss + sum(self.losses)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        *,
        validation_data: Any = None,
        **kwargs: Any,
    ) -> Any:
        """As in Keras: `fit(x, y)` with y the condition, or a data set of `(x, y)`."""
        if isinstance(validation_data, tuple | list):
            validation_data = self._checked(*validation_data)
        x, y = self._checked(x, y)
        if isinstance(x, np.ndarray):  # Keras holds out the last rows
            rows = slice(math.floor(len(x) * (1 - kwargs.get("validation_split", 0.0))))
            if self.likelihood.view is not None:
                self.likelihood.view.settle(x[rows], again=False)
            self.condition.settle(trees.take(y, rows), again=False)
        return super().fit(x, y, batch_size, epochs, validation_data=validation_data, **kwargs)

    def predict(self, y: Any, **kwargs: Any) -> Any:
        """The mean of p(x | y), `(n, *x_shape)`, for conditions y; what y knows is kept."""
        if isinstance(y, dict):
            return super().predict(y, **kwargs)
        return super().predict(
            {"condition": self.condition.spec.prepare(y)}, **{"verbose": 0} | kwargs
        )

    def log_prob(self, x: Any, y: Any) -> np.ndarray:
        """log p(x | y) `(n,)` in nats; no estimate, for there is nothing to integrate over."""
        x, y = self._checked(x, y)
        return super().predict({"x": x, "condition": y}, verbose=0)

    def _checked(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        if not is_array(x):  # a data set
            return x, y
        x, y = checked(as_array(x, "x"), self.x_shape, "x"), self.condition.spec.prepare(y)
        if len(x) != (count := trees.count(y)):
            raise ValueError(f"{len(x)} examples come with {count} conditions. Expected one each.")
        self.likelihood.check(x)
        return x, y

    def arguments(self) -> dict[str, Any]:
        return {"x_shape": self.x_shape, "body": self.body, "likelihood": self.likelihood}
