"""Numbers: on a line, standardised inside the model, or around a circle."""

import math

import numpy as np
from keras import ops

from keras_cvae import errors
from keras_cvae.conditions.base import CONDITIONS, Condition
from keras_cvae.conditions.read import array, as_float32
from keras_cvae.probability.bijections import Standardised


class Numbers(Condition):
    """Base of conditions that are vectors of `dim` finite numbers.

    Args:
        dim: How many numbers there are.
    """

    def __init__(self, dim=1, **kwargs):
        dim = errors.whole("dim", dim)
        super().__init__(autocast=False, **kwargs)  # a year has more digits than bfloat16
        self.dim = dim
        self.shape = (self.dim,)

    def get_config(self):
        return super().get_config() | {"dim": self.dim}

    def prepare(self, y):
        if y is None:
            raise ValueError(
                f"This model is conditioned on {self.dim} number(s), but no condition was given."
            )
        y = array(y)
        if y.dtype.kind not in "iufb":
            came = y.flat[0] if y.size else "nothing"
            raise ValueError(f"Received {came!s}. Expected {self.dim} number(s) per example.")
        if y.ndim == 1 and self.dim == 1:
            y = y[:, None]
        if y.ndim != 2 or y.shape[1] != self.dim:
            raise ValueError(
                f"The condition has shape {y.shape}. Expected (n, {self.dim})"
                f"{' or (n,)' if self.dim == 1 else ''}."
            )
        single = as_float32(y)
        if not np.all(np.isfinite(single)):
            row = int(np.flatnonzero(~np.isfinite(single).all(axis=1))[0])
            missing = " What may be missing goes into Optional(...)." if np.isnan(y).any() else ""
            raise ValueError(
                f"The condition holds NaN, infinity or numbers beyond single precision, first in "
                f"row {row}: {y[row]}. Expected finite numbers.{missing}"
            )
        return single

    def prepare_any(self, y):
        single = np.ndim(y) == 0 or (np.ndim(y) == 1 and self.dim > 1)
        return self.prepare(y if y is None else np.reshape(y, (1, -1)) if single else y), single

    def parse(self, text):
        """Read numbers separated by commas ("0.5,-1")."""
        try:
            value = np.array([float(part) for part in text.split(",")])
        except ValueError:
            raise ValueError(
                f"Cannot read '{text}' as {self.dim} number(s). Expected, for example, "
                f"{','.join(['0.5'] * self.dim)}."
            ) from None
        self.prepare(value[None])
        return value if self.dim > 1 else value[0] if len(value) == 1 else value

    def words(self, y):
        return ", ".join(f"{value:.4g}" for value in np.atleast_1d(y))

    def summary(self):
        return f"{self.dim} number{'s' if self.dim > 1 else ''}"


@CONDITIONS.register("continuous")
class Continuous(Standardised, Numbers):
    """A vector of numbers, standardised inside the model.

    `fit` takes mean and scale from the conditions it is given, unless `adapt` has; data sets that
    stream need `adapt`.

    Args:
        dim: How many numbers there are.
    """

    def __init__(self, dim=1, **kwargs):
        super().__init__(dim, **kwargs)
        self.width = self.dim
        self.add_scaling(self.dim)

    def example(self):
        return ",".join(f"{value:.3g}" for value in ops.convert_to_numpy(self.mean))

    def call(self, y):
        y = ops.reshape(ops.cast(y, "float32"), (-1, self.dim))
        return ops.cast(self.standardise(y), self.compute_dtype)


@CONDITIONS.register("periodic")
class Periodic(Numbers):
    """Numbers that come round: angles, hours, months.

    Becomes sine and cosine, so that 23:59 is next to 0:00.

    Args:
        period: After which the number is the same again: 24 for hours, 360 for degrees.
        dim: How many numbers there are.
        harmonics: Sine and cosine of the number, and of its multiples up to this one: more let x
            change faster around the circle.
    """

    def __init__(self, period=2.0 * math.pi, dim=1, harmonics=1, **kwargs):
        super().__init__(dim, **kwargs)
        if not (np.isfinite(period) and period > 0):
            raise ValueError(f"Periodic period: received {period}, expected a positive number.")
        self.period = float(period)
        self.harmonics = errors.whole("Periodic harmonics", harmonics)
        self.width = 2 * self.dim * self.harmonics

    def get_config(self):
        return super().get_config() | {"period": self.period, "harmonics": self.harmonics}

    def prepare(self, y):
        # Around the circle in float64: sine and cosine of large numbers lose their digits.
        y = None if y is None else array(y)
        if y is not None and y.dtype.kind in "iuf":
            with np.errstate(invalid="ignore"):  # infinity is refused next
                y = y.astype("float64")
                y = np.where(np.isfinite(y), np.mod(y, self.period), y)
        return super().prepare(y)

    def call(self, y):
        angle = ops.reshape(ops.cast(y, "float32"), (-1, self.dim)) * (2.0 * math.pi / self.period)
        angles = [k * angle for k in range(1, self.harmonics + 1)]
        waves = [wave(angle) for angle in angles for wave in (ops.sin, ops.cos)]
        return ops.cast(ops.concatenate(waves, axis=-1), self.compute_dtype)

    def example(self):
        return ",".join([f"{self.period / 4:.3g}"] * self.dim)

    def between(self, first, last, weights):
        """The short way round."""
        half = self.period / 2
        way = np.mod(last - first + half, self.period) - half
        return self.prepare(first + weights[:, None] * way)

    def summary(self):
        return f"{super().summary()} of period {self.period:g}"
