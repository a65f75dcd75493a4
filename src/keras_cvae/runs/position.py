"""How far a training is: a part of its checkpoint, and of the model at its end."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_cvae.files import parsed

POSITION = "training.json"


@dataclass
class Position:
    """How far a training is.

    Args:
        epoch: The epoch that it is in, from 0.
        step: Steps of that epoch that are done: all of them where its validation is not.
        seconds: That it took so far.
        history: Metrics by name, a value for each epoch that is over.
        best: The epoch whose state is the best, from 1, of a run that keeps that; else 0.
        untrained: The loss before anything was learned: that of the first step, or, where several
            are one program, of the first few.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    history: dict[str, list[float]] = field(default_factory=dict)
    untrained: float | None = None
    best: int = 0

    def until(self, epoch: int) -> dict[str, list[float]]:
        """The history of so many epochs."""
        return {name: values[:epoch] for name, values in self.history.items()}

    def metrics(self) -> dict[str, Any]:
        """What the best epoch measured, or the last, and how long all took; {} before the first."""
        if not self.history:
            return {}
        kept: dict[str, Any] = {n: values[self.best - 1] for n, values in self.history.items()}
        last = kept | ({"best_epoch": self.best} if self.best else {})
        return last | {"epochs": len(self.history["loss"]), "seconds": self.seconds}


def position_of(path: Path) -> Position:
    """How far the training is that a checkpoint is of; at its beginning if there is none.

    Raises:
        ValueError: The file is damaged, or is a model that no training saved.
    """
    if not path.is_file():
        return Position()
    with in_words(path), zipfile.ZipFile(path) as file:
        return Position(**parsed(file.read(POSITION)))


@contextlib.contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Say of what is wrong with a checkpoint's own parts which file it is."""
    try:
        yield
    except (KeyError, ValueError, TypeError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"'{path}' does not say how far its training is: {error}") from error
