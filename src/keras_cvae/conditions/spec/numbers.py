"""Numbers: on a line, or around a circle."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_cvae.checks import checked
from keras_cvae.conditions.spec.base import ConditionSpec
from keras_cvae.conditions.spec.entries import dense, shape_of
from keras_cvae.errors import number, whole


@dataclass(frozen=True)
class ContinuousSpec(ConditionSpec):
    """A vector of `dim` finite numbers, float32.

    The conditions of many examples are `(n, dim)`, or `(n,)` where dim is 1; one condition is
    `(dim,)`, or a number.

    Args:
        dim: How many numbers there are, at least 1.

    Raises:
        ValueError: `dim` is no such number.
    """

    dim: int = 1

    kind = "continuous"
    dtype = "float32"

    def __post_init__(self) -> None:
        self._set(dim=whole("dim", self.dim))
        self._set(shape=(self.dim,))

    def canonical(self, values: np.ndarray) -> np.ndarray:
        return checked(dense(values), self.shape)

    def is_one(self, condition: Any, n: int | None = None) -> bool:
        shape = shape_of(condition)
        return shape == () or (len(shape) == 1 and self.dim > 1)

    def words(self, canonical: Any) -> str:
        return ", ".join(f"{value:.4g}" for value in np.atleast_1d(canonical))

    def example(self) -> Any:
        return 0.0 if self.dim == 1 else [0.0] * self.dim

    def summary(self) -> str:
        return f"{self.dim} number{'s' if self.dim > 1 else ''}"


@dataclass(frozen=True)
class PeriodicSpec(ContinuousSpec):
    """Numbers that come round: angles, hours, months; canonical ones lie in [0, period).

    Args:
        dim: How many numbers there are, at least 1.
        period: After which the number is the same again, above 0.

    Raises:
        ValueError: Arguments that are no such numbers.
    """

    period: float = 2.0 * math.pi

    kind = "periodic"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not number("Periodic period", self.period) > 0:
            raise ValueError(f"Periodic period: received {self.period}, expected more than 0.")
        self._set(period=float(self.period))

    def canonical(self, values: np.ndarray) -> np.ndarray:
        values = dense(values)
        if values.dtype.kind in "iuf":
            # Around the circle in float64: sine and cosine of large numbers lose their digits.
            with np.errstate(invalid="ignore"):  # infinity is refused next
                turned = np.mod(values.astype("float64"), self.period)
            values = np.where(np.isfinite(values), turned, values)
        single = super().canonical(values)
        return np.where(single < self.period, single, np.float32(0))  # rounded up to the period

    def between(self, first: Any, last: Any, weights: np.ndarray) -> Any:
        """The short way round."""
        half = self.period / 2
        way = np.mod(last - first + half, self.period) - half
        return self.canonical(first + weights[:, None] * way)

    def example(self) -> Any:
        quarter = float(f"{self.period / 4:.3g}")
        return quarter if self.dim == 1 else [quarter] * self.dim

    def summary(self) -> str:
        return f"{super().summary()} of period {self.period:g}"


@dataclass(frozen=True)
class ExposureSpec(ContinuousSpec):
    """How much there was to count: a number above 0, float32 `(n, 1)`; it is never missing."""

    dim: int = field(default=1, init=False)

    kind = "exposure"

    def canonical(self, values: np.ndarray) -> np.ndarray:
        single = super().canonical(values)
        if single.size and not single.min() >= np.finfo("float32").tiny:
            row = int(np.argmin(single))
            raise ValueError(
                "Exposures are above 0, by more than single precision rounds away. "
                f"Received {single[row, 0]:g} in row {row}. Leave out "
                "examples of which there was nothing to count."
            )
        return single

    def example(self) -> Any:
        return 1.0

    def summary(self) -> str:
        return "an exposure"
