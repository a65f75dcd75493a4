"""Completion: the condition is the known part of x (Sohn, Lee & Yan 2015, section 4.2).

Any part may be known, not only quadrants.

    p(x | z, y) = [ known values certain ]  prod over unknown values of p(x_i | z, y)
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvae.conditions.base import CONDITIONS, ConditionEncoder
from keras_cvae.conditions.spec import KnownPartSpec
from keras_cvae.probability.distributions import Distribution
from keras_cvae.tensors import Tensor


@CONDITIONS.register("known_part")
class KnownPart(ConditionEncoder):
    """Part of x itself: a condition is x with NaN where it is unknown (`keras_cvae.masks.holes`).

    The likelihood scores the unknown part alone, and every draw keeps the known one exactly.
    Features are the known values; without a fixed mask also the mask; with a guess also that.

    Args:
        x_shape: Shape of one example, the model's.
        mask: What is known in every example: a name such as "bottom-left", or an array that is
            True where x is known. Then a condition may be a whole example. None: each condition
            has holes of its own.
        guess: A Keras model from `{"condition": ...}` to a guess of x, `(batch, *x_shape)`, such as
            a trained `Baseline`: the recurrent connection of the paper's section 4.1. It is frozen.
        view: A layer through which the networks see the known values; the model sets its
            likelihood's, which standardises numbers.

    Raises:
        ValueError: A mask of another shape, or that leaves nothing to do; a guess that is no model.

    Examples:
        >>> filling = ConditionalVAE((8, 8, 1), KnownPart((8, 8, 1)), 2, backbone=MLP((16,)))
        >>> filled = filling.complete(np.ones((8, 8, 1)), "left", n=3)
        >>> filled.shape, bool((filled[:, :, :4] == 1).all())
        ((3, 8, 8, 1), True)
    """

    spec: KnownPartSpec
    knows_part = True

    def __init__(
        self,
        x_shape: Sequence[int],
        mask: Any = None,
        guess: keras.Model | None = None,
        view: keras.layers.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.view, self.taken = view, False
        self.spec = KnownPartSpec(tuple(x_shape), mask)
        if guess is not None and not isinstance(guess, keras.Model):
            raise ValueError(
                f"guess: received {type(guess).__name__}, expected a Keras model from "
                '{"condition": ...} to a guess of x, such as a trained Baseline.'
            )
        self.guess = guess
        self.has_encoder = guess is not None
        if guess is not None:
            guess.trainable = False
        size, fixed = int(np.prod(self.spec.shape)), self.spec.fixed
        where = np.ones(size, bool) if fixed is None else fixed.ravel()
        self._known, self._unknown = np.flatnonzero(where), np.flatnonzero(~where)
        self.width = 2 * size if fixed is None else len(self._known)
        if guess is not None:
            self.width += size if fixed is None else len(self._unknown)

    def get_config(self) -> dict[str, Any]:
        own = {"x_shape": self.spec.shape, "mask": self.spec.to_json()["mask"]}
        layers = {"guess": self.guess, "view": self.view}
        layers = {name: keras.saving.serialize_keras_object(one) for name, one in layers.items()}
        if self.guess is not None:  # frozen: how it was trained is past
            layers["guess"].pop("compile_config", None)
        return super().get_config() | own | layers

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "KnownPart":
        layers = {
            name: keras.saving.deserialize_keras_object(config[name]) for name in ("guess", "view")
        }
        return cls(**config | layers)

    def look_through(self, view: Any) -> None:
        if self.taken and view is not self.view:
            raise ValueError(
                "This KnownPart belongs to another model already, whose networks see x on another "
                "scale. Expected a new KnownPart for this one."
            )
        self.view, self.taken = view, True

    def call(self, condition: Tensor) -> Tensor:
        condition = ops.reshape(ops.cast(condition, "float32"), (-1, *self.spec.shape))
        size = len(self._known) + len(self._unknown)

        def seen(x: Tensor) -> Tensor:
            """What the networks see of x, `(batch, size)`."""
            return ops.reshape(x if self.view is None else self.view(x), (-1, size))

        if self.spec.fixed is None:
            unknown = ops.isnan(condition)
            flat = ops.reshape(unknown, (-1, size))
            values = ops.where(flat, 0.0, seen(ops.where(unknown, 0.0, condition)))
            parts = [values, 1.0 - ops.cast(flat, "float32")]
        else:
            parts = [ops.take(seen(condition), self._known, axis=1)]
        if self.guess is not None:
            guess = seen(ops.cast(self.guess({"condition": condition}), "float32"))
            whole = self.spec.fixed is None
            parts.append(guess if whole else ops.take(guess, self._unknown, axis=1))
        return ops.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]

    def fix(self, p: Distribution, condition: Tensor) -> Distribution:
        x = ops.reshape(ops.cast(condition, "float32"), (-1, *self.spec.shape))
        fixed = self.spec.fixed
        known = ops.logical_not(ops.isnan(x)) if fixed is None else fixed[None]
        return p.given(ops.where(known, x, 0.0), ops.logical_or(known, ops.zeros_like(x, "bool")))
