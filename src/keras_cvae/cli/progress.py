"""Progress of a training for a person who watches."""

import math
import time
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0
MEASURED = 3  # epochs


class EpochBar(keras.callbacks.Callback):
    """One bar over all epochs with the latest losses; where nobody watches, a line now and then."""

    async_safe = True  # it does not look at the model, so many steps may run between its calls

    def __init__(self, console: Console):
        super().__init__()
        self.console = console
        self.bar: Progress | None = None
        self.first: int | None = None
        self.printed = -math.inf
        self.compiling = True
        self.estimated = False
        self.took: list[float] = []  # seconds of epochs
        self.began = 0.0  # the present epoch, or its first step where that had to be compiled

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.began = time.monotonic()
        if self.first is not None:
            return
        self.first, self.steps = epoch, self.params.get("steps") or 1
        left = self.params["epochs"] - epoch
        self.console.print(
            f"{left} epoch{'s' * (left != 1)} of {self.steps} steps; stop at any moment with "
            "Ctrl-C, and go on with --resume.",
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
            self.compiling, self.began = False, time.monotonic()
            if self.bar:
                self.bar.update(self.task, losses="")
        elif not self.estimated and time.monotonic() - self.began > SECONDS_BETWEEN_LINES:
            of_epoch = (time.monotonic() - self.began) * self.steps / batch
            self._estimate(self.params["epochs"] * of_epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        done, total, words = epoch + 1, self.params["epochs"], _losses(logs or {})
        if not self.estimated and epoch != self.first:  # the first one waited for compilers
            self.took.append(time.monotonic() - self.began)
            if len(self.took) == MEASURED:  # one may have waited for a checkpoint
                self._estimate((total - done) * min(self.took))
        if self.bar:
            shown = min(done + 1, total)
            self.bar.update(self.task, completed=done * self.steps, epoch=shown, losses=words)
            if done == total:
                self.bar.stop()
        elif time.monotonic() - self.printed >= SECONDS_BETWEEN_LINES or done == total:
            self.console.print(f"epoch {done}/{total}  {words}", soft_wrap=True)
            self.printed = time.monotonic()

    def _estimate(self, seconds: float) -> None:
        """Say how long all of it takes, once."""
        self.estimated = True
        if seconds > SECONDS_BETWEEN_LINES:
            self.console.print(f"About {in_time(seconds)} at most, from here on.")

    def stop(self) -> None:
        """Give the terminal back; also after an interruption."""
        if self.bar:
            self.bar.stop()


def in_time(seconds: float) -> str:
    """A time for a person: no more digits than such an estimate has."""
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"


def _losses(logs: dict[str, Any]) -> str:
    names = [name for name in ("loss", "val_loss") if name in logs]
    return "  ".join(f"{name} {float(logs[name]):.2f}" for name in names)
