"""The command `cvae`: parse, then call the Python API.

Keras is imported inside the commands, so that `--help` and Tab completion answer at once.
"""

import inspect
import json
import os
import shlex
import sys
import time
import types
import typing
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from keras_cvae import masks
from keras_cvae.backend import choose_backend, prepare_command
from keras_cvae.config import RunConfig, load_config, presets

app = typer.Typer(
    name="cvae",
    help="Conditional variational autoencoders: train one, then draw what you ask for.\n\n"
    "Start with:  cvae quickstart",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
out = Console(highlight=False, markup=False)
err = Console(stderr=True, highlight=False, markup=False)

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same pictures.")]
Temperature = Annotated[
    float, typer.Option(min=0.0, help="Spread of the draws: 1 is the model's, 0 its default.")
]


class UsageError(Exception):
    """Something asked for that cannot be done, in the user's words."""


# Train.


def _flags(function: Callable) -> Callable:
    """Give a command one option for every field of `RunConfig`, passed on as `settings`."""
    own = [p for p in inspect.signature(function).parameters.values() if p.name != "settings"]
    flags = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name, field)
        )
        for name, field in RunConfig.model_fields.items()
    ]

    def command(**given):
        settings = {name: given.pop(name) for name in RunConfig.model_fields}
        return function(
            settings={n: v for n, v in settings.items() if v not in (None, [])}, **given
        )

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
    return command


def _option(name: str, field: Any) -> Any:
    kind: Any = field.annotation
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kinds = [k for k in typing.get_args(kind) if k is not type(None)]
        kind = kinds[0] if len(kinds) == 1 else str
    if typing.get_origin(kind) is tuple:
        kind = list[str] if typing.get_args(kind)[0] is str else str
    flag = f"--{name.replace('_', '-')}"
    declared = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
    panel = field.json_schema_extra["panel"]
    text, metavar, complete = field.description, None, None
    if typing.get_origin(kind) is Literal:
        names = typing.get_args(kind)
        text, metavar, complete = f"{text} One of: {', '.join(names)}.", "name", _starting(names)
        kind = str  # `RunConfig` checks it, with the nearest name in its message
    if field.default is not None and kind is not bool:
        default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else ""
        text += f" Default: {default or field.default}."
    return Annotated[
        kind | None,
        typer.Option(
            declared,
            help=text,
            metavar=metavar,
            autocompletion=complete,
            rich_help_panel=panel,
            show_default=False,
        ),
    ]


def _typed(settings: dict[str, Any]) -> dict[str, Any]:
    """Read widths written as 512,256."""
    typed = dict(settings)
    for name in ("units", "filters", "levels", "group_sizes"):
        if name in typed:
            typed[name] = tuple(part.strip() for part in str(typed[name]).split(","))
    return typed


def _starting(names: Iterable[str]) -> Callable[[str], list[str]]:
    def complete(start: str) -> list[str]:
        return [name for name in names if name.startswith(start)]

    return complete


