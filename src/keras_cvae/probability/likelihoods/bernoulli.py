"""Values in [0, 1]: the Bernoulli distribution and the continuous one."""

import numpy as np
from keras import ops

from keras_cvae.probability.distributions import Distribution, Independent, sum_over_values
from keras_cvae.probability.likelihoods.base import LIKELIHOODS, Likelihood, check_unit_interval
from keras_cvae.tensors import Tensor


@LIKELIHOODS.register("bernoulli")
class Bernoulli(Likelihood):
    """Bernoulli with logits as parameters: log p = x log s(l) + (1 - x) log(1 - s(l)).

    For grey levels strictly between 0 and 1 this is a cross-entropy, not a likelihood.

    Examples:
        >>> p = Bernoulli().distribution(np.zeros((1, 4), "float32"))  # four logits of one example
        >>> round(float(p.log_prob(np.ones((1, 4), "float32"))[0]), 4)  # 4 log(1 / 2)
        -2.7726
    """

    link = "sigmoid"

    def distribution(self, parameters: Tensor, training: bool = False) -> Distribution:
        return IndependentBernoulli(parameters)

    def check(self, x: np.ndarray) -> None:
        check_unit_interval(x, "Bernoulli")


class IndependentBernoulli(Independent):
    """Bernoulli values; the logits are `(..., batch, *x_shape)`."""

    def __init__(self, logits: Tensor):
        self.logits = logits

    def log_density(self, x: Tensor) -> Tensor:
        return log_bernoulli(x, self.logits)

    def log_prob(self, x: Tensor, scored: Tensor | None = None) -> Tensor:
        return sum_over_values(log_bernoulli, x, self.logits, scored=scored)

    def mean(self) -> Tensor:
        return ops.sigmoid(self.logits)

    def sample(self, uniforms: Tensor) -> Tensor:
        return ops.cast(uniforms < ops.sigmoid(self.logits), "float32")


def log_bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    """Compute x log s(l) + (1 - x) log(1 - s(l)) for each value, in nats."""
    # softplus(l) = l / 2 + |l| / 2 + log(1 + exp(-|l|)): exact, and three times as fast in XLA
    size = ops.abs(logits)
    return (x - 0.5) * logits - 0.5 * size - ops.log1p(ops.exp(-size))


@LIKELIHOODS.register("continuous_bernoulli")
class ContinuousBernoulli(Likelihood):
    """Continuous Bernoulli on [0, 1] (Loaiza-Ganem & Cunningham 2019), with logits as parameters.

    In the logit l the normaliser of the paper, 2 artanh(1 - 2s) / (1 - 2s), is l / tanh(l / 2).

    Examples:
        >>> p = ContinuousBernoulli().distribution(np.zeros((1, 4), "float32"))  # uniform on [0, 1]
        >>> round(float(p.log_prob(np.full((1, 4), 0.3, "float32"))[0]), 4)
        0.0
    """

    link = "sigmoid"

    def distribution(self, parameters: Tensor, training: bool = False) -> Distribution:
        return IndependentContinuousBernoulli(parameters)

    def check(self, x: np.ndarray) -> None:
        check_unit_interval(x, "continuous Bernoulli")


class IndependentContinuousBernoulli(Independent):
    """Continuous Bernoulli values; the logits are `(..., batch, *x_shape)`."""

    small = 0.05  # |l| below which the series in l^2 is exact to float32

    def __init__(self, logits: Tensor):
        self.logits = logits

    def log_density(self, x: Tensor) -> Tensor:
        return self._log_density(x, self.logits)

    def log_prob(self, x: Tensor, scored: Tensor | None = None) -> Tensor:
        return sum_over_values(self._log_density, x, self.logits, scored=scored)

    def _log_density(self, x: Tensor, logits: Tensor) -> Tensor:
        return x * logits - ops.softplus(logits) + self._log_normaliser(logits)

    def _log_normaliser(self, logits: Tensor) -> Tensor:
        near = ops.abs(logits) < self.small
        safe = ops.where(near, ops.ones_like(logits), logits)
        series = np.log(2.0) + ops.square(logits) / 12.0
        return ops.where(near, series, ops.log(safe / ops.tanh(0.5 * safe)))

    def mean(self) -> Tensor:
        near = ops.abs(self.logits) < self.small
        safe = ops.where(near, ops.ones_like(self.logits), self.logits)
        exact = ops.sigmoid(safe) / ops.tanh(0.5 * safe) - 1.0 / safe
        return ops.where(near, 0.5 + self.logits / 12.0, exact)

    def sample(self, uniforms: Tensor) -> Tensor:
        # The inverse of F(x) = (exp(l x) - 1) / (exp(l) - 1), at -|l|, where exp cannot overflow.
        steep = ops.minimum(-ops.abs(self.logits), -1e-6)
        x = ops.log1p(uniforms * ops.expm1(steep)) / steep
        return ops.where(self.logits > 0, 1.0 - x, x)
