"""How long a training will take, from a few of its steps, of which nothing is kept.

The steps are those of the training itself, on its data, in its compiled programs: what is compiled
for them is not compiled again. Afterwards the model, its optimizer and the random streams are as
they were, so that the training gives the same bits whether it was timed or not.

A callback asks for it with a method `before_training(measure)`, called before Keras' `fit`;
`measure()` answers in seconds.
"""

import copy
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_cvae import devices
from keras_cvae.backend import remembered
from keras_cvae.data.stored import Stored

SECONDS = 0.5  # that are measured, at least
PARTS = 3  # that these consist of, at least, as the slowest one does not count
LONG = 5.0  # seconds after which two parts are enough
SHORT = 2.0  # seconds of an epoch up to which whole ones are measured, with their validation
EPOCHS = 1000  # at most
HELD = 1 / 3  # what a step of validation takes of one of training, where it is not measured


class _EnoughError(Exception):
    """So much is measured."""


class _Clock(keras.callbacks.Callback):
    """Notes when steps are done and epochs begin, and ends the training after some time."""

    async_safe = True  # many steps may run as one: the model says how many are done

    def __init__(self) -> None:
        super().__init__()
        self.begun = self.done = 0
        self.marks: list[tuple[float, int]] = []  # moments, and how many steps were done then
        self.epochs: list[float] = []  # when they began, but for the first, which compiles

    def on_train_begin(self, logs: Any = None) -> None:
        self.first = int(self.model.step)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.begun and self.begun >= self.done:
            self._mark()
            told = not self.epochs and _enough([moment for moment, _ in self.marks])
            if told and self.params["steps"] * self._step() > SHORT:
                raise _EnoughError
        self.begun += 1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if not epoch:
            return
        self.epochs.append(self._mark())
        if _enough(self.epochs):
            raise _EnoughError

    def _mark(self) -> float:
        self.model.jax_state_sync()
        done = int(self.model.step) - self.first  # waits for them
        now = time.perf_counter()
        if done > self.done:
            self.done = done
            self.marks.append((now, done))
        return now

    def _step(self) -> float:
        """What a step takes, by those of the first epoch."""
        moments, counts = zip(*self.marks, strict=True)
        return usual(np.diff(moments), np.diff(counts))

    def seconds(self, held: int) -> float:
        """What an epoch takes, with so many steps of validation.

        By whole epochs where some were seen, in which nothing is compiled any more, else by the
        steps of the first.
        """
        if len(self.epochs) > 1:
            lasted = np.diff(self.epochs)
            return usual(lasted, np.ones(len(lasted)))
        return float(self.params["steps"] + HELD * held) * self._step()


def _enough(moments: Sequence[float]) -> bool:
    """Whether what was measured between these moments tells how long the rest takes."""
    parts = len(moments) - 1
    if parts < 2:
        return False
    passed = moments[-1] - moments[0]
    return passed >= (SECONDS if parts >= PARTS else LONG)


def usual(seconds: Any, counts: Any) -> float:
    """What one of many takes, by parts of so many each; the slowest part is left out.

    In a part a program may be compiled, or the machine stall, which will not be so all the time. A
    machine that others use as well is as slow in what follows: the mean, not the fastest.

    Args:
        seconds: That each part took.
        counts: How many were in each.
    """
    seconds, counts = np.asarray(seconds, float), np.asarray(counts, float)
    if len(seconds) > 1:
        kept = np.arange(len(seconds)) != np.argmax(seconds / counts)
        seconds, counts = seconds[kept], counts[kept]
    return float(seconds.sum() / counts.sum())


def asking(callbacks: Sequence[keras.callbacks.Callback]) -> list[Any]:
    """The callbacks that ask how long a training will take."""
    return [one for one in callbacks if hasattr(one, "before_training")]


def can_be(x: Any, decided: Any) -> bool:
    """Whether steps on this data can be made without a trace; none that other processes share."""
    return devices.count() == 1 and (isinstance(decided, Stored) or hasattr(x, "next_epoch"))


def alone(x: Any) -> Any:
    """The data; of a data set with threads that prepare batches, one that does without them."""
    if getattr(x, "workers", 1) > 1:
        x = copy.copy(x)
        x.workers = 1
    return x


def steps(x: Any, batch_size: int | None) -> int:
    """How many steps a pass over an array or a data set has."""
    return len(x) if hasattr(x, "next_epoch") else math.ceil(len(x) / (batch_size or 32))


def seconds_per_epoch(model: Any, fit: Callable[..., Any], held: int) -> float:
    """Measure how long an epoch takes.

    Args:
        model: What is to be trained.
        fit: Keras' `fit` of it, but for `epochs` and `callbacks`.
        held: Steps of a validation.
    """
    clock, put_back = _Clock(), remembered(model)
    sums = [keras.ops.convert_to_numpy(variable) for variable in model.metrics_variables]
    chance = np.random.get_state()  # noqa: NPY002  which orders arrays, as in Keras
    try:
        fit(epochs=EPOCHS, callbacks=[clock])
    except _EnoughError:
        pass
    finally:
        np.random.set_state(chance)  # noqa: NPY002
        put_back()
        for variable, value in zip(model.metrics_variables, sums, strict=True):
            variable.assign(value)
    return clock.seconds(held)
