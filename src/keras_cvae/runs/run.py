"""Run folders: what is in them, and who may write.

Keras is imported where a model is, so that a folder that is none is refused without a wait.
"""

import contextlib
import os
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

import keras_cvae
from keras_cvae import command, devices, trained
from keras_cvae.data.containers import Data
from keras_cvae.data.sources import NAMED
from keras_cvae.errors import listed, nearest
from keras_cvae.files import leftovers, read_json
from keras_cvae.models.card import located, read_card
from keras_cvae.runs import manifest
from keras_cvae.runs.config import RunConfig, validated
from keras_cvae.runs.position import Position, position_of
from keras_cvae.runs.progress import Progress, progress
from keras_cvae.runs.unfinished import model_so_far

if TYPE_CHECKING:
    from keras_cvae.models.cvae import ConditionalVAE

LOCK = ".lock"
EVALUATED = "evaluation/metrics.json"


class RunError(ValueError):
    """A run folder that is missing, in the way, incomplete or not a run's."""


@dataclass(frozen=True)
class Run:
    """A run folder.

    Args:
        folder: Its path.
        source: The data: a name, or an absolute path.
        config: What was computed.
        shared: The model's file, of one that came without its run; then the folder need not exist.
        begun: The epoch after which the learning rate was planned anew, when it got more epochs.
    """

    folder: Path
    source: str
    config: RunConfig
    shared: Path | None = None
    begun: int = 0

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Read a run folder; or the card of a model that comes trained, or that was shared.

        Raises:
            RunError: There is none, or it is damaged.
        """
        if is_table_run(folder):
            raise RunError(
                f"'{folder}' is a run on a table or a model of one, without pictures. Expected one "
                "of its commands: generate, complete, evaluate, plot, info, studio, serve."
            )
        if trained.path(str(folder)):
            return cls._of_card(located(str(folder)))
        folder = Path(folder)
        if not (folder / "run.json").is_file():
            if folder.suffix == ".keras" or (folder / "model.keras").is_file():
                return cls._of_card(located(folder))
            if _is_empty(folder) and any(folder.iterdir()):
                raise RunError(
                    f"The run '{folder}' was stopped as it began, and holds nothing yet. Start it "
                    "again without --resume."
                )
            what = "is not a run folder" if folder.exists() else "does not exist"
            raise RunError(
                f"'{folder}' {what}. Expected a folder that `cvae train` or `cvae quickstart` made"
                f"{_or_trained()}.{nearest(folder, trained.names())}"
            )
        try:
            about = manifest.read(folder)
        except ValueError as error:  # which names the file
            raise RunError(str(error)) from error
        try:
            config, begun = validated(about["config"]), int(about.get("begun", 0))
            return cls(folder, about["data"], config, begun=begun)
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"'{folder / 'run.json'}' is damaged: {error}") from error

    @classmethod
    def _of_card(cls, path: Path) -> "Run":
        """A model with a card as a run: what is made of it goes to `runs/NAME-trained`."""
        card = read_card(path) if zipfile.is_zipfile(path) else None
        if card is None or not card.source:
            raise RunError(
                f"'{path}' does not say which data and settings it was trained with. Expected a "
                "run folder, or a model whose card has `source` and `settings`."
            )
        folder = Path("runs") / f"{card.name}-trained"
        return cls(folder, card.source, validated(card.settings), path)

    @property
    def model_path(self) -> Path:
        """The trained model."""
        return self.shared or self.folder / "model.keras"

    @property
    def checkpoint(self) -> Path:
        """The last saved state of a run that is not complete."""
        return self.folder / "checkpoint.keras"

    @property
    def best(self) -> Path:
        """The best state so far of a run with patience that is not complete."""
        return self.folder / "best.keras"

    @property
    def start_command(self) -> str:
        """What to type to train in its folder."""
        return command.line("train", self.source, "--out", self.folder, *_processes())

    @property
    def resume_command(self) -> str:
        """What to type to go on with it."""
        return command.line("train", self.source, "--out", self.folder, "--resume", *_processes())

    @property
    def complete(self) -> bool:
        """Whether training came to its end; that of more epochs too, if it got some."""
        return self.model_path.is_file() and not (self.shared is None and self.checkpoint.is_file())

    def model(self, **how: Any) -> "ConditionalVAE":
        """Load the trained model; of a run that is not complete, what it has learned so far.

        Args:
            **how: `trusted` and `custom_objects`, as `keras_cvae.load` takes them.

        Raises:
            RunError: The run is not complete, and has saved nothing yet.
            ValueError: The model's file is damaged.

        Warns:
            UserWarning: The run is not complete, and how to go on with it.
        """
        from keras_cvae.models.io import load

        if not self.complete:
            with contextlib.suppress(FileNotFoundError):
                return model_so_far(self, **how)
        if not self.complete:  # nor has another process ended its training meanwhile
            raise RunError(
                f"The run '{self.folder}' has saved nothing yet that could be looked at. Continue "
                f"it with: {self.resume_command}"
            )
        if not self.shared:
            manifest.check(self.folder, "model.keras")
        return load(self.model_path, **how)

    def data(self, progress: Callable | None = None) -> Data:
        """Load the data again, split as in training.

        Raises:
            RunError: They are where they were no longer.
        """
        from keras_cvae.runs.build import load_data

        if self.source not in NAMED and not Path(self.source).exists():
            raise RunError(
                f"The data of the run '{self.folder}' are gone: there is no '{self.source}'. Give "
                f"them where they are now: {command.line('evaluate', self.folder)} DATA, or "
                f"{command.line('plot', self.folder)} DATA. Draws, and the history, need none."
            )
        return load_data(self.source, self.config, progress)

    def evaluation(self) -> dict[str, Any]:
        """What `cvae evaluate` measured last, or nothing; nothing of a run that is not complete."""
        return read_json(self.folder / EVALUATED) if self.complete else {}

    def history(self) -> dict[str, list[float]]:
        """Metrics by name, one value an epoch."""
        return self._kept("history.json", lambda position: position.history)

    def progress(self) -> Progress:
        """Whether the training still improved when it ended."""
        metrics = self.metrics()
        planned = self.config.epochs or metrics["epochs"]
        decays = self.config.schedule == "cosine" and self.begun < planned
        return progress(self.history(), planned, metrics.get("best_epoch"), decays)

    def metrics(self) -> dict[str, Any]:
        """What the last epoch measured."""
        return self._kept("metrics.json", Position.metrics)

    def _kept(self, name: str, within: Callable[[Position], dict[str, Any]]) -> dict[str, Any]:
        """What a file for readers holds; where it is damaged, what the model's file says."""
        try:
            manifest.check(self.folder, name)
            return read_json(self.folder / name)
        except ValueError as error:
            path = self.model_path if self.complete else self.checkpoint
            warnings.warn(f"{error} What '{path.name}' says is taken instead.", stacklevel=3)
            return within(position_of(path))


