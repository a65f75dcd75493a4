"""A likelihood of which some values are known."""

from typing import Any, NamedTuple

import keras

from keras_cvae.probability.likelihoods.base import LIKELIHOODS, Likelihood


class Given(NamedTuple):
    """A likelihood's parameters, and the part of x that the condition knows already.

    Args:
        parameters: Tensor `(..., batch, *parameter_shape)`.
        values: The known values, `(batch, *x_shape)`.
        known: Where they are, booleans `(batch, *x_shape)`.
    """

    parameters: Any
    values: Any
    known: Any


@LIKELIHOODS.register("masked")
class Masked(Likelihood):
    """Another likelihood for what is unknown; what is known is certain.

    Its parameters are `Given`; plain ones know nothing. The models wrap their likelihood in it by
    themselves if the condition is a part of x.

    Args:
        likelihood: Of the unknown values.
    """

    def __init__(self, likelihood: Any = "bernoulli", **kwargs):
        super().__init__(**kwargs)
        self.likelihood: Likelihood = LIKELIHOODS.get(likelihood)
        if not self.likelihood.completes:
            raise ValueError(
                f"{type(self.likelihood).__name__} cannot draw some values of x while others are "
                "known. Expected another likelihood, such as 'bernoulli' or 'gaussian'."
            )
        self.units, self.link = self.likelihood.units, self.likelihood.link
        self.view = self.likelihood.view

    def get_config(self):
        inner = keras.saving.serialize_keras_object(self.likelihood)
        return super().get_config() | {"likelihood": inner}

    @classmethod
    def from_config(cls, config):
        inner = keras.saving.deserialize_keras_object(config["likelihood"])
        return cls(**config | {"likelihood": inner})

    def parameter_shape(self, x_shape):
        return self.likelihood.parameter_shape(x_shape)

    def log_prob(self, x, parameters, training=False, scored=None):
        if not isinstance(parameters, Given):
            return self.likelihood.log_prob(x, parameters, training, scored)
        parameters, _, known = parameters
        return self.likelihood.log_prob_given(x, parameters, known, training, scored)

    def mean(self, parameters):
        if not isinstance(parameters, Given):
            return self.likelihood.mean(parameters)
        return self.likelihood.mean_given(*parameters)

    def sample(self, parameters, rng):
        if not isinstance(parameters, Given):
            return self.likelihood.sample(parameters, rng)
        return self.likelihood.sample_given(*parameters, rng)

    def check(self, x):
        self.likelihood.check(x)


def for_condition(likelihood: Any, knows_part: bool) -> Likelihood:
    """The likelihood, masked if the condition knows a part of x."""
    likelihood = LIKELIHOODS.get(likelihood)
    masked = isinstance(likelihood, Masked)
    return Masked(likelihood.completing()) if knows_part and not masked else likelihood
