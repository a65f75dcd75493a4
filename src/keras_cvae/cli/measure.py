"""`cvae evaluate`, `cvae compare`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from keras_cvae.cli.app import app, err, out
from keras_cvae.cli.flags import AsJson, Overwrite, RunFolder, Seed
from keras_cvae.cli.shared import check_output, images_only, open_run, progress_bar

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
    opened = open_run(run)
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
        check_output(output, (".png", ".pdf", ".svg"), overwrite)
    opened = {str(run): open_run(run) for run in runs}
    if output is not None:
        models = {name: one.model() for name, one in opened.items()}
        for model in models.values():
            images_only(model, "Leave out --out.")
    figures = {}
    for name, one in opened.items():
        known = one.evaluation()
        figures[name] = known or _evaluated(one, None, samples, limit, seed, False)
    if as_json:
        print(json.dumps(figures))
    else:
        _figures(figures)
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
        writing.save(pictures.compare_pictures(models, conditions, seed=seed), output)
        err.print(f"Draws are in {output}", soft_wrap=True)


def _evaluated(run: Any, data: str | None, samples: int, limit, seed: int, page: bool) -> Any:
    from keras_cvae.evaluation import evaluate
    from keras_cvae.files import write_json
    from keras_cvae.report.page import report_html
    from keras_cvae.report.pictures import pictures
    from keras_cvae.runs.build import load_data

    model = run.model()
    split = load_data(data, run.config, progress_bar) if data else run.data(progress_bar)
    metrics = evaluate.evaluate(
        model,
        split,
        samples=samples,
        binarize=run.config.binarize,
        limit=limit,
        seed=seed,
        progress=progress_bar,
    )
    folder = run.folder / "evaluation"
    folder.mkdir(exist_ok=True)
    write_json(folder / "metrics.json", metrics)
    if page:
        shown = pictures(model, split, metrics, seed)
        report_html(metrics, shown, folder / "report.html")
    return metrics


def _figures(runs: dict[str, Any]) -> None:
    from keras_cvae.report import rows

    table = Table(box=None, padding=(0, 2))
    table.add_column("")
    for name in runs:
        table.add_column(name, justify="right", overflow="fold")
    group = None
    for row in rows.compare(runs):
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
        few = rows.few_samples(metrics)
        if few:
            out.print(f"{prefix}{few}")
        if left_out := metrics.get("left_out"):
            out.print(f"{prefix}Left out: {' '.join(left_out)}")
