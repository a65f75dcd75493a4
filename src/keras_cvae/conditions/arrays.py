"""Arrays as conditions: an encoder of their own turns pictures and signals into features.

Here and not in `conditions`, because they are built from a backbone.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvae.conditions.base import Condition
from keras_cvae.conditions.read import array, as_float32
from keras_cvae.networks.backbone import BACKBONES, Backbone


class Arrays(Condition):
    """Base of conditions that are arrays with channels, read by an encoder of their own.

    Accepted as y: arrays `(n, *shape)`, or without the last axis where it is 1; one array without
    the n. To add a kind, set `noun` and `axes`, write `check` and `parse`, and register it.

    Args:
        shape: Of one array, the channels last.
        backbone: A name or a `Backbone`, for the encoder; its width is that of the features.

    Attributes:
        noun: What one is called, for messages.
        axes: Names of its axes.
    """

    noun: str
    axes: tuple[str, ...]
    has_encoder = True

    def __init__(self, shape, backbone: Any, **kwargs):
        super().__init__(autocast=False, **kwargs)  # raw values have more digits than bfloat16
        self.shape = tuple(int(n) for n in np.atleast_1d(shape))
        if len(self.shape) != len(self.axes) or min(self.shape) < 1:
            raise ValueError(
                f"{type(self).__name__} shape: received {shape}, expected ({', '.join(self.axes)})."
            )
        self.backbone = self.recipe(backbone)
        self.network = self.backbone.encoder(self.shape)
        self.width = int(self.network([keras.Input(self.shape)]).shape[-1])

    def get_config(self):
        backbone = keras.saving.serialize_keras_object(self.backbone)
        return super().get_config() | {"shape": self.shape, "backbone": backbone}

    @classmethod
    def from_config(cls, config):
        backbone = keras.saving.deserialize_keras_object(config["backbone"])
        return cls(**config | {"backbone": backbone})

    def recipe(self, backbone: Any) -> Backbone:
        """The encoder's backbone, of what the user wrote."""
        return BACKBONES.get(backbone)

    def check(self, y: np.ndarray) -> None:
        """Refuse values of arrays `(n, *shape)` that the encoder is not for.

        Raises:
            ValueError: Naming what was received and what was expected.
        """
        raise NotImplementedError

    def scaled(self, y):
        """What the encoder is given of the canonical `y`."""
        return y

    def call(self, y):
        y = ops.cast(self.scaled(y), self.compute_dtype)
        return ops.cast(self.network([y]), self.compute_dtype)

    def prepare(self, y):
        if y is None:
            raise ValueError(
                f"This model is conditioned on a {self.noun} {self.shape}, but none was given."
            )
        y = array(y)
        if y.dtype.kind not in "iufb":
            raise ValueError(f"The {self.noun} holds {y.dtype} values. Expected numbers.")
        if (*y.shape[1:], 1) == self.shape:
            y = y[..., None]
        if y.shape[1:] != self.shape or not len(y):
            raise ValueError(
                f"The {self.noun}s that are the condition have the shape {y.shape}. Expected (n, "
                f"{', '.join(map(str, self.shape))})."
            )
        y = as_float32(y)
        self.check(y)
        return y

    def prepare_any(self, y):
        if y is None:
            return self.prepare(y), True
        y = array(y)
        single = y.shape == self.shape or (*y.shape, 1) == self.shape
        return self.prepare(y[None] if single else y), single

    def summary(self):
        return f"a {self.noun} {self.shape}"
