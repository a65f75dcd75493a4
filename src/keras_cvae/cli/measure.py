"""`cvae evaluate`, `cvae compare`."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from keras_cvae import command
from keras_cvae.backend import cache_folder
from keras_cvae.cli.app import UsageError, app, err, out
from keras_cvae.cli.flags import AsJson, Guidance, Overwrite, RunFolder, Seed, Temperature
from keras_cvae.cli.processes import Processes, first_alone, together
from keras_cvae.cli.shared import (
    check_output,
    how_to_draw,
    images_only,
    open_run,
    progress_bar,
    say_next,
    warn,
)
from keras_cvae.errors import DataError
from keras_cvae.files import check_writable
from keras_cvae.runs.run import Run, is_table_run

SAMPLES = 500  # importance samples of an example, where nothing is said

Samples = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Importance samples per example. Default: 500, of all examples, or as many of both as "
        "a model of this size allows in about two minutes.",
    ),
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="Only so many test examples, evenly spread: quicker.")
]
Whole = Annotated[
    bool,
    typer.Option("--all", help="500 importance samples of every test example, however long."),
]


@app.command()
def evaluate(
    run: RunFolder,
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Default: what the run was trained on.")
    ] = None,
    samples: Samples = None,
    limit: Limit = None,
    whole: Whole = False,
    report: Annotated[
        bool, typer.Option("--report", help="Also write a page with pictures, report.html.")
    ] = False,
    target: Annotated[
        str | None,
        typer.Option(help="A column to predict from synthetic rows.", rich_help_panel="Tables"),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            "--condition",
            "-c",
            help="Compare rows under column=value with the real ones. Repeat for several.",
            rich_help_panel="Tables",
        ),
    ] = None,
    temperature: Temperature = None,
    guidance: Guidance = None,
    seed: Seed = 0,
    processes: Processes = 1,
    as_json: AsJson = False,
) -> None:
    """Say how good a run is: likelihood with error bars, samples judged, calibration.

    Metrics are written to RUN/evaluation/metrics.json, the page to RUN/evaluation/report.html.
    """
    if is_table_run(run):
        from keras_cvae.cli.tables import evaluate_table_run

        if processes > 1:
            raise UsageError("--processes divides importance sampling, which tables need none of.")
        evaluate_table_run(run, data, target, condition, report, seed, as_json)
        return
    if target is not None or condition:
        raise UsageError("--target and --condition are for runs on tables.")
    together(processes)
    opened = open_run(run)
    check_writable(_kept(opened))
    drawing = how_to_draw(run, temperature, guidance, say=False)
    extent = _extent(samples, limit, whole)
    evaluation = _evaluated(opened, data, extent, seed, report, drawing)
    if as_json:
        print(json.dumps(evaluation.to_dict()))
        return
    _show({opened.folder.name: evaluation}, opened)
    if report:
        page = opened.folder / "evaluation" / "report.html"
        out.print(f"The page is {page}", soft_wrap=True)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="Run folders.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--out", help="A .png: draws of all, same latents.")
    ] = None,
    samples: Samples = None,
    limit: Limit = None,
    whole: Whole = False,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Put runs side by side. Runs that were not evaluated yet are evaluated first.

    If they were measured differently, the first line says so, and nothing is called the best.
    """
    if output is not None:
        check_output(output, (".png", ".pdf", ".svg"), overwrite)
    extent = _extent(samples, limit, whole)
    opened = {str(run): open_run(run) for run in runs}
    for one in opened.values():
        if not _known(one):
            check_writable(_kept(one))
    if output is not None:
        models = {name: one.model() for name, one in opened.items()}
        for model in models.values():
            images_only(model, "Leave out --out.")
    for name, one in opened.items():
        known = _known(one)
        if known and (limit is not None and known.settings.limit != limit):
            err.print(
                f"{name} was evaluated already, on {known.settings.examples} examples; --limit is "
                "for those that were not.",
                soft_wrap=True,
            )
    extent = extent or _alike([*opened.values()])
    evaluations = {
        name: _known(one) or _evaluated(one, None, extent, seed, False, one.config.drawing)
        for name, one in opened.items()
    }
    for reason in _unlike(opened, evaluations):
        warn(reason)
    if as_json:
        print(json.dumps({name: one.to_dict() for name, one in evaluations.items()}))
    else:
        _show(evaluations)
    if output is not None:
        from keras_cvae.figures import writing
        from keras_cvae.report import pictures

        conditions = {
            name: pictures.held_out_conditions(
                model, opened[name].data(progress_bar), binarize=opened[name].config.binarize
            )
            for name, model in models.items()
            if pictures.needs_conditions(model)
        }
        drawing = {name: one.config.drawing for name, one in opened.items()}
        writing.save(
            pictures.compare_pictures(models, conditions, seed=seed, drawing=drawing), output
        )
        err.print(f"Draws are in {output}", soft_wrap=True)


