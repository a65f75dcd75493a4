"""Numbers of any scale, on the scale that networks work on: around 0, of size 1."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

SMALLEST = 1e-37  # distance to a bound that float32 still tells from none


class Standardised(keras.layers.Layer):
    """Base of layers that standardise their input, every place of the last axis by itself.

    Mean and scale are weights, so they are saved with whatever holds the layer.
    """

    def add_scaling(self, size: int) -> None:
        """Create the weights, for a last axis of this length."""
        kept: dict[str, Any] = {"trainable": False, "dtype": "float32", "autocast": False}
        self.mean = self.add_weight((size,), "zeros", name="mean", **kept)
        self.scale = self.add_weight((size,), "ones", name="scale", **kept)

    def settle(self, values: np.ndarray, again: bool = True) -> None:
        """Take mean and scale from values `(..., size)`; without `again` only if there are none."""
        mean, scale = (ops.convert_to_numpy(weight) for weight in (self.mean, self.scale))
        if not again and (mean.any() or (scale != 1).any()):
            return
        values = values.reshape(-1, values.shape[-1]).astype("float64")
        spread = values.std(axis=0)
        self.mean.assign(values.mean(axis=0))
        self.scale.assign(np.where(spread > 0, spread, 1.0))

    def standardise(self, values):
        """Values `(..., size)` in float32, around 0."""
        return (ops.cast(values, "float32") - self.mean) / self.scale


@keras.saving.register_keras_serializable(package="keras_cvae")
class Bijection(Standardised):
    """From values between bounds to the whole line: u = (b(x) - mean) / scale.

    b is the logit between two bounds, the logarithm of the distance to a single one, rising with x,
    and x itself where there is none. Called on x `(..., d)`, gives u; `inverse` undoes it.

    Args:
        low: The lower bound of each of the d values; None, or minus infinity, where there is none.
        high: The upper bound of each, likewise. One of the two may be None, or a number for all.

    Raises:
        ValueError: Bounds that are out of order, or say nothing of how many values there are.
    """

    def __init__(self, low, high, **kwargs):
        super().__init__(autocast=False, **kwargs)
        low, high = _bound(low, -math.inf), _bound(high, math.inf)
        if max(low.ndim, high.ndim) != 1 or (low.ndim == high.ndim and len(low) != len(high)):
            raise ValueError(
                f"Bounds: received low of shape {low.shape} and high of shape {high.shape}. "
                "Expected one for each value of x, as [0, None, -1], of low, of high or of both."
            )
        self.low, self.high = np.broadcast_arrays(low, high)
        wrong = ~(self.low < self.high)
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ValueError(
                f"Bounds of value {i}: received low={self.low[i]:g}, high={self.high[i]:g}; "
                "expected low < high, by more than single precision rounds away."
            )
        self.below, self.above = np.isfinite(self.low), np.isfinite(self.high)
        self.between, self.free = self.below & self.above, ~(self.below | self.above)
        self.start = np.where(self.below, self.low, 0.0).astype("float32")
        self.end = np.where(self.above, self.high, 0.0).astype("float32")
        self.add_scaling(len(self.low))
        self.built = True

    def get_config(self):
        bounds = {"low": self.low, "high": self.high}
        return super().get_config() | {
            name: [value if math.isfinite(value) else None for value in bound.tolist()]
            for name, bound in bounds.items()
        }

    def call(self, x):
        return self.standardise(self._unbounded(x))

    def compute_output_shape(self, input_shape):
        return input_shape

    def log_slope(self, x):
        """log du/dx at x `(..., d)`, of each value."""
        width = np.where(self.between, self.end - self.start, 1.0).astype("float32")
        from_low, to_high = self._log_distances(x)
        return ops.subtract(np.log(width), from_low + to_high + ops.log(self.scale))

    def inverse(self, u):
        """x `(..., d)` of u `(..., d)`."""
        line, single = self.mean + self.scale * u, self.below ^ self.above
        way = ops.where(single, ops.where(self.below, line, -line), 0.0)  # no overflow elsewhere
        from_one = ops.where(
            self.below, ops.add(self.start, ops.exp(way)), ops.subtract(self.end, ops.exp(way))
        )
        width = self.end - self.start
        from_both = ops.add(self.start, ops.multiply(width, ops.sigmoid(line)))
        x = ops.where(self.free, line, ops.where(single, from_one, from_both))
        low, high = (bound.astype("float32") for bound in (self.low, self.high))
        # Off the bounds that rounding put it on.
        return ops.clip(x, np.nextafter(low, high), np.nextafter(high, low))

    def check(self, x: np.ndarray) -> None:
        """Refuse values on the bounds or beyond.

        Raises:
            ValueError: Naming the first value of x that has such, what came and what was expected.
        """
        x = np.asarray(x, "float32")
        out = ~((x > self.low) & (x < self.high)).reshape(-1, len(self.low)).all(axis=0)
        if out.any():
            i = int(np.argmax(out))
            came = f"{x[..., i].min():g} to {x[..., i].max():g}"
            raise ValueError(
                f"Value {i} of x is bounded by {self.low[i]:g} and {self.high[i]:g}. Received "
                f"values from {came}. Expected all of them in between, not on a bound."
            )

    def settle(self, values, again=True):
        super().settle(ops.convert_to_numpy(self._unbounded(values)), again)

    def adapt(self, x) -> None:
        """Take mean and scale from x `(n, d)`; `fit` does, from the first arrays it is given.

        Raises:
            ValueError: As in `check`.
        """
        self.check(x)
        self.settle(np.asarray(x))

    def _unbounded(self, x):
        from_low, to_high = self._log_distances(x)
        return ops.where(self.free, ops.cast(x, "float32"), from_low - to_high)

    def _log_distances(self, x):
        """Logarithms of the distances to both bounds, 0 where there is none."""
        x = ops.cast(x, "float32")
        from_low = ops.maximum(ops.subtract(x, self.start), SMALLEST)
        to_high = ops.maximum(ops.subtract(self.end, x), SMALLEST)
        return tuple(
            ops.where(bounded, ops.log(distance), 0.0)
            for bounded, distance in ((self.below, from_low), (self.above, to_high))
        )


def _bound(values: Any, nothing: float) -> np.ndarray:
    """Bounds as single precision knows them, `(d,)` or `()`; infinite where there is none."""
    if values is None or np.ndim(values) == 0:
        values = nothing if values is None else values
    else:
        values = [nothing if value is None else value for value in values]
    with np.errstate(over="ignore"):
        return np.asarray(values, "float32").astype("float64")
