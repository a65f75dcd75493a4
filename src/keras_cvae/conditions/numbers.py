"""Numbers: on a line, standardised inside the model, or around a circle."""

import math
from typing import Any

import numpy as np
from keras import ops

from keras_cvae import errors
from keras_cvae.conditions.base import CONDITIONS, ConditionEncoder
from keras_cvae.conditions.spec import ContinuousSpec, ExposureSpec, PeriodicSpec
from keras_cvae.probability.bijections import Standardised
from keras_cvae.probability.distributions import Distribution
from keras_cvae.tensors import Tensor


@CONDITIONS.register("continuous")
class Continuous(Standardised, ConditionEncoder):
    """A vector of numbers, `(n, dim)`, standardised inside the model.

    `fit` takes mean and scale from the conditions it is given, unless `adapt` has; data sets that
    stream need `adapt`.

    Args:
        dim: How many numbers there are.

    Examples:
        >>> Continuous().spec.prepare([1.5, 20.0])
        array([[ 1.5],
               [20. ]], dtype=float32)
    """

    beyond = 10.0  # it is asked for, not observed: nobody means an outlier
    spec: ContinuousSpec

    def __init__(self, dim: int = 1, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # a year has more digits than bfloat16
        self.spec = ContinuousSpec(dim)
        self.width = self.spec.dim
        self.add_scaling(self.width)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"dim": self.spec.dim}

    def call(self, condition: Tensor) -> Tensor:
        condition = ops.reshape(ops.cast(condition, "float32"), (-1, self.width))
        return ops.cast(self.standardise(condition), self.compute_dtype)

    def example(self) -> Any:
        kept = (ops.convert_to_numpy(weight.value).tolist() for weight in (self.mean, self.scale))
        numbers = [rounded(mean, scale) for mean, scale in zip(*kept, strict=True)]
        return numbers if len(numbers) > 1 else numbers[0]


def rounded(mean: float, scale: float) -> float:
    """A round number near the mean, off by less than twice the scale: 1 for 1.11 +- 0.8."""
    place = round(math.log10(scale)) if scale > 0 else 0
    return float(f"{round(mean, -place):.3g}")


@CONDITIONS.register("periodic")
class Periodic(ConditionEncoder):
    """Numbers that come round, `(n, dim)`: angles, hours, months.

    They become sine and cosine, so that 23:59 is next to 0:00.

    Args:
        period: After which the number is the same again: 24 for hours, 360 for degrees.
        dim: How many numbers there are.
        harmonics: Sine and cosine of the number, and of its multiples up to this one: more let x
            change faster around the circle.

    Examples:
        >>> np.asarray(Periodic(24)(np.array([[0.0], [6.0], [24.0]], "float32"))).round(3) + 0.0
        array([[0., 1.],
               [1., 0.],
               [0., 1.]], dtype=float32)
    """

    spec: PeriodicSpec

    def __init__(
        self, period: float = 2.0 * math.pi, dim: int = 1, harmonics: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.spec = PeriodicSpec(dim, period)
        self.harmonics = errors.whole("Periodic harmonics", harmonics)
        self.width = 2 * self.spec.dim * self.harmonics

    def get_config(self) -> dict[str, Any]:
        own = {"period": self.spec.period, "dim": self.spec.dim, "harmonics": self.harmonics}
        return super().get_config() | own

    def call(self, condition: Tensor) -> Tensor:
        turn = 2.0 * math.pi / self.spec.period
        angle = ops.reshape(ops.cast(condition, "float32"), (-1, self.spec.dim)) * turn
        angles = [k * angle for k in range(1, self.harmonics + 1)]
        waves = [wave(angle) for angle in angles for wave in (ops.sin, ops.cos)]
        return ops.cast(ops.concatenate(waves, axis=-1), self.compute_dtype)


@CONDITIONS.register("exposure")
class Exposure(Standardised, ConditionEncoder):
    """How much there was to count, `(n,)`: days of sales, all molecules of a cell.

    The means of x are proportional to it, exactly: it is an offset of their logarithms, which the
    decoder and the prior do not see. The posterior does, as a standardised logarithm. For counts
    (`Poisson`, `NegativeBinomial`, `ZeroInflated`).

    Beside other conditions it is a part of a `Joint`: `{"batch": 3, "size": Exposure()}`. The
    library size of single cells is the sum of their counts, `x.sum(axis=1)`.

    Examples:
        >>> asked = {"shop": 5, "days": Exposure()}
        >>> sales = ConditionalVAE((20,), asked, 2, likelihood="poisson", backbone=MLP((8,)))
        >>> one, ten = (sales.generate({"shop": 2, "days": days}, seed=0) for days in (1, 10))
        >>> bool(np.allclose(ten, 10 * one))
        True
    """

    spec: ExposureSpec
    width = private = 1
    scales = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.spec = ExposureSpec()
        self.add_scaling(1)
        self.typical = self.add_weight(
            (), "ones", trainable=False, dtype="float32", autocast=False, name="typical"
        )

    def call(self, condition: Tensor) -> Tensor:
        return ops.cast(self.standardise(self._log(condition)), self.compute_dtype)

    def fix(self, p: Distribution, condition: Tensor) -> Distribution:
        return p.scaled((self._log(condition) - ops.log(self.typical))[:, 0])

    def settle(self, condition: Any, again: bool = True) -> None:
        exposure = np.asarray(condition, "float64")
        if again or not bool(ops.convert_to_numpy(self.adapted.value)):
            super().settle(np.log(exposure))
            self.typical.assign(exposure.mean())

    def far(self, condition: Any) -> str:
        found = super().far(np.log(condition))
        return found and f"an exposure whose logarithm is {found}"

    def example(self) -> Any:
        return float(f"{float(ops.convert_to_numpy(self.typical.value)):.3g}")

    @staticmethod
    def _log(condition: Tensor) -> Tensor:
        return ops.log(ops.reshape(ops.cast(condition, "float32"), (-1, 1)))
