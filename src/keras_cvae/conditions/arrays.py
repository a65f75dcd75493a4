"""Arrays as conditions: an encoder of their own turns pictures and signals into features."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_cvae.conditions.base import CONDITIONS, ConditionEncoder
from keras_cvae.conditions.spec import EncodedSpec, ImageSpec, SignalSpec
from keras_cvae.networks.backbone import BACKBONES, Backbone
from keras_cvae.networks.conv import Conv
from keras_cvae.probability.bijections import Standardised
from keras_cvae.tensors import Tensor

SHORTEST = 8  # where the blocks of a signal's encoder stop halving


@CONDITIONS.register("encoded")
class Encoded(ConditionEncoder):
    """Whatever a Keras model of one's own reads: a signal, a sequence of words, a set.

    The model is trained with the rest and saved with it; `network.trainable = False` keeps it as it
    is.

    Args:
        network: A Keras model with one input of a known shape, from `(batch, ...)` to features
            `(batch, width)`. An input of whole numbers takes these (0 or more), others any numbers.

    Raises:
        ValueError: A model with several inputs or outputs, or of other shapes.

    Examples:
        >>> import keras
        >>> words = keras.Input((5,), dtype="int32")
        >>> h = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(100, 8)(words))
        >>> said = ConditionalVAE((6,), Encoded(keras.Model(words, h)), 2, backbone=MLP((8,)))
        >>> said.generate([3, 14, 15, 92, 65], n=4).shape
        (4, 6)
    """

    spec: EncodedSpec
    has_encoder = True

    def __init__(self, network: keras.Model, **kwargs: Any) -> None:
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
        self.spec = EncodedSpec(shape, "int32" if "int" in str(inputs[0].dtype) else "float32")
        self.network, self.width = network, int(features[0])

    def get_config(self) -> dict[str, Any]:
        network = keras.saving.serialize_keras_object(self.network)
        return super().get_config() | {"network": network}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Encoded":
        network = keras.saving.deserialize_keras_object(config["network"])
        return cls(**config | {"network": network})

    def call(self, condition: Tensor) -> Tensor:
        features = self.network(ops.cast(condition, self.spec.dtype))
        return ops.cast(features, self.compute_dtype)


class Arrays(ConditionEncoder):
    """Base of conditions that are arrays with channels, read by an encoder of their own.

    To add a kind, set `spec` and then call `read_with`.
    """

    spec: ImageSpec | SignalSpec
    has_encoder = True

    def read_with(self, backbone: Any) -> None:
        """Create the encoder, whose width is that of the features.

        Args:
            backbone: A name or a `Backbone`.
        """
        self.backbone: Backbone = BACKBONES.get(backbone)
        self.network = self.backbone.encoder(self.spec.shape)
        self.width = int(self.network([keras.Input(self.spec.shape)]).shape[-1])

    def get_config(self) -> dict[str, Any]:
        backbone = keras.saving.serialize_keras_object(self.backbone)
        return super().get_config() | {"shape": self.spec.shape, "backbone": backbone}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Arrays":
        backbone = keras.saving.deserialize_keras_object(config["backbone"])
        return cls(**config | {"backbone": backbone})

    def scaled(self, condition: Tensor) -> Tensor:
        """What the encoder is given of canonical conditions `(batch, *shape)`."""
        return condition

    def call(self, condition: Tensor) -> Tensor:
        scaled = ops.cast(self.scaled(condition), self.compute_dtype)
        return ops.cast(self.network([scaled]), self.compute_dtype)


@CONDITIONS.register("image")
class Image(Arrays):
    """A picture, read by an encoder of its own (structured prediction, Sohn et al. 2015).

    Pictures `(n, height, width, channels)`, or `(n, height, width)` where there is one channel;
    one picture without the n.

    Args:
        shape: Of one picture, `(height, width, channels)`.
        backbone: "conv", "mlp" or a `Backbone`, for the encoder; its width is that of the features.
        low: The lowest value that a picture holds.
        high: The highest.

    Raises:
        ValueError: A shape that is no picture's, or values out of order.

    Examples:
        >>> Image((8, 8, 1)).spec.prepare(np.zeros((3, 8, 8))).shape
        (3, 8, 8, 1)
    """

    spec: ImageSpec

    def __init__(
        self,
        shape: Sequence[int],
        backbone: Any = "conv",
        low: float = 0.0,
        high: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # raw values have more digits than bfloat16
        self.spec = ImageSpec(tuple(shape), low, high)
        self.read_with(backbone)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"low": self.spec.low, "high": self.spec.high}


@CONDITIONS.register("signal")
class Signal(Standardised, Arrays):
    """A signal, read by a convolutional encoder of its own.

    Signals `(n, length, channels)`, or `(n, length)` where there is one channel; one signal without
    the n. Each channel is standardised inside the model, by the first signals that are fitted; data
    sets that stream need `adapt`.

    Args:
        shape: Of one signal, `(length, channels)`, any length.
        backbone: "conv", "mlp" or a `Backbone`, for the encoder; its width is that of the features.
            "conv" halves the length until it is 8 or less, with 32 channels, and gives 128
            features.

    Raises:
        ValueError: A shape that is no signal's.

    Examples:
        >>> Signal((64, 1)).spec.prepare(np.zeros((3, 64))).shape
        (3, 64, 1)
    """

    spec: SignalSpec

    def __init__(self, shape: Sequence[int], backbone: Any = "conv", **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.spec = SignalSpec(tuple(shape))
        if backbone == "conv":
            blocks = max(1, math.ceil(math.log2(self.spec.shape[0] / SHORTEST)))
            backbone = Conv((32,) * blocks, 128, "gelu")
        self.read_with(backbone)
        self.add_scaling(self.spec.shape[-1])

    def scaled(self, condition: Tensor) -> Tensor:
        return self.standardise(condition)
