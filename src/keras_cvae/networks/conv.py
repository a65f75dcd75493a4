"""Convolutional networks: the condition shifts the channels of every block."""

import math

import keras
from keras import ops

from keras_cvae.networks.backbone import BACKBONES, Backbone


@BACKBONES.register("conv")
class Conv(Backbone):
    """Blocks of convolutions, each halving (encoder) or doubling (decoder) the picture or signal.

    Kernels are 3x3 on pictures `(height, width, channels)`, 3 on signals `(length, channels)`. Any
    size: what does not halve evenly is padded on the way in and cropped on the way out. Resizing is
    space-to-depth and depth-to-space: strided and transposed convolutions (and their gradients) run
    many times slower on CPUs under XLA.

    Args:
        filters: Channels of the blocks, from the data inwards.
        units: Width of the dense layer between the blocks and the latent.
        activation: Of the hidden layers.

    Examples:
        >>> pictures = ConditionalVAE((8, 8, 1), 10, 2, backbone=Conv((4, 8), units=16))
        >>> pictures.latent_dim
        2
    """

    def __init__(self, filters=(32, 64), units=256, activation="relu"):
        self.filters, self.units, self.activation = tuple(filters), int(units), activation
        if not self.filters or any(n < 1 for n in self.filters) or self.units < 1:
            raise ValueError(
                f"Conv: received filters={filters}, units={units}; expected positive numbers."
            )

    def encoder(self, x_shape):
        self._check(x_shape)
        return ConvEncoder(self.filters, self.units, self.activation, len(x_shape) - 1)

    def decoder(self, output_shape):
        self._check(output_shape)
        return ConvDecoder(self.filters[::-1], self.units, self.activation, tuple(output_shape))

    def get_config(self):
        return {"filters": self.filters, "units": self.units, "activation": self.activation}

    @staticmethod
    def _check(shape):
        if len(shape) not in (2, 3):
            raise ValueError(
                "The conv backbone expects images of shape (height, width, channels) or signals of "
                f"shape (length, channels). Received data of shape {tuple(shape)}. For vectors use "
                "the mlp backbone."
            )


def space_to_depth(x):
    """`(batch, 2h, 2w, c)` to `(batch, h, w, 4c)`, `(batch, 2n, c)` to `(batch, n, 2c)`."""
    _, *sizes, channels = x.shape
    rank, halves = len(sizes), [size // 2 for size in sizes]
    x = ops.reshape(x, (-1, *(n for half in halves for n in (half, 2)), channels))
    order = (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
    return ops.reshape(ops.transpose(x, order), (-1, *halves, 2**rank * channels))


def depth_to_space(x):
    """`(batch, h, w, 4c)` to `(batch, 2h, 2w, c)`, `(batch, n, 2c)` to `(batch, 2n, c)`."""
    _, *sizes, channels = x.shape
    rank = len(sizes)
    x = ops.reshape(x, (-1, *sizes, *[2] * rank, channels // 2**rank))
    pairs = (axis for i in range(1, rank + 1) for axis in (i, rank + i))
    x = ops.transpose(x, (0, *pairs, 2 * rank + 1))
    return ops.reshape(x, (-1, *(2 * size for size in sizes), channels // 2**rank))


def convolution(rank: int, filters: int, **kwargs) -> keras.layers.Layer:
    """A convolution over pictures (rank 2) or signals (rank 1) that keeps their size."""
    layer = {1: keras.layers.Conv1D, 2: keras.layers.Conv2D}[rank]
    return layer(filters, 3, padding="same", **kwargs)


class Block(keras.layers.Layer):
    """activation(conv(h) + dense(features))."""

    def __init__(self, filters, activation, rank, **kwargs):
        super().__init__(**kwargs)
        self.conv = convolution(rank, filters)
        self.activation = keras.layers.Activation(activation)
        self.places = [1] * rank

    def build(self, shape, features_shape=None):
        self.conv.build(shape)
        if features_shape:
            self.shift = keras.layers.Dense(self.conv.filters, use_bias=False)
            self.shift.build(features_shape)

    def call(self, h, features=None):
        h = self.conv(h)
        if features is not None:
            h = h + ops.reshape(self.shift(features), (-1, *self.places, self.conv.filters))
        return self.activation(h)


class ConvEncoder(keras.layers.Layer):
    """Blocks at falling resolution, then a dense layer; of pictures, or with rank 1 signals."""

    def __init__(self, filters, units, activation, rank=2, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [Block(n, activation, rank) for n in filters]
        self.flatten = keras.layers.Flatten()
        self.dense = keras.layers.Dense(units, activation=activation)

    def build(self, input_shapes):
        (_, *sizes, channels), *features = input_shapes
        for block in self.blocks:
            sizes = [math.ceil(size / 2) for size in sizes]
            block.build((None, *sizes, 2 ** len(sizes) * channels), *features)
            channels = block.conv.filters
        self.dense.build((None, math.prod(sizes) * channels + sum(f[-1] for f in features)))

    def call(self, inputs):
        h, *features = inputs
        for block in self.blocks:
            odd = [(0, 0), *((0, size % 2) for size in h.shape[1:-1]), (0, 0)]
            h = block(space_to_depth(ops.pad(h, odd)), *features)
        parts = [self.flatten(h), *features]
        return self.dense(ops.concatenate(parts, axis=-1) if features else parts[0])


class ConvDecoder(keras.layers.Layer):
    """The encoder's mirror: dense layers, then blocks at rising resolution, cropped to size."""

    def __init__(self, filters, units, activation, output_shape, **kwargs):
        super().__init__(**kwargs)
        self.shape_out, scale = output_shape, 2 ** len(filters)
        self.smallest = tuple(math.ceil(n / scale) for n in output_shape[:-1])
        rank = len(self.smallest)
        self.folded = 2**rank  # times the channels that depth-to-space leaves
        self.dense = keras.layers.Dense(units, activation=activation)
        self.spread = keras.layers.Dense(
            math.prod(self.smallest) * filters[0], activation=activation
        )
        self.blocks = [Block(self.folded * n, activation, rank) for n in filters[1:]]
        self.output_layer = convolution(rank, self.folded * output_shape[-1], dtype="float32")

    def build(self, input_shapes):
        width = sum(shape[-1] for shape in input_shapes)
        self.dense.build((None, width))
        self.spread.build((None, self.dense.units))
        sizes, channels = list(self.smallest), self.spread.units // math.prod(self.smallest)
        for block in self.blocks:
            block.build((None, *sizes, channels), *input_shapes[1:])
            sizes = [2 * size for size in sizes]
            channels = block.conv.filters // self.folded
        self.output_layer.build((None, *sizes, channels))

    def call(self, inputs):
        z, *features = inputs
        h = self.spread(self.dense(ops.concatenate(inputs, axis=-1) if features else z))
        h = ops.reshape(h, (-1, *self.smallest, h.shape[-1] // math.prod(self.smallest)))
        for block in self.blocks:
            h = depth_to_space(block(h, *features))
        x = depth_to_space(self.output_layer(h))
        return x[:, *(slice(size) for size in self.shape_out[:-1])]
