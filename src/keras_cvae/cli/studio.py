"""`cvae studio`: a page to play with a model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from keras_cvae.cli.app import app, err, out
from keras_cvae.cli.flags import Overwrite, RunFolder
from keras_cvae.cli.shared import check_output, open_run


@app.command()
def studio(
    run: RunFolder,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="An .html file. Default: RUN/studio.html, made anew."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a page to play with a model: one file, that opens from the disk, without a network."""
    path = output or run / "studio.html"
    if output is not None:
        check_output(output, (".html", ".htm"), overwrite)
    opened = open_run(run)

    from keras_cvae.studio import write_page

    with err.status("Reading the model"):
        write_page(opened.model(), path, name=run.resolve().name, card=_card(opened))
    size = path.stat().st_size / 1e6
    out.print(f"{path} ({size:.1f} MB): open it in a browser.", soft_wrap=True)


def _card(run: Any) -> dict[str, Any]:
    """What there is to say of a run."""
    metrics, evaluation = run.metrics(), run.evaluation()
    card: dict[str, Any] = {
        "data": Path(run.source).name,
        "trained": f"{metrics['epochs']} epochs, {metrics['seconds']:.0f} s",
        "validation loss": f"{metrics['val_loss']:.2f} nats",
    }
    nats = evaluation.get("conditional", {}).get("nats") if evaluation else None
    return card | ({"-log p(x|y)": f"{nats:.1f} nats"} if isinstance(nats, float) else {})
