"""Go on with a run where it was stopped."""

from dataclasses import replace

from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.runs.build import plan_rate
from keras_cvae.runs.checkpoint import read
from keras_cvae.runs.config import ConfigError, RunConfig
from keras_cvae.runs.position import Position, position_of
from keras_cvae.runs.run import Run, RunError
from keras_cvae.runs.unfinished import standing, to_go_on

MAY_CHANGE = ("epochs", "learning_rate")


class Stopped(KeyboardInterrupt):
    """Training was interrupted; the message says how to go on, or that it had come to its end."""

    def __init__(self, run: Run, complete: bool = False):
        ended = f"The run '{run.folder}' is complete."
        super().__init__(f"Stopped. {ended if complete else going_on(run)}")


def going_on(run: Run) -> str:
    """Says what is saved of a run that is not complete, and how to go on with it."""
    saved = position_of(run.checkpoint)
    state = f"It is saved as it was {standing(saved, run.config.epochs)}."
    there = run.checkpoint.is_file()
    return f"{state if there else 'Nothing of it is saved yet.'} {to_go_on(run, saved)}"


class DivergenceError(ArithmeticError):
    """Training ended in numbers that are none; the message says why, and how to go on."""

    def __init__(self, run: Run, what: str):
        config, saved = run.config, run.checkpoint.is_file()
        rate = f"{config.learning_rate / 10:g}"
        causes = [f"a learning rate of {config.learning_rate:g} is too high for these data"]
        if "16" in config.precision:
            causes.append(f"{config.precision} has too few digits for them")
        going_on = (
            f"The last good state is kept; go on from it with a lower rate:\n{run.resume_command}"
            if saved
            else "Nothing good was saved yet; start again with a lower rate:\n"
            f"{run.start_command} --overwrite"
        )
        super().__init__(
            f"{what} Most likely {', or '.join(causes)}. {going_on} --learning-rate {rate}"
        )


def resumed(run: Run, config: RunConfig) -> Run:
    """The run to go on with: its settings are those asked for, or may change on the way."""
    changes = {name: getattr(config, name) for name in config.model_fields_set}
    different = {
        name: (getattr(run.config, name), value)
        for name, value in changes.items()
        if name not in MAY_CHANGE and value != getattr(run.config, name)
    }
    if different:
        words = ", ".join(f"{name} was {a!r}, asked {b!r}" for name, (a, b) in different.items())
        raise RunError(
            f"The run '{run.folder}' was started with other settings ({words}). A resumed run "
            "keeps its settings; only --epochs and --learning-rate may change. Start another run "
            "for other settings."
        )
    asked = run.config.model_copy(update={"epochs": config.epochs or run.config.epochs})
    if "learning_rate" in changes:
        asked = asked.model_copy(update={"learning_rate": config.learning_rate})
    least = (run.config.epochs or 0) if run.complete else position_of(run.checkpoint).epoch
    if (asked.epochs or 0) < least:
        raise ConfigError(
            f"The run '{run.folder}' has {'' if run.complete else 'made '}{least} epochs; received "
            f"--epochs {asked.epochs}, expected at least as many."
        )
    return replace(run, config=asked)


def restored(
    run: Run, fresh: ConditionalVAE, examples: int
) -> tuple[Run, ConditionalVAE, Position]:
    """The run, its model and where to go on; one killed before any checkpoint starts anew.

    With more epochs than before, or fewer, the learning rate is planned anew for those that are
    left: a schedule starts again from its beginning. The weight of the KL goes on as planned.
    """
    path = next((p for p in (run.checkpoint, run.model_path) if p.is_file()), None)
    if path is None:
        return run, fresh, Position()
    (model, position), before = read(path), Run.open(run.folder).config
    if run.config.epochs != before.epochs:
        run = replace(run, begun=position.epoch)
    # Also where what made the plan was killed before it saved a model that keeps to it.
    planned = run.begun > 0 and position.epoch == run.begun
    left = (run.config.epochs or 0) > run.begun
    if left and (planned or run.config.learning_rate != before.learning_rate):
        plan_rate(model, run.config, examples, run.begun)
    return run, model, position
