"""`cvae studio`: a page to play with a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keras_cvae import trained
from keras_cvae.backend import import_light_keras
from keras_cvae.cli.app import app, err, out
from keras_cvae.cli.flags import Overwrite, RunFolder
from keras_cvae.cli.shared import check_output, how_to_draw, open_model
from keras_cvae.models.card import Card
from keras_cvae.runs.run import Run, is_table_run

if TYPE_CHECKING:
    from keras_cvae.runs.tables import TableRun


@app.command()
def studio(
    run: RunFolder,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="An .html file. Default: RUN/studio.html, made anew, or NAME.html.",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a page to play with a model: one file, that opens from the disk, without a network."""
    inside = run.is_dir()
    path = output or (run / "studio.html" if inside else Path(f"{run.stem}.html"))
    if output is not None or not inside:
        check_output(path, (".html", ".htm"), overwrite)
    with err.status("Loading"):
        name, model, card = loaded(run)

    from keras_cvae.studio import write_page

    with err.status("Writing"):
        drawing = how_to_draw(run, None, None, say=False)
        write_page(model, path, name=name, card=card, drawing=drawing)
    size = path.stat().st_size / 1e6
    out.print(f"{path} ({size:.1f} MB): open it in a browser.", soft_wrap=True)


def loaded(run: Path) -> tuple[str, Any, dict[str, Any]]:
    """What a page is called, its model, and what there is to say of it."""
    name = run.stem if trained.path(str(run)) else run.resolve().stem
    if is_table_run(run):
        from keras_cvae.runs.tables import TableRun

        import_light_keras()
        opened: Any = TableRun
        model = opened.open(run).model()
    else:
        opened, model = Run, open_model(run)
    if (card := model.card) is not None:
        return card.name or name, model, _of_card(card)
    return name, model, _of_run(opened.open(run)) if (run / "run.json").is_file() else {}


def _of_card(card: Card) -> dict[str, Any]:
    facts = {
        "summary": card.summary,
        "data": card.data,
        "licence of the data": card.data_licence,
        "licence": card.licence,
        "limits": card.limits,
    }
    return {name: text for name, text in (facts | card.scores).items() if text}


def _of_run(run: "Run | TableRun") -> dict[str, Any]:
    metrics = run.metrics()
    card = {"data": Path(run.source).name}
    if "epochs" in metrics and "seconds" in metrics:
        card["trained"] = f"{metrics['epochs']} epochs, {metrics['seconds']:.0f} s"
    if "rows" in metrics:
        card["rows"] = f"{metrics['rows']:,}"
    if "val_loss" in metrics:
        card["validation loss"] = f"{metrics['val_loss']:.2f} nats"
    evaluation = run.evaluation() if isinstance(run, Run) else {}
    nats = evaluation.get("conditional", {}).get("nats")
    return card | ({"-log p(x|y)": f"{nats:.1f} nats"} if isinstance(nats, float) else {})
