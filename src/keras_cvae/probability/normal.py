"""Distributions over the latent: log-density, KL and reparameterised sampling, in nats."""

import math
from typing import Any, NamedTuple

from keras import ops

LOG_2PI = math.log(2 * math.pi)


class Gaussian(NamedTuple):
    """N(mean, diag(exp(log_var))), independent over the last axis.

    Args:
        mean: Tensor `(..., dim)`.
        log_var: Tensor `(..., dim)`, the logarithm of the variance.
    """

    mean: Any
    log_var: Any

    def log_prob(self, z):
        """Log-density of `z` `(..., dim)` in nats, `(...)`."""
        squared = ops.square(z - self.mean) * ops.exp(-self.log_var)
        return -0.5 * ops.sum(squared + self.log_var + LOG_2PI, axis=-1)

    def kl(self, other: "Gaussian"):
        """KL(self || other) in nats, `(...)` (Kingma & Welling 2014, appendix B, for any other)."""
        ratio = ops.exp(self.log_var - other.log_var)
        shift = ops.square(self.mean - other.mean) * ops.exp(-other.log_var)
        return 0.5 * ops.sum(other.log_var - self.log_var + ratio + shift - 1.0, axis=-1)

    def still(self) -> "Gaussian":
        """The same, without gradients to its parameters."""
        return Gaussian(ops.stop_gradient(self.mean), ops.stop_gradient(self.log_var))

    def sample(self, noise):
        """Move standard normal `noise` `(..., dim)` to this distribution (reparameterisation)."""
        return self.mean + ops.exp(0.5 * self.log_var) * noise


def standard_normal(dim: int) -> Gaussian:
    """N(0, I) with parameters `(dim,)`, which broadcast against any batch."""
    zeros = ops.zeros((dim,), dtype="float32")
    return Gaussian(mean=zeros, log_var=zeros)


def split_gaussian(parameters) -> Gaussian:
    """Read `(..., 2 * dim)` as the mean and the log-variance of a Gaussian, in float32."""
    mean, log_var = ops.split(ops.cast(parameters, "float32"), 2, axis=-1)
    return Gaussian(mean, log_var)
