"""What the commands share."""

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.progress import track
from rich.table import Table
from rich.text import Text

from keras_cvae import command, trained
from keras_cvae.backend import import_light_keras
from keras_cvae.cli.app import UsageError, err, out
from keras_cvae.cli.conditions import read, written
from keras_cvae.errors import counted
from keras_cvae.files import atomic
from keras_cvae.runs.run import Run, RunError, is_table_run

LISTED = 100  # facts of one kind that are printed
PRINTED = 20  # rows of numbers that are printed
FAR = 20.0  # guidance that is said to be beyond what is of use


def open_run(folder: Path) -> Run:
    """Open a run folder, and import Keras if it is one: what follows needs it."""
    run = Run.open(folder)
    import_light_keras()
    return run


def open_model(what: Path) -> Any:
    """Load the model of a run, one in a file, or one that comes trained."""
    if is_table_run(what):
        return open_run(what)  # which says that it is one
    if trained.path(str(what)) or (what.suffix == ".keras" and what.is_file()):
        import_light_keras()
        from keras_cvae.models.io import load

        return load(str(what))
    if not (what / "run.json").is_file() and (what / "model.keras").is_file():
        return open_model(what / "model.keras")
    return open_run(what).model()


def how_to_draw(
    what: Path, temperature: float | None, guidance: float | None, say: bool = True
) -> dict[str, Any]:
    """Temperature and guidance as they are asked for; if neither is, as the run recommends.

    One of them alone leaves the other at 1, the model's own. `say`: print what is recommended.
    """
    if guidance is not None and guidance > FAR:
        warn(
            f"--guidance {guidance:g} goes far beyond what is of use, 1 to 5 as a rule: draws show "
            "little but what tells conditions apart."
        )
    if temperature is not None or guidance is not None:
        one = {"temperature": temperature, "guidance": guidance}
        return {name: 1.0 if value is None else value for name, value in one.items()}
    try:
        found = Run.open(what).config.drawing
    except RunError:  # a model that came alone
        return {"temperature": 1.0, "guidance": 1.0}
    own = [f"{name} {value:g}" for name, value in found.items() if value != 1]
    if own and say:
        plain = " ".join(f"--{name} 1" for name, value in found.items() if value != 1)
        err.print(
            f"Drawn with {' and '.join(own)}, as this run recommends; {plain} draws from p(x|y).",
            soft_wrap=True,
        )
    return found


def open_or_none(what: Path) -> Run | None:
    """A run folder's run; None for a model that came without its run."""
    return Run.open(what) if (what / "run.json").is_file() else None


def progress_bar(items: Iterable, total: int | None = None, description: str = "") -> Iterator:
    """Show a bar on standard error while the items are gone through."""
    return iter(
        track(items, total=total, description=description, console=err, transient=True)
        if err.is_terminal
        else items
    )


def read_conditions(model: Any, given: list[str] | None) -> tuple[list[Any], list[str]]:
    """Read the conditions given as text; return them with their names for captions."""
    spec = model.condition.spec
    if given:
        return [read(spec, text) for text in given], given
    if spec.classes:
        return list(spec.classes.names), list(spec.classes.names)
    if not model.condition.width:
        return [None], [""]
    if model.condition.knows_part:
        raise UsageError("This run completes pictures: cvae complete RUN IMAGE.")
    raise UsageError(
        f"This run is conditioned on {spec.summary()}. Say which with --condition"
        f" {written(model.condition.example())}."
    )


def check_output(path: Path, suffixes: tuple[str, ...], overwrite: bool) -> None:
    """Refuse an output file of an unknown kind, or one that exists."""
    if path.suffix.lower() not in suffixes:
        kinds = ", ".join(s or "a folder" for s in suffixes)
        raise UsageError(f"Cannot write '{path}'. Expected {kinds}.")
    if path.exists() and not overwrite and not (path.is_dir() and not any(path.iterdir())):
        raise UsageError(f"'{path}' exists already. Choose another name, or --overwrite.")
    parent = path if path.is_dir() else path.absolute().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UsageError(f"Cannot write '{path}': the folder '{parent}' is missing or protected.")


def check_image(path: Path) -> None:
    """Refuse a picture that is not there or is none, before a model is loaded for it."""
    from keras_cvae.data.images import UnreadableError, opened

    if not path.is_file():
        raise UsageError(f"There is no image '{path}'.")
    try:
        with opened(path) as image:
            image.verify()
    except Exception as error:  # PIL's parsers raise all sorts of things
        raise UnreadableError(path, error, lambda: path.open("rb")) from error


