"""A run that has not come to its end: how far it is, and the model that it has so far."""

import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from keras_cvae.backend import optimizer_of
from keras_cvae.errors import counted
from keras_cvae.runs.position import Position, position_of

if TYPE_CHECKING:
    from keras_cvae.models.cvae import ConditionalVAE
    from keras_cvae.runs.run import Run


def standing(position: Position, epochs: int | None) -> str:
    """Where a training is, as in "in epoch 7 of 20, after 18 steps of it"."""
    if position.step:
        done = counted(position.step, "step")
        return f"in epoch {position.epoch + 1} of {epochs}, after {done} of it"
    if position.epoch:
        return f"after epoch {position.epoch} of {epochs}"
    return "before its first step"


def to_go_on(run: "Run", position: Position) -> str:
    """The commands that go on with a stopped run, and that end it as it is."""
    said = f"Continue with:\n{run.resume_command}"
    if 0 < position.epoch < (run.config.epochs or 0):
        said += f"\nOr end it as it is with:\n{run.resume_command} --epochs {position.epoch}"
    return said


def state(run: "Run", position: Position) -> str:
    """What a run that is not complete is doing, as a clause."""
    where = standing(position, run.config.epochs)
    trains = is_training(run.folder)
    return f"in training, last saved {where}" if trains else f"stopped {where}"


def model_so_far(run: "Run", **how: Any) -> "ConditionalVAE":
    """Load what a run that is not complete has learned: its best weights, or those it saved last.

    It may be trained by another process meanwhile, which replaces these files.

    Args:
        run: The run.
        **how: As `models.io.load` takes it.

    Raises:
        FileNotFoundError: Nothing was saved, or the training has just come to its end.
        ValueError: The file is damaged.
    """
    from keras_cvae.models.io import load

    now = position_of(run.checkpoint)
    if not (now.epoch or now.step):
        raise FileNotFoundError(run.checkpoint)
    path = run.best if run.best.is_file() else run.checkpoint
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(path, folder))
        try:
            model, kept = load(copy, **how), position_of(copy)
        except ValueError as error:
            raise ValueError(str(error).replace(str(copy), str(path))) from error
    if run.config.ema:
        take_averages(model)
    which = f"best weights so far, of epoch {kept.epoch}" if path == run.best else "weights of then"
    said = f"The run '{run.folder}' is not complete: {state(run, now)}. These are its {which}."
    if not is_training(run.folder):
        said += f" Continue with: {run.resume_command}"
    warnings.warn(said, stacklevel=4)
    return model


def take_averages(model: Any) -> None:
    """Give a model the averages of its weights, which its optimizer keeps."""
    optimizer_of(model).finalize_variable_values(model.trainable_variables)


def is_training(folder: Path) -> bool:
    """Whether a process trains in a run folder now, as far as its lock tells."""
    from keras_cvae.runs.run import LOCK

    if not (folder / LOCK).is_file():
        return False
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except OSError:  # a folder that is read only
        return False
    lock.release()
    return False
