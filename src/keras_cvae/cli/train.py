"""`cvae train`, `cvae quickstart`."""

import importlib.util
import json
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_cvae import devices
from keras_cvae.backend import accelerated, import_light_keras
from keras_cvae.cli.app import UsageError, app, err, out
from keras_cvae.cli.conditions import read, written
from keras_cvae.cli.flags import AsJson, Overwrite, Seed, flags, starting, typed
from keras_cvae.cli.processes import Processes, end_without_the_others, first_alone, together
from keras_cvae.cli.shared import progress_bar, say_next, show, summarise, unused
from keras_cvae.cli.signals import ended_by, stop_after, stopped_by_signals
from keras_cvae.conditions.spec import CategoricalSpec
from keras_cvae.data.listing import LABEL
from keras_cvae.data.look import look
from keras_cvae.data.pictures import is_plain_table
from keras_cvae.errors import counted
from keras_cvae.runs.choices import choose
from keras_cvae.runs.choices import flags as flags_of
from keras_cvae.runs.config import RunConfig, load_config, presets, validated
from keras_cvae.runs.run import Run, check_folder, default_folder

LOGS = ("csv", "tensorboard")
_NOT_FOR_TABLES = {
    "--resume": " A table is learned in one piece: give --overwrite to start again.",
    "--dry-run": " How long one takes is said as its training begins; `cvae info` says the rest.",
}


@app.command()
@flags
def train(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="digits, mnist, fashion_mnist, cifar10, an .npz file, a folder of images with one "
            "sub-folder per class, tar shards or Parquet of pictures, hf://NAME, or a table: .csv, "
            ".parquet, .feather.",
        ),
    ],
    preset: Annotated[
        str | None,
        typer.Option(
            help="Start from a preset: see `cvae presets`.", autocompletion=starting(presets())
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML or JSON file with any of the settings below.")
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="The run folder. Default: runs/DATA-PRESET.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue a stopped run, or with --epochs a complete one for longer; no table.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would be trained and how long it takes; no table."
        ),
    ] = False,
    overwrite: Overwrite = False,
    processes: Processes = 1,
    seeds: Annotated[
        int,
        typer.Option(
            min=1, help="Train so many runs, OUT-0, OUT-1, ...; say mean and spread of their loss."
        ),
    ] = 1,
    log: Annotated[
        list[str] | None,
        typer.Option(
            help="Also write every epoch to OUT/log.csv (csv), or for TensorBoard (tensorboard).",
            autocompletion=starting(LOGS),
        ),
    ] = None,
    as_json: AsJson = False,
    schema: Annotated[
        Path | None,
        typer.Option(
            help="What the columns are, a TOML file: see `cvae info`.", rich_help_panel="Tables"
        ),
    ] = None,
    missing: Annotated[
        str | None,
        typer.Option(
            help="An empty cell: a state of its own (state), or a value nobody knows (unknown).",
            autocompletion=starting(("state", "unknown")),
            rich_help_panel="Tables",
        ),
    ] = None,
    hidden: Annotated[
        int | None,
        typer.Option(
            min=1, help="Width of the network of the columns, 512.", rich_help_panel="Tables"
        ),
    ] = None,
    *,
    settings: dict[str, Any],
) -> None:
    """Train a conditional VAE into a run folder.

    Without a preset or a config file the settings are chosen by what the data are, which is said.
    Stop it at any moment with Ctrl-C; --resume goes on to the same result. A table alone is learned
    in one piece: stopped, it is learned anew. Flags win over the config file, the file over the
    preset, the preset over the defaults.
    """
    if dry_run and processes > 1:
        raise UsageError("--dry-run measures one process. Expected no --processes.")
    together(processes, out_folder or default_folder(data, preset))
    if is_plain_table(data):
        own: dict[str, Any] = {
            "--preset": preset,
            "--config": config,
            "--resume": resume,
            "--dry-run": dry_run,
        }
        own |= {"--seeds": seeds > 1, "--log": log}
        if given := [name for name, value in own.items() if value]:
            why = _NOT_FOR_TABLES.get(given[0], "")
            raise UsageError(f"{given[0]} is not for tables.{why}")
        from keras_cvae.cli.tables import train_table  # late: what is refused need not wait for it

        for name, value in (("missing", missing), ("hidden", hidden)):
            settings |= {} if value is None else {name: value}
        train_table(data, settings, out_folder, schema, overwrite, as_json)
        return
    if not (schema is None and missing is None and hidden is None):
        raise UsageError(f"--schema, --missing and --hidden are for tables. '{data}' is none.")
    if resume and overwrite:
        raise UsageError("Received --resume and --overwrite. Expected one of them.")
    _check_logs(log or ())
    if seeds > 1 and resume:
        raise UsageError("--resume goes on with one run: give its --out, and no --seeds.")
    folder = out_folder or default_folder(data, preset)
    asked = _with_kinds(data, typed(settings))
    if preset is None and config is None and not resume:
        validated(asked)  # before the data are looked at
        if not dry_run:
            _check(_folders(folder, seeds), overwrite)
        chosen = _chosen(data, asked)
    else:
        chosen = load_config(preset, config, **asked)
    if dry_run:
        _say_what_would_be(data, chosen, as_json)
        return

    if seeds > 1:
        _sweep(data, chosen, folder, seeds, overwrite, log, as_json)
        return
    run = _train(data, chosen, folder, resume=resume, overwrite=overwrite, log=log)
    first_alone()
    if as_json:
        print(json.dumps({"run": str(run.folder)} | run.metrics()))
        return
    summarise(run)
    model = run.model()
    say_next(*(_after_completing if model.condition.knows_part else _after_drawing)(run, model))


