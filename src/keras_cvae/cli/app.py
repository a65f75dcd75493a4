"""The command's application, and where it writes."""

import typer
from rich.console import Console

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


class UsageError(Exception):
    """Something asked for that cannot be done, in the user's words."""
