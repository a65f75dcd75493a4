"""Completion: y is the known part of x (Sohn, Lee & Yan 2015, section 4.2; any part, not only
quadrants).

    p(x | z, y) = [ known values certain ]  prod over unknown values of p(x_i | z, y)
"""

import keras
import numpy as np
from keras import ops

from keras_cvae import masks
from keras_cvae.conditions.base import CONDITIONS, Condition
from keras_cvae.conditions.read import as_float32


@CONDITIONS.register("known_part")
class KnownPart(Condition):
    """Part of x itself: y is x with NaN where it is unknown (`keras_cvae.masks.holes`).

    The likelihood scores the unknown part alone, and every draw keeps the known one exactly.
    Features are the known values; without a fixed mask also the mask; with a guess also that.

    Args:
        x_shape: Shape of one example, the model's.
        mask: What is known in every example: a name such as "bottom-left", or an array that is
            True where x is known. Then y may be whole examples. None: each y has holes of its own.
        guess: A Keras model from `{"condition": y}` to a guess of x, `(batch, *x_shape)`, such as a
            trained `Baseline`: the recurrent connection of the paper's section 4.1. It is frozen.

    Raises:
        ValueError: A mask of another shape, or that leaves nothing to do; a guess that is no model.
    """

    knows_part = True

    def __init__(self, x_shape, mask=None, guess: keras.Model | None = None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.shape = tuple(int(size) for size in x_shape)
        self.name_of_mask = masks.check_name(mask) if isinstance(mask, str) else None
        self.fixed = None if mask is None else masks.known(mask, self.shape)
        if self.fixed is not None and self.fixed.shape != self.shape:
            raise ValueError(
                f"KnownPart received {len(self.fixed)} masks. Expected one for all examples, or "
                "None, and a y with holes."
            )
        if self.fixed is not None and self.fixed.all():
            raise ValueError("KnownPart received a mask that knows everything: nothing is left.")
        if self.fixed is not None and not self.fixed.any():
            raise ValueError(
                "KnownPart received a mask that knows nothing. Expected a model with "
                "condition=None, which draws all of x."
            )
        _check_guess(guess)
        self.guess = guess
        self.has_encoder = guess is not None
        if guess is not None:
            guess.trainable = False
        size = int(np.prod(self.shape))
        where = np.ones(size, bool) if self.fixed is None else self.fixed.ravel()
        self._known, self._unknown = np.flatnonzero(where), np.flatnonzero(~where)
        self.width = 2 * size if self.fixed is None else len(self._known)
        if guess is not None:
            self.width += size if self.fixed is None else len(self._unknown)

    def get_config(self):
        mask = self.name_of_mask
        if mask is None and self.fixed is not None:
            mask = self.fixed.astype(int).tolist()
        guess = keras.saving.serialize_keras_object(self.guess)
        return super().get_config() | {"x_shape": self.shape, "mask": mask, "guess": guess}

    @classmethod
    def from_config(cls, config):
        guess = keras.saving.deserialize_keras_object(config.pop("guess"))
        return cls(**config, guess=guess)

    def call(self, y):
        y = ops.reshape(ops.cast(y, "float32"), (-1, *self.shape))
        flat = ops.reshape(y, (-1, len(self._known) + len(self._unknown)))
        if self.fixed is None:
            unknown = ops.isnan(flat)
            parts = [ops.where(unknown, 0.0, flat), 1.0 - ops.cast(unknown, "float32")]
        else:
            parts = [ops.take(flat, self._known, axis=1)]
        if self.guess is not None:
            guess = ops.cast(self.guess({"condition": y}), "float32")
            guess = ops.reshape(guess, (-1, flat.shape[1]))
            parts.append(guess if self.fixed is None else ops.take(guess, self._unknown, axis=1))
        return ops.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]

    def fix(self, p, y):
        y = ops.reshape(ops.cast(y, "float32"), (-1, *self.shape))
        known = ops.logical_not(ops.isnan(y)) if self.fixed is None else self.fixed[None]
        return p.given(ops.where(known, y, 0.0), ops.logical_or(known, ops.zeros_like(y, "bool")))

    def prepare(self, y):
        if y is None:
            raise ValueError(
                "This model completes examples, but none was given. Expected y: examples "
                f"{self.shape} with NaN where they are unknown."
            )
        y = masks.bare(y)
        if y.dtype.kind not in "iufb":
            raise ValueError(f"The known part holds {y.dtype} values. Expected numbers.")
        y = self._with_channel(y)
        if y.shape[1:] != self.shape:
            raise ValueError(
                f"The known part has the shape {y.shape}. Expected (n, "
                f"{', '.join(map(str, self.shape))}), with NaN where x is unknown."
            )
        y = as_float32(y)
        if np.isinf(y).any():
            raise ValueError(
                "The known part holds infinity, or numbers beyond single precision. Expected "
                "finite numbers, or NaN."
            )
        hole = np.isnan(y)
        if self.fixed is None:
            if y.size and not hole.any():
                raise ValueError(
                    "Nothing is unknown in the examples to be completed. Expected NaN where x is "
                    "unknown, or a mask that is False there."
                )
            return y
        if (hole & self.fixed).any():
            row = int(np.argmax((hole & self.fixed).reshape(len(y), -1).any(axis=1)))
            raise ValueError(
                f"This model completes from {self._its_part}, some of which is unknown in example "
                f"{row}. Expected all of it to be known; a model for any part (mask=None) takes "
                "this one."
            )
        return np.where(self.fixed, y, np.float32(np.nan))

    def holes(self, x, mask) -> np.ndarray:
        """x, one or `(n, *x_shape)`, with NaN where the mask does not know it, `(n, *x_shape)`.

        Raises:
            ValueError: x or a mask of another shape; a mask that knows more than the model's own,
                which would be drawn anew.
        """
        x = masks.bare(x)
        x = self._with_channel(x[None] if self._is_one(x.shape) else x)
        if x.shape[1:] != self.shape or x.dtype.kind not in "iufb":
            raise ValueError(
                f"Received x of shape {x.shape} with {x.dtype} values. Expected numbers, "
                f"{self.shape} for one example or (n, {', '.join(map(str, self.shape))})."
            )
        if self.fixed is not None and (masks.known(mask, self.shape) & ~self.fixed).any():
            raise ValueError(
                f"This model completes from {self._its_part} alone, and the mask knows more of x. "
                "Leave the mask out, or use a model for any part (mask=None; cvae train --known "
                "random)."
            )
        return masks.holes(x, mask, self.shape)

    def _is_one(self, shape: tuple[int, ...]) -> bool:
        return self.shape in (shape, (*shape, 1))

    def _with_channel(self, x: np.ndarray) -> np.ndarray:
        """Examples `(n, ...)` with the last axis that a single channel may go without."""
        return x[..., None] if (*x.shape[1:], 1) == self.shape else x

    @property
    def _its_part(self) -> str:
        return f"'{self.name_of_mask}'" if self.name_of_mask else "the mask it was built with"

    def prepare_any(self, y):
        single = self._is_one(np.shape(y))
        return self.prepare(masks.bare(y)[None] if single else y), single

    def parse(self, text):
        """Refuse: a picture is no word.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"Received the condition '{text}'. This run completes pictures: cvae complete RUN IMAGE"
        )

    def summary(self):
        return f"the known part of x, {self.name_of_mask or 'any'}"

    def unknown(self, n=1):
        raise ValueError(
            "What is known of x cannot be left out as a whole. Expected y with NaN where it is "
            "unknown, everywhere if need be, and no guidance."
        )


def _check_guess(guess) -> None:
    if guess is not None and not isinstance(guess, keras.Model):
        raise ValueError(
            f"guess: received {type(guess).__name__}, expected a Keras model from "
            '{"condition": y} to a guess of x, such as a trained Baseline.'
        )
