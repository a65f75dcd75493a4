"""Numbers of any scale, on the scale that networks work on: around 0, of size 1."""

import math
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_cvae.tensors import Tensor

FAR = 30  # standard deviations, from which on a number has little to do with those of training
SMALLEST = 1e-37  # distance to a bound that float32 still tells from none


class Standardised(keras.layers.Layer):
    """Base of layers that standardise numbers, each place of the last axis by itself.

    Mean, scale and whether they were fitted are weights, so they are saved with what holds the
    layer.

    Attributes:
        beyond: Standard deviations from which on a number is far from those of training.
    """

    beyond: ClassVar[float] = FAR

    def add_scaling(self, size: int) -> None:
        """Create the weights, for a last axis of this length."""
        kept: dict[str, Any] = {"trainable": False, "autocast": False}
        self.mean = self.add_weight((size,), "zeros", name="mean", dtype="float32", **kept)
        self.scale = self.add_weight((size,), "ones", name="scale", dtype="float32", **kept)
        self.adapted = self.add_weight((), "zeros", name="adapted", dtype="bool", **kept)

    def settle(self, values: np.ndarray, again: bool = True) -> None:
        """Fit mean and scale to values `(..., size)`.

        Args:
            values: Finite numbers.
            again: Whether to fit where that was done before.
        """
        if bool(ops.convert_to_numpy(self.adapted.value)) and not again:
            return
        values = np.asarray(values, "float64").reshape(-1, np.shape(values)[-1])
        spread = np.where(
            values.max(axis=0) > values.min(axis=0), values.std(axis=0), self.spread_of(values[0])
        )
        self.mean.assign(values.mean(axis=0))
        self.scale.assign(np.maximum(spread, np.finfo("float32").tiny))
        self.adapted.assign(True)

    def spread_of(self, constants: np.ndarray) -> np.ndarray:
        """Return what is taken for the standard deviation of values `(size,)` that never change."""
        return np.ones_like(constants)

    def far(self, values: np.ndarray) -> str:
        """Say which of some values is far from what mean and scale were fitted to; "" if none is.

        Args:
            values: `(..., size)`, on the scale of `settle`.
        """
        mean, scale, adapted = (
            ops.convert_to_numpy(weight.value) for weight in (self.mean, self.scale, self.adapted)
        )
        values = np.reshape(values, (-1, len(mean)))
        if not adapted or not len(values):
            return ""
        ends = np.stack([np.fmin.reduce(values), np.fmax.reduce(values)]).astype("float64")
        away = np.nan_to_num(np.abs(ends - mean) / scale)
        end, place = np.unravel_index(np.argmax(away), away.shape)
        if away[end, place] <= self.beyond:
            return ""
        of = f" in place {place}" if len(mean) > 1 else ""
        return (
            f"{ends[end, place]:g}{of}; in training it was {mean[place]:.4g} +- {scale[place]:.2g}"
        )

    def standardise(self, values: Tensor) -> Tensor:
        """Compute (values - mean) / scale for values `(..., size)`, in float32."""
        return (ops.cast(values, "float32") - self.mean) / self.scale


