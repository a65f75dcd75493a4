"""Values from a grid, each with its own softmax."""

from typing import Any

import numpy as np
from keras import ops

from keras_cvae import errors
from keras_cvae.probability.distributions import Distribution, Independent
from keras_cvae.probability.likelihoods.base import LIKELIHOODS, Likelihood
from keras_cvae.tensors import Tensor


@LIKELIHOODS.register("categorical")
class CategoricalValues(Likelihood):
    """Each value of x is one of `levels` evenly spaced values, with its own softmax.

    The logits of a value lie side by side: those of all levels of the first value, and so on.

    Args:
        levels: How many values there are: 2 for binary, 256 for 8-bit data.
        low: The lowest value.
        high: The highest value; None means `low + levels - 1`, whole numbers.

    Examples:
        >>> p = CategoricalValues(levels=3).distribution(np.zeros((1, 6), "float32"))  # two values
        >>> round(float(p.log_prob(np.array([[0.0, 2.0]], "float32"))[0]), 4)  # 2 log(1 / 3)
        -2.1972
    """

    link = "softmax"
    discrete = True

    def __init__(
        self, levels: int = 256, low: float = 0.0, high: float | None = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.levels = self.parameters_per_value = errors.whole("levels", levels, 2)
        self.low, self.high = float(low), float(low + levels - 1 if high is None else high)
        if not self.high > self.low:
            raise ValueError(f"high: received {high}, expected more than low={low}.")

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"levels": self.levels, "low": self.low, "high": self.high}

    @property
    def values(self) -> np.ndarray:
        """The values that x can take, `(levels,)`."""
        return np.linspace(self.low, self.high, self.levels, dtype="float32")

    def distribution(self, parameters: Tensor, training: bool = False) -> Distribution:
        shape = ops.shape(parameters)
        shape = (*shape[:-1], shape[-1] // self.levels, self.levels)
        return IndependentCategorical(ops.reshape(parameters, shape), self)

    def level(self, x: Any) -> Any:
        """Return the position of x among the values, from 0; between two of them a fraction."""
        return (x - self.low) * ((self.levels - 1) / (self.high - self.low))

    def check(self, x: np.ndarray) -> None:
        low, high = float(np.min(x)), float(np.max(x))
        level = self.level(np.asarray(x, "float64"))
        whole = np.allclose(level, np.round(level), atol=1e-3)
        if low < self.low or high > self.high or not whole:
            raise ValueError(
                f"The categorical likelihood expects x to be one of {self.levels} evenly spaced "
                f"values from {self.low:g} to {self.high:g}. Received values from {low:g} to "
                f"{high:g}{'' if whole else ', some of them in between'}."
            )


class IndependentCategorical(Independent):
    """Categorical values on a likelihood's grid; the logits are `(..., *x_shape, levels)`."""

    def __init__(self, logits: Tensor, grid: CategoricalValues):
        self.grid = grid
        self.log_p = ops.log_softmax(logits, axis=-1)

    def log_density(self, x: Tensor) -> Tensor:
        index = ops.cast(ops.round(self.grid.level(x)), "int32")
        index = ops.broadcast_to(index, ops.shape(self.log_p)[:-1])
        return ops.squeeze(ops.take_along_axis(self.log_p, index[..., None], axis=-1), axis=-1)

    def mean(self) -> Tensor:
        # TensorFlow's softmax takes five axes at most, its log_softmax any number.
        return ops.sum(ops.exp(self.log_p) * ops.convert_to_tensor(self.grid.values), axis=-1)

    def sample(self, uniforms: Tensor) -> Tensor:
        return ops.take(ops.convert_to_tensor(self.grid.values), drawn_index(self.log_p, uniforms))


def drawn_index(log_p: Tensor, uniforms: Tensor) -> Tensor:
    """Draw positions on the last axis of normalised log-probabilities, by the inverse of their sum.

    Args:
        log_p: Tensor `(..., levels)`.
        uniforms: Tensor `(...)`, from U(0, 1).
    """
    below = ops.cumsum(ops.exp(log_p), axis=-1)[..., :-1]
    return ops.sum(ops.cast(uniforms[..., None] > below, "int32"), axis=-1)
