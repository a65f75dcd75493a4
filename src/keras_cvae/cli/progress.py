"""Progress of a training for a person who watches."""

import math
import time
from collections.abc import Callable
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from keras_cvae.errors import counted

SECONDS_BETWEEN_LINES = 10.0
WINDOW = 3.0  # seconds in which steps are counted, at least
SETTLED = 1.5  # ratio of two such rates in a row below which nothing is compiled any more
LATE = 10  # windows after which their mean is taken, however they differ
OFF = 1.5  # ratio of what was said to what it takes above which that is said


class EpochBar(keras.callbacks.Callback):
    """One bar over all epochs with the latest losses; where nobody watches, a line now and then."""

    async_safe = True  # it does not look at the model, so many steps may run between its calls

    def __init__(self, console: Console, *, resumes: bool = True, early: bool = False):
        super().__init__()
        self.console, self.resumes, self.early = console, resumes, early
        self.bar: Progress | None = None
        self.first: int | None = None
        self.printed = -math.inf
        self.compiling = True
        self.expected: float | None = None  # seconds
        self.estimated = False
        self.marks: list[tuple[float, int]] = []  # moments, and how many steps were done then
        self.epoch = 0
        self.settled: float | None = None  # the moment when the first epoch was done

    def before_training(self, measure: Callable[[], float]) -> None:
        """Called before the training with what says how long it takes, where that can be told."""
        with self.console.status("Compiling, and timing some steps"):
            self.expected = measure()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch
        if self.first is not None:
            return
        self.first, self.steps = epoch, self.params.get("steps") or 1
        left = counted(self.params["epochs"] - epoch, "more epoch" if epoch else "epoch")
        self.console.print(
            f"{ahead(left, self.steps, self.expected, self.early)}. Stop at any moment with Ctrl-C"
            f"{', and go on with --resume.' if self.resumes else ': nothing is kept then.'}",
            soft_wrap=True,
        )
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn("[bold]epoch {task.fields[epoch]}/{task.fields[epochs]}"),
                BarColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(compact=True),
                TextColumn("[dim]{task.fields[losses]}"),
                console=self.console,
            )
            self.task = self.bar.add_task(
                "train",
                total=self.params["epochs"] * self.steps,
                completed=epoch * self.steps,
                epoch=epoch + 1,
                epochs=self.params["epochs"],
                losses="compiling ...",
            )
            self.bar.start()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.bar:
            self.bar.advance(self.task)
        if not batch and self.compiling:
            self.compiling = False
            if self.bar:
                self.bar.update(self.task, losses="")
        if not self.estimated and self.expected is None:
            self._mark(self.epoch * self.steps + batch + 1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        done, total, words = epoch + 1, self.params["epochs"], _losses(logs or {})
        if self.bar:
            shown = min(done + 1, total)
            self.bar.update(self.task, completed=done * self.steps, epoch=shown, losses=words)
            if done == total:
                self.bar.stop()
        elif time.monotonic() - self.printed >= SECONDS_BETWEEN_LINES or done == total:
            self.console.print(f"epoch {done}/{total}  {words}{self._now(done)}", soft_wrap=True)
            self.printed = time.monotonic()
        if self.settled is None:
            self.settled = time.monotonic()

    def _now(self, done: int) -> str:
        """Says how long the rest takes, where that is far from what was said.

        By the epochs after the first, in which programs may be compiled, once there are two. A bar
        has its own column for it.
        """
        made, left = done - (self.first or 0) - 1, self.params["epochs"] - done
        if self.expected is None or self.settled is None or made < 2:
            return ""
        said = self.expected * left / (made + 1 + left)
        found = left * (time.monotonic() - self.settled) / made
        if max(said, found) < SECONDS_BETWEEN_LINES or 1 / OFF < found / said < OFF:
            return ""
        self.expected *= found / said
        return f"  now about {in_time(found)} to go{' at most' if self.early else ''}"

    def _mark(self, done: int) -> None:
        """Note how many steps are done, and say how long the rest takes once that can be told.

        Programs are compiled here and there in the first epochs, and validation takes its time
        between them: two windows in a row have to agree.
        """
        now = time.monotonic()
        if self.marks and now - self.marks[-1][0] < WINDOW:
            return
        self.marks.append((now, done))
        if len(self.marks) < 3:
            return
        (t, a), (u, b), (v, c) = self.marks[-3:]
        before, after = (b - a) / (u - t), (c - b) / (v - u)
        if len(self.marks) > LATE:
            t, a = self.marks[len(self.marks) // 2]
        elif max(before, after) > SETTLED * min(before, after):
            return
        if v > t and c > a:
            self.estimated = True
            seconds = (self.params["epochs"] * self.steps - done) * (v - t) / (c - a)
            if seconds > SECONDS_BETWEEN_LINES:
                self.console.print(f"About {in_time(seconds)} at most, from here on.")

    def stop(self) -> None:
        """Give the terminal back; also after an interruption."""
        if self.bar:
            self.bar.stop()


def ahead(epochs: str, steps: int, seconds: float | None, early: bool) -> str:
    """What there is to train, and how long that takes, as far as it is known.

    Args:
        epochs: How many, in words.
        steps: Of each.
        seconds: Of all.
        early: Whether it may end before.
    """
    most = "at most " if early else ""
    takes = "" if seconds is None else f", {most}about {in_time(seconds)}"
    less = ", less if validation no longer improves" if early else ""
    return f"{epochs} of {counted(steps, 'step')}{takes}{less}"


def in_time(seconds: float) -> str:
    """A time for a person: no more digits than such an estimate has."""
    if seconds < 90:
        return counted(max(1, round(seconds)), "second")
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"


def _losses(logs: dict[str, Any]) -> str:
    names = [name for name in ("loss", "val_loss") if name in logs]
    return "  ".join(f"{name} {float(logs[name]):.2f}" for name in names)
