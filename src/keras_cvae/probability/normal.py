"""The normal distribution of the latent: log-density, KL and reparameterised sampling, in nats."""

import math
from typing import NamedTuple

from keras import ops

from keras_cvae.tensors import Tensor

LOG_2PI = math.log(2 * math.pi)


class DiagonalNormal(NamedTuple):
    """N(mean, diag(exp(log_var))), independent over the last axis.

    Args:
        mean: Tensor `(..., dim)`.
        log_var: Tensor `(..., dim)`, the logarithm of the variance.
    """

    mean: Tensor
    log_var: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        """Compute the log-density of `z` `(..., dim)` in nats, `(...)`."""
        return ops.sum(log_normal(z, self.mean, self.log_var), axis=-1)

    def kl(self, other: "DiagonalNormal") -> Tensor:
        """Compute KL(self || other) in nats, `(...)` (Kingma & Welling 2014, appendix B)."""
        ratio = ops.exp(self.log_var - other.log_var)
        shift = ops.square(self.mean - other.mean) * ops.exp(-other.log_var)
        return 0.5 * ops.sum(other.log_var - self.log_var + ratio + shift - 1.0, axis=-1)

    def without_gradients(self) -> "DiagonalNormal":
        """Return the same distribution, whose parameters pass no gradients on."""
        return DiagonalNormal(ops.stop_gradient(self.mean), ops.stop_gradient(self.log_var))

    def bounded(self) -> "DiagonalNormal":
        """Return it with a standard deviation between e^-20 and e^20, whose draws are finite."""
        return DiagonalNormal(self.mean, ops.clip(self.log_var, -40.0, 40.0))

    def sample(self, noise: Tensor) -> Tensor:
        """Move standard normal `noise` `(..., dim)` to this distribution (reparameterisation)."""
        return self.mean + ops.exp(0.5 * self.log_var) * noise


def log_normal(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Compute log N(x; mean, exp(log_var)) of each value, in nats."""
    return -0.5 * (ops.square(x - mean) * ops.exp(-log_var) + log_var + LOG_2PI)


def standard_quantile(uniforms: Tensor) -> Tensor:
    """Turn numbers from U(0, 1) into numbers from N(0, 1), by the inverse of its distribution."""
    return math.sqrt(2.0) * ops.erfinv(2.0 * uniforms - 1.0)


def standard_normal(dim: int) -> DiagonalNormal:
    """Return N(0, I) with parameters `(dim,)`, which broadcast against any batch."""
    zeros = ops.zeros((dim,), dtype="float32")
    return DiagonalNormal(mean=zeros, log_var=zeros)


def split_normal(parameters: Tensor) -> DiagonalNormal:
    """Read `(..., 2 * dim)` as the mean and the log-variance of a normal, in float32."""
    mean, log_var = ops.split(ops.cast(parameters, "float32"), 2, axis=-1)
    return DiagonalNormal(mean, log_var)