def _kept(run: Run) -> Path:
    """Where what is measured of a run is kept."""
    return run.folder / "evaluation"


def _known(run: Run) -> Any:
    """What was measured of a run already, or None."""
    from keras_cvae.evaluation.evaluate import Evaluation

    metrics = run.evaluation()
    try:
        return Evaluation.from_dict(metrics) if metrics else None
    except ValueError as error:
        raise UsageError(_typed(error, "evaluate", run.folder)) from None


def _typed(error: Exception, *words: object) -> str:
    """What is wrong, with the command that helps in place of the last full stop."""
    return f"{str(error).removesuffix('.')}: {command.line(*words)}"


def _unlike(runs: dict[str, Run], evaluations: dict[str, Any]) -> Iterator[str]:
    """Why figures of runs cannot be compared, with what to type so that they can."""
    from keras_cvae.report.rows import apart, drawn_apart, judged_apart

    def typed(names: Iterable[str], *words: object) -> str:
        return "; ".join(command.line("evaluate", name, *words) for name in names)

    settings = {name: one.settings for name, one in evaluations.items()}
    if reason := apart(evaluations):
        sources = {one.source: None for one in runs.values()}
        data = [*sources][:1] if len(sources) > 1 else []
        least = min(one.samples for one in settings.values())
        yield f"{reason} Evaluate the runs alike: {typed(runs, *data, '--samples', least)}"
        return
    if reason := judged_apart(evaluations):
        yield reason
    if reason := drawn_apart(evaluations):
        own = [name for name, one in settings.items() if (one.guidance, one.temperature) != (1, 1)]
        plain = typed(own, "--guidance", 1, "--temperature", 1)
        yield f"{reason} For figures of p(x | y) alone: {plain}"


Extent = dict[str, Any]  # samples, limit and scored, as `evaluate` takes them


def _extent(samples: int | None, limit: int | None, whole: bool) -> Extent | None:
    """What is measured of what; None: as much as a model's size allows."""
    if whole and limit is not None:
        raise UsageError("--all takes every test example. Expected no --limit with it.")
    if samples is None and limit is None and not whole:
        return None
    return {"samples": samples or SAMPLES, "limit": limit, "scored": None}


def _alike(runs: list[Run]) -> Extent:
    """What is measured of runs that are to be compared: as of one of them already, or the least
    that the size of any allows."""
    if known := next(filter(None, map(_known, runs)), None):
        return {name: getattr(known.settings, name) for name in ("samples", "limit", "scored")}
    from keras_cvae.evaluation.budget import affordable

    each = [affordable(run.model(), sys.maxsize) for run in runs]
    samples = min(one.samples for one in each)
    return {"samples": samples, "limit": None, "scored": min(one.examples for one in each)}


