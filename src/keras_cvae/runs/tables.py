"""Runs on tables: a file in, a run folder with a trained `TableCVAE`.

A run folder holds

    run.json            the file's path, the configuration, versions; written first
    schema.toml         what the columns are
    history.json        metrics of every epoch
    table.cvae          the trained model; its presence means that the run is complete
    metrics.json        the last epoch's metrics and the time it took
    evaluation/         what `cvae evaluate` measured
    pictures/           what `cvae plot` draws
"""

from __future__ import annotations

import time
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

import keras_cvae
from keras_cvae import trained
from keras_cvae.data.kinds import PARQUET, suffix
from keras_cvae.data.tables.columns import Category, Missing
from keras_cvae.data.tables.files import parquet_rows, read
from keras_cvae.data.tables.parquet import ParquetRows, infer_schema
from keras_cvae.data.tables.schema import Schema
from keras_cvae.errors import DataError
from keras_cvae.files import atomic, parsed, read_json, write_json
from keras_cvae.models.card import TABLE, Card, located, read_card
from keras_cvae.runs import manifest
from keras_cvae.runs.run import RunError, alone, check_folder, default_folder, is_table_run

if TYPE_CHECKING:
    from keras_cvae.models.tables import TableCVAE

LARGE = 2_000_000  # rows of a Parquet file above which it is read part by part
HELD = 20_000  # rows of such a file that are held out, at most
SAMPLED = 50_000  # and those that stand for the ones that were learned


class TableConfig(BaseModel):
    """How a table is learned: the arguments of `TableCVAE`, and which rows are held out."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    latent_dim: int = Field(default=0, ge=0)
    hidden: int = Field(default=512, ge=1)
    layers: int = Field(default=3, ge=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    epochs: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=512, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    missing: Missing = "state"
    validation: float = Field(default=0.1, ge=0, lt=1)
    seed: int = Field(default=0, ge=0)

    def model_arguments(self) -> dict[str, Any]:
        """What `TableCVAE` takes."""
        return self.model_dump(exclude={"validation"})


@dataclass(frozen=True)
class TableRun:
    """A run folder of a table.

    Args:
        folder: Its path.
        source: The absolute path of the table's file.
        config: How it is learned.
        shared: The model's file, of one that came without its run; then the folder need not exist.
    """

    folder: Path
    source: str
    config: TableConfig
    shared: Path | None = None

    @classmethod
    def open(cls, folder: str | Path) -> TableRun:
        """Read a run folder; or the card of a model that comes trained, or that was shared.

        Raises:
            RunError: There is none of a table, or it is damaged.
        """
        if not is_table_run(folder):
            raise RunError(f"'{folder}' is no run on a table. Expected one: cvae train FILE.csv")
        if trained.path(str(folder)) or not (Path(folder) / "run.json").is_file():
            path = located(str(folder))
            card = read_card(path) or Card(name=path.stem)
            config = TableConfig.model_validate(card.settings)
            return cls(Path("runs") / f"{card.name}-trained", card.source, config, path)
        folder = Path(folder)
        about = manifest.read(folder)
        try:
            return cls(folder, about["data"], TableConfig.model_validate(about["table"]))
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"'{folder / 'run.json'}' is damaged: {error}") from error

    @property
    def model_path(self) -> Path:
        """The trained model."""
        return self.shared or self.folder / "table.cvae"

    @property
    def complete(self) -> bool:
        """Whether training came to its end."""
        return self.model_path.is_file()

    def model(self) -> TableCVAE:
        """Load the trained model.

        Raises:
            RunError: Training did not come to its end.
        """
        if not self.complete:
            raise RunError(
                f"The run '{self.folder}' has not finished training. Train it again: cvae train "
                f"{self.source} --out {self.folder} --overwrite"
            )
        from keras_cvae.models.tables import TableCVAE

        if not self.shared:
            manifest.check(self.folder, "table.cvae")
        return TableCVAE.load(self.model_path)

    def schema(self) -> Schema:
        """What the columns are, read without Keras."""
        if self.shared is None:
            manifest.check(self.folder, "schema.toml")
            return Schema.read(self.folder / "schema.toml")
        with zipfile.ZipFile(self.shared) as file:
            return Schema.model_validate(parsed(file.read(TABLE))["codec"]["schema"])

    def rows(self, table: str | Path | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Read the table again: the rows that were learned, and those that were held out.

        Of a file that is larger than memory, some of those that were learned.

        Args:
            table: The file that a shared model learned, which does not come with it. Of a run:
                other rows, which take the place of those that were held out.

        Raises:
            RunError: The rows are not there.
        """
        if table is not None and self.shared is None:
            return self.rows()[0], read(table, self.schema().text)
        if self.shared is not None:
            if table is None:
                raise RunError(
                    f"The model '{self.shared.stem}' comes without the rows that it learned. "
                    "Expected their file too, or a run: cvae train FILE.csv"
                )
            return held_out(read(table, self.schema().text), self.config, self.schema())
        if (file := large(self.source, self.config)) is not None:
            return file.sample(SAMPLED), file.held()
        return held_out(read(self.source, self.schema().text), self.config, self.schema())

    def metrics(self) -> dict[str, Any]:
        """What the last epoch measured."""
        return read_json(self.folder / "metrics.json")

    def history(self) -> dict[str, list[float]]:
        """Metrics by name, one value an epoch."""
        return read_json(self.folder / "history.json")


