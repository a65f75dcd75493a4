"""`cvae serve`."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_cvae.cli.app import app, err
from keras_cvae.cli.flags import RunFolder
from keras_cvae.cli.shared import open_model
from keras_cvae.runs.run import is_table_run


@app.command()
def serve(
    run: RunFolder,
    host: Annotated[
        str, typer.Option(help="Where to listen: 0.0.0.0 for all who can reach this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    draws: Annotated[
        int, typer.Option(min=1, help="Examples that one request may ask for.")
    ] = 1024,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="That a request may take before it is given up.")
    ] = 30.0,
) -> None:
    """Answer requests for a model over HTTP; `/` is a page to play with it."""
    from keras_cvae.serve import Limits, check_installed

    check_installed()
    if is_table_run(run):
        from keras_cvae.runs.tables import TableRun

        model: Any = TableRun.open(run).model()
        page = None
    else:
        model = open_model(run)

        def page() -> str | None:
            return _page(model, run.name)

    from keras_cvae.serve import serve as listen

    err.print(f"The requests that there are: http://{host}:{port}/openapi.json")
    limits = Limits(draws=draws, seconds=seconds)
    listen(model, host, port, limits=limits, page=page, name=run.name)


def _page(model: Any, name: str) -> str | None:
    """The page of `cvae studio`; None where a page cannot play the model."""
    from keras_cvae.studio import write_page

    card = model.card.scores if model.card else {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            return write_page(model, Path(folder) / "page.html", name=name, card=card).read_text()
        except ValueError:
            return None
