"""Mixtures of discretised logistics."""

import math
from typing import Any

import numpy as np
from keras import ops

from keras_cvae.probability.distributions import Distribution
from keras_cvae.probability.likelihoods.base import LIKELIHOODS, Likelihood, check_unit_interval
from keras_cvae.probability.likelihoods.discrete import drawn_index
from keras_cvae.tensors import Tensor


@LIKELIHOODS.register("discretized_logistic")
class DiscretizedLogistic(Likelihood):
    """A mixture of logistics on evenly spaced values in [0, 1] (Salimans et al. 2017, sec. 2.1).

    The mass of a value is what the logistic puts on the interval around it; the lowest and the
    highest value get the tails. The components are those of a pixel, not of a channel: the mean of
    each channel depends linearly on the channels before it, as in the paper's eq. 3.

    Args:
        components: Logistics at each pixel.
        levels: How many values there are, 256 for 8-bit data.

    Examples:
        >>> DiscretizedLogistic(components=5).parameter_shape((32, 32, 3))
        (32, 32, 50)
    """

    discrete = True

    def __init__(self, components: int = 5, levels: int = 256, **kwargs: Any):
        super().__init__(**kwargs)
        if components < 1 or levels < 2:
            raise ValueError(
                f"DiscretizedLogistic: received components={components}, levels={levels}; expected "
                "at least 1 component and 2 levels."
            )
        self.components, self.levels = int(components), int(levels)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"components": self.components, "levels": self.levels}

    def parameter_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        # At each pixel a component has its weight, for each channel a mean and a scale, and for
        # each pair of channels a slope: 1 + 2 c + c (c - 1) / 2.
        channels = x_shape[-1]
        return (*x_shape[:-1], self.components * ((channels + 1) * (channels + 2) // 2))

    def uniforms_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*x_shape[:-1], 1 + x_shape[-1])  # which component, then each channel

    def distribution(self, parameters: Tensor, training: bool = False) -> Distribution:
        return LogisticMixture(parameters, self.components, self.levels)

    def completing(self) -> Likelihood:
        raise ValueError(
            "DiscretizedLogistic cannot draw some values of x while others are known: it ties the "
            "channels of a pixel. Expected another likelihood, such as 'bernoulli' or 'gaussian'."
        )

    def check(self, x: np.ndarray) -> None:
        check_unit_interval(x, "discretized logistic")


class LogisticMixture(Distribution):
    """Pixels whose channels share a component of the mixture; x in [0, 1], computed in [-1, 1].

    Args:
        parameters: Tensor `(..., batch, *places, n)`, as `DiscretizedLogistic.parameter_shape`
            says.
        components: Of the mixture.
        levels: How many values there are.
    """

    narrowest = -7.0  # of log-scales, in units of half the range

    def __init__(self, parameters: Tensor, components: int, levels: int):
        self.levels = levels
        parts = parameters.shape[-1] // components
        channels = (math.isqrt(1 + 8 * parts) - 3) // 2  # parts = (channels + 1)(channels + 2) / 2
        shape = (*ops.shape(parameters)[:-1], parts, components)
        weight, *rest = ops.unstack(ops.reshape(parameters, shape), parts, axis=-2)
        self.log_weight = ops.log_softmax(weight, axis=-1)
        self.means, log_scales = rest[:channels], rest[channels : 2 * channels]
        self.log_scales = [ops.maximum(part - 2.0, self.narrowest) for part in log_scales]
        pairs = [ops.tanh(part) for part in rest[2 * channels :]]
        # Of each channel, those on the channels before it.
        self.slopes = [pairs[c * (c - 1) // 2 : c * (c + 1) // 2] for c in range(channels)]

    def log_prob(self, x: Tensor) -> Tensor:
        x = 2.0 * x - 1.0
        before = [x[..., c, None] for c in range(x.shape[-1])]
        log_p = self.log_weight
        for c, (mean, log_scale) in enumerate(zip(self.means, self.log_scales, strict=True)):
            mean = mean + sum(w * b for w, b in zip(self.slopes[c], before, strict=False))
            log_p = log_p + self._log_mass(before[c] - mean, log_scale, before[c])
        each = ops.logsumexp(log_p, axis=-1, keepdims=True)
        return ops.sum(each, axis=tuple(range(1 - len(x.shape), 0)))

    def _log_mass(self, distance: Tensor, log_scale: Tensor, x: Tensor) -> Tensor:
        # s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)) for the logistic function s: never 0, never NaN.
        half, rate = 1.0 / (self.levels - 1), ops.exp(-log_scale)
        above, below = rate * (distance + half), rate * (distance - half)
        width = ops.log(-ops.expm1(-2.0 * half * rate))
        low = -ops.softplus(-above)  # log s(a)
        high = -ops.softplus(below)  # log s(-b)
        inside = low + high + width
        return ops.where(x < half - 1.0, low, ops.where(x > 1.0 - half, high, inside))

    def mean(self) -> Tensor:
        expected: list[Tensor] = []
        for mean, slope in zip(self.means, self.slopes, strict=True):
            expected.append(mean + sum(w * b for w, b in zip(slope, expected, strict=True)))
        each = ops.stack(expected, axis=-2)  # (..., channels, components)
        mixed = ops.sum(ops.exp(self.log_weight)[..., None, :] * each, axis=-1)
        return ops.clip(0.5 * (mixed + 1.0), 0.0, 1.0)

    def sample(self, uniforms: Tensor) -> Tensor:
        chosen = drawn_index(self.log_weight, uniforms[..., 0])[..., None]
        logistic = ops.log(uniforms) - ops.log1p(-uniforms)  # the quantiles of its uniforms

        def pick(values: Tensor) -> Tensor:
            return ops.squeeze(ops.take_along_axis(values, chosen, axis=-1), axis=-1)

        drawn: list[Tensor] = []
        for c, (mean, log_scale) in enumerate(zip(self.means, self.log_scales, strict=True)):
            before = sum(pick(w) * b for w, b in zip(self.slopes[c], drawn, strict=True))
            value = pick(mean) + before + ops.exp(pick(log_scale)) * logistic[..., c + 1]
            level = ops.round(ops.clip(0.5 * (value + 1.0), 0.0, 1.0) * (self.levels - 1))
            drawn.append(2.0 * level / (self.levels - 1) - 1.0)
        return 0.5 * (ops.stack(drawn, axis=-1) + 1.0)
