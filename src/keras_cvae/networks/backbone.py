"""What a backbone is.

To add one, subclass `Backbone`, write `encoder` and `decoder`, and register it. Both return a layer
that is called as `layer([tensor, features])`, or `layer([tensor])` without a condition. A backbone
in which posterior, prior and decoder share one network writes `assemble` instead; see `TopDown`.
"""

from typing import Any

import keras

from keras_cvae.registry import Registry

BACKBONES = Registry("backbone")


class Backbone:
    """A recipe for the networks of a model."""

    def assemble(self, builder: Any) -> Any:
        """Build the three parts of a model; here each part gets a network of its own.

        Args:
            builder: A `models.assembly.Builder`, which has the condition, the shapes of x and of
                the likelihood's parameters, the lengths of the latent groups, and the methods
                `separate(backbone)` and `shared(network, groups)`.

        Returns:
            What the builder's method returns.
        """
        return builder.separate(self)

    def encoder(self, x_shape: tuple[int, ...]) -> keras.layers.Layer:
        """Return a layer from `[x (batch, *x_shape), features]` to `(batch, units)`."""
        raise NotImplementedError

    def decoder(self, output_shape: tuple[int, ...]) -> keras.layers.Layer:
        """Return a layer from `[z (batch, latent_dim), features]` to `(batch, *output_shape)`."""
        raise NotImplementedError

    def get_config(self) -> dict:
        """Return the constructor's arguments."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: dict) -> "Backbone":
        """Rebuild from `get_config`."""
        return cls(**config)
