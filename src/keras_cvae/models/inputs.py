"""What a user's x and condition become: checked, canonical, one for each example."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvae import errors
from keras_cvae.checks import checked
from keras_cvae.columns import as_array, names_of
from keras_cvae.conditions.spec.entries import shortened
from keras_cvae.models.headers import Headers
from keras_cvae.probability.bijections import Standardised


class Inputs:
    """The checks of a `ConditionalVAE`."""

    condition: Any
    memory: Any
    headers: Headers
    likelihood: Any
    x_shape: tuple[int, ...]
    step: Any

    def _repack(self, data: Any) -> Any:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        inputs = x if isinstance(x, dict) else _pack(x, y)
        if not hasattr(inputs["x"], "shape"):
            inputs = inputs | {"x": self._x(inputs["x"])}
        if "condition" not in inputs and self.condition.spec.forgettable:
            inputs = inputs | {"condition": self._nothing_known(inputs["x"])}
        shape = tuple(inputs["x"].shape[1:])
        if (*shape, 1) == self.x_shape:
            inputs, shape = inputs | {"x": inputs["x"][..., None]}, self.x_shape
        if shape != self.x_shape:
            raise ValueError(
                f"Received a batch of x with examples of shape {shape}. This model expects "
                f"{self.x_shape}."
            )
        if bool(self.condition.width) != ("condition" in inputs):
            # Says what is missing, or too much.
            self.condition.spec.prepare(inputs.get("condition"))
        return inputs, None, sample_weight

    def _nothing_known(self, x: Any) -> Any:
        """Canonical conditions of which all are missing, one for each x of a batch."""
        n = ops.shape(x)[0]

        def each(one: Any) -> Any:
            return ops.broadcast_to(ops.convert_to_tensor(one), (n, *one.shape[1:]))

        return keras.tree.map_structure(each, self.condition.spec.unknown())

    def _x(self, x: Any, name: str = "x") -> np.ndarray:
        if np.ma.is_masked(x):
            raise ValueError(
                f"A mask hides some of {name}. Expected whole examples; condition=KnownPart(...) "
                "learns to complete what is missing."
            )
        beside = ", and the condition beside it: fit(x, y), predict(x, condition=y), or {'x': x, "
        beside = f"{beside}'condition': y}}" if self.condition.width else ""
        shape = ", ".join(map(str, self.x_shape))
        x = self.headers.x(x)
        values = as_array(x, name, f"an array (n, {shape}){beside}")
        single = checked(values, self.x_shape, name, columns=names_of(x))
        if not len(single):
            raise ValueError(f"{name} is empty. Expected at least one example.")
        self.likelihood.check(single)
        if isinstance(self.likelihood.view, Standardised):
            self._warn_far(name, self.likelihood.view.far(single))
        return single

    def _conditions(self, condition: Any, n: int) -> Any:
        """Canonical conditions of n examples, of which all may have the same."""
        spec = self.condition.spec
        y = spec.for_each(self.headers.condition(condition, spec), n)
        self._check_asked(y)
        return y

    def asked_for(self, condition: Any) -> Any:
        """Check one condition or several that something is asked for; return them canonical."""
        return self._known(condition)[0]

    def _known(self, condition: Any) -> tuple[Any, bool]:
        """Canonical conditions that something is asked for, and whether it is one."""
        spec = self.condition.spec
        y, single = spec.prepare_any(self.headers.condition(condition, spec))
        self._check_asked(y)
        return y, single

    def _check_asked(self, y: Any) -> None:
        """Refuse canonical conditions that the model cannot know; see `Memory.check`."""
        self._check_known_part(y)
        if y is not None and int(self.step):
            self.memory.check(y)
            self._warn_far("The condition", self.condition.far(y))

    def _warn_far(self, what: str, found: str) -> None:
        """Warn once of numbers far from those of training."""
        if found and what not in self.headers.warned:
            self.headers.warned.add(what)
            errors.warn(f"{what} holds {found}. So far from training the model guesses.")

    def _check_known_part(self, y: Any) -> None:
        """Refuse canonical conditions that x itself could not be."""
        if self.condition.knows_part and y is not None:
            self.likelihood.check_known(y)

    @staticmethod
    def _inputs(condition: Any = None, **inputs: Any) -> dict[str, Any]:
        return inputs if condition is None else inputs | {"condition": condition}


def _pack(x: Any, y: Any = None) -> dict[str, Any]:
    return {"x": x} if y is None else {"x": x, "condition": y}


def is_array(x: Any) -> bool:
    """Whether x is examples at hand, not a data set that yields them."""
    if isinstance(x, keras.utils.PyDataset) or hasattr(x, "__next__"):
        return False
    return hasattr(x, "__array__") or hasattr(x, "toarray") or isinstance(x, list | tuple)


def checked_shape(x_shape: Sequence[int]) -> tuple[int, ...]:
    """Check the shape of one example."""
    sizes = list(x_shape) if np.iterable(x_shape) else [x_shape]
    try:
        if not sizes:
            raise ValueError("no axis")
        return tuple(errors.whole("x_shape", size) for size in sizes)
    except ValueError:
        raise ValueError(
            f"x_shape: received {shortened(repr(x_shape))}, expected the sizes of one "
            "example, without the number of examples, like (28, 28, 1) or (20,)."
        ) from None


def checked_groups(latent_dim: Any) -> tuple[int, ...]:
    """Check the length of z, or those of its groups; 0 is no latent at all, `()`."""
    if np.size(latent_dim) == 0 or (np.ndim(latent_dim) == 0 and latent_dim == 0):
        return ()
    return tuple(errors.whole("latent_dim", n) for n in np.atleast_1d(latent_dim).tolist())
