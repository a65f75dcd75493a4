"""Mixtures of discretised logistics."""

import keras
import numpy as np
from keras import ops

from keras_cvae.probability.likelihoods.base import LIKELIHOODS, Likelihood, check_unit_interval


@LIKELIHOODS.register("discretized_logistic")
class DiscretizedLogistic(Likelihood):
    """A mixture of logistics on evenly spaced values in [0, 1] (Salimans et al. 2017, sec. 2.1).

    The mass of a value is what the logistic puts on the interval around it; the lowest and the
    highest value get the tails. The components are those of a pixel, not of a channel: the mean of
    each channel depends linearly on the channels before it, as in the paper's eq. 3.

    Args:
        components: Logistics at each pixel.
        levels: How many values there are, 256 for 8-bit data.
    """

    units = 0  # for a pixel, not for a value: see `parameter_shape`
    discrete = True
    completes = False  # the channels of a pixel are mixed together
    narrowest = -7.0  # of log-scales, in units of half the range

    def __init__(self, components=5, levels=256, **kwargs):
        super().__init__(**kwargs)
        if components < 1 or levels < 2:
            raise ValueError(
                f"DiscretizedLogistic: received components={components}, levels={levels}; expected "
                "at least 1 component and 2 levels."
            )
        self.components, self.levels = int(components), int(levels)

    def get_config(self):
        return super().get_config() | {"components": self.components, "levels": self.levels}

    def parameter_shape(self, x_shape):
        return (*x_shape[:-1], self.components * _logistic_parameters(x_shape[-1]))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self._channels(input_shape[-1]))

    def log_density(self, x, parameters, training=False, scored=None):
        """log p of each pixel with all its channels: `(..., batch, *places, 1)`."""
        log_weight, means, log_scales, slopes = self._split(parameters)
        x = 2.0 * x - 1.0
        before = [x[..., c, None] for c in range(x.shape[-1])]
        log_p = log_weight
        for c, (mean, log_scale) in enumerate(zip(means, log_scales, strict=True)):
            mean = mean + sum(w * b for w, b in zip(slopes[c], before, strict=False))
            log_p = log_p + self._log_mass(before[c] - mean, log_scale, before[c])
        return ops.logsumexp(log_p, axis=-1, keepdims=True)

    def _log_mass(self, distance, log_scale, x):
        # s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)) for the logistic function s: never 0, never NaN.
        half, rate = 1.0 / (self.levels - 1), ops.exp(-log_scale)
        above, below = rate * (distance + half), rate * (distance - half)
        width = ops.log(-ops.expm1(-2.0 * half * rate))
        low = -ops.softplus(-above)  # log s(a)
        high = -ops.softplus(below)  # log s(-b)
        inside = low + high + width
        return ops.where(x < half - 1.0, low, ops.where(x > 1.0 - half, high, inside))

    def mean(self, parameters):
        log_weight, means, _, slopes = self._split(parameters)
        expected: list = []
        for mean, slope in zip(means, slopes, strict=True):
            expected.append(mean + sum(w * b for w, b in zip(slope, expected, strict=True)))
        each = ops.stack(expected, axis=-2)  # (..., channels, components)
        mixed = ops.sum(ops.exp(log_weight)[..., None, :] * each, axis=-1)
        return ops.clip(0.5 * (mixed + 1.0), 0.0, 1.0)

    def sample(self, parameters, rng):
        parts = self._split(ops.convert_to_tensor(parameters))
        log_weight, means, log_scales, slopes = keras.tree.map_structure(
            ops.convert_to_numpy, parts
        )
        chosen = np.argmax(log_weight + rng.gumbel(size=log_weight.shape), axis=-1)[..., None]

        def pick(values):
            return np.take_along_axis(values, chosen, axis=-1)[..., 0]

        drawn: list[np.ndarray] = []
        for mean, log_scale, slope in zip(means, log_scales, slopes, strict=True):
            centre = pick(mean) + sum(pick(w) * b for w, b in zip(slope, drawn, strict=True))
            value = centre + np.exp(pick(log_scale)) * rng.logistic(size=centre.shape)
            level = np.round(np.clip(0.5 * (value + 1.0), 0.0, 1.0) * (self.levels - 1))
            drawn.append(2.0 * level / (self.levels - 1) - 1.0)
        return (0.5 * (np.stack(drawn, axis=-1) + 1.0)).astype("float32")

    def check(self, x):
        check_unit_interval(x, "discretized logistic")

    def _channels(self, size: int) -> int:
        found = [c for c in range(1, 65) if self.components * _logistic_parameters(c) == size]
        if not found:
            raise ValueError(f"{size} parameters fit no number of channels.")
        return found[0]

    def _split(self, parameters):
        """Log-weights `(..., components)`, and lists by channel: means, log-scales, slopes."""
        channels = self._channels(parameters.shape[-1])
        shape = (*ops.shape(parameters)[:-1], -1, self.components)
        parts = ops.unstack(ops.reshape(parameters, shape), _logistic_parameters(channels), axis=-2)
        log_weight, parts = ops.log_softmax(parts[0], axis=-1), parts[1:]
        means, log_scales = parts[:channels], parts[channels : 2 * channels]
        log_scales = [ops.maximum(part - 2.0, self.narrowest) for part in log_scales]
        rest = [ops.tanh(part) for part in parts[2 * channels :]]
        slopes = [rest[c * (c - 1) // 2 : c * (c + 1) // 2] for c in range(channels)]
        return log_weight, means, log_scales, slopes


def _logistic_parameters(channels: int) -> int:
    """A weight, a mean and a scale for each channel, a slope for each pair of channels."""
    return 1 + 2 * channels + channels * (channels - 1) // 2
