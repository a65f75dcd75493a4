"""The best state of a training: kept, saved, put back; and an end where none better comes."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from keras_cvae.backend import remembered
from keras_cvae.runs import checkpoint
from keras_cvae.runs.position import Position
from keras_cvae.runs.unfinished import take_averages


class Best(keras.callbacks.Callback):
    """Keeps the state of the epoch with the least validation loss.

    After `patience` epochs without a better one, training ends.

    Args:
        path: Where that state is saved, while training goes on.
        patience: In epochs.
    """

    async_safe = True  # it looks at the model at the end of an epoch only

    def __init__(self, path: Path, patience: int):
        super().__init__()
        self.path, self.patience = path, patience
        self.epoch, self.loss = 0, math.inf  # epochs count from 1
        self.put_back: Callable[[], None] | None = None
        self.saved = True

    def begin(self, model: Any, reached: Position) -> None:
        """Take up what was kept before a training goes on.

        Args:
            model: As it is now.
            reached: How far its training is.
        """
        if not reached.epoch:
            return
        self.set_model(model)
        if not self.path.is_file():  # it goes on from the best, which a complete run ended with
            self.epoch, self.loss = reached.epoch, reached.history["val_loss"][-1]
            self.put_back, self.saved = remembered(model), False
            return
        kept, then = checkpoint.read(self.path)
        self.epoch, self.loss = then.epoch, then.history["val_loss"][-1]
        self.put_back = remembered(kept, into=model)

    def waited(self, epoch: int) -> bool:
        """Whether none better came for too long, after so many epochs."""
        return bool(self.epoch) and epoch - self.epoch >= self.patience

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        loss = (logs or {}).get("val_loss", math.nan)
        if loss < self.loss:
            self.loss, self.epoch, self.saved = float(loss), epoch + 1, False
            self.put_back = remembered(self.model)
        elif self.waited(epoch + 1):
            self.model.stop_training = True

    def save(self, reached: Position) -> None:
        """Write the best state, unless that was done; the model stays as it is."""
        if self.saved or self.put_back is None:
            return
        now = remembered(self.model)
        self.put_back()
        then = Position(self.epoch, 0, reached.seconds, reached.until(self.epoch))
        checkpoint.write(self.path, self.model, then)
        now()
        self.saved = True

    def finish(self, averages: bool) -> None:
        """Give the model its best state.

        Args:
            averages: Whether it ends with the average of its weights.
        """
        if self.put_back is None:
            return
        self.put_back()
        if averages:
            take_averages(self.model)
