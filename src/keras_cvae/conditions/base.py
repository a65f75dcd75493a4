"""What every condition can do.

`prepare` and `parse` run on the user's side of the compiled step: they turn names, mixtures and
text into canonical arrays, or refuse them. `features` runs inside the step.

The canonical form of a condition is an array `(n, ...)`, of several named ones a dict of arrays.
Where one is missing, whole numbers are -1 and the others NaN (see `Optional`).

To add a condition, subclass `Condition`, write `prepare`, `prepare_any`, `call` and `parse` (and
`between`, if it is not a straight line; `words`, if it has a name), set `shape` and `width`, and
register it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_cvae.probability.distributions import Distribution
from keras_cvae.registry import Registry

CONDITIONS = Registry("condition")


class Condition(keras.layers.Layer):
    """Base of all conditions.

    Attributes:
        shape: Shape of one canonical condition, without the batch.
        width: Number of features that it becomes.
        dtype_in: Dtype of the canonical array.
        knows_part: Whether it is a part of x itself; see `fix`.
        has_encoder: Whether a network makes the features: then all draws for one condition share
            them.
        forgettable: Whether all of it may be missing; see `Optional`.
    """

    shape: tuple[int, ...] = ()
    width: int = 0
    dtype_in = "float32"
    knows_part = False
    has_encoder = False
    forgettable = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.built = True

    # On the user's side.

    def prepare(self, y: Any) -> Any:
        """Check the conditions of many examples and return the canonical form, `(n, ...)`.

        Raises:
            ValueError: Naming what was received and what this condition expects.
        """
        raise NotImplementedError

    def prepare_any(self, y: Any) -> tuple[Any, bool]:
        """Check one condition or many; return the canonical form, and whether it was one."""
        raise NotImplementedError

    def parse(self, text: str) -> Any:
        """Read one condition from the command line."""
        raise NotImplementedError

    def mix(self, start: Any, end: Any, weights: np.ndarray) -> Any:
        """Conditions `(n, ...)` on the way from one to another, `weights` `(n,)` from 0 to 1."""
        first, last = (self.prepare_any(one)[0] for one in (start, end))
        return self.between(first, last, weights)

    def between(self, first: Any, last: Any, weights: np.ndarray) -> Any:
        """As `mix`, from one canonical condition to another."""
        weights = weights.reshape(-1, *[1] * (first.ndim - 1))
        return ((1 - weights) * first + weights * last).astype("float32")

    def words(self, y: Any) -> str:
        """Name one canonical condition (without the n) for a caption; "" where there are none."""
        return ""

    def summary(self) -> str:
        """What this condition is, in words."""
        return type(self).__name__.lower()

    def example(self) -> str:
        """One condition as `parse` reads it, for a hint; "" where there is nothing to show."""
        return ""

    def adapt(self, y: Any) -> None:
        """Take scalings from training conditions `(n, ...)`; the model saves them."""
        self.settle(self.prepare(y))

    def settle(self, y: Any, again: bool = True) -> None:
        """Take scalings from canonical conditions; with `again` also where there are some."""

    def see(self, y: Any) -> None:
        """Remember the canonical conditions of training; None: of a stream, which may be any."""

    # Inside the step.

    def features(self, y):
        """Features `(batch, width)` of the canonical `y`, or None where there is no condition."""
        return self(y)

    def fix(self, p: Distribution, y: Any) -> Distribution:
        """Return p(x | z, y) with those values of x fixed that the canonical `y` consists of.

        Args:
            p: p(x | z, y) for a batch, as if nothing of x were known.
            y: The canonical conditions of the batch, or None.
        """
        return p

    def symbolic(self) -> Any:
        """Return a Keras input of this condition."""
        return keras.Input(self.shape, dtype=self.dtype_in)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.width)

    # What may be missing; see `Optional`.

    def drop(self, y, uniform: Callable[[Any], Any]):
        """Label dropout: forget some of the canonical `y` in a training step.

        Args:
            y: Canonical tensors.
            uniform: Draws from U(0, 1), given a shape.
        """
        return y

    def unknown(self, n: int = 1) -> Any:
        """The canonical form of n conditions of which nothing is known.

        Raises:
            ValueError: Nothing may be missing here.
        """
        raise ValueError(
            f"This model's condition ({self.summary()}) cannot be missing. Train it with "
            f"Optional({type(self).__name__}(...), dropout=0.1) to leave it out."
        )

    def check_trained(self, y: Any) -> None:
        """Refuse canonical conditions that are missing in a way that training never was.

        Warns:
            UserWarning: Some are of a class that training never had.

        Raises:
            ValueError: Saying what is missing and how to train for it.
        """


def get(identifier: Any) -> Condition:
    """Turn what a user writes into a `Condition`.

    None, a number of classes, a list (array, column) of class names, a dict of named conditions, a
    Keras model that encodes the condition, a registered name, or a `Condition`.
    """
    if identifier is None:
        return Unconditional()
    if isinstance(identifier, Mapping):
        return CONDITIONS.classes["joint"](identifier)
    if isinstance(identifier, keras.Model):
        return CONDITIONS.classes["encoded"](identifier)
    if hasattr(identifier, "tolist"):  # of NumPy or pandas: a number, a column's unique values
        identifier = identifier.tolist()
    if isinstance(identifier, int | list | tuple | range) and not isinstance(identifier, bool):
        return CONDITIONS.classes["categorical"](identifier)
    return CONDITIONS.get(identifier)


@CONDITIONS.register("none")
class Unconditional(Condition):
    """No condition: the plain VAE."""

    def prepare(self, y):
        if y is not None:
            raise ValueError(
                "This model has no condition, but one was given. Leave it out, or build the model "
                "with condition=... to train on labels."
            )

    def prepare_any(self, y):
        return self.prepare(y), True

    def parse(self, text):
        return self.prepare(text)

    def mix(self, start, end, weights):
        return self.prepare(start) or self.prepare(end)

    def summary(self):
        return "none"

    def features(self, y):
        return None

    def symbolic(self):
        return None

    def unknown(self, n=1):
        raise ValueError("This model has no condition that could be left out.")