def write_arrays(path: Path, **arrays: Any) -> None:
    """Write an `.npz` file."""
    import numpy as np

    with atomic(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def show_numbers(x: Any, labels: Any, total: int | None = None) -> None:
    """Print draws as a table: the first of them, and the values that fit.

    Args:
        x: Draws, at least the first.
        labels: The condition of each.
        total: How many draws there are, if these are not all.
    """
    values = x.reshape(len(x), -1)
    columns = max(1, min(values.shape[1], (out.width - 14) // 14))
    table = Table(box=None, padding=(0, 2))
    table.add_column("condition" if any(labels) else "")
    for i in range(columns):
        table.add_column(f"x{i + 1}", justify="right")
    for label, row in zip(labels[:PRINTED], values[:PRINTED, :columns].tolist(), strict=True):
        table.add_row(str(label), *(f"{value:.4g}" for value in row))
    out.print(table)
    more = (len(x) if total is None else total) - PRINTED
    rest = [counted(more, "more draw")] * (more > 0)
    rest += [counted(values.shape[1] - columns, "more value")] * (values.shape[1] > columns)
    if rest:
        out.print(f"... {' and '.join(rest)}: -o FILE.csv writes all.")


def images_only(model: Any, instead: str) -> None:
    """Refuse a model whose x are no pictures."""
    if len(model.x_shape) != 3 or model.x_shape[-1] not in (1, 3):
        raise UsageError(f"x has the shape {model.x_shape}, which is no picture. {instead}")


def show(images: Any, labels: list[str] | None = None) -> None:
    """Print images to the terminal, where it is one."""
    from keras_cvae.figures import terminal

    color = out.is_terminal and "NO_COLOR" not in os.environ
    width = max(16, min(2 * images.shape[2], 28))
    fit = max(1, out.width // (width + 2))
    for start in range(0, len(images), fit):
        row = slice(start, start + fit)
        print(
            terminal.terminal_row(
                images[row], labels=labels and labels[row], width=width, color=color
            )
        )


def summarise(run: Any) -> None:
    """Print what a run came to."""
    m, config = run.metrics(), run.config
    held, name = ("val_", "Validation") if "val_loss" in m else ("", "Training")
    loss, parts = m[held + "loss"], (m[held + "reconstruction"], m[held + "kl"])
    bound = "−ELBO" if config.objective == "elbo" else f"−{config.objective.upper()}"
    out.print(
        f"Trained {counted(m['epochs'], 'epoch')} in {m['seconds']:.0f} s. {name}: loss ({bound}, "
        f"lower is better) {loss:.2f} nats (reconstruction {parts[0]:.2f}, KL {parts[1]:.2f}). The "
        f"run is in {run.folder}",
        soft_wrap=True,
    )
    if m[held + "loss"] < 0:
        out.print(
            "It is below 0 because x has a density, which may be above 1; lower is better still.",
            soft_wrap=True,
        )
    ahead = run.progress()
    out.print(str(ahead), soft_wrap=True)
    if ahead.improving:
        longer = f"{run.resume_command} --epochs {max(2 * m['epochs'], 20)}"
        out.print(Text.assemble("  go on with it          ", (longer, "cyan")), soft_wrap=True)


def say_next(*commands: tuple[Any, ...]) -> None:
    """Print what may be typed next: a purpose each, and a whole line or the words of one."""
    out.print("\nNext:")
    for what, *words in commands:
        line = words[0] if len(words) == 1 else command.line(*words)
        out.print(Text.assemble(f"  {what:<22} ", (line, "cyan")), soft_wrap=True)


def unused(folder: Path) -> Path:
    """The folder, or the first of its name with a number that does not exist."""
    candidates = (folder, *(folder.with_name(f"{folder.name}-{i}") for i in range(2, 10_000)))
    return next(path for path in candidates if not path.exists())


def show_facts(about: dict[str, Any]) -> None:
    """Print facts, one a row, but for those of which there is nothing."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in about.items():
        if value not in (None, False, [], {}):
            table.add_row(name.replace("_", " "), in_words(value))
    out.print(table)


def in_words(value: Any) -> str:
    """Write nested facts in one line; of many alike, such as classes, the first."""
    if isinstance(value, dict):
        there = {k: v for k, v in value.items() if v is not None}
        if any(isinstance(part, dict) for part in there.values()):
            return "; ".join(f"{k}: {in_words(v)}" for k, v in there.items())
        return _listed("  ", [f"{k}={in_words(v)}" for k, v in _first(there.items())], len(there))
    if value is True:
        return "yes"
    if isinstance(value, list | tuple):
        return _listed(", ", [*map(in_words, _first(value))], len(value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _first(values: Iterable[Any]) -> list[Any]:
    return list(itertools.islice(values, LISTED))


def _listed(separator: str, first: list[str], count: int) -> str:
    more = [f"... ({count:,} in all)"] if count > len(first) else []
    return separator.join([*first, *more])


def warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """Say what Python would say with a line of code; of letters without a font once."""
    text = str(message)
    if text.startswith("Glyph ") and "missing" in text:
        if _LACKING in _said:
            return
        _said.add(text := _LACKING)
    err.print(Text.assemble(("Warning: ", "bold yellow"), text), soft_wrap=True)


_LACKING = (
    "The fonts that are installed lack some letters of the names here, which are drawn as boxes. "
    "Install one that has them, such as Noto Sans CJK."
)
_said: set[str] = set()
