"""`cvae serve`."""

from typing import Annotated

import typer

from keras_cvae.cli.app import app, err
from keras_cvae.cli.flags import RunFolder
from keras_cvae.cli.shared import how_to_draw
from keras_cvae.cli.studio import loaded


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
    from keras_cvae.serve import serve as listen

    check_installed()
    with err.status("Loading"):
        name, model, card = loaded(run)

    def page() -> str | None:
        """The page of `cvae studio`; None where a page cannot play the model."""
        from keras_cvae.studio.writing import page_text

        try:
            drawing = how_to_draw(run, None, None, say=False)
            return page_text(model, name=name, card=card, drawing=drawing)
        except ValueError:
            return None

    err.print(f"What may be asked for: http://{host}:{port}/openapi.json")
    limits = Limits(draws=draws, seconds=seconds)
    listen(model, host, port, limits=limits, page=page, name=name)
