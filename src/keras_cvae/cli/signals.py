"""Signals stop a training, at the end of a step once it has begun; never go unheard."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import typer

from keras_cvae.runs.signals import stopping


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[list[int]]:
    """Let what schedulers send, SIGTERM and SIGHUP, raise KeyboardInterrupt as Ctrl-C does.

    A training that has begun lets them wait for the end of a step: see `runs.signals`.

    Python drops what a handler raises while garbage is collected, so a training also looks at what
    came: see `stop_after`.

    Yields:
        The numbers of the signals that have come.
    """
    received: list[int] = []

    def stop(number: int, frame: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    # Whoever starts a run with nohup means it to go on.
    before = {number: how for number, how in stopping().items() if how != signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ended_by(received: list[int]) -> typer.Exit:
    """The end of a command that signals have stopped: 128 and the first one's number."""
    return typer.Exit(128 + (received or [signal.SIGINT])[0])


def stop_after(received: list[int]) -> Any:
    """Make the Keras callback that stops a training for a signal whose exception was dropped."""
    import keras  # here, because a signal may come long before Keras is imported

    class StopAfter(keras.callbacks.Callback):
        async_safe = True  # it does not look at the model

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if received:
                raise KeyboardInterrupt

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if received:
                raise KeyboardInterrupt

    return StopAfter()
