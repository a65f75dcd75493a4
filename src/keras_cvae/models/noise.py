"""The random numbers of training and of evaluation."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_cvae.tensors import Tensor

EVALUATION_SEED = 0


class Noise(keras.layers.Layer):
    """Standard normal noise: a random stream for training, another for evaluation.

    The streams' states are saved with the model, so that a resumed training draws what the
    uninterrupted one would have drawn; evaluation rewinds its own before every run.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.training_stream = keras.random.SeedGenerator(seed)
        self.evaluation_stream = keras.random.SeedGenerator(EVALUATION_SEED)
        self.evaluation_start = ops.convert_to_numpy(self.evaluation_stream.state.value)
        self.built = True

    def draw(self, shape: Sequence[Any], training: bool = False) -> Tensor:
        """N(0, 1) of this shape, from the stream of training or of evaluation."""
        stream = self.training_stream if training else self.evaluation_stream
        return keras.random.normal(shape, dtype="float32", seed=stream)

    def uniform(self, shape: Sequence[Any]) -> Tensor:
        """U(0, 1) of this shape, from the stream of training."""
        return keras.random.uniform(shape, dtype="float32", seed=self.training_stream)

    def rewind(self) -> None:
        """Start the evaluation stream again."""
        self.evaluation_stream.state.assign(self.evaluation_start)

    def save_own_variables(self, store: Any) -> None:
        store["training"] = ops.convert_to_numpy(self.training_stream.state.value)

    def load_own_variables(self, store: Any) -> None:
        self.training_stream.state.assign(store["training"])