@app.command()
@_flags
def train(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="digits, mnist, fashion_mnist, cifar10, an .npz file, or a folder of images with "
            "one sub-folder per class.",
        ),
    ],
    preset: Annotated[
        str | None,
        typer.Option(
            help="Start from a preset: see `cvae presets`.", autocompletion=_starting(presets())
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML or JSON file with any of the settings below.")
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="The run folder. Default: runs/DATA-PRESET.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a stopped run.")] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Train a conditional VAE into a run folder.

    Stop it at any moment with Ctrl-C; --resume goes on to the same result. Flags win over the
    config file, the file over the preset, the preset over the defaults.
    """
    chosen = load_config(preset, config, **_typed(settings))
    if resume and overwrite:
        raise UsageError("Received --resume and --overwrite. Expected one of them.")

    from keras_cvae.training import default_folder

    folder = out_folder or default_folder(data, preset)
    run = _train(data, chosen, folder, resume=resume, overwrite=overwrite)
    if as_json:
        print(json.dumps({"run": str(run.folder)} | run.metrics()))
        return
    _summarise(run)
    model = run.model()
    condition = model.condition
    if condition.knows_part:
        what = ["--known", "left"] if condition.fixed is None else []
        to = ["-o", "completed.png"]
        _next(
            ("complete a picture", "complete", run.folder, "IMAGE.png", *what, *to),
            ("some of its own", "plot", run.folder, "completions"),
            ("how good is it?", "evaluate", run.folder),
        )
        return
    drawn = "drawn.png" if len(model.x_shape) == 3 else "drawn.npz"
    ask = _how_to_ask(condition)
    draw = ("draw what you ask for", "generate", run.folder, *(ask or []), "-n", 16, "-o", drawn)
    pictures = ("all its pictures", "plot", run.folder, "all")
    _next(*([pictures] if ask is None else [draw, pictures]))


def _how_to_ask(condition: Any) -> list[str] | None:
    """The flags that ask for an example of the condition; None where it takes files."""
    example = condition.example()
    if not example:
        return None if condition.width else []
    try:
        condition.parse(example)
    except ValueError:
        return None
    return ["--condition", example]


def _train(data: str, config: RunConfig, folder: Path, **options: Any) -> Any:
    # Keras callbacks can only be defined once Keras is there.
    from keras.callbacks import LambdaCallback

    from keras_cvae import training
    from keras_cvae.fastpath import flush_denormals
    from keras_cvae.progress import EpochBar

    flush_denormals()
    bar = EpochBar(err)
    say = LambdaCallback(on_train_begin=lambda _: _say_if_unknown_is_a_class(data, bar.model))
    options |= {"callbacks": [say, bar], "progress": _progress}
    try:
        return training.train(data, config, folder, **options)
    except training.Stopped as stop:  # here, because typer ends a KeyboardInterrupt in silence
        bar.stop()
        err.print(f"\n{stop}", soft_wrap=True)
        raise typer.Exit(130) from None
    finally:
        bar.stop()


def _say_if_unknown_is_a_class(data: str, model: Any) -> None:
    from keras_cvae.conditions import classes_of

    classes = classes_of(model.condition)
    if classes is None or classes.num_classes < 3 or Path(data).suffix.lower() != ".npz":
        return
    last = classes.num_classes - 2
    if classes.names == tuple(map(str, range(-1, last + 1))):
        err.print(
            f"The label -1 is taken as a class of its own, beside 0 to {last}. If it means that "
            "the class is unknown: --condition y:categorical.",
            soft_wrap=True,
        )


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

    from keras_cvae.conditions import Categorical
    from keras_cvae.data import NAMED
    from keras_cvae.training import check_folder

    asked = Categorical(NAMED["digits"]).parse(ask)
    folder = out_folder
    if not overwrite and out_folder == Path("runs/quickstart"):
        folder = _unused(out_folder)
    check_folder(folder, overwrite)
    err.print("Training a conditional VAE on scikit-learn's 8x8 handwritten digits.")
    started = time.monotonic()
    run = _train("digits", config, folder, overwrite=overwrite)

    from keras_cvae.pictures import draw

    model = run.model()
    for kind in ("samples", "defaults", "latent", "transition", "reconstructions", "history"):
        draw(run, kind, model=model)
    draw(run, "manifold", condition=ask, model=model)
    _summarise(run)
    out.print(f"\nYou asked for a {ask}:\n")
    _show(model.generate(asked, n=4, seed=seed))
    seconds = time.monotonic() - started
    out.print(f"\nPictures are in {run.folder / 'pictures'} ({seconds:.0f} s).", soft_wrap=True)
    _next(
        ("another digit", "generate", run.folder, "--condition", 7, "-n", 16, "-o", "sevens.png"),
        ("half a 3, half an 8", "generate", run.folder, "--condition", "3:0.5,8:0.5"),
        ("real MNIST", "train", "mnist", "--preset", "dense"),
        ("your own pictures", "train", "FOLDER-WITH-ONE-SUBFOLDER-PER-CLASS"),
    )


# Draw.


@app.command()
def generate(
    run: RunFolder,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            "--condition",
            "-c",
            help="A class, a mixture (3:0.5,8:0.5) or numbers; named ones as age=30,class=cat, "
            "where what is left out is unknown. Repeat for several; leave out for all classes.",
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many for each condition.")] = 8,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="A .png, an .npz, or a folder of PNGs. None: shown here."),
    ] = None,
    temperature: Temperature = 1.0,
    seed: Seed = 0,
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw x from p(x|z,y) instead of showing its mean.")
    ] = False,
    guidance: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="How strongly the condition shows: 1 is the model's, 2 exaggerates; for runs with "
            "--label-dropout.",
        ),
    ] = 1.0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Draw new examples of what you ask for."""
    if output is not None:
        _check_output(output, (".png", ".npz", ""), overwrite)
    elif as_json:
        raise UsageError("--json says which files were written. Expected -o FILE with it.")
    model = _open(run).model()
    if output is None or output.suffix.lower() != ".npz":
        _images_only(model, "Use -o FILE.npz to save it.")

    import numpy as np

    conditions, names = _conditions(model, condition)
    drawn = [
        model.generate(
            y, n, temperature, seed, output="sample" if sample else "mean", guidance=guidance
        )
        for y in _progress(conditions, total=len(conditions), description="Drawing")
    ]
    x, labels = np.concatenate(drawn), np.repeat(names, n)
    if output is None:
        for name, images in zip(names, drawn, strict=True):
            out.print(f"{name}:" if name else "")
            _show(images)
        return
    written = _write_drawn(model, x, labels, n, output)
    if as_json:
        print(json.dumps({"files": [str(p) for p in written], "labels": labels.tolist()}))
    else:
        out.print(f"{len(x)} drawn, written to {output}")


