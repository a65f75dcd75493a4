"""How long a training takes, from some of its steps."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras

from keras_cvae.data.containers import Data
from keras_cvae.runs.build import batches, build_model, epochs
from keras_cvae.runs.config import RunConfig


class _Measured(keras.callbacks.Callback):
    """Asks how long a training will take, and ends it before it begins."""

    async_safe = True

    def before_training(self, measure: Callable[[], float]) -> None:
        self.seconds = measure()
        raise _OverError


class _OverError(Exception):
    """What was asked is known."""


def seconds(data: Data, config: RunConfig) -> float:
    """Say how long the whole training of a configuration takes on data; nothing is trained.

    Args:
        data: What would be trained on.
        config: What would be trained.
    """
    model, measured = build_model(config, data), _Measured()
    how: dict[str, Any] = {"validation_data": None}
    if len(data.validation):
        how["validation_data"] = batches(model, config, data.validation)
    with contextlib.suppress(_OverError):
        model.fit(
            batches(model, config, data.train, shuffle=True, seed=config.seed),
            epochs=epochs(config, len(data.train)),
            callbacks=[measured],
            shuffle=False,
            verbose=0,
            **how,
        )
    return measured.seconds
