"""Command-line flags, from the fields of a configuration."""

import inspect
import types
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from keras_cvae import trained
from keras_cvae.runs.config import RunConfig


def starting(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Complete what was typed with the names that start with it."""

    def complete(start: str) -> list[str]:
        return [name for name in names if name.startswith(start)]

    return complete


RunFolder = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="A run folder, a .keras file, or a model that comes trained: see `cvae presets`.",
        autocompletion=starting(trained.names()),
    ),
]


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


Seed = Annotated[int, typer.Option(min=0, help="Same seed, same pictures.")]


Temperature = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="Spread of the draws: 1 is the model's, 0 its default. Given neither this nor "
        "--guidance, what the run recommends, which is 1 and 1 as a rule.",
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="How strongly the condition shows: 1 is the model's, 2 exaggerates; for runs with "
        "--label-dropout.",
    ),
]


def flags(function: Callable) -> Callable:
    """Give a command one option for every field of `RunConfig`, passed on as `settings`."""
    own = [p for p in inspect.signature(function).parameters.values() if p.name != "settings"]
    flags = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name, field)
        )
        for name, field in RunConfig.model_fields.items()
    ]

    def command(**given: Any) -> Any:
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
        text, metavar, complete = f"{text} One of: {', '.join(names)}.", "name", starting(names)
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


def typed(settings: dict[str, Any]) -> dict[str, Any]:
    """Read widths written as 512,256."""
    typed = dict(settings)
    for name, field in RunConfig.model_fields.items():
        if name in typed and "tuple[int, ...]" in str(field.annotation):
            typed[name] = tuple(part.strip() for part in str(typed[name]).split(","))
    return typed