@app.command()
def restyle(
    run: RunFolder,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture of one example.")],
    to: Annotated[list[str], typer.Option(help="What it becomes. Repeat for several.")],
    is_a: Annotated[
        str | None, typer.Option("--from", help="What it is. Left out: the model reads it.")
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="The picture is dark on light, the data light on dark.")
    ] = False,
    output: Annotated[Path | None, typer.Option("-o", "--out", help="A .png file.")] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """The same handwriting, another digit: encode an image, decode it as something else."""
    import numpy as np

    from keras_cvae import plots
    from keras_cvae.conditions import Joint, Unconditional
    from keras_cvae.data import read_image

    if output is not None:
        _check_output(output, (".png",), overwrite)
    model = _open(run).model()
    _images_only(model, "Restyling needs pictures.")
    if isinstance(model.condition, Unconditional):
        raise UsageError("This run has no condition, so there is nothing to restyle to.")
    x = read_image(image, model.x_shape)[None]
    x = 1.0 - x if invert else x
    targets = [model.condition.parse(text) for text in to]
    source = model.condition.parse(is_a) if is_a is not None else _read(model, x)
    if isinstance(source, dict) and isinstance(model.condition, Joint):
        targets = [source | target for target in targets]  # only what is named changes
    restyled = np.concatenate([model.restyle(x, source, target) for target in targets])
    is_a = str(source) if is_a is None else is_a
    labels = [f"{is_a} (yours)", *to]
    if output is not None:
        plots.save(
            plots.image_grid(np.concatenate([x, restyled])[None], column_labels=labels), output
        )
    if as_json:
        print(json.dumps({"from": is_a, "to": to, "file": output and str(output)}))
        return
    _show(np.concatenate([x, restyled]), labels)
    if output is not None:
        out.print(f"Written to {output}")


