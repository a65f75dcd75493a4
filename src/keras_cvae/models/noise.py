"""The random numbers of training and of evaluation."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
from keras import ops

from keras_cvae.tensors import Tensor, drawn_rows

EVALUATION_SEED = 0


class Noise(keras.layers.Layer):
    """Standard normal noise: a random stream for training, another for evaluation.

    The streams' states are saved with the model, so that a resumed training draws what the
    uninterrupted one would have drawn; evaluation rewinds its own before every run.
    """

    streams = 2

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.training_stream = keras.random.SeedGenerator(seed)
        self.evaluation_stream = keras.random.SeedGenerator(EVALUATION_SEED)
        self.evaluation_start = ops.convert_to_numpy(self.evaluation_stream.state.value)
        self.built = True

    def draw(self, shape: Sequence[Any], training: bool = False) -> Tensor:
        """N(0, 1) of this shape, `(samples, batch, n)`, of the stream of training or evaluation."""
        stream = self.training_stream if training else self.evaluation_stream
        return drawn_rows(partial(keras.random.normal, dtype="float32", seed=stream), shape, axis=1)

    def uniform(self, shape: Sequence[Any]) -> Tensor:
        """U(0, 1) of this shape, `(batch, ...)`, from the stream of training."""
        draw = partial(keras.random.uniform, dtype="float32", seed=self.training_stream)
        return drawn_rows(draw, shape)

    def rewind(self) -> None:
        """Start the evaluation stream again."""
        self.evaluation_stream.state.assign(self.evaluation_start)

    def save_own_variables(self, store: Any) -> None:
        store["training"] = ops.convert_to_numpy(self.training_stream.state.value)

    def load_own_variables(self, store: Any) -> None:
        self.training_stream.state.assign(store["training"])
