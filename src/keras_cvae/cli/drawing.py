"""What `cvae generate` draws: shown, or written as it comes, in the memory of a part."""

import contextlib
import importlib.util
import itertools
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_cvae import command, devices
from keras_cvae.cli.app import UsageError, err, out
from keras_cvae.cli.conditions import as_numbers
from keras_cvae.cli.shared import (
    PRINTED,
    check_output,
    images_only,
    progress_bar,
    show,
    show_numbers,
)
from keras_cvae.cli.signals import ended_by, stopped_by_signals
from keras_cvae.data.drawn import ABOUT, KINDS, Feed, Folder, Labels, write
from keras_cvae.errors import counted, to_install

if TYPE_CHECKING:
    from keras_cvae.inference.draws import Draws

PART = 2**24  # values that are drawn before any are written
SHEET = 10_000  # pictures of one sheet
SHOWN = 400  # pictures that are printed


@dataclass(frozen=True)
class Asked:
    """Draws of a model, n for each condition, and the names of these.

    Args:
        model: What draws.
        draws: In turn.
        labels: Of all rows.
        options: What they depend on beside the model and the conditions.
    """

    model: Any
    draws: "list[Draws]"
    labels: Labels
    options: dict[str, Any]

    @classmethod
    def of(
        cls, model: Any, conditions: tuple[list[Any], list[str]], n: int, **options: Any
    ) -> "Asked":
        """Check all that is asked for, before anything is drawn.

        Args:
            model: What draws.
            conditions: These, and their names. Each has the same noise.
            n: How many for each.
            **options: Of `ConditionalVAE.draws`.
        """
        given, names = conditions
        if model.condition.spec.classes and given == names and len(set(names)) == len(names) > 1:
            given = [names]  # classes by name, all in one
        draws = [model.draws(one, n, alike=True, **options) for one in given]
        values = as_numbers(model.condition.spec, conditions[0])
        return cls(model, draws, Labels(names, n, values), options)

    @property
    def total(self) -> int:
        """How many draws there are."""
        return len(self.labels)

    @property
    def at_once(self) -> int:
        """How many are drawn before any are written."""
        return max(1, PART // math.prod(self.model.x_shape))

    def parts(self, start: int = 0, most: int | None = None) -> Iterator[Any]:
        """Yield the draws from a row on, as arrays of at most so many."""
        rows = most or self.at_once
        for draws in self.draws:
            if start < len(draws):
                for part in draws.parts(rows, start):
                    yield check_finite(part, **self.options)
            start = max(0, start - len(draws))

    def shown(self, received: list[int], start: int = 0, stop: int | None = None) -> Iterator[Any]:
        """Yield the draws from a row on, as long as those before `stop` are taken; show how far
        that is, and end after a signal whose exception was lost."""
        rows = (self.total if stop is None else stop) - start
        parts = self.parts(start, math.ceil(rows / math.ceil(rows / self.at_once)))
        first = next(parts)
        whole = math.ceil(rows / len(first))
        for part in progress_bar(itertools.chain([first], parts), whole, "Drawing"):
            yield part
            if received:
                raise KeyboardInterrupt


def check_asked(
    output: Path | None, shard_rows: int | None, overwrite: bool, as_json: bool
) -> None:
    """Refuse an output that cannot be, before a model is loaded for it."""
    if output is None:
        if as_json:
            raise UsageError("--json says which files were written. Expected -o FILE with it.")
        if shard_rows is not None:
            raise UsageError("--shard-rows is for files. Expected -o FOLDER with it.")
        return
    if shard_rows is not None and output.is_file():
        raise UsageError(f"'{output}' is a file. Expected the name of a folder with --shard-rows.")
    going_on = shard_rows is not None and (output / ABOUT).is_file()
    kinds = (".npz", ".parquet", "") if shard_rows is not None else (".png", *KINDS, "")
    check_output(output, kinds, overwrite or going_on)
    if output.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UsageError(f"Parquet needs pyarrow: {to_install('tables')}")


def check_finite(x: Any, guidance: float = 1.0, temperature: float = 1.0, **_: Any) -> Any:
    """Return draws x as they are; refuse what guidance or temperature drove out of all numbers."""
    import numpy as np

    how = {"guidance": guidance, "temperature": temperature}
    extreme = [f"--{name} {value:g}" for name, value in how.items() if value > 1]
    if extreme and not np.isfinite(x).all():
        raise UsageError(
            f"With {' and '.join(extreme)} draws are no longer finite numbers. Expected less: 1 is "
            "the model's own."
        )
    return x


def of_pictures(output: Path, shard_rows: int | None) -> bool:
    """Whether what is written are pictures."""
    return shard_rows is None and output.suffix.lower() not in KINDS


def show_draws(asked: Asked) -> None:
    """Print draws: pictures, condition by condition, or numbers."""
    model, labels = asked.model, asked.labels
    if len(model.x_shape) < 3:
        import numpy as np

        few = min(asked.total, PRINTED)
        x = np.concatenate([*Feed(asked.parts(most=few)).take(few)])
        show_numbers(x, labels.rows(0, few), asked.total)
        return
    images_only(model, "Use -o FILE.npz to save it.")
    most = min(asked.total, SHOWN)
    feed = Feed(asked.parts(most=max(1, min(labels.n, SHOWN))))
    for start in range(0, most, labels.n):
        name = labels.names[start // labels.n]
        out.print(f"{name}:" if name else "")
        for images in feed.take(min(labels.n, most - start)):
            show(images)
    if most < asked.total:
        out.print(f"... {counted(asked.total - most, 'more draw')}: -o FILE.npz writes all.")


def write_file(asked: Asked, output: Path) -> list[Path]:
    """Write draws to one file of numbers, one sheet, or a folder of pictures.

    Returns:
        The files.
    """
    if output.suffix and output.suffix.lower() not in KINDS and asked.total > SHEET:
        raise UsageError(
            f"A sheet of {asked.total} pictures is too large to look at. Expected at most "
            f"{SHEET}, or -o FOLDER or FILE.npz."
        )
    again = f"To begin again:\n{command.line(*sys.argv[1:])}"
    with _stopped(lambda: f"Nothing was written. {again}" if output.suffix else "") as received:
        parts = asked.shown(received)
        if devices.index():
            for _ in parts:
                pass
        elif not output.suffix:
            return _write_pictures(asked, parts, output)
        elif output.suffix.lower() in KINDS:
            write(output, Feed(parts), asked.labels, 0, asked.total)
        else:
            _write_sheet(asked, parts, output)
    return [output]


def _write_sheet(asked: Asked, parts: Iterator[Any], output: Path) -> None:
    import numpy as np

    from keras_cvae.figures import sheets, writing

    x, n = np.concatenate([*parts]), asked.labels.n
    if len(x) == n:
        writing.save_tiles(x, output)
        return
    rows = x.reshape(-1, n, *x.shape[1:])
    writing.save(sheets.image_grid(rows, row_labels=list(asked.labels.names)), output)


def _write_pictures(asked: Asked, parts: Iterator[Any], output: Path) -> list[Path]:
    from keras_cvae.figures import writing

    output.mkdir(exist_ok=True)
    paths: list[Path] = []
    counts: Counter[str] = Counter()
    for x in parts:
        labels = asked.labels.rows(len(paths), len(paths) + len(x))
        for label, image in zip(labels, x, strict=True):
            name = "".join(c if c.isalnum() or c in "-.," else "_" for c in str(label)) or "drawn"
            paths.append(output / f"{name}-{counts[name]:04d}.png")
            counts[name] += 1
            writing.save_image(image, paths[-1])
    return paths


def write_folder(asked: Asked, output: Path, rows: int, overwrite: bool) -> list[Path]:
    """Write draws to a folder of files of so many rows each, or go on with that.

    Processes that have joined each write their share of the files.

    Returns:
        The files.
    """
    from keras_cvae.exports.graphs import weights_hash

    about = {
        "weights": weights_hash(asked.model),
        "conditions": list(asked.labels.names),
        "n": asked.labels.n,
        **asked.options,
    }
    folder = Folder(output, output.suffix.lower() or ".npz", rows, asked.total, about)
    if devices.index() == 0:
        folder.begin(overwrite)
    devices.exchanged([0])  # it is there for all
    missing, files = folder.missing(), counted(len(folder), "file")
    devices.exchanged([0])  # and nobody has begun
    if not missing:
        err.print(f"'{output}' holds all {asked.total} draws already.", soft_wrap=True)
        return folder.files()
    if len(missing) < len(folder):
        err.print(f"{len(folder) - len(missing)} of {files} are there already.")

    def said() -> str:
        there = len(folder) - len(folder.missing())
        return f"{there} of {files} are whole. Continue with:\n{command.line(*sys.argv[1:])}"

    with _stopped(said) as received:
        for first, stop in _runs(_own(missing)):
            start, end = first * rows, min(stop * rows, asked.total)
            folder.write(asked.shown(received, start, end), asked.labels, first, stop)
    return folder.files()


def _own(files: list[int]) -> list[int]:
    """Those of some files that this process writes, one after the other."""
    index, among = devices.index(), devices.count()
    return files[len(files) * index // among : len(files) * (index + 1) // among]


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """The numbers in ranges: where each starts, and where it stops."""
    for _, some in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in some]
        yield run[0], run[-1] + 1


@contextlib.contextmanager
def _stopped(say: Callable[[], str]) -> Iterator[list[int]]:
    """End the command on a signal, and say what is left; yields the signals that came."""
    with stopped_by_signals() as received:
        try:
            yield received
        except KeyboardInterrupt:
            err.print(f"\nStopped. {say()}".rstrip(), soft_wrap=True)
            raise ended_by(received) from None
