"""`--processes`: a command that runs in several processes at once."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from keras_cvae import devices
from keras_cvae.backend import import_light_keras
from keras_cvae.cli.app import UsageError, err, out
from keras_cvae.runs import processes as many
from keras_cvae.runs.run import Run, RunError

Processes = Annotated[
    int,
    typer.Option(
        min=1,
        help="Share the work among so many processes: started here, or by srun, mpirun or "
        "Kubernetes. The result is that of one.",
    ),
]


def together(
    processes: int,
    folder: Path | None = None,
    *,
    signals: many.Hears = "first",
    on: str = "",
) -> None:
    """Make this process one of so many: join those that there are, or run the command in as many.

    Args:
        processes: How many.
        folder: The run folder, of a training that can go on.
        signals: As `spawn` takes it.
        on: How to go on where one ends before its time, if it is no training.
    """
    if processes == 1:
        return
    if many.in_job(processes):
        _join(processes)
        return
    try:
        raise typer.Exit(many.spawn(_command(), processes, signals))
    except many.EndedError as ended:
        raise UsageError(f"{ended}{on or _to_go_on(folder, processes)}") from ended


def _join(processes: int) -> None:
    """Join the others; only the first process speaks."""
    if many.watched():
        many.follow()
    import_light_keras()
    try:
        many.join(processes)
    except RuntimeError as error:
        if many.watched() and "in use" in str(error).lower():
            raise typer.Exit(many.AGAIN) from None
        raise UsageError(
            f"The processes do not find each other: {str(error).splitlines()[0]}"
        ) from error
    if devices.index():
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  till this process ends
        out.quiet = err.quiet = True


def _command() -> list[str]:
    """This very command, for another process."""
    program, *words = sys.argv
    if Path(program).name == "__main__.py":
        return [sys.executable, "-m", "keras_cvae", *words]
    script = Path(program)
    by_python = script.is_file() and script.suffix in ("", ".py")
    return [sys.executable, *([program] if by_python else ["-m", "keras_cvae_command"]), *words]


def first_alone() -> None:
    """Go on in the first process, once all have come here; the others end."""
    index = devices.index()
    devices.leave()
    if index:
        raise typer.Exit


@contextlib.contextmanager
def written_by_the_first(folder: Path | None) -> Iterator[Path | None]:
    """The folder, for the first process; for any other one of its own, which goes."""
    if devices.index() == 0:
        yield folder
        return
    with tempfile.TemporaryDirectory() as own:
        yield Path(own) / "run"


def end_without_the_others(error: BaseException, folder: Path | None = None) -> NoReturn:
    """End at once, as no step can be made any more: waiting for the others would take long."""
    if not many.watched():
        index, count = devices.index(), devices.count()
        err.quiet = False
        err.print(
            f"Error: Process {index} of {count} (counted from 0) has lost the others: "
            f"{str(error).splitlines()[0]}{_to_go_on(folder, count)}",
            soft_wrap=True,
        )
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(many.LOST)


def _to_go_on(folder: Path | None, processes: int) -> str:
    """How to go on with a training, if anything of it is saved."""
    try:
        run = Run.open(folder) if folder else None
    except RunError:
        return ""
    if run is None or not run.checkpoint.is_file():
        return "" if run is None else "\nNothing was saved yet."
    more = "" if devices.count() > 1 else f" --processes {processes}"  # else they are in it
    return f"\nContinue with:\n{run.resume_command}{more}"
