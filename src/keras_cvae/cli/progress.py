"""Progress of a training for a person who watches."""

import math
import time
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0


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

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.first is not None:
            return
        self.first, self.steps = epoch, self.params.get("steps") or 1
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
                self.bar.update(self.task, losses="")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        done, total, words = epoch + 1, self.params["epochs"], _losses(logs or {})
        if self.bar:
            shown = min(done + 1, total)
            self.bar.update(self.task, completed=done * self.steps, epoch=shown, losses=words)
            if done == total:
                self.bar.stop()
        elif time.monotonic() - self.printed >= SECONDS_BETWEEN_LINES or done == total:
            self.console.print(f"epoch {done}/{total}  {words}", soft_wrap=True)
            self.printed = time.monotonic()

    def stop(self) -> None:
        """Give the terminal back; also after an interruption."""
        if self.bar:
            self.bar.stop()


def _losses(logs: dict[str, Any]) -> str:
    names = [name for name in ("loss", "val_loss") if name in logs]
    return "  ".join(f"{name} {float(logs[name]):.2f}" for name in names)
