"""How long a training takes, from some of its steps."""

import time
from typing import Any

import keras

from keras_cvae.data.batches import Batches, CompletionBatches
from keras_cvae.data.containers import Data, Split
from keras_cvae.runs.build import build_model
from keras_cvae.runs.conditions import mask_of
from keras_cvae.runs.config import RunConfig

STEPS = 20
EPOCHS = 3  # of which the last counts: the first ones wait for compilers


class _Clock(keras.callbacks.Callback):
    async_safe = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds = time.perf_counter() - self.began


def seconds_per_step(data: Data, config: RunConfig) -> float:
    """Train a model that is thrown away for some steps; return what one of the last took.

    Args:
        data: What would be trained on.
        config: What would be trained.
    """
    model, clock = build_model(config, data), _Clock()
    train = data.train.take(slice(0, STEPS * config.batch_size))
    batches: Batches
    if config.task == "complete":
        batches = CompletionBatches(
            train, config.batch_size, mask_of(config), shuffle=True, binarize=config.binarize
        )
    else:
        y = model.fitted_spec.prepare(train.y) if model.condition.width else None
        batches = Batches(
            Split(train.x, y), config.batch_size, shuffle=True, binarize=config.binarize
        )
    model.fit(batches, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=[clock])
    return clock.seconds / len(batches)
