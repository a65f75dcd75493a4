"""`cvae export`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from keras_cvae.cli.app import UsageError, app, err, out
from keras_cvae.cli.flags import AsJson, Overwrite, RunFolder, starting
from keras_cvae.cli.shared import open_model
from keras_cvae.errors import counted
from keras_cvae.runs.run import is_table_run

GRAPHS = ("generate", "sample", "encoder", "prior", "decoder", "style")


@app.command()
def export(
    run: RunFolder,
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            help="A file .onnx, which holds one graph; or a folder for all of them, which a "
            "SavedModel is anyhow.",
        ),
    ],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="onnx, or tf for a SavedModel of TensorFlow.",
            autocompletion=starting(("onnx", "tf")),
        ),
    ] = "onnx",
    graph: Annotated[
        str | None,
        typer.Option(
            help=f"One of {', '.join(GRAPHS)}. Default: generate in a file, all in a folder.",
            autocompletion=starting(GRAPHS),
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write a model as files that run without Keras, compared with Keras before they are there."""
    if is_table_run(run):
        raise UsageError(
            f"'{run}' is a model of a table, whose rows are drawn column by column and decoded by "
            "its schema; there is no form for that in ONNX or TensorFlow."
        )
    model = open_model(run)

    import keras_cvae

    err.print("Converting, and comparing with Keras ...")
    made = keras_cvae.export(model, output, form, graph=graph, overwrite=overwrite)
    if as_json:
        files = [str(path) for path in made.files]
        about = {"files": files, "graphs": made.graphs, "greatest_difference": made.difference}
        print(json.dumps(about))
        return
    size = sum(
        part.stat().st_size
        for path in made.files
        for part in (path.rglob("*") if path.is_dir() else [path])
    )
    out.print(
        f"{', '.join(made.graphs)}: {counted(len(made.files), 'file')}, {size / 1e6:.1f} MB, "
        f"written to {output}; at most {made.difference:.1e} from Keras.",
        soft_wrap=True,
    )
