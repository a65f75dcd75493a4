"""A condition that a Keras model of the user's turns into features."""

import math

import keras
import numpy as np
from keras import ops

from keras_cvae.conditions.base import CONDITIONS, Condition
from keras_cvae.conditions.read import array, as_float32


@CONDITIONS.register("encoded")
class Encoded(Condition):
    """Whatever a Keras model of one's own reads: a signal, a sequence of words, a set.

    The model is trained with the rest and saved with it; `network.trainable = False` keeps it as it
    is.

    Args:
        network: A Keras model with one input of a known shape, from `(batch, ...)` to features
            `(batch, width)`. An input of whole numbers takes these (0 or more), others any numbers.

    Raises:
        ValueError: A model with several inputs or outputs, or of other shapes.
    """

    has_encoder = True

    def __init__(self, network: keras.Model, **kwargs):
        super().__init__(autocast=False, **kwargs)
        inputs = getattr(network, "inputs", None)
        outputs = keras.tree.flatten(getattr(network, "outputs", None) or [])
        if not inputs or len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(
                "The encoder of a condition is a Keras model with one input and one output, built "
                f"with keras.Input. Received one with {len(inputs or [])} and {len(outputs)}. For "
                "several inputs use several named conditions."
            )
        shape, features = tuple(inputs[0].shape[1:]), tuple(outputs[0].shape[1:])
        if None in shape or len(features) != 1 or not features[0]:
            raise ValueError(
                f"Your encoder of the condition goes from {('batch', *shape)} to "
                f"{('batch', *features)}. Expected an input of a known shape, and features "
                "(batch, width)."
            )
        self.network, self.shape, self.width = network, shape, int(features[0])
        self.dtype_in = "int32" if "int" in str(inputs[0].dtype) else "float32"

    def get_config(self):
        network = keras.saving.serialize_keras_object(self.network)
        return super().get_config() | {"network": network}

    @classmethod
    def from_config(cls, config):
        network = keras.saving.deserialize_keras_object(config["network"])
        return cls(**config | {"network": network})

    def call(self, y):
        return ops.cast(self.network(ops.cast(y, self.dtype_in)), self.compute_dtype)

    def prepare(self, y):
        if y is None:
            raise ValueError(
                f"This model is conditioned on arrays {self.shape}, but none was given."
            )
        y = array(y)
        if y.dtype.kind not in "iufb":
            raise ValueError(f"The condition holds {y.dtype} values. Expected numbers.")
        if y.shape[1:] != self.shape:
            raise ValueError(
                f"The condition has the shape {y.shape}. Your encoder expects (n"
                f"{''.join(f', {n}' for n in self.shape)})."
            )
        if not np.all(np.isfinite(as_float32(y))):
            raise ValueError(
                "The condition holds NaN, infinity or numbers beyond single precision. Expected "
                "finite numbers."
            )
        if self.dtype_in == "int32" and (np.any(y < 0) or not np.array_equal(y, np.round(y))):
            raise ValueError(
                f"The condition holds values from {y.min():g} to {y.max():g}. Your encoder expects "
                "whole numbers of at least 0."
            )
        return y.astype(self.dtype_in)

    def prepare_any(self, y):
        single = y is not None and np.shape(y) == self.shape
        return self.prepare(np.asarray(y)[None] if single else y), single

    def parse(self, text):
        """Read as many numbers as the encoder takes, separated by commas."""
        try:
            value = np.array([float(part) for part in text.split(",")]).reshape(self.shape)
        except ValueError:
            raise ValueError(
                f"Cannot read '{text}' as {math.prod(self.shape)} numbers separated by commas."
            ) from None
        return self.prepare(value[None])[0]

    def between(self, first, last, weights):
        if self.dtype_in == "int32":
            raise ValueError("There is no way between conditions that are whole numbers.")
        return super().between(first, last, weights)

    def summary(self):
        return f"arrays of shape {self.shape}"
