"""Convolutional networks: the condition shifts the channels of every block."""

import math

import keras
from keras import ops

from keras_cvae.networks.backbone import BACKBONES, Backbone


@BACKBONES.register("conv")
class Conv(Backbone):
    """Blocks of 3x3 convolutions, each halving (encoder) or doubling (decoder) the picture.

    Any height and width: sizes that do not halve evenly are padded on the way in and cropped on the
    way out. Resizing is space-to-depth and depth-to-space: strided and transposed convolutions (and
    their gradients) run many times slower on CPUs under XLA.

    Args:
        filters: Channels of the blocks, from the data inwards.
        units: Width of the dense layer between the blocks and the latent.
        activation: Of the hidden layers.
    """

    def __init__(self, filters=(32, 64), units=256, activation="relu"):
        self.filters, self.units, self.activation = tuple(filters), int(units), activation
        if not self.filters or any(n < 1 for n in self.filters) or self.units < 1:
            raise ValueError(
                f"Conv: received filters={filters}, units={units}; expected positive numbers."
            )

    def encoder(self, x_shape):
        self._check(x_shape)
        return ConvEncoder(self.filters, self.units, self.activation)

    def decoder(self, output_shape):
        self._check(output_shape)
        return ConvDecoder(self.filters[::-1], self.units, self.activation, tuple(output_shape))

    def get_config(self):
        return {"filters": self.filters, "units": self.units, "activation": self.activation}

    @staticmethod
    def _check(shape):
        if len(shape) != 3:
            raise ValueError(
                f"The conv backbone expects images of shape (height, width, channels). Received "
                f"data of shape {tuple(shape)}. For vectors use the mlp backbone."
            )


def space_to_depth(x):
    """`(batch, 2h, 2w, c)` to `(batch, h, w, 4c)`."""
    _, height, width, channels = x.shape
    x = ops.reshape(x, (-1, height // 2, 2, width // 2, 2, channels))
    return ops.reshape(
        ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height // 2, width // 2, 4 * channels)
    )


def depth_to_space(x):
    """`(batch, h, w, 4c)` to `(batch, 2h, 2w, c)`."""
    _, height, width, channels = x.shape
    x = ops.reshape(x, (-1, height, width, 2, 2, channels // 4))
    return ops.reshape(
        ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 2 * height, 2 * width, channels // 4)
    )


class Block(keras.layers.Layer):
    """activation(conv(h) + dense(features))."""

    def __init__(self, filters, activation, **kwargs):
        super().__init__(**kwargs)
        self.conv = keras.layers.Conv2D(filters, 3, padding="same")
        self.activation = keras.layers.Activation(activation)

    def build(self, shape, features_shape=None):
        self.conv.build(shape)
        if features_shape:
            self.shift = keras.layers.Dense(self.conv.filters, use_bias=False)
            self.shift.build(features_shape)

    def call(self, h, features=None):
        h = self.conv(h)
        if features is not None:
            h = h + self.shift(features)[:, None, None, :]
        return self.activation(h)


class ConvEncoder(keras.layers.Layer):
    """Blocks at falling resolution, then a dense layer."""

    def __init__(self, filters, units, activation, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [Block(n, activation) for n in filters]
        self.flatten = keras.layers.Flatten()
        self.dense = keras.layers.Dense(units, activation=activation)

    def build(self, input_shapes):
        (_, height, width, channels), *features = input_shapes
        for block in self.blocks:
            height, width = math.ceil(height / 2), math.ceil(width / 2)
            block.build((None, height, width, 4 * channels), *features)
            channels = block.conv.filters
        self.dense.build((None, height * width * channels + sum(f[-1] for f in features)))

    def call(self, inputs):
        h, *features = inputs
        for block in self.blocks:
            odd = ((0, 0), (0, h.shape[1] % 2), (0, h.shape[2] % 2), (0, 0))
            h = block(space_to_depth(ops.pad(h, odd)), *features)
        parts = [self.flatten(h), *features]
        return self.dense(ops.concatenate(parts, axis=-1) if features else parts[0])


class ConvDecoder(keras.layers.Layer):
    """The encoder's mirror: dense layers, then blocks at rising resolution, cropped to size."""

    def __init__(self, filters, units, activation, output_shape, **kwargs):
        super().__init__(**kwargs)
        self.shape_out, scale = output_shape, 2 ** len(filters)
        self.smallest = tuple(math.ceil(n / scale) for n in output_shape[:2])
        self.dense = keras.layers.Dense(units, activation=activation)
        self.spread = keras.layers.Dense(
            math.prod(self.smallest) * filters[0], activation=activation
        )
        # A block gives four times the channels that depth-to-space leaves.
        self.blocks = [Block(4 * n, activation) for n in filters[1:]]
        self.output_layer = keras.layers.Conv2D(
            4 * output_shape[-1], 3, padding="same", dtype="float32"
        )

    def build(self, input_shapes):
        width = sum(shape[-1] for shape in input_shapes)
        self.dense.build((None, width))
        self.spread.build((None, self.dense.units))
        (rows, columns), channels = self.smallest, self.spread.units // math.prod(self.smallest)
        for block in self.blocks:
            block.build((None, rows, columns, channels), *input_shapes[1:])
            rows, columns, channels = 2 * rows, 2 * columns, block.conv.filters // 4
        self.output_layer.build((None, rows, columns, channels))

    def call(self, inputs):
        z, *features = inputs
        h = self.spread(self.dense(ops.concatenate(inputs, axis=-1) if features else z))
        h = ops.reshape(h, (-1, *self.smallest, h.shape[-1] // math.prod(self.smallest)))
        for block in self.blocks:
            h = depth_to_space(block(h, *features))
        x = depth_to_space(self.output_layer(h))
        return x[:, : self.shape_out[0], : self.shape_out[1]]
