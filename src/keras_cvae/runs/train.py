"""From a configuration and data to a trained model in a run folder, stoppable at any moment.

A run folder holds

    run.json            the data's name, the configuration, versions; written first
    history.json        metrics of every epoch
    checkpoint.keras    model, optimizer and random streams after some epoch; gone at the end
    model.keras         the trained model; its presence means that the run is complete
    metrics.json        the last epoch's metrics and the time it took
    pictures/           what `cvae plot` draws
    .lock               while a process trains here

Every file is written under a temporary name and renamed.
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_cvae.data.batches import Batches, CompletionBatches
from keras_cvae.data.containers import Data, Split
from keras_cvae.files import write_json
from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.models.state import not_finite
from keras_cvae.runs.build import build_model, epochs, load_data
from keras_cvae.runs.conditions import mask_of
from keras_cvae.runs.config import RunConfig, load_config
from keras_cvae.runs.health import not_drawn
from keras_cvae.runs.resume import DivergenceError, Stopped, restored, resumed
from keras_cvae.runs.run import (
    Run,
    RunError,
    absolute,
    alone,
    check_folder,
    create,
    default_folder,
)

CHECKPOINT_SECONDS = 10.0


def train(
    data: str | Path | Data,
    config: RunConfig | str | None = None,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: Callable | None = None,
    notice: Callable[[str], Any] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Run:
    """Train a model into a run folder.

    Args:
        data: A name, a path, or loaded `Data`.
        config: A configuration, or the name of a preset.
        out: The run folder; by default `runs/<data>-<preset or "run">`.
        resume: Continue the run in `out` with the configuration it was started with. What `config`
            sets must agree with it; only `epochs` may grow.
        overwrite: Replace a run that is there.
        callbacks: Keras callbacks.
        progress: Wraps slow loops, called as `progress(iterable, total=..., description=...)`.
        notice: Called with each sentence of `Data.notes` before training starts.
        checkpoint_seconds: Least time between two checkpoints; the last epoch always has one.

    Returns:
        The complete run.

    Raises:
        RunError: The folder is in the way, is no run, cannot be written, cannot be resumed, or
            another process trains in it.
        ValueError: Data or configuration that do not fit.
        DivergenceError: A loss, a weight or a draw is not finite. The last good state is kept.
        Stopped: On Ctrl-C, after which `resume=True` goes on to the same result.
    """
    folder = Path(out) if out is not None else default_folder(data, config)
    if not isinstance(config, RunConfig):
        config = load_config(config)

    if resume:
        run = resumed(Run.open(folder), config)
    else:
        check_folder(folder, overwrite)
        source = data.name if isinstance(data, Data) else absolute(data)
        run = Run(folder, source, config)
    if not isinstance(data, Data):
        given, data = absolute(data), load_data(str(data), run.config, progress)
        if resume and given != run.source:
            raise RunError(
                f"The run '{folder}' was started on '{run.source}', not on '{given}'. Resume it "
                "with the same data, or choose another --out."
            )

    if notice is not None:
        for note in data.notes:
            notice(note)
    chosen = run.config.model_copy(update={"epochs": epochs(run.config, len(data.train))})
    run = Run(run.folder, run.source, chosen)
    model, epoch = build_model(run.config, data), 0
    try:
        with alone(folder):
            if resume:
                model, epoch = restored(run, model, len(data.train))
            else:
                check_folder(folder, overwrite)  # again: another process may have come first
            create(run, keep=resume)
            return _fit(run, model, data, epoch, [*callbacks], checkpoint_seconds)
    except KeyboardInterrupt:
        done = len(run.history().get("loss", []))
        raise Stopped(
            f"Stopped; {done} of {chosen.epochs} epochs are saved. Continue with:\n"
            f"{run.resume_command}"
        ) from None


class _Recorder(keras.callbacks.Callback):
    """Saves history and, now and then, everything that a resumed run needs."""

    def __init__(self, run: Run, history: dict[str, list[float]], seconds: float, steps: int):
        super().__init__()
        self.run, self.seconds, self.steps = run, seconds, steps
        self.metrics = history
        self.saved = time.monotonic()
        self.started = self.saved - (run.metrics().get("seconds", 0.0) if history else 0.0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        for name, value in (logs or {}).items():
            self.metrics.setdefault(name, []).append(float(value))
        for name in ("loss", "val_loss"):
            if not math.isfinite((logs or {}).get(name, 0.0)):
                words = {"loss": "The loss", "val_loss": "The validation loss"}[name]
                first, last = (int(self.model.step) - self.steps + 1, int(self.model.step))
                raise DivergenceError(
                    self.run,
                    f"{words} is {logs[name]} in epoch {epoch + 1} (steps {first} to {last}).",
                )
        if time.monotonic() - self.saved >= self.seconds:
            self.save()

    def save(self) -> None:
        if wrong := not_finite(self.model):
            raise DivergenceError(self.run, f"After step {int(self.model.step)} {wrong}.")
        # History first: a kill in between leaves more of it than of the checkpoint, and resuming
        # cuts it back to the checkpoint's epoch.
        self.saved = time.monotonic()
        last = {name: values[-1] for name, values in self.metrics.items()}
        last |= {"epochs": len(self.metrics["loss"]), "seconds": self.saved - self.started}
        write_json(self.run.folder / "history.json", self.metrics)
        write_json(self.run.folder / "metrics.json", last)
        self.model.save(self.run.checkpoint)


def _fit(
    run: Run, model: ConditionalVAE, data: Data, epoch: int, callbacks: list, seconds: float
) -> Run:
    config, total = run.config, epochs(run.config, len(data.train))
    history = {name: values[:epoch] for name, values in run.history().items()}
    if epoch >= total and run.complete:
        return run
    labelled = bool(model.condition.width)

    def batches(split: Split, **order: Any) -> Batches:
        order |= {"binarize": config.binarize}
        if config.task == "complete":
            return CompletionBatches(split, config.batch_size, mask_of(config), **order)
        split = Split(split.x, model.condition.spec.prepare(split.y) if labelled else None)
        return Batches(split, config.batch_size, **order)

    shift = {"shift": config.shift, "shift_epochs": total}
    steps = math.ceil(len(data.train) / config.batch_size)
    recorder = _Recorder(run, history, seconds, steps)
    if config.ema:  # validate what the run will end with
        callbacks = [keras.callbacks.SwapEMAWeights(), *callbacks]
    model.fit(
        batches(data.train, shuffle=True, seed=config.seed, epoch=epoch, **shift),
        validation_data=batches(data.validation),
        epochs=total,
        initial_epoch=epoch,
        callbacks=[recorder, *callbacks],
        shuffle=False,  # the batches shuffle themselves, by seed and epoch
        verbose=0,
    )
    if wrong := not_finite(model) or not_drawn(model, data.validation):
        raise DivergenceError(run, f"At the end of training {wrong}.")
    recorder.save()
    run.checkpoint.replace(run.model_path)
    return run
