"""A picture as a condition: an encoder of its own turns it into features.

Here and not in `conditions`, because it is built from a backbone.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvae.conditions import CONDITIONS, Condition
from keras_cvae.networks.backbone import BACKBONES, Backbone


@CONDITIONS.register("image")
class Image(Condition):
    """A picture `(h, w, c)`, read by an encoder of its own (structured prediction, Sohn 2015).

    Accepted as y: pictures `(n, h, w, c)`, or `(n, h, w)` where c is 1; one picture without the n.

    Args:
        shape: Of one picture, `(h, w, c)`.
        backbone: "conv", "mlp" or a `Backbone`, for the encoder; its width is that of the features.
        low: The lowest value that a picture holds.
        high: The highest.

    Raises:
        ValueError: A shape that is no picture's, or values out of order.
    """

    def __init__(self, shape, backbone: Any = "conv", low=0.0, high=1.0, **kwargs):
        super().__init__(**kwargs)
        self.shape = tuple(int(n) for n in shape)
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"Image shape: received {shape}, expected (height, width, channels).")
        if not low < high:
            raise ValueError(f"Image: received low={low}, high={high}; expected low < high.")
        self.backbone: Backbone = BACKBONES.get(backbone)
        self.low, self.high = float(low), float(high)
        self.network = self.backbone.encoder(self.shape)
        self.width = int(self.network([keras.Input(self.shape)]).shape[-1])

    def get_config(self):
        return super().get_config() | {
            "shape": self.shape,
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "low": self.low,
            "high": self.high,
        }

    @classmethod
    def from_config(cls, config):
        return cls(
            **config | {"backbone": keras.saving.deserialize_keras_object(config["backbone"])}
        )

    def call(self, y):
        return ops.cast(self.network([ops.cast(y, self.compute_dtype)]), self.compute_dtype)

    def prepare(self, y):
        if y is None:
            raise ValueError(
                f"This model is conditioned on a picture {self.shape}, but none was given."
            )
        y = np.asarray(y)
        if y.dtype.kind not in "iufb":
            raise ValueError(f"The picture holds {y.dtype} values. Expected numbers.")
        y = self._with_channel(y)
        if y.shape[1:] != self.shape or not len(y):
            raise ValueError(
                f"The pictures that are the condition have the shape {y.shape}. Expected (n, "
                f"{', '.join(map(str, self.shape))})."
            )
        low, high = float(y.min()), float(y.max())
        if not (self.low <= low and high <= self.high):  # NaN is neither
            scale = low >= 0 and 1 == self.high < high <= 255
            hint = " Divide by 255 to scale 8-bit pictures." if scale else ""
            raise ValueError(
                f"The picture that is the condition holds values from {low:g} to {high:g}. "
                f"Expected {self.low:g} to {self.high:g}.{hint}"
            )
        return y.astype("float32", copy=False)

    def prepare_any(self, y):
        if y is None:
            return self.prepare(y), True
        y = np.asarray(y)
        single = y.shape == self.shape or (*y.shape, 1) == self.shape
        return self.prepare(y[None] if single else y), single

    def parse(self, text):
        """Read a picture file, stretched to the shape."""
        from PIL import Image as Pillow
        from PIL import UnidentifiedImageError

        height, width, channels = self.shape
        if channels not in (1, 3):
            raise ValueError(f"A picture file has 1 or 3 channels; this condition has {channels}.")
        try:
            with Pillow.open(text) as file:
                picture = file.convert("L" if channels == 1 else "RGB").resize((width, height))
        except (OSError, UnidentifiedImageError) as error:
            raise ValueError(f"Cannot read '{text}' as a picture: {error}.") from None
        value = np.asarray(picture, "float32").reshape(self.shape) / 255.0
        return self.low + value * (self.high - self.low)

    def summary(self):
        return f"a picture {self.shape}"

    def _with_channel(self, y: np.ndarray) -> np.ndarray:
        return y[..., None] if (*y.shape[1:], 1) == self.shape else y
