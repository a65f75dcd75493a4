"""Arrays of a fixed shape: pictures, signals, whatever an encoder of the user's reads."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from keras_cvae.checks import checked
from keras_cvae.conditions.spec.base import ConditionSpec
from keras_cvae.conditions.spec.entries import dense, shape_of


@dataclass(frozen=True)
class ArraySpec(ConditionSpec):
    """Base of conditions that are arrays of finite numbers.

    The conditions of many examples are `(n, *shape)`, without the last axis where that is 1 (one
    channel); one condition is an array without the n.

    Args:
        shape: Of one condition.

    Attributes:
        noun: What one is called, for messages.
    """

    shape: tuple[int, ...]

    noun: ClassVar[str]

    def canonical(self, values: np.ndarray) -> np.ndarray:
        return checked(dense(values), self.shape, f"The {self.noun} that is the condition")

    def is_one(self, condition: Any, n: int | None = None) -> bool:
        return self.shape in ((shape := shape_of(condition)), (*shape, 1))

    def summary(self) -> str:
        return f"{self.noun} of shape {self.shape}"

    def _check_shape(self, *axes: str) -> None:
        """Refuse a shape without these axes.

        Raises:
            ValueError: Naming the axes.
        """
        shape = tuple(int(size) for size in np.atleast_1d(self.shape))
        if len(shape) != len(axes) or min(shape) < 1:
            raise ValueError(
                f"{type(self).__name__.removesuffix('Spec')} shape: received {self.shape}, "
                f"expected ({', '.join(axes)})."
            )
        self._set(shape=shape)


@dataclass(frozen=True)
class EncodedSpec(ArraySpec):
    """Whatever a Keras model of the user's reads.

    Args:
        shape: Of one condition.
        dtype: "int32" for whole numbers of at least 0, or "float32".
    """

    dtype: str = "float32"

    kind = "encoded"
    noun = "array"

    def __post_init__(self) -> None:
        self._set(shape=tuple(int(size) for size in self.shape))
        if self.dtype not in ("int32", "float32"):
            raise ValueError(f"dtype: received {self.dtype!r}, expected 'int32' or 'float32'.")

    def canonical(self, values: np.ndarray) -> np.ndarray:
        values = dense(values)
        single = super().canonical(values)
        if self.dtype == "float32":
            return single
        whole = values.reshape(single.shape)
        most = np.iinfo("int32").max
        if whole.size and not (
            whole.min() >= 0 and whole.max() <= most and np.array_equal(whole, np.round(whole))
        ):
            raise ValueError(
                f"The condition holds values from {whole.min():g} to {whole.max():g}. Your encoder "
                f"expects whole numbers from 0 to {most}."
            )
        return whole.astype("int32")

    def marks_missing(self, values: np.ndarray) -> np.ndarray:
        if self.dtype == "float32" or values.dtype.kind not in "if" or not values.size:
            return super().marks_missing(values)
        return (values.reshape(len(values), -1) == -1).all(axis=1)

    def between(self, first: Any, last: Any, weights: np.ndarray) -> Any:
        if self.dtype == "float32":
            return super().between(first, last, weights)
        if not np.array_equal(first, last):
            raise ValueError("There is no way between conditions that are whole numbers.")
        return np.repeat(first, len(weights), axis=0)


@dataclass(frozen=True)
class ImageSpec(ArraySpec):
    """A picture.

    Args:
        shape: Of one picture, `(height, width, channels)`.
        low: The lowest value that a picture holds.
        high: The highest.

    Raises:
        ValueError: A shape that is no picture's, or values out of order.
    """

    low: float = 0.0
    high: float = 1.0

    kind = "image"
    noun = "picture"
    dtype = "float32"

    def __post_init__(self) -> None:
        self._check_shape("height", "width", "channels")
        if not self.low < self.high:
            raise ValueError(
                f"Image: received low={self.low}, high={self.high}; expected low < high."
            )
        self._set(low=float(self.low), high=float(self.high))

    def canonical(self, values: np.ndarray) -> np.ndarray:
        single = super().canonical(values)
        if not single.size:
            return single
        low, high = float(single.min()), float(single.max())
        if low < np.float32(self.low) or high > np.float32(self.high):
            scale = low >= 0 and 1 == self.high < high <= 255
            hint = " Divide by 255 to scale 8-bit pictures." if scale else ""
            raise ValueError(
                f"The picture that is the condition holds values from {low:g} to {high:g}. "
                f"Expected {self.low:g} to {self.high:g}.{hint}"
            )
        return single


@dataclass(frozen=True)
class SignalSpec(ArraySpec):
    """A signal.

    Args:
        shape: Of one signal, `(length, channels)`.

    Raises:
        ValueError: A shape that is no signal's.
    """

    kind = "signal"
    noun = "signal"
    dtype = "float32"

    def __post_init__(self) -> None:
        self._check_shape("length", "channels")
