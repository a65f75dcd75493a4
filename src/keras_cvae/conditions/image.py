"""A picture as a condition."""

from typing import Any

import numpy as np

from keras_cvae.conditions.arrays import Arrays
from keras_cvae.conditions.base import CONDITIONS


@CONDITIONS.register("image")
class Image(Arrays):
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

    noun, axes = "picture", ("height", "width", "channels")

    def __init__(self, shape, backbone: Any = "conv", low=0.0, high=1.0, **kwargs):
        super().__init__(shape, backbone, **kwargs)
        if not low < high:
            raise ValueError(f"Image: received low={low}, high={high}; expected low < high.")
        self.low, self.high = float(low), float(high)

    def get_config(self):
        return super().get_config() | {"low": self.low, "high": self.high}

    def check(self, y):
        low, high = float(y.min()), float(y.max())
        if not (self.low <= low and high <= self.high):  # NaN is neither
            scale = low >= 0 and 1 == self.high < high <= 255
            hint = " Divide by 255 to scale 8-bit pictures." if scale else ""
            raise ValueError(
                f"The picture that is the condition holds values from {low:g} to {high:g}. "
                f"Expected {self.low:g} to {self.high:g}.{hint}"
            )

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
