"""A signal as a condition."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from keras_cvae.conditions.arrays import Arrays
from keras_cvae.conditions.base import CONDITIONS
from keras_cvae.networks.conv import Conv
from keras_cvae.probability.bijections import Standardised

SHORTEST = 8  # where the blocks stop halving


@CONDITIONS.register("signal")
class Signal(Standardised, Arrays):
    """A signal `(length, channels)`, read by a convolutional encoder of its own.

    Accepted as y: signals `(n, length, channels)`, or `(n, length)` where there is one channel; one
    signal without the n. Each channel is standardised inside the model, by the first signals that
    are fitted; data sets that stream need `adapt`.

    Args:
        shape: Of one signal, `(length, channels)`, any length.
        backbone: "conv", "mlp" or a `Backbone`, for the encoder; its width is that of the features.
            "conv" halves the length until it is 8 or less, with 32 channels, and gives 128
            features.

    Raises:
        ValueError: A shape that is no signal's.
    """

    noun, axes = "signal", ("length", "channels")

    def __init__(self, shape, backbone: Any = "conv", **kwargs):
        super().__init__(shape, backbone, **kwargs)
        self.add_scaling(self.shape[-1])

    def recipe(self, backbone):
        if backbone != "conv":
            return super().recipe(backbone)
        blocks = max(1, math.ceil(math.log2(self.shape[0] / SHORTEST)))
        return Conv((32,) * blocks, 128, "gelu")

    def scaled(self, y):
        return self.standardise(y)

    def check(self, y):
        if not np.isfinite(y).all():
            row = int(np.argmin(np.isfinite(y).reshape(len(y), -1).all(axis=1)))
            raise ValueError(
                f"The signal that is the condition holds NaN or infinity, first in row {row}. "
                "Expected finite numbers."
            )

    def parse(self, text):
        """Read a signal from a file of numbers: .npy, or text with a row for each time."""
        try:
            path = Path(text)
            values = np.load(path) if path.suffix == ".npy" else np.loadtxt(path, delimiter=",")
        except (OSError, ValueError) as error:
            raise ValueError(
                f"Cannot read '{text}' as a signal: {error}. Expected a .npy file, or text with "
                f"{self.shape[0]} rows of {self.shape[1]} numbers separated by commas."
            ) from None
        return self.prepare_any(values)[0][0]
