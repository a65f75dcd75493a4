"""From a configuration and data to a trained model in a run folder, stoppable at any moment.

A run folder holds

    run.json            the data's name, the configuration, versions; written first, and once more
                        at the end, with hashes of the other files
    history.json        metrics of every epoch
    checkpoint.keras    model, optimizer, random streams, history after some step; gone at the end
    model.keras         the trained model; its presence means that the run is complete
    best.keras          with patience, the state of the best epoch so far; gone at the end
    metrics.json        the metrics of the epoch that was kept, and the time that all took
    typical.json        how likely training pictures are, which others are compared with
    pictures/           what `cvae plot` draws
    .lock               while a process trains here

Every file is written under a temporary name and renamed. Of processes that have joined each other
(see `devices`), all train and the first one writes; they see the same folder, to go on with it.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_cvae import devices
from keras_cvae.backend import remembered
from keras_cvae.data.containers import Data
from keras_cvae.data.images import UnreadableError
from keras_cvae.errors import DataError
from keras_cvae.files import WriteError, check_writable, write_json
from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.models.state import not_finite
from keras_cvae.runs import checkpoint, typical
from keras_cvae.runs.best import Best
from keras_cvae.runs.build import batches, build_model, epochs, load_data
from keras_cvae.runs.checkpoint import sums
from keras_cvae.runs.config import RunConfig, load_config
from keras_cvae.runs.health import exploded, not_drawn
from keras_cvae.runs.position import Position
from keras_cvae.runs.processes import Together
from keras_cvae.runs.resume import DivergenceError, Stopped, going_on, restored, resumed
from keras_cvae.runs.run import (
    EVALUATED,
    Run,
    RunError,
    absolute,
    alone,
    check_folder,
    create,
    default_folder,
    seal,
)
from keras_cvae.runs.signals import AtStepEnds

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
            sets must agree with it, but for `epochs` and `learning_rate`. With more epochs, or
            fewer, the schedule of the learning rate starts again, over those that are left; with
            as many as were made, the run ends as it is.
        overwrite: Replace a run that is there.
        callbacks: Keras callbacks.
        progress: Wraps slow loops, called as `progress(iterable, total=..., description=...)`.
        notice: Called with each sentence of `Data.notes` before training starts.
        checkpoint_seconds: Least time between two checkpoints; the last epoch always has one, and
            a signal that stops the training.

    Returns:
        The complete run.

    Raises:
        RunError: The folder is in the way, is no run, cannot be written, cannot be resumed, or
            another process trains in it.
        ValueError: Data or configuration that do not fit.
        DivergenceError: A loss, a weight or a draw is not finite. The last good state is kept.
        WriteError: The disk is full, or the folder has disappeared.
        DataError: A picture is damaged, of so many that not all are looked at before; the message
            says how to go on once it is replaced.
        Stopped: On Ctrl-C, after which `resume=True` goes on to the same result.

    Examples:
        >>> run = train("digits", RunConfig(latent_dim=2, units=(16,), epochs=1), "runs/small")
        >>> load(run.folder).generate(2).shape
        (1, 8, 8, 1)
    """
    folder = Path(out) if out is not None else default_folder(data, config)
    writes = devices.index() == 0
    if not isinstance(config, RunConfig):
        config = load_config(config)

    if resume:
        run = resumed(Run.open(folder), config)
        check_writable(folder)
    else:
        if writes:
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
    run = replace(run, config=chosen)
    model, position, complete = build_model(run.config, data), Position(), False
    try:
        with alone(folder) if writes else nullcontext(), AtStepEnds() as signals:
            if resume:
                whole = run.complete
                run, model, position = restored(run, model, len(data.train))
                if whole and not position.epoch == run.begun < (run.config.epochs or 0):
                    return run
            elif writes:
                check_folder(folder, overwrite)  # again: another process may have come first
            begins = devices.exchanged([position.epoch, position.step])  # all have read by now
            if (begins != begins[0]).any():
                raise RunError(
                    f"The processes do not see the same run in '{folder}': they would go on from "
                    f"epochs {begins[:, 0].tolist()}. Expected a folder that all share."
                )
            if writes:
                create(run, keep=resume)
            recorder = _Recorder(run, position, checkpoint_seconds, signals)
            run, complete = _fit(model, data, recorder, [*callbacks]), True
            # How likely pictures are, which others are shown to.
            if len(data.x_shape) == 3 and devices.count() == 1:
                typical.measure(run, model, data.train)
            return run
    except KeyboardInterrupt:
        raise Stopped(run, complete) from None
    except WriteError as error:
        raise WriteError(error.errno, f"{error} {going_on(run)}") from error
    except UnreadableError as error:  # of so many pictures that not all were looked at before
        raise DataError(f"{error} {going_on(run)}") from error


