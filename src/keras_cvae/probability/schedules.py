"""Weights of the KL that change with the training step."""

from typing import Any

from keras import ops

from keras_cvae import errors
from keras_cvae.registry import Registry
from keras_cvae.tensors import Tensor

SCHEDULES = Registry("beta schedule")


class Schedule:
    """A beta that changes with the training step. `final` is what evaluation uses."""

    final: float

    def __call__(self, step: Tensor) -> Tensor:
        """Return beta at this training step, a scalar."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Schedule":
        """Rebuild from `get_config`."""
        return cls(**config)


@SCHEDULES.register("warmup")
class Warmup(Schedule):
    """Beta grows from 0 to `final` over `steps` steps, then stays (Bowman et al. 2016).

    Examples:
        >>> beta = Warmup(1000)
        >>> float(beta(0)), float(beta(500)), float(beta(2000))
        (0.0, 0.5, 1.0)
    """

    def __init__(self, steps: int, final: float = 1.0):
        self.steps = errors.whole("Warmup steps", steps)
        self.final = errors.number("Warmup final", final)

    def __call__(self, step: Tensor) -> Tensor:
        return self.final * ops.minimum(1.0, ops.cast(step, "float32") / self.steps)

    def get_config(self) -> dict[str, Any]:
        return {"steps": self.steps, "final": self.final}


@SCHEDULES.register("cyclical")
class Cyclical(Schedule):
    """Beta grows from 0 to `final` in the first part of every period (Fu et al. 2019).

    Args:
        period: Steps of one cycle.
        ramp: Part of the cycle that beta takes to grow.
        final: Beta at the top.

    Examples:
        >>> beta = Cyclical(period=100, ramp=0.5)
        >>> [float(beta(step)) for step in (0, 25, 50, 99, 100)]
        [0.0, 0.5, 1.0, 1.0, 0.0]
    """

    def __init__(self, period: int, ramp: float = 0.5, final: float = 1.0):
        self.period = errors.whole("Cyclical period", period)
        if not 0 < ramp <= 1:
            raise ValueError(f"Cyclical ramp: received {ramp}, expected a part of 1, like 0.5.")
        self.ramp = ramp
        self.final = errors.number("Cyclical final", final)

    def __call__(self, step: Tensor) -> Tensor:
        position = ops.cast(ops.mod(step, self.period), "float32") / self.period
        return self.final * ops.minimum(1.0, position / self.ramp)

    def get_config(self) -> dict[str, Any]:
        return {"period": self.period, "ramp": self.ramp, "final": self.final}
