"""Residual blocks, and deep dense networks made of them."""

import math

import keras
from keras import ops

from keras_cvae import errors
from keras_cvae.networks.backbone import BACKBONES, Backbone


def fold(h, rank: int):
    """Fold all axes before the last `rank` into one; also gives what they were."""
    lead = ops.shape(h)[: len(h.shape) - rank]
    return ops.reshape(h, (-1, *h.shape[len(h.shape) - rank :])), lead


class Block(keras.layers.Layer):
    """h + out(act(mix(act(h)) + shift(features))): residual, the condition entering within.

    Args:
        shape: Of h, without the batch: `(width,)`, or `(height, width, channels)` for a map.
        hidden: Width within; `mix` is dense, on a map a 3x3 convolution.
        activation: Name.
        features: Width of the condition's features; 0 without a condition.
        scale: Of the residual branch at the start.
    """

    def __init__(self, shape, hidden, activation, features=0, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.activation = keras.layers.Activation(activation)
        if len(shape) == 1:
            self.mix = keras.layers.Dense(hidden)
        else:
            self.mix = keras.layers.Conv2D(hidden, 3, padding="same")
        small = keras.initializers.VarianceScaling(scale**2, "fan_avg", "uniform")
        self.out = keras.layers.Dense(shape[-1], kernel_initializer=small)
        self.mix.build((None, *shape))
        self.out.build((None, *shape[:-1], hidden))
        self.shift = None
        if features:
            self.shift = keras.layers.Dense(hidden, use_bias=False)
            self.shift.build((None, features))
        self.spatial = len(shape) > 1
        self.built = True

    def call(self, h, features=None):
        inner = self.activation(h)
        if self.spatial:  # (..., batch, height, width, channels)
            inner, lead = fold(inner, 3)
            inner = self.mix(inner)
            inner = ops.reshape(inner, (*lead, *inner.shape[1:]))
        else:
            inner = self.mix(inner)
        if self.shift is not None:
            shift = self.shift(features)
            inner = inner + (shift[:, None, None, :] if self.spatial else shift)
        return h + self.out(self.activation(inner))


@BACKBONES.register("residual")
class Residual(Backbone):
    """Dense residual blocks on flattened data; the condition enters every block.

    It may be deeper than a plain dense network, whose later layers learn slowly: each block starts
    near the identity. On 12,000 digits of MNIST after eight epochs, in nats: 99.6, against 101.2 of
    an `MLP` of as many weights in as much time, and 117.5 of one with as many layers.

    Args:
        units: Width of h, which the blocks add to.
        blocks: How many there are in the encoder, and in the decoder.
        hidden: Width within the blocks; None is `units`.
        activation: Of the hidden layers.

    Raises:
        ValueError: Widths or a number of blocks that are no whole numbers above 0.

    Examples:
        >>> deep = ConditionalVAE((6,), 3, 2, backbone=Residual(units=16, blocks=3))
        >>> deep.latent_dim
        2
    """

    def __init__(self, units=512, blocks=2, hidden=None, activation="gelu"):
        self.units, self.blocks = errors.whole("units", units), errors.whole("blocks", blocks)
        self.hidden = None if hidden is None else errors.whole("hidden", hidden)
        self.activation = activation

    def encoder(self, x_shape):
        return ResidualBody(self)

    def decoder(self, output_shape):
        return ResidualBody(self, tuple(output_shape))

    def get_config(self):
        return {
            "units": self.units,
            "blocks": self.blocks,
            "hidden": self.hidden,
            "activation": self.activation,
        }


class ResidualBody(keras.layers.Layer):
    """A dense layer, then blocks; with `output_shape`, a linear layer last."""

    def __init__(self, recipe: Residual, output_shape=None, **kwargs):
        super().__init__(**kwargs)
        self.recipe, self.shape_out = recipe, output_shape
        self.flatten = keras.layers.Flatten()
        self.start = keras.layers.Dense(recipe.units)
        self.activation = keras.layers.Activation(recipe.activation)
        if output_shape:
            self.output_layer = keras.layers.Dense(math.prod(output_shape), dtype="float32")

    def build(self, input_shapes):
        (_, *shape), *features = input_shapes
        recipe, width = self.recipe, features[0][-1] if features else 0
        self.start.build((None, math.prod(shape)))
        scale = 1.0 / math.sqrt(recipe.blocks)
        self.blocks = [
            Block((recipe.units,), recipe.hidden or recipe.units, recipe.activation, width, scale)
            for _ in range(recipe.blocks)
        ]
        if self.shape_out:
            self.output_layer.build((None, recipe.units))

    def call(self, inputs):
        first, *features = inputs
        h = self.start(self.flatten(first))
        for block in self.blocks:
            h = block(h, *features)
        h = self.activation(h)
        return ops.reshape(self.output_layer(h), (-1, *self.shape_out)) if self.shape_out else h