@app.command()
def complete(
    run: RunFolder,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture of one example.")],
    known: Annotated[
        str | None,
        typer.Option(
            help="What is known: bottom-left, left, all-but-bottom-right, ..., random, or a "
            "picture that is white there. Default: what the run was trained with.",
            autocompletion=_starting((*masks.NAMES, masks.RANDOM)),
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many completions.")] = 10,
    output: Annotated[
        Path | None, typer.Option("-o", "--out", help="A .png or an .npz. None: shown here.")
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="The picture is dark on light, the data light on dark.")
    ] = False,
    temperature: Temperature = 1.0,
    seed: Seed = 0,
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw x from p(x|z,y) instead of showing its mean.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Complete a picture of which a part is known, several ways; that part stays as it is."""
    if output is not None:
        _check_output(output, (".png", ".npz"), overwrite)
    elif as_json:
        raise UsageError("--json says which file was written. Expected -o FILE with it.")
    model = _open(run).model()
    if not model.condition.knows_part:
        raise UsageError(
            "This run draws what its condition asks for; it completes nothing. Train one that does "
            "with: cvae train DATA --task complete"
        )
    _images_only(model, "Completing needs pictures.")

    import numpy as np

    from keras_cvae import plots
    from keras_cvae.data import read_image

    mask = model.condition.fixed
    if known is None and mask is None:
        raise UsageError("This run completes from any part. Say which is known with --known.")
    if known == masks.RANDOM:
        mask = masks.random(1, model.x_shape, np.random.default_rng(seed))[0]
    elif known is not None and Path(known).suffix:
        mask = read_image(known, (*model.x_shape[:2], 1)) > 0.5
    elif known is not None:
        mask = masks.known(known, model.x_shape)
    if mask.all():
        raise UsageError(f"'{known}' says that all is known. Expected black where it is not.")
    x = read_image(image, model.x_shape)[None]
    _say_if_stretched(image, model.x_shape)
    x = 1.0 - x if invert else x
    kind = "sample" if sample else "mean"
    drawn = model.complete(x, mask, n, seed, temperature=temperature, output=kind)
    shown = np.concatenate([np.where(masks.known(mask, model.x_shape), x, 0.5), drawn])
    labels = ["known", *map(str, range(1, n + 1))]
    if output is None:
        _show(shown, labels)
    elif output.suffix.lower() == ".npz":
        _write_arrays(output, x=drawn)
    else:
        plots.save(plots.image_grid(shown[None], column_labels=labels), output)
    if as_json:
        print(json.dumps({"file": str(output), "completions": n}))
    elif output is not None:
        out.print(f"{_counted(n, 'completion')}, written to {output}")


def _say_if_stretched(image: Path, x_shape: tuple[int, ...]) -> None:
    from PIL import Image

    with Image.open(image) as file:
        size = file.size
    if size[0] * x_shape[0] != size[1] * x_shape[1]:
        err.print(
            f"'{image}' is {size[0]}x{size[1]}, not of the shape of the run's pictures "
            f"({x_shape[1]}x{x_shape[0]}): stretched to fit.",
            soft_wrap=True,
        )


def _read(model: Any, x: Any) -> str:
    from keras_cvae.conditions import classes_of

    classes = classes_of(model.condition)
    if classes is None:
        raise UsageError("Say what the picture is with --from; only classes can be read from it.")
    p = model.classify(x)[0]
    best = int(p.argmax())
    err.print(f"Read as a {classes.names[best]} ({p[best]:.0%}); --from says otherwise.")
    return classes.names[best]


Kind = Literal[
    "samples",
    "defaults",
    "latent",
    "manifold",
    "transition",
    "reconstructions",
    "completions",
    "history",
    "all",
]


@app.command()
def plot(
    run: RunFolder,
    kind: Annotated[Kind, typer.Argument(help="What to draw.")] = "all",
    condition: Annotated[
        str | None, typer.Option("--condition", "-c", help="Only this one, in the manifold.")
    ] = None,
    grid: Annotated[
        Literal["linear", "quantile"],
        typer.Option(help="Of the manifold: -1.5 .. 1.5, or 5 %..95 %."),
    ] = "linear",
    form: Annotated[
        Literal["png", "pdf", "svg"], typer.Option("--format", help="Of the figures.")
    ] = "png",
    output: Annotated[
        Path | None, typer.Option("-o", "--out", help="A folder. Default: RUN/pictures.")
    ] = None,
    temperature: Temperature = 1.0,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Draw pictures of a run: samples, the latent plane, morphs, reconstructions, history."""
    opened = _open(run)

    from keras_cvae.pictures import draw

    written = draw(
        opened,
        kind,
        out=output,
        condition=condition,
        grid=grid,
        temperature=temperature,
        seed=seed,
        suffix=f".{form}",
        progress=_progress,
    )
    if as_json:
        print(json.dumps([str(path) for path in written]))
    else:
        for path in written:
            out.print(str(path), soft_wrap=True)


# Measure.

Samples = Annotated[int, typer.Option(min=1, help="Importance samples per example.")]
Limit = Annotated[
    int | None, typer.Option(min=1, help="Only so many test examples, evenly spread: quicker.")
]


@app.command()
def evaluate(
    run: RunFolder,
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Default: what the run was trained on.")
    ] = None,
    samples: Samples = 500,
    limit: Limit = None,
    report: Annotated[
        bool, typer.Option("--report", help="Also write a page with pictures, report.html.")
    ] = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Say how good a run is: likelihood with error bars, samples judged, calibration.

    Figures are written to RUN/evaluation/metrics.json, the page to RUN/evaluation/report.html.
    """
    opened = _open(run)
    metrics = _evaluated(opened, data, samples, limit, seed, report)
    if as_json:
        print(json.dumps(metrics))
        return
    _figures({opened.folder.name: metrics})
    if report:
        page = opened.folder / "evaluation" / "report.html"
        out.print(f"The page is {page}", soft_wrap=True)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="Run folders.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--out", help="A .png: draws of all, same latents.")
    ] = None,
    samples: Samples = 500,
    limit: Limit = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Put runs side by side. Runs that were not evaluated yet are evaluated first."""
    if output is not None:
        _check_output(output, (".png", ".pdf", ".svg"), overwrite)
    opened = {str(run): _open(run) for run in runs}
    if output is not None:
        models = {name: one.model() for name, one in opened.items()}
        for model in models.values():
            _images_only(model, "Leave out --out.")
    figures = {}
    for name, one in opened.items():
        known = one.evaluation()
        figures[name] = known or _evaluated(one, None, samples, limit, seed, False)
    if as_json:
        print(json.dumps(figures))
    else:
        _figures(figures)
    if output is not None:
        from keras_cvae import plots, report

        conditions = {
            name: report.held_out_conditions(
                model, opened[name].data(_progress), binarize=opened[name].config.binarize
            )
            for name, model in models.items()
            if report.needs_conditions(model)
        }
        plots.save(report.compare_pictures(models, conditions, seed=seed), output)
        err.print(f"Draws are in {output}", soft_wrap=True)


def _evaluated(run: Any, data: str | None, samples: int, limit, seed: int, page: bool) -> Any:
    from keras_cvae import evaluation, report
    from keras_cvae.training import load_data, write_json

    model = run.model()
    split = load_data(data, run.config, _progress) if data else run.data(_progress)
    metrics = evaluation.evaluate(
        model,
        split,
        samples=samples,
        binarize=run.config.binarize,
        limit=limit,
        seed=seed,
        progress=_progress,
    )
    folder = run.folder / "evaluation"
    folder.mkdir(exist_ok=True)
    write_json(folder / "metrics.json", metrics)
    if page:
        pictures = report.pictures(model, split, metrics, seed)
        report.report_html(metrics, pictures, folder / "report.html")
    return metrics


def _figures(runs: dict[str, Any]) -> None:
    from keras_cvae import report

    table = Table(box=None, padding=(0, 2))
    table.add_column("")
    for name in runs:
        table.add_column(name, justify="right", overflow="fold")
    group = None
    for row in report.compare(runs):
        if row["group"] != group:
            group = row["group"]
            table.add_row(Text(group, "bold"))
        cells = [
            Text(cell, "green" if i == row["best"] else "") for i, cell in enumerate(row["values"])
        ]
        table.add_row(f"  {row['label']}", *cells)
    out.print(table)
    for name, metrics in runs.items():
        latent = metrics["latent"]
        prefix = f"{name}: " if len(runs) > 1 else ""
        out.print(f"\n{prefix}{latent['verdict']} {latent['advice'] or ''}".rstrip())
        few = report.few_samples(metrics)
        if few:
            out.print(f"{prefix}{few}")
        if left_out := metrics.get("left_out"):
            out.print(f"{prefix}Left out: {' '.join(left_out)}")


# Look.


@app.command()
def info(
    what: Annotated[str, typer.Argument(metavar="RUN|DATA", help="A run folder, or data.")],
    as_json: AsJson = False,
) -> None:
    """Say what a run or a data set holds."""
    if (Path(what) / "run.json").is_file():
        about = _about_run(_open(Path(what)))
    else:
        from keras_cvae.data import load

        about = load(what, progress=_progress).describe()
    if as_json:
        print(json.dumps(about))
        return
    table = Table(show_header=False, box=None, padding=(0, 2))
    for name, value in about.items():
        table.add_row(name.replace("_", " "), _words(value))
    out.print(table)


def _about_run(run: Any) -> dict[str, Any]:
    history = run.history()
    done = len(history.get("loss", []))
    about: dict[str, Any] = {
        "run": str(run.folder),
        "data": run.source,
        "state": "complete" if run.complete else f"stopped after {done} epochs; --resume goes on",
        "metrics": run.metrics(),
        "settings": run.config.model_dump(),
    }
    if run.complete:
        model = run.model()
        about["x_shape"] = list(model.x_shape)
        about["condition"] = _about_condition(model.condition)
        about["weights"] = int(model.count_params())
    return about


def _about_condition(condition: Any) -> Any:
    from keras_cvae.conditions import Joint, classes_of

    if isinstance(condition, Joint):
        return {name: part.summary() for name, part in condition.parts.items()}
    classes = classes_of(condition)
    return list(classes.names) if classes else condition.summary()


@app.command("presets")
def list_presets(as_json: AsJson = False) -> None:
    """List the presets with what to expect of each."""
    known = presets().values()
    if as_json:
        print(json.dumps([preset.model_dump() for preset in known]))
        return
    for preset in known:
        out.print(Text.assemble((preset.name, "bold"), f"  {preset.summary}"))
        out.print(f"    {preset.command}", style="cyan")
        out.print(f"    {preset.score}; {preset.time} on {preset.hardware}\n", style="dim")


# What the commands share.


def _open(folder: Path) -> Any:
    from keras_cvae.training import Run

    return Run.open(folder)


def _progress(items: Iterable, total: int | None = None, description: str = "") -> Iterator:
    return iter(
        track(items, total=total, description=description, console=err, transient=True)
        if err.is_terminal
        else items
    )


def _conditions(model: Any, given: list[str] | None) -> tuple[list[Any], list[str]]:
    from keras_cvae.conditions import Unconditional, classes_of

    if given:
        return [model.condition.parse(text) for text in given], given
    classes = classes_of(model.condition)
    if classes:
        return list(classes.names), list(classes.names)
    if isinstance(model.condition, Unconditional):
        return [None], [""]
    if model.condition.knows_part:
        raise UsageError("This run completes pictures: cvae complete RUN IMAGE.")
    raise UsageError(
        f"This run is conditioned on {model.condition.summary()}. Say which with --condition"
        f" {model.condition.example()}."
    )


def _check_output(path: Path, suffixes: tuple[str, ...], overwrite: bool) -> None:
    if path.suffix.lower() not in suffixes:
        kinds = ", ".join(s or "a folder" for s in suffixes)
        raise UsageError(f"Cannot write '{path}'. Expected {kinds}.")
    if path.exists() and not overwrite and not (path.is_dir() and not any(path.iterdir())):
        raise UsageError(f"'{path}' exists already. Choose another name, or --overwrite.")
    parent = path if path.is_dir() else path.absolute().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UsageError(f"Cannot write '{path}': the folder '{parent}' is missing or protected.")


def _write_drawn(model: Any, x: Any, labels: Any, n: int, output: Path) -> list[Path]:
    from keras_cvae import plots

    if output.suffix.lower() == ".npz":
        _write_arrays(output, x=x, y=labels)
        return [output]
    if output.suffix:
        plots.save_tiles(x, output, columns=n if len(x) > n else None)
        return [output]
    output.mkdir(exist_ok=True)
    paths, counts = [], Counter[str]()
    for label in labels:
        name = _safe(label) or "drawn"
        paths.append(output / f"{name}-{counts[name]:04d}.png")
        counts[name] += 1
    for path, image in _progress(zip(paths, x, strict=True), len(x), "Writing"):
        plots.save_image(image, path)
    return paths


def _write_arrays(path: Path, **arrays: Any) -> None:
    import numpy as np

    temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    np.savez_compressed(temporary, **arrays)
    temporary.replace(path)


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-.," else "_" for c in str(name))


def _images_only(model: Any, instead: str) -> None:
    if len(model.x_shape) != 3 or model.x_shape[-1] not in (1, 3):
        raise UsageError(f"x has the shape {model.x_shape}, which is no picture. {instead}")


def _show(images: Any, labels: list[str] | None = None) -> None:
    from keras_cvae import plots

    color = out.is_terminal and "NO_COLOR" not in os.environ
    width = max(16, min(2 * images.shape[2], 28))
    fit = max(1, out.width // (width + 2))
    for start in range(0, len(images), fit):
        row = slice(start, start + fit)
        print(
            plots.terminal_row(images[row], labels=labels and labels[row], width=width, color=color)
        )


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _summarise(run: Any) -> None:
    m = run.metrics()
    out.print(
        f"Trained {_counted(m['epochs'], 'epoch')} in {m['seconds']:.0f} s. Validation: loss "
        f"{m['val_loss']:.2f} nats (reconstruction {m['val_reconstruction']:.2f}, KL "
        f"{m['val_kl']:.2f}). The run is in {run.folder}",
        soft_wrap=True,
    )


def _next(*commands: tuple[Any, ...]) -> None:
    out.print("\nNext:")
    for what, *words in commands:
        command = shlex.join(["cvae", *map(str, words)])
        out.print(Text.assemble(f"  {what:<22} ", (command, "cyan")), soft_wrap=True)


def _unused(folder: Path) -> Path:
    candidates = (folder, *(folder.with_name(f"{folder.name}-{i}") for i in range(2, 10_000)))
    return next(path for path in candidates if not path.exists())


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{k}={_words(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """Say what Python would say with a line of code."""
    err.print(Text.assemble(("Warning: ", "bold yellow"), str(message)), soft_wrap=True)


def main() -> None:
    """Run the command; an error of the user's is one message, not a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.showwarning = _warn
    try:
        choose_backend()
        prepare_command()
        app(prog_name="cvae")
    except SystemExit as end:
        if end.code != 130:
            raise
        # A step may still run in a thread of the backend: ending Python under it can crash.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)
    except (UsageError, ValueError, OSError, ImportError, ArithmeticError) as error:
        if os.environ.get("KERAS_CVAE_TRACEBACK"):
            raise
        err.print(Text.assemble(("Error: ", "bold red"), str(error)), soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
