"""Values from a grid, each with its own softmax."""

import numpy as np
from keras import ops

from keras_cvae import errors
from keras_cvae.probability.likelihoods.base import LIKELIHOODS, Likelihood


@LIKELIHOODS.register("categorical")
class CategoricalValues(Likelihood):
    """Each value of x is one of `levels` evenly spaced values, with its own softmax.

    Args:
        levels: How many values there are: 2 for binary, 256 for 8-bit data.
        low: The lowest value.
        high: The highest value; None means `low + levels - 1`, whole numbers.
    """

    link = "softmax"
    discrete = True

    def __init__(self, levels=256, low=0.0, high=None, **kwargs):
        super().__init__(**kwargs)
        self.levels = self.units = errors.whole("levels", levels, 2)
        self.low, self.high = float(low), float(low + levels - 1 if high is None else high)
        if not self.high > self.low:
            raise ValueError(f"high: received {high}, expected more than low={low}.")

    def get_config(self):
        return super().get_config() | {"levels": self.levels, "low": self.low, "high": self.high}

    @property
    def values(self) -> np.ndarray:
        """The values that x can take, `(levels,)`."""
        return np.linspace(self.low, self.high, self.levels, dtype="float32")

    def _level(self, x):
        return (x - self.low) * ((self.levels - 1) / (self.high - self.low))

    def _logits(self, parameters):
        shape = ops.shape(parameters)
        return ops.reshape(parameters, (*shape[:-1], shape[-1] // self.levels, self.levels))

    def log_density(self, x, parameters, training=False, scored=None):
        log_p = ops.log_softmax(self._logits(parameters), axis=-1)
        index = ops.cast(ops.round(self._level(x)), "int32")
        index = ops.broadcast_to(index, ops.shape(log_p)[:-1])
        return ops.squeeze(ops.take_along_axis(log_p, index[..., None], axis=-1), axis=-1)

    def mean(self, parameters):
        # TensorFlow's softmax takes five axes at most, its log_softmax any number.
        p = ops.exp(ops.log_softmax(self._logits(parameters), axis=-1))
        return ops.sum(p * ops.convert_to_tensor(self.values), axis=-1)

    def sample(self, parameters, rng):
        shape = (*parameters.shape[:-1], -1, self.levels)
        logits = np.asarray(parameters).reshape(shape)
        return self.values[np.argmax(logits + rng.gumbel(size=logits.shape), axis=-1)]

    def check(self, x):
        low, high = float(np.min(x)), float(np.max(x))
        level = self._level(np.asarray(x, "float64"))
        whole = np.allclose(level, np.round(level), atol=1e-3)
        if low < self.low or high > self.high or not whole:
            raise ValueError(
                f"The categorical likelihood expects x to be one of {self.levels} evenly spaced "
                f"values from {self.low:g} to {self.high:g}. Received values from {low:g} to "
                f"{high:g}{'' if whole else ', some of them in between'}."
            )