def _processes() -> list[object]:
    return ["--processes", devices.count()] if devices.count() > 1 else []


def is_table_run(what: str | Path) -> bool:
    """Whether this is a run on a table, or a model of one that comes trained or was shared."""
    path = trained.path(str(what)) or Path(what)
    if path.suffix == ".cvae":
        return path.is_file()
    about = path / "run.json"
    try:
        return "table" in read_json(about) if about.is_file() else (path / "table.cvae").is_file()
    except ValueError:
        return False


def _or_trained() -> str:
    names = trained.names()
    return f", or one of {listed(names)}" if names else ""


def default_folder(data: str | Path | Data, config: RunConfig | str | None = None) -> Path:
    """The run folder where none is given."""
    name = data.name if isinstance(data, Data) else Path(data).stem
    label = config if isinstance(config, str) else "run"
    return Path("runs") / f"{name or 'data'}-{label}"


def check_folder(folder: Path, overwrite: bool = False) -> None:
    """Refuse a run folder that exists or cannot be written, before anything expensive.

    Raises:
        RunError: Saying what to do instead.
    """
    if folder.exists():
        is_run = (folder / "run.json").is_file()
        if not _is_empty(folder) and not (overwrite and is_run):
            raise RunError(
                f"'{folder}' exists already. Use --resume to continue it, --overwrite to replace "
                "it, or another --out."
                if is_run
                else f"'{folder}' exists and is not a run folder; nothing was touched. Choose "
                "another --out."
            )
    path = folder.absolute()
    parent = next(p for p in (path, *path.parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise RunError(f"Cannot write to '{parent}'. Choose another --out.")


def _is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but what a run leaves that is killed as it begins."""
    ours = {folder / LOCK, *leftovers(folder / "run.json")}
    return folder.is_dir() and ours.issuperset(folder.iterdir())


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder, which is made."""
    lock = filelock.FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise RunError(
            f"Another process is training in '{folder}'. Wait until it is done, or choose another "
            "--out."
        ) from None
    except OSError as error:
        raise RunError(f"Cannot write to '{folder}': {error.strerror}.") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows keeps what is open
            (folder / LOCK).unlink()
        lock.release()


def absolute(source: str | Path) -> str:
    """The name of a data set, or the absolute path of a file or folder."""
    path = Path(source).expanduser()
    return str(path.absolute()) if source not in NAMED and path.exists() else str(source)


def create(run: Run, keep: bool) -> None:
    """Write `run.json`; without `keep` what an earlier run left goes, other files stay."""
    names = ("run.json", "history.json", "metrics.json", "checkpoint.keras", "best.keras")
    gone = [path for name in names for path in leftovers(run.folder / name)]
    if not keep:
        earlier = (
            "model.keras",
            "checkpoint.keras",
            "best.keras",
            "history.json",
            "metrics.json",
            "typical.json",
            "pictures",
        )
        gone += [path for name in earlier if (path := run.folder / name).exists()]
    try:
        for path in gone:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise RunError(f"Cannot write to '{run.folder}': {error.strerror}.") from error
    import keras

    about = {
        "data": run.source,
        "config": run.config.model_dump(),
        "keras_cvae": keras_cvae.__version__,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
    }
    about |= {"begun": run.begun} if run.begun else {}
    manifest.write(run.folder, about)


def seal(run: Run) -> None:
    """Write the hashes of what a complete run consists of into `run.json`."""
    about = manifest.read(run.folder)
    manifest.write(run.folder, about, ("model.keras", "history.json", "metrics.json"))