def _evaluated(
    run: Run,
    data: str | None,
    extent: Extent | None,
    seed: int,
    page: bool,
    drawing: dict[str, Any],
) -> Any:
    from keras_cvae.evaluation.budget import affordable
    from keras_cvae.evaluation.evaluate import evaluate
    from keras_cvae.evaluation.prepare import tested
    from keras_cvae.evaluation.verdict import findings
    from keras_cvae.files import write_json
    from keras_cvae.report.page import report_html
    from keras_cvae.report.pictures import pictures
    from keras_cvae.runs.build import load_data
    from keras_cvae.runs.remedies import commands

    model = run.model()
    if data:  # of which a part has to be held out, whatever the run did with its own
        config = run.config.model_copy(update={"validation": run.config.validation or 0.1})
        split = load_data(data, config, progress_bar)
    else:
        split = run.data(progress_bar)
    try:
        count = len(tested(split)[0])
    except DataError as error:
        raise UsageError(_typed(error, "evaluate", run.folder, "DATA")) from None
    if extent is None:
        few = affordable(model, count)
        extent = {"samples": few.samples, "limit": None, "scored": few.examples}
        if few != (count, SAMPLES):
            err.print(
                f"log p is estimated for {few.examples:,} of {count:,} examples, from "
                f"{few.samples} samples each, for a network of this size; --all: of all, from "
                f"{SAMPLES}.",
                soft_wrap=True,
            )
    evaluation = evaluate(
        model,
        split,
        binarize=run.config.binarize,
        seed=seed,
        progress=progress_bar,
        judges=cache_folder() / "judges",
        **extent,
        **drawing,
    )
    first_alone()
    folder = _kept(run)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "metrics.json", evaluation.to_dict())
    if page:
        drawn = pictures(model, split, evaluation, seed)
        known = _of_training(run)
        typed = commands(run, findings(evaluation, **known))
        report_html(evaluation, drawn, folder / "report.html", **known, typed=typed)
    return evaluation


def _drawn(evaluation: Any) -> str:
    """Says how draws were made that were judged; "" if they are from p(x | y) itself."""
    how = {name: getattr(evaluation.settings, name) for name in ("guidance", "temperature")}
    own = [f"{name} {value:g}" for name, value in how.items() if value != 1]
    if not own:
        return ""
    said = f"Draws were judged as this run makes them, with {' and '.join(own)}; "
    plain, judged = evaluation.from_model, evaluation.samples
    if plain is None or plain.on_label_accuracy is None:
        return said + "likelihoods are of p(x | y)."
    return said + (
        f"from p(x | y) itself, of which likelihoods are, {100 * plain.on_label_accuracy:.1f} % "
        f"are what was asked for, not {100 * judged.on_label_accuracy:.1f} %."
    )


def _of_training(run: Run | None) -> dict[str, Any]:
    """What a verdict should know of a run's training, as `findings` takes it."""
    from keras_cvae.runs.remedies import had

    if run is None:
        return {}
    ended = run.complete and not run.shared
    return {"improving": run.progress().improving if ended else None, "has": had(run)}


def _show(evaluations: dict[str, Any], run: Run | None = None) -> None:
    """Print what was measured; of a single run, what helps it too."""
    from keras_cvae.evaluation.verdict import findings, verdict
    from keras_cvae.report.rows import compare
    from keras_cvae.runs.remedies import commands

    table = Table(box=None, padding=(0, 2))
    table.add_column("")
    for name in evaluations:
        table.add_column(name, justify="right", overflow="fold")
    group = None
    for row in compare(evaluations):
        if row["group"] != group:
            group = row["group"]
            table.add_row(Text(group, "bold"))
        cells = [
            Text(cell, "green" if i == row["best"] else "") for i, cell in enumerate(row["values"])
        ]
        table.add_row(f"  {row['label']}", *cells)
    out.print(table)
    if any(one.conditional and one.conditional.nats < 0 for one in evaluations.values()):
        out.print(
            "Below 0 nats: x has a density, which may be above 1. Lower is better still.",
            soft_wrap=True,
        )
    for name, one in evaluations.items():
        prefix = f"{name}: " if len(evaluations) > 1 else ""
        if how := _drawn(one):
            out.print(f"{prefix}{how}", soft_wrap=True)
        known = _of_training(run)
        out.print(f"\n{prefix}{verdict(one, **known)}", soft_wrap=True)
        if one.conditional and one.conditional.warning:
            out.print(f"{prefix}{one.conditional.warning}")
        if one.left_out:
            out.print(f"{prefix}Left out: {' '.join(one.left_out)}")
        if run and (typed := commands(run, findings(one, **known))):
            say_next(*typed)
