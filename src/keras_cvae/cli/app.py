"""The command's application, and where it writes."""

from typing import Annotated

import typer
from rich.console import Console

import keras_cvae

app = typer.Typer(
    name="cvae",
    help="Conditional variational autoencoders: train one, then draw what you ask for.\n\n"
    "Start with:  cvae quickstart",
    epilog="KERAS_CVAE_TRACEBACK=1 shows where in the code an error was raised.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


out = Console(highlight=False, markup=False)


err = Console(stderr=True, highlight=False, markup=False)


class UsageError(Exception):
    """Something asked for that cannot be done, in the user's words."""


def _version(asked: bool) -> None:
    if asked:
        print(f"keras-cvae {keras_cvae.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print it and stop."),
    ] = False,
) -> None:
    """Take what stands before the name of a command."""
