"""The layer that makes features of a condition; what is said of it, its spec checks.

To add a condition, write its spec (see `ConditionSpec`), subclass `ConditionEncoder`, set `spec`
and `width`, write `call`, register it, and name its module in `conditions/composed.py` and
`conditions/__init__.py`.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
from keras import ops

from keras_cvae.conditions.spec import ConditionSpec, NoneSpec, Trait
from keras_cvae.probability.distributions import Distribution
from keras_cvae.registry import Registry
from keras_cvae.tensors import Tensor

CONDITIONS = Registry("condition")

Tensors: TypeAlias = Any  # a tensor, or of named conditions a dict of them


class ConditionEncoder(keras.layers.Layer):
    """Base of all conditions: a Keras layer from canonical conditions to features.

    Attributes:
        spec: What a user may say; `spec.prepare` gives the canonical form.
        width: Number of features.
        private: How many of them q(z | x, y) alone sees: all, of a single condition, or none; of
            several the last ones.
        knows_part: Whether it is a part of x itself; see `fix`.
        scales: Whether it multiplies the means of x; see `fix`.
        has_encoder: Whether a network makes the features: then all draws for one condition share
            them.
        view: A layer through which the networks see values of x that the condition consists of;
            None: as they are.
    """

    spec: ConditionSpec
    width: int = 0
    private: int = 0
    knows_part = False
    scales = False
    has_encoder = False
    view: Any

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.view = None  # not of the class: on torch that would hide a layer set under its name
        self.built = True

    # Inside the step.

    def features(self, condition: Tensors) -> Tensor | None:
        """Features `(batch, width)` of canonical conditions; None if the model has no condition."""
        return self(condition)

    def fix(self, p: Distribution, condition: Tensors | None) -> Distribution:
        """Return p(x | z, y) with what the condition itself says of x: values, or their scale.

        Args:
            p: p(x | z, y) for a batch, as if it said nothing of x.
            condition: The canonical conditions of the batch, or None.
        """
        return p

    def look_through(self, view: Any) -> None:
        """Show the networks those values of x that the condition consists of as they see x.

        Args:
            view: The likelihood's, a layer from x to what networks see; None: x itself.
        """

    @property
    def shared(self) -> int:
        """Number of features, the first ones, that p(z | y) and p(x | z, y) see too."""
        return self.width - self.private

    def symbolic(self) -> Tensors | None:
        """Return a Keras input of this condition."""
        return keras.Input(self.spec.shape, dtype=self.spec.dtype)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        return (input_shape[0], self.width)

    def drop(self, condition: Tensors, uniform: Callable[[Any], Tensor]) -> Tensors:
        """Label dropout: forget some of the canonical conditions in a training step.

        Args:
            condition: Canonical conditions `(batch, ...)`.
            uniform: Draws from U(0, 1), given a shape.
        """
        return condition

    def is_known(self, condition: Tensors) -> Tensor:
        """Which of the canonical conditions are known, at least in part, `(batch,)` booleans."""
        return ops.ones(ops.shape(condition)[:1], "bool")

    def missing(self, condition: Tensors) -> dict[Trait, Tensor]:
        """Whether any of the canonical conditions is missing, for each trait of that kind."""
        return {}

    # From training data.

    def far(self, condition: Any) -> str:
        """Say which number of canonical conditions is far from those of training; "" if none is.

        Args:
            condition: Canonical conditions `(n, ...)`, NumPy.
        """
        return ""

    def adapt(self, conditions: Any) -> None:
        """Fit mean and scale, if there are any, to training conditions; the model saves them.

        Args:
            conditions: As `spec.prepare` takes them.
        """
        self.settle(self.spec.prepare(conditions))

    def settle(self, condition: Any, again: bool = True) -> None:
        """Fit mean and scale, if there are any, to canonical conditions `(n, ...)`.

        Args:
            condition: Canonical conditions, NumPy.
            again: Refit even if they were fitted before.
        """

    def example(self) -> Any:
        """One condition as a user would say it, for a hint; None where there is nothing to show."""
        return self.spec.example()


@CONDITIONS.register("none")
class Unconditional(ConditionEncoder):
    """No condition: the plain VAE.

    Examples:
        >>> Unconditional().spec.prepare(None) is None
        True
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = NoneSpec()

    def features(self, condition: Tensors) -> None:
        return None

    def symbolic(self) -> None:
        return None