def _with_kinds(data: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Give conditions that are asked for by name alone the kind that the data suggest."""
    given = asked.get("condition") or ()
    if all(":" in one for one in given):
        return asked
    facts = look(data, progress_bar)
    kinds = {name: kind for name, (kind, _) in (facts.named or {}).items()}
    if facts.classes or facts.numbers:
        kinds.setdefault(LABEL, "continuous" if facts.numbers else "categorical")
    named = [f"{one}:{kinds[one]}" if kinds.get(one) else one for one in given]
    return asked | {"condition": tuple(named)}


def _chosen(data: str, asked: dict[str, Any]) -> RunConfig:
    """The settings that the data ask for, beside those of the user; said on standard error."""
    signals = asked.get("signals")
    facts = look(
        data, progress_bar, signals
    )  # before Keras, which what is not there need not wait for
    import_light_keras()
    choice = choose(facts, asked, accelerated())
    err.print(str(choice), soft_wrap=True)
    if facts.named and not choice.config.condition and choice.config.conditional:
        names = ", ".join(facts.named)
        flags = " ".join(f"--condition {name}:{kind}" for name, (kind, _) in facts.named.items())
        err.print(
            f"The file also holds {names}, which the model will not know. To draw by them: {flags}",
            soft_wrap=True,
        )
    return choice.config


def _say_what_would_be(data: str, config: RunConfig, as_json: bool) -> None:
    """Say the settings that would be trained with, how many epochs, and how long they take."""
    from keras_cvae.backend import flush_denormals
    from keras_cvae.cli.progress import ahead
    from keras_cvae.runs.build import epochs, load_data
    from keras_cvae.runs.measure import seconds

    flush_denormals()
    loaded = load_data(data, config, progress_bar)
    for note in loaded.notes:
        err.print(note, soft_wrap=True)
    count, examples = epochs(config, len(loaded.train)), len(loaded.train)
    steps = math.ceil(examples / config.batch_size)
    err.print("Measuring some steps ...")
    expected = seconds(loaded, config)
    settings = config.model_dump(exclude_defaults=True) | {"epochs": count}
    if as_json:
        about = {"settings": settings, "examples": examples, "steps": count * steps}
        print(json.dumps(about | {"seconds": round(expected)}))
        return
    out.print(" ".join(flags_of(settings)), soft_wrap=True)
    training = ahead(counted(count, "epoch"), steps, expected, config.patience > 0)
    out.print(f"{training}; {examples:,} examples. Nothing was trained.", soft_wrap=True)


def _after_completing(run: Run, model: Any) -> list[tuple[Any, ...]]:
    """What to type once a run that completes pictures is trained."""
    known = ["--known", "left"] if model.condition.spec.fixed is None else []
    return [
        ("complete a picture", "complete", run.folder, "IMAGE.png", *known, "-o", "completed.png"),
        ("some of its own", "plot", run.folder, "completions"),
        ("how good is it?", "evaluate", run.folder),
    ]


def _after_drawing(run: Run, model: Any) -> list[tuple[Any, ...]]:
    """What to type once a run that draws what its condition asks for is trained."""
    pictures = ("all its pictures", "plot", run.folder, "all")
    ask = _how_to_ask(model.condition)
    measured = ("how good is it?", "evaluate", run.folder)
    if ask is None:
        return [pictures, measured]
    guided = run.config.label_dropout and set(run.config.drawing.values()) == {1.0}
    clearer = ["--guidance", 2] if guided and "--condition" in ask else []
    drawn = "drawn.png" if len(model.x_shape) == 3 else "drawn.csv"
    return [
        ("draw what you ask for", "generate", run.folder, *ask, *clearer, "-n", 16, "-o", drawn),
        pictures,
        measured,
    ]


def _how_to_ask(condition: Any) -> list[str] | None:
    """The flags that ask for an example of the condition; None where it takes files."""
    example = written(condition.example())
    if not example:
        return None if condition.width else []
    try:
        read(condition.spec, example)
    except ValueError:
        return None
    return ["--condition", example]


def _folders(folder: Path, seeds: int) -> list[Path]:
    """The folders of a sweep; of one run its own."""
    if seeds == 1:
        return [folder]
    return [folder.with_name(f"{folder.name}-{i}") for i in range(seeds)]


def _check(folders: list[Path], overwrite: bool) -> None:
    """Refuse folders that exist; of many processes the first one does, which makes them."""
    for one in folders if devices.index() == 0 else ():
        check_folder(one, overwrite)


def _sweep(
    data: str,
    config: RunConfig,
    folder: Path,
    seeds: int,
    overwrite: bool,
    log: list[str] | None,
    as_json: bool,
) -> None:
    """Train runs that differ in their seeds, which also choose what each holds out.

    Print the mean and the standard deviation of what they came to.
    """
    losses, folders = [], _folders(folder, seeds)
    _check(folders, overwrite)
    for i, one in enumerate(folders):
        err.print(f"Seed {config.seed + i}, {i + 1} of {seeds}: {one}")
        with_seed = config.model_copy(update={"seed": config.seed + i})
        m = _train(data, with_seed, one, resume=False, overwrite=overwrite, log=log).metrics()
        losses.append(m["val_loss" if "val_loss" in m else "loss"])
    first_alone()
    mean, spread = statistics.mean(losses), statistics.stdev(losses)
    if as_json:
        runs = {str(one): loss for one, loss in zip(folders, losses, strict=True)}
        print(json.dumps({"runs": runs, "mean": mean, "standard_deviation": spread}))
        return
    for one, loss in zip(folders, losses, strict=True):
        out.print(f"  {one}  {loss:.2f} nats", soft_wrap=True)
    out.print(
        f"Loss over {seeds} seeds, each with its own held-out examples: {mean:.2f} nats, standard "
        f"deviation {spread:.2f}.",
        soft_wrap=True,
    )
    best = folders[losses.index(min(losses))]
    say_next(("the best of them", "evaluate", best), ("all side by side", "compare", *folders))


def _check_logs(log: Sequence[str]) -> None:
    """Refuse logs that cannot be written, before the data are looked at."""
    if unknown := set(log) - set(LOGS):
        raise UsageError(f"--log: received {', '.join(unknown)}, expected {' or '.join(LOGS)}.")
    needed = [one for one in ("tensorflow", "tensorboard") if importlib.util.find_spec(one) is None]
    if "tensorboard" in log and needed:
        raise UsageError(
            "--log tensorboard is Keras' callback, which writes with TensorFlow and TensorBoard. "
            f"Not installed: {' and '.join(needed)}. Install with: pip install "
            f"{' '.join(needed)}. --log csv needs nothing."
        )


def _loggers(folder: Path, log: list[str] | None, resume: bool) -> list[Any]:
    """Keras' callbacks that write what is asked for."""
    import keras

    made: list[Any] = []
    if "csv" in (log or ()):
        made.append(keras.callbacks.CSVLogger(folder / "log.csv", append=resume))
    if "tensorboard" in (log or ()):
        board = keras.callbacks.TensorBoard(folder / "tensorboard", write_graph=False)
        made.append(board)
    return made


def _train(
    data: str,
    config: RunConfig,
    folder: Path,
    resume: bool,
    overwrite: bool,
    log: list[str] | None = None,
) -> Run:
    if not resume:
        _check([folder], overwrite)
    patience = (Run.open(folder).config if resume else config).patience
    import_light_keras()  # as late as this: what is refused above need not wait for it

    from keras_cvae.backend import flush_denormals
    from keras_cvae.cli.progress import EpochBar
    from keras_cvae.runs.resume import Stopped
    from keras_cvae.runs.train import train

    flush_denormals()
    bar = EpochBar(err, early=patience > 0)
    loggers = _loggers(folder, log, resume) if devices.index() == 0 else []
    with stopped_by_signals() as received:
        try:
            return train(
                data,
                config,
                folder,
                resume=resume,
                overwrite=overwrite,
                callbacks=[bar, stop_after(received), *loggers],
                progress=progress_bar,
                notice=lambda text: err.print(text, soft_wrap=True),
            )
        except Stopped as stop:  # here, because typer ends a KeyboardInterrupt in silence
            bar.stop()
            err.print(f"\n{stop}", soft_wrap=True)
            raise ended_by(received) from None
        except KeyboardInterrupt:
            err.print("\nStopped before the training began.", soft_wrap=True)
            raise ended_by(received) from None
        except RuntimeError as error:
            if devices.are_gone(error):
                bar.stop()
                end_without_the_others(error, folder)
            raise
        finally:
            bar.stop()


@app.command()
def quickstart(
    out_folder: Annotated[Path, typer.Option("--out", help="The run folder.")] = Path(
        "runs/quickstart"
    ),
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    seed: Seed = 0,
    ask: Annotated[str, typer.Option(help="The digit to draw at the end.")] = "2",
    overwrite: Overwrite = False,
) -> None:
    """Train on small digits in under a minute and draw one that you ask for."""
    config = load_config("quickstart", epochs=epochs, seed=seed)

    folder = out_folder
    if not overwrite and out_folder == Path("runs/quickstart"):
        folder = unused(out_folder)
    check_folder(folder, overwrite)

    import_light_keras()
    from keras_cvae.data.sources import NAMED

    asked = read(CategoricalSpec(NAMED["digits"]), ask)
    err.print("Training a conditional VAE on scikit-learn's 8x8 handwritten digits.")
    started = time.monotonic()
    run = _train("digits", config, folder, resume=False, overwrite=overwrite)

    from keras_cvae.figures.of_runs import draw

    model = run.model()
    for kind in ("samples", "defaults", "latent", "transition", "reconstructions", "history"):
        draw(run, kind, model=model)
    draw(run, "manifold", condition=ask, model=model)
    summarise(run)
    out.print(f"\nYou asked for a {ask}:\n")
    show(model.generate(asked, n=4, seed=seed))
    seconds = time.monotonic() - started
    out.print(f"\nPictures are in {run.folder / 'pictures'} ({seconds:.0f} s).", soft_wrap=True)
    say_next(
        ("another digit", "generate", run.folder, "--condition", 7, "-n", 16, "-o", "sevens.png"),
        ("half a 3, half an 8", "generate", run.folder, "--condition", "3:0.5,8:0.5"),
        ("real MNIST", "train", "mnist", "--preset", "dense"),
        ("your own pictures", "train", "FOLDER-WITH-ONE-SUBFOLDER-PER-CLASS"),
    )
