"""What a backbone is.

To add one, subclass `Backbone`, write `encoder` and `decoder`, and register it. Both return a layer
that is called as `layer([tensor, features])`, or `layer([tensor])` without a condition.
"""

import keras

from keras_cvae.registry import Registry

BACKBONES = Registry("backbone")


class Backbone:
    """A recipe for the body of an encoder and of a decoder."""

    def encoder(self, x_shape: tuple[int, ...]) -> keras.layers.Layer:
        """Return a layer from `[x (batch, *x_shape), features]` to `(batch, units)`."""
        raise NotImplementedError

    def decoder(self, output_shape: tuple[int, ...]) -> keras.layers.Layer:
        """Return a layer from `[z (batch, latent_dim), features]` to `(batch, *output_shape)`."""
        raise NotImplementedError

    def get_config(self) -> dict:
        """The constructor's arguments."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: dict) -> "Backbone":
        """Rebuild from `get_config`."""
        return cls(**config)
