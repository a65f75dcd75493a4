"""Many small requests, one compiled step.

While one step runs, requests wait; all that fit each other are then computed together. Nobody waits
for others to come: a single request is computed at once.
"""

import functools
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_cvae.inference.steps import Snapshot, Work
from keras_cvae.serve.limits import BusyError
from keras_cvae.trees import count, take


@dataclass(eq=False)
class _Job:
    work: Work
    rows: int
    kind: tuple[Any, ...]
    future: Any


class Batcher:
    """Computes the work of many requests in as few steps as there can be.

    Args:
        model: The model, whose weights are taken now.
        at_once: Rows of one step.
        waiting: Rows that may wait.
        note: Called with the requests and the rows of each step.
    """

    def __init__(
        self,
        model: Any,
        at_once: int,
        waiting: int,
        note: Callable[[int, int], Any] = lambda requests, rows: None,
    ):
        self.weights, self.note = Snapshot(model), note
        self.at_once, self.waiting = at_once, waiting
        self._jobs: deque[_Job] = deque()
        self._rows = 0
        self._changed = threading.Condition()
        self._closed = False
        self.deliver: Callable[[Callable[[], None]], Any] = lambda call: call()
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> "Future[np.ndarray]":
        """Have work computed; the future, which any thread can wait for, gets the answer's rows.

        Raises:
            BusyError: Too many rows wait, or the server is closing.
        """
        future: Future[np.ndarray] = Future()
        self.add(work, future)
        self.wake()
        return future

    def add(self, work: Work, future: Any) -> None:
        """Have work computed once the thread is awake, as `submit` does.

        Args:
            work: What to compute.
            future: Gets the rows of its answer; one of asyncio where `deliver` calls in its loop.
        """
        job = _Job(work, count(work.inputs), _kind(work), future)
        with self._changed:
            if self._closed:
                raise BusyError("The server is closing.")
            if self._rows + job.rows > self.waiting:
                raise BusyError(
                    f"{self._rows} examples wait to be computed; with these {job.rows} there would "
                    f"be more than {self.waiting}. Try again later."
                )
            self._jobs.append(job)
            self._rows += job.rows

    def wake(self) -> None:
        """Let the thread see what was added."""
        with self._changed:
            self._changed.notify()

    def warm(self, work: Work) -> None:
        """Compile the step of work for every size that a batch may have."""
        size = 1
        while size < 2 * self.at_once and not self._closed:
            rows = np.zeros(min(size, self.at_once), int)
            self.weights.answer(work._replace(inputs=take(work.inputs, rows)), self.at_once)
            size *= 2

    def close(self) -> None:
        """Compute what waits, and stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while jobs := self._next():
            jobs = [job for job in jobs if not job.future.cancelled()]
            if not jobs:
                continue
            try:
                drawn = self.weights.answer(_joined([job.work for job in jobs]), self.at_once)
            except BaseException as error:  # each of them has to hear of it
                self.deliver(functools.partial(_fail, jobs, error))
                continue
            self.note(len(jobs), len(drawn))
            self.deliver(functools.partial(_succeed, jobs, drawn))

    def _next(self) -> list[_Job]:
        """The oldest job with those like it that fit one step; nothing when it is all over."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if not self._jobs:
                return []
            first = self._jobs.popleft()
            chosen, rows, others = [first], first.rows, []
            for job in self._jobs:
                if job.kind == first.kind and rows + job.rows <= self.at_once:
                    chosen.append(job)
                    rows += job.rows
                else:
                    others.append(job)
            self._jobs = deque(others)
            self._rows -= rows
            return chosen


def _succeed(jobs: list[_Job], drawn: np.ndarray) -> None:
    """Give each its rows."""
    start = 0
    for job in jobs:
        if not job.future.cancelled():
            job.future.set_result(drawn[start : start + job.rows])
        start += job.rows


def _fail(jobs: list[_Job], error: BaseException) -> None:
    for job in jobs:
        if not job.future.cancelled():
            job.future.set_exception(error)


def _kind(work: Work) -> tuple[Any, ...]:
    """What work has to have in common to be computed together."""
    leaves = keras.tree.flatten(work.inputs)
    shared = sorted((name, np.asarray(value).tobytes()) for name, value in work.shared.items())
    return (
        work.step,
        *sorted(work.inputs),
        *((leaf.shape[1:], str(leaf.dtype)) for leaf in leaves),
        *shared,
    )


def _joined(works: list[Work]) -> Work:
    first = works[0]
    if len(works) == 1:
        return first
    inputs = keras.tree.map_structure(
        lambda *parts: np.concatenate(parts), *(work.inputs for work in works)
    )
    return first._replace(inputs=inputs)