def large(source: str | Path, config: TableConfig) -> ParquetRows | None:
    """The rows of a Parquet file that is not to be read at once; None for any other."""
    if suffix(source) not in PARQUET or parquet_rows(source) <= LARGE:
        return None
    if not config.validation:
        return ParquetRows(source)
    rows = ParquetRows(source).rows
    return ParquetRows(source, max(round(1 / config.validation), rows // HELD))


def held_out(
    table: pd.DataFrame, config: TableConfig, schema: Schema
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split a table into rows to learn and rows to hold out; the seed chooses them.

    A row with a category that no other row has is learned: of what it never saw, a model can only
    say that it cannot be.
    """
    rows = np.random.default_rng(config.seed).permutation(len(table))
    held = np.zeros(len(table), bool)
    held[rows[: round(config.validation * len(table))]] = True
    for column in schema.learned:
        if isinstance(column, Category):
            values = table[column.name]
            held &= (values.isna() | values.isin(values[~held].unique())).to_numpy(bool)
    return table[~held].reset_index(drop=True), table[held].reset_index(drop=True)


def train(
    source: str | Path,
    config: TableConfig | None = None,
    out: str | Path | None = None,
    *,
    schema: str | Path | None = None,
    overwrite: bool = False,
    callbacks: Sequence[Any] = (),
    verbose: Any = 0,
) -> TableRun:
    """Train a `TableCVAE` on a file into a run folder.

    Args:
        source: The file: CSV, Parquet or Arrow. A large Parquet file may be larger than memory.
        config: How it is learned.
        out: The run folder; by default `runs/<file>-run`.
        schema: A TOML file, as `cvae info` writes it. None infers the schema.
        overwrite: Replace a run that is there.
        callbacks: Keras callbacks.
        verbose: As in Keras' `fit`.

    Returns:
        The complete run.

    Raises:
        RunError: The folder is in the way, or cannot be written.
        DataError: A table or a schema that cannot be used; the message names the column.
    """
    config = config or TableConfig()
    folder = Path(out) if out is not None else default_folder(source)
    check_folder(folder, overwrite)
    learned, held, read_schema = _rows(source, config, schema)
    run = TableRun(folder, str(Path(source).expanduser().absolute()), config)

    import keras

    from keras_cvae.models.tables import TableCVAE

    with alone(folder):
        check_folder(folder, overwrite)  # again: another process may have come first
        for name in ("table.cvae", "history.json", "metrics.json"):
            (folder / name).unlink(missing_ok=True)
        about = {
            "data": run.source,
            "table": config.model_dump(),
            "keras_cvae": keras_cvae.__version__,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
        }
        manifest.write(folder, about)
        with atomic(folder / "schema.toml") as path:
            path.write_text(read_schema.to_toml(), encoding="utf-8")
        recorder, started = _Recorder(folder), time.monotonic()
        model = TableCVAE(**config.model_arguments())
        model.fit(
            learned,
            schema=read_schema,
            validation_data=held if len(held) else None,
            callbacks=[recorder.callback(), *callbacks],
            verbose=verbose,
        )
        last = {name: values[-1] for name, values in recorder.history.items()}
        done = {"epochs": len(recorder.history["loss"]), "seconds": time.monotonic() - started}
        if len(held):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # numbers that were not seen are named already
                done["held_out_nats"] = float(model.log_prob(held).mean())
        rows = learned.rows - len(held) if isinstance(learned, ParquetRows) else len(learned)
        write_json(folder / "metrics.json", last | done | {"rows": rows})
        model.save(run.model_path)
        files = ("table.cvae", "schema.toml", "history.json", "metrics.json")
        manifest.write(folder, about, [name for name in files if (folder / name).is_file()])
    return run


def _rows(
    source: str | Path, config: TableConfig, path: str | Path | None
) -> tuple[pd.DataFrame | ParquetRows, pd.DataFrame, Schema]:
    """The rows to learn, those that are held out, and the schema, which the table fits."""
    given = None if path is None else Schema.read(path).checked()
    if (file := large(source, config)) is not None:
        return file, file.held(), given or infer_schema(file, config.missing)[0]
    table = read(source, given.text if given else ())
    if given is not None:
        given.check(table)
    schema = given or Schema.infer(table, config.missing)
    learned, held = held_out(table, config, schema)
    if len(learned) < 2:
        raise DataError(f"'{source}' has {len(table)} rows. Expected at least two to learn.")
    return learned, held, schema


class _Recorder:
    """Writes the history after every epoch."""

    def __init__(self, folder: Path):
        self.folder, self.history = folder, dict[str, list[float]]()

    def callback(self) -> Any:
        import keras

        return keras.callbacks.LambdaCallback(on_epoch_end=self._add)

    def _add(self, epoch: int, logs: dict[str, Any]) -> None:
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        write_json(self.folder / "history.json", self.history)
