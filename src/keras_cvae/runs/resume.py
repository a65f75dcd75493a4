"""Go on with a run where it was stopped."""

import math

from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.models.io import load as load_model
from keras_cvae.runs.config import ConfigError, RunConfig
from keras_cvae.runs.run import Run, RunError


class Stopped(KeyboardInterrupt):
    """Training was interrupted; the message says how to go on."""


def resumed(run: Run, config: RunConfig) -> Run:
    """The run to go on with, whose settings agree with those asked for."""
    changes = {name: getattr(config, name) for name in config.model_fields_set}
    different = {
        name: (getattr(run.config, name), value)
        for name, value in changes.items()
        if name != "epochs" and value != getattr(run.config, name)
    }
    if different:
        words = ", ".join(f"{name} was {a!r}, asked {b!r}" for name, (a, b) in different.items())
        raise RunError(
            f"The run '{run.folder}' was started with other settings ({words}). A resumed run "
            "keeps its settings; only --epochs may grow. Start another run for other settings."
        )
    asked = run.config.model_copy(update={"epochs": config.epochs or run.config.epochs})
    planned = [
        f"{name}={getattr(run.config, name)}"
        for name, unplanned in (
            ("schedule", "constant"),
            ("warmup", 0),
            ("cycles", 0),
            ("ema", 0),
            ("rate_warmup", 0),
            ("shift", 0),
        )
        if getattr(run.config, name) != unplanned
    ]
    if asked.epochs != run.config.epochs and planned:
        raise ConfigError(
            f"The run '{run.folder}' is planned over {run.config.epochs} epochs "
            f"({', '.join(planned)}); --epochs cannot change on --resume."
        )
    if (asked.epochs or 0) < (run.config.epochs or 0):
        raise ConfigError(
            f"The run '{run.folder}' has {run.config.epochs} epochs; received --epochs "
            f"{asked.epochs}, expected at least as many."
        )
    return Run(run.folder, run.source, asked)


def restored(run: Run, fresh: ConditionalVAE, examples: int) -> tuple[ConditionalVAE, int]:
    """The model and the epoch to go on from; a run killed before any checkpoint starts anew."""
    path = next((p for p in (run.checkpoint, run.model_path) if p.is_file()), None)
    if path is None:
        return fresh, 0
    model = load_model(path)
    return model, int(model.step) // math.ceil(examples / run.config.batch_size)
