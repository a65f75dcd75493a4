"""Signals in a training wait for the end of a step, where everything can be saved."""

import signal
import threading
from typing import Any, Self


def stopping() -> dict[int, Any]:
    """The signals that stop a program, with what handles each; none outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    numbers = [number for name in names if (number := getattr(signal, name, None)) is not None]
    return {number: signal.getsignal(number) for number in numbers}


class AtStepEnds:
    """While it is entered, signals that would raise anywhere are heard where `hear` is called.

    These are SIGINT, SIGTERM and SIGHUP, where Python code handles them. What handled them before
    is called then; at once for a second signal, of somebody who cannot wait for the step.
    """

    def __init__(self) -> None:
        self.handlers: dict[int, Any] = {}
        self.waiting: tuple[int, Any] | None = None

    def __enter__(self) -> Self:
        self.handlers = {number: how for number, how in stopping().items() if callable(how)}
        for number in self.handlers:
            signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        if kind is None:
            self.hear()

    def _note(self, number: int, frame: Any) -> None:
        if self.waiting is not None:
            self.hear()
        self.waiting = (number, frame)

    @property
    def number(self) -> int:
        """The signal that waits; 0 if none does."""
        return 0 if self.waiting is None else self.waiting[0]

    def hear(self, number: int = 0) -> None:
        """Call what handles the signal that waits, if one does; or this one, that others heard."""
        if self.waiting is not None:
            (number, frame), self.waiting = self.waiting, None
            self.handlers[number](number, frame)
        elif number:
            self.handlers.get(number, signal.default_int_handler)(number, None)