@keras.saving.register_keras_serializable(package="keras_cvae")
class Bijection(Standardised):
    """From values between bounds to the whole line: u = (b(x) - mean) / scale.

    b is the logit between two bounds, the logarithm of the distance to a single one, rising with x,
    and x itself where there is none. Called on x `(..., d)`, gives u; `inverse` undoes it.

    Args:
        low: The lower bound of each of the d values; None, or minus infinity, where there is none.
        high: The upper bound of each; None, or infinity, where there is none. One of the two may
            be None, or a number, for all.

    Raises:
        ValueError: Bounds that do not fit each other; see `bounds`.
    """

    def __init__(self, low: Any, high: Any = None, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.low, self.high = bounds(low, high)
        self.below, self.above = np.isfinite(self.low), np.isfinite(self.high)
        self.between, self.free = self.below & self.above, ~(self.below | self.above)
        self.linear = bool(self.free.all())
        self.start = np.where(self.below, self.low, 0.0).astype("float32")
        self.end = np.where(self.above, self.high, 0.0).astype("float32")
        self.add_scaling(len(self.low))
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | listed_bounds(self.low, self.high)

    def call(self, x: Tensor) -> Tensor:
        return self.standardise(self._unbounded(x))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def log_slope(self, x: Tensor) -> Tensor:
        """Compute log du/dx at x `(..., d)`, of each value."""
        if self.linear:
            return ops.broadcast_to(-ops.log(self.scale), ops.shape(x))
        width = np.where(self.between, self.end - self.start, 1.0).astype("float32")
        from_low, to_high = self._log_distances(x)
        return ops.subtract(np.log(width), from_low + to_high + ops.log(self.scale))

    def inverse(self, u: Tensor) -> Tensor:
        """Compute x `(..., d)` of u `(..., d)`; finite and within the bounds, whatever rounds."""
        line = self.mean + self.scale * u
        low, high = (bound.astype("float32") for bound in (self.low, self.high))
        least, most = np.nextafter(low, high), np.nextafter(high, low)
        if self.linear:
            return ops.clip(line, least, most)
        single = self.below ^ self.above
        way = ops.where(single, ops.where(self.below, line, -line), 0.0)  # no overflow elsewhere
        from_one = ops.where(
            self.below, ops.add(self.start, ops.exp(way)), ops.subtract(self.end, ops.exp(way))
        )
        width = self.end - self.start
        from_both = ops.add(self.start, ops.multiply(width, ops.sigmoid(line)))
        x = ops.where(self.free, line, ops.where(single, from_one, from_both))
        return ops.clip(x, least, most)

    def has_bounds(self, low: np.ndarray, high: np.ndarray) -> bool:
        """Whether these are its bounds, each `(d,)`."""
        return np.array_equal(self.low, low) and np.array_equal(self.high, high)

    def settle(self, values: np.ndarray, again: bool = True) -> None:
        super().settle(ops.convert_to_numpy(self._unbounded(values)), again)

    def far(self, values: np.ndarray) -> str:
        return super().far(np.where(self.free, values, np.nan))

    def spread_of(self, constants: np.ndarray) -> np.ndarray:
        # A hundredth of its size: draws of what never changes hardly change either.
        size = np.where(self.free & (constants != 0), np.abs(constants), 1.0)
        return 0.01 * size

    def _unbounded(self, x: Tensor) -> Tensor:
        if self.linear:
            return ops.cast(x, "float32")
        from_low, to_high = self._log_distances(x)
        return ops.where(self.free, ops.cast(x, "float32"), from_low - to_high)

    def _log_distances(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of the distances to both bounds, 0 where there is none."""
        x = ops.cast(x, "float32")
        from_low = ops.maximum(ops.subtract(x, self.start), SMALLEST)
        to_high = ops.maximum(ops.subtract(self.end, x), SMALLEST)
        return (
            ops.where(self.below, ops.log(from_low), 0.0),
            ops.where(self.above, ops.log(to_high), 0.0),
        )


def bounds(low: Any, high: Any) -> tuple[np.ndarray, np.ndarray]:
    """Read the bounds of d values, each `(d,)`, as `Bijection` takes them; infinite for none.

    Raises:
        ValueError: Bounds that are out of order, or say nothing of how many values there are.
    """
    low, high = _bound(low, -math.inf), _bound(high, math.inf)
    if max(low.ndim, high.ndim) != 1 or (low.ndim == high.ndim and len(low) != len(high)):
        raise ValueError(
            f"Bounds: received low of shape {low.shape} and high of shape {high.shape}. "
            "Expected one for each value of x, as [0, None, -1], of low, of high or of both."
        )
    low, high = np.broadcast_arrays(low, high)
    wrong = ~(low < high)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(
            f"Bounds of value {i}: received low={low[i]:g}, high={high[i]:g}; "
            "expected low < high, by more than single precision rounds away."
        )
    return low, high


def check_bounds(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Refuse values of x `(..., d)` on their bounds or beyond; NaN is a value that is not known.

    Raises:
        ValueError: Naming the first value of x that has such, what came and what was expected.
    """
    x = np.asarray(x, "float32")
    inside = (x > low) & (x < high) | np.isnan(x)
    out = ~inside.reshape(-1, len(low)).all(axis=0)
    if out.any():
        i = int(np.argmax(out))
        came = f"{np.nanmin(x[..., i]):g} to {np.nanmax(x[..., i]):g}"
        raise ValueError(
            f"Value {i} of x is bounded by {low[i]:g} and {high[i]:g}. Received values from "
            f"{came}. Expected all of them in between, not on a bound."
        )


def listed_bounds(low: np.ndarray, high: np.ndarray) -> dict[str, list[float | None]]:
    """Undo `bounds`: the two lists by name, with None where there is no bound."""
    return {
        name: [value if math.isfinite(value) else None for value in bound.tolist()]
        for name, bound in (("low", low), ("high", high))
    }


def _bound(values: Any, nothing: float) -> np.ndarray:
    """Bounds as single precision knows them, `(d,)` or `()`; infinite where there is none."""
    if values is None or np.ndim(values) == 0:
        values = nothing if values is None else values
    else:
        values = [nothing if value is None else value for value in values]
    with np.errstate(over="ignore"):
        return np.asarray(values, "float32").astype("float64")
