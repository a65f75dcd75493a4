"""Completion: y is the known part of x (Sohn, Lee & Yan 2015, section 4.2; any part, not only
quadrants).

    p(x | z, y) = [ known values certain ]  prod over unknown values of p(x_i | z, y)
"""

import keras
import numpy as np
from keras import ops

from keras_cvae import masks
from keras_cvae.conditions.base import CONDITIONS, Condition


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

    def known(self, features):
        size = len(self._known)
        values = features[:, :size]
        if self.fixed is None:
            where = ops.reshape(features[:, size : 2 * size], (-1, *self.shape)) > 0.5
            return ops.reshape(values, (-1, *self.shape)), where
        # Known values side by side, then a zero that every unknown place takes.
        place = np.full(size + len(self._unknown), size)
        place[self._known] = np.arange(size)
        values = ops.take(ops.pad(values, ((0, 0), (0, 1))), place, axis=1)
        values = ops.reshape(values, (-1, *self.shape))
        fixed = ops.convert_to_tensor(self.fixed[None])
        return values, ops.logical_or(fixed, ops.zeros_like(values, "bool"))

    def prepare(self, y):
        if y is None:
            raise ValueError(
                "This model completes examples, but none was given. Expected y: examples "
                f"{self.shape} with NaN where they are unknown."
            )
        y = np.asarray(y)
        if y.dtype.kind not in "iufb":
            raise ValueError(f"The known part holds {y.dtype} values. Expected numbers.")
        if self.shape[-1] == 1 and y.shape[1:] == self.shape[:-1]:
            y = y[..., None]
        if y.shape[1:] != self.shape:
            raise ValueError(
                f"The known part has the shape {y.shape}. Expected (n, "
                f"{', '.join(map(str, self.shape))}), with NaN where x is unknown."
            )
        if np.isinf(y).any():
            raise ValueError("The known part holds infinity. Expected finite numbers, or NaN.")
        y = y.astype("float32", copy=False)
        hole = np.isnan(y)
        if self.fixed is None:
            if y.size and not hole.any():
                raise ValueError(
                    "Nothing is unknown in the examples to be completed. Expected NaN where x is "
                    "unknown; see keras_cvae.masks.holes(x, mask)."
                )
            return y
        if (hole & self.fixed).any():
            row = int(np.argmax((hole & self.fixed).reshape(len(y), -1).any(axis=1)))
            what = f"'{self.name_of_mask}'" if self.name_of_mask else "the mask it was built with"
            raise ValueError(
                f"This model completes from {what}, some of which is unknown in example {row}. "
                "Expected all of it to be known; a model trained with mask=None takes any part."
            )
        return np.where(self.fixed, y, np.float32(np.nan))

    def prepare_any(self, y):
        shape = np.shape(y)
        single = shape == self.shape or (*shape, 1) == self.shape
        return self.prepare(np.asarray(y)[None] if single else y), single

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
