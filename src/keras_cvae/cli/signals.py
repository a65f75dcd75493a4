"""Signals stop a training, at the end of a step once it has begun; never go unheard."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


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

    here = threading.current_thread() is threading.main_thread()
    names = ("SIGINT", "SIGTERM", "SIGHUP") if here else ()
    numbers = [number for name in names if (number := getattr(signal, name, None)) is not None]
    # Whoever starts a run with nohup means it to go on.
    numbers = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
