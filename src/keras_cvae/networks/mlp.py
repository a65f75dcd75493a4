"""Dense networks: the condition is concatenated with the input."""

import math

import keras
from keras import ops

from keras_cvae.networks.backbone import BACKBONES, Backbone


@BACKBONES.register("mlp")
class MLP(Backbone):
    """Dense layers on flattened data, the same widths in the encoder and (reversed) the decoder.

    Args:
        units: Widths of the hidden layers, from the data inwards.
        activation: Of the hidden layers.

    Examples:
        >>> dense = ConditionalVAE((6,), 3, 2, backbone=MLP((32, 16), "gelu"))
        >>> dense.generate(1).shape
        (1, 6)
    """

    def __init__(self, units=(512,), activation="relu"):
        self.units = tuple(units)
        if not self.units or any(n < 1 for n in self.units):
            raise ValueError(f"MLP units: received {units}, expected positive widths, like (512,).")
        self.activation = activation

    def encoder(self, x_shape):
        return DenseBody(self.units, self.activation)

    def decoder(self, output_shape):
        return DenseBody(self.units[::-1], self.activation, output_shape=tuple(output_shape))

    def get_config(self):
        return {"units": self.units, "activation": self.activation}


class DenseBody(keras.layers.Layer):
    """Flatten and join the inputs, then dense layers; with `output_shape`, a linear one last."""

    def __init__(self, units, activation, output_shape=None, **kwargs):
        super().__init__(**kwargs)
        self.shape_out = output_shape
        self.flatten = keras.layers.Flatten()
        self.hidden = [keras.layers.Dense(n, activation=activation) for n in units]
        if output_shape:
            self.output_layer = keras.layers.Dense(math.prod(output_shape), dtype="float32")

    def build(self, input_shapes):
        width = sum(math.prod(shape[1:]) for shape in input_shapes)
        for layer in self.hidden:
            layer.build((None, width))
            width = layer.units
        if self.shape_out:
            self.output_layer.build((None, width))

    def call(self, inputs):
        parts = [self.flatten(part) for part in inputs]
        h = ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
        for layer in self.hidden:
            h = layer(h)
        if self.shape_out:
            h = ops.reshape(self.output_layer(h), (-1, *self.shape_out))
        return h
