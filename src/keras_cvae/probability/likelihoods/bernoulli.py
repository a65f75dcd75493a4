"""Values in [0, 1]: the Bernoulli distribution and the continuous one."""

import numpy as np
from keras import ops

from keras_cvae.probability.likelihoods.base import (
    LIKELIHOODS,
    Likelihood,
    check_unit_interval,
    sigmoid,
)


@LIKELIHOODS.register("bernoulli")
class Bernoulli(Likelihood):
    """Bernoulli with logits as parameters: log p = x log s(l) + (1 - x) log(1 - s(l)).

    For grey levels strictly between 0 and 1 this is a cross-entropy, not a likelihood.
    """

    link = "sigmoid"

    def log_density(self, x, parameters, training=False, scored=None):
        # softplus(l) = l / 2 + |l| / 2 + log(1 + exp(-|l|)): exact, and three times as fast in XLA
        size = ops.abs(parameters)
        return (x - 0.5) * parameters - 0.5 * size - ops.log1p(ops.exp(-size))

    def mean(self, parameters):
        return ops.sigmoid(parameters)

    def sample(self, parameters, rng):
        return (rng.random(parameters.shape) < sigmoid(parameters)).astype("float32")

    def check(self, x):
        check_unit_interval(x, "Bernoulli")


@LIKELIHOODS.register("continuous_bernoulli")
class ContinuousBernoulli(Likelihood):
    """Continuous Bernoulli on [0, 1] (Loaiza-Ganem & Cunningham 2019), with logits as parameters.

    In the logit l the normaliser of the paper, 2 artanh(1 - 2s) / (1 - 2s), is l / tanh(l / 2).
    """

    link = "sigmoid"
    small = 0.05  # |l| below which the series in l^2 is exact to float32

    def log_density(self, x, parameters, training=False, scored=None):
        return x * parameters - ops.softplus(parameters) + self._log_normaliser(parameters)

    def _log_normaliser(self, logits):
        near = ops.abs(logits) < self.small
        safe = ops.where(near, ops.ones_like(logits), logits)
        series = np.log(2.0) + ops.square(logits) / 12.0
        return ops.where(near, series, ops.log(safe / ops.tanh(0.5 * safe)))

    def mean(self, parameters):
        near = ops.abs(parameters) < self.small
        safe = ops.where(near, ops.ones_like(parameters), parameters)
        exact = ops.sigmoid(safe) / ops.tanh(0.5 * safe) - 1.0 / safe
        return ops.where(near, 0.5 + parameters / 12.0, exact)

    def sample(self, parameters, rng):
        # The inverse of F(x) = (exp(l x) - 1) / (exp(l) - 1), at -|l|, where exp cannot overflow.
        u, steep = rng.random(parameters.shape), -np.abs(parameters.astype("float64"))
        steep = np.where(steep > -1e-6, -1e-6, steep)
        x = np.log1p(u * np.expm1(steep)) / steep
        return np.where(parameters > 0, 1.0 - x, x).astype("float32")

    def check(self, x):
        check_unit_interval(x, "continuous Bernoulli")