class _Recorder(keras.callbacks.Callback):
    """Saves history and, now and then, everything that a resumed run needs."""

    async_safe = True  # at the end of a batch it has nothing to do

    best: Best | None = None

    def __init__(self, run: Run, position: Position, seconds: float, signals: AtStepEnds):
        super().__init__()
        self.run, self.reached, self.seconds, self.signals = run, position, seconds, signals
        self.together = Together(signals)
        self.saved = time.monotonic()
        self.started = self.saved - position.seconds

    def on_train_begin(self, logs: Any = None) -> None:
        # What was compiled and timed to say how long it takes is no part of that.
        self.started = time.monotonic() - self.reached.seconds
        self.trained = self.model  # Keras puts the state back at each `self.model`

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.first = int(self.model.step) - self.reached.step

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if batch and self.reached.untrained is None:
            self.reached.untrained = self._loss()
        # Of many steps that ran at once, Keras' loop has still to hear: the model counts them.
        signal, due = self.together.ask(self.trained, self._is_due())
        if signal or (batch and due):
            self.model.jax_state_sync()
            self.reached.step = int(self.model.step) - self.first
            self.save()
            self.stop(signal)

    def on_test_begin(self, logs: Any = None) -> None:
        self.reached.step = int(self.model.step) - self.first
        self.sums, self.put_back = sums(self.model), remembered(self.model)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        signal, _ = self.together.ask(self.trained, False)
        if signal:  # the model as it was before its validation began
            self.model.jax_state_sync()
            self.put_back()
            self.save(self.sums)
            self.stop(signal)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        found = {name: float(value) for name, value in (logs or {}).items()}
        steps = f"in epoch {epoch + 1} (steps {self.first + 1} to {int(self.model.step)})"
        for name, words in (("loss", "The loss"), ("val_loss", "The validation loss")):
            if not math.isfinite(found.get(name, 0.0)):
                raise DivergenceError(self.run, f"{words} is {found[name]} {steps}.")
        if self.reached.untrained is None:  # an epoch of one step
            self.reached.untrained = found["loss"]
        if wrong := exploded(self.model, found["loss"], self.reached.untrained):
            raise DivergenceError(self.run, f"The training has diverged: {wrong}, {steps}.")
        for name, value in found.items():
            self.reached.history.setdefault(name, []).append(value)
        self.reached.epoch, self.reached.step = epoch + 1, 0
        signal, due = self.together.ask(self.model, self._is_due())
        if signal or due:
            self.save()
            self.stop(signal)

    def stop(self, number: int) -> None:
        """Do what is to be done for a signal that all processes have agreed on, if it is one."""
        if number:
            self.signals.hear(number)

    def _is_due(self) -> bool:
        return time.monotonic() - self.saved >= self.seconds

    def _loss(self) -> float:
        """The mean over the steps of this epoch so far."""
        self.model.jax_state_sync()
        return float(self.model.get_metrics_result()["loss"])

    def save(self, metrics: list[np.ndarray] | None = None) -> None:
        """Save what is reached; `metrics` in place of those that the model has now.

        Raises:
            DivergenceError: It is nothing to go on from.
        """
        wrong = not_finite(self.model)
        if self.reached.step and metrics is None:
            wrong = wrong or exploded(self.model, self._loss(), self.reached.untrained)
        if wrong:
            raise DivergenceError(self.run, f"After step {int(self.model.step)} {wrong}.")
        self.saved = time.monotonic()
        self.reached.seconds = self.saved - self.started
        if self.best:
            self.best.save(self.reached)
            self.reached.best = self.best.epoch
        checkpoint.write(self.run.checkpoint, self.model, self.reached, metrics)
        if self.reached.history and devices.index() == 0:
            write_json(self.run.folder / "history.json", self.reached.history)
            write_json(self.run.folder / "metrics.json", self.reached.metrics())


def _fit(model: ConditionalVAE, data: Data, recorder: _Recorder, callbacks: list) -> Run:
    run, reached, config = recorder.run, recorder.reached, recorder.run.config
    epoch, step, total = reached.epoch, reached.step, epochs(config, len(data.train))
    order: dict[str, Any] = {"shuffle": True, "seed": config.seed, "epoch": epoch, "made": step}
    order |= {"shift": config.shift, "shift_epochs": total}
    held = batches(model, config, data.validation) if len(data.validation) else None
    reached.history = reached.until(epoch)  # of a best state, that of the epochs after it goes
    if config.ema:  # validate what the run will end with
        callbacks = [keras.callbacks.SwapEMAWeights(), *callbacks]
    callbacks, best = [recorder, *callbacks], None
    if config.patience:
        recorder.best = best = Best(run.best, config.patience)
        best.begin(model, reached)
        callbacks = [best, *callbacks]
    if best is None or not best.waited(epoch):
        model.fit(
            batches(model, config, data.train, **order),
            validation_data=held,
            epochs=total,
            initial_epoch=epoch,
            initial_step=step,
            callbacks=callbacks,
            shuffle=False,  # the batches shuffle themselves, by seed and epoch
            verbose=0,
        )
    if best:
        best.finish(averages=config.ema > 0)
        reached.epoch, reached.step = best.epoch, 0
    if wrong := not_finite(model) or not_drawn(model, data.shown):
        raise DivergenceError(run, f"At the end of training {wrong}.")
    recorder.save()
    if devices.index() == 0:
        run.checkpoint.replace(run.model_path)
        run.best.unlink(missing_ok=True)
        seal(run)
        for measured in (typical.NAME, EVALUATED):  # of an earlier end, or on the way
            (run.folder / measured).unlink(missing_ok=True)
    devices.exchanged([0])  # it is there for all
    return run
