"""How a model of a table is built and learned."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
import pandas as pd

from keras_cvae import errors
from keras_cvae.conditions.columns import KnownColumns
from keras_cvae.data.kinds import PARQUET, suffix
from keras_cvae.data.tables.codec import UNKNOWN, TableCodec
from keras_cvae.data.tables.columns import Missing
from keras_cvae.data.tables.files import read
from keras_cvae.data.tables.frames import to_pandas
from keras_cvae.data.tables.parquet import ParquetRows
from keras_cvae.data.tables.schema import Schema
from keras_cvae.data.tables.stream import CodedRows, read_codec
from keras_cvae.models.card import Card
from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.models.inputs import checked_groups
from keras_cvae.models.tables.calibrating import calibrate
from keras_cvae.networks.mlp import MLP
from keras_cvae.probability.likelihoods.columns import Columns

STEPS = 1500  # of training, about
MOST_STEPS = 20_000  # of an epoch, of a file that is larger than memory
CALIBRATED = 200_000  # of its rows
CONTEXT = 64  # numbers by which z reaches the columns


class Learning:
    """Makes the network and the codec of a table, and trains them; see `TableCVAE`."""

    def __init__(
        self,
        *,
        latent_dim: int | Sequence[int] = 0,
        blocks: int | None = None,
        hidden: int = 512,
        layers: int = 3,
        dropout: float = 0.1,
        epochs: int | None = None,
        batch_size: int = 512,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        missing: Missing = "state",
        seed: int | None = None,
    ):
        self.latent_dim = checked_groups(latent_dim)
        self.blocks = None if blocks is None else errors.whole("blocks", blocks)
        self.hidden, self.layers = errors.whole("hidden", hidden), errors.whole("layers", layers, 0)
        self.dropout = errors.number("dropout", dropout)
        self.epochs = None if epochs is None else errors.whole("epochs", epochs)
        self.batch_size = errors.whole("batch_size", batch_size)
        self.learning_rate = errors.number("learning_rate", learning_rate)
        self.weight_decay = errors.number("weight_decay", weight_decay)
        if missing not in ("state", "unknown"):
            raise ValueError(f"missing: received {missing!r}, expected 'state' or 'unknown'.")
        self.missing = missing
        self.seed = None if seed is None else errors.whole("seed", seed, 0)
        self._codec: TableCodec | None = None
        self._model: ConditionalVAE | None = None
        self.card: Card | None = None  # of a model that was shared

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("latent_dim", "blocks", "hidden", "layers", "dropout", "epochs", "batch_size")
        names += ("learning_rate", "weight_decay", "missing", "seed")  # type: ignore[assignment]
        return {name: getattr(self, name) for name in names}

    @property
    def codec(self) -> TableCodec:
        """How rows are coded; after `fit`."""
        if self._codec is None:
            raise ValueError("This TableCVAE has not seen a table. Call fit(table) first.")
        return self._codec

    @property
    def model(self) -> ConditionalVAE:
        """The network; after `fit`."""
        if self._model is None:
            raise ValueError("This TableCVAE has not been trained. Call fit(table) first.")
        return self._model

    @property
    def schema(self) -> Schema:
        """The columns; after `fit`."""
        return self.codec.schema

    # Learning.

    def fit(
        self,
        table: Any,
        *,
        schema: Schema | str | Path | None = None,
        validation_data: Any = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: Any = "auto",
    ) -> Self:
        """Learn a table.

        Args:
            table: A DataFrame of pandas or polars, or a pyarrow table; or the path of a file: CSV,
                Arrow, or Parquet (or `ParquetRows`), which may be larger than memory.
            schema: What its columns are, or the path of a TOML file that says so. None infers it;
                columns that are left out are named in a warning.
            validation_data: Rows that are not learned, whose loss is reported after each epoch.
            callbacks: Keras callbacks.
            verbose: As in Keras.

        Returns:
            This object.

        Raises:
            DataError: A table of which nothing can be learned; the message names the column, what
                came and what was expected.

        Warns:
            UserWarning: A column is left out, or is constant.
        """
        rows: Any
        if isinstance(schema, str | Path):
            schema = Schema.read(schema)
        if isinstance(table, str | Path):
            text = () if schema is None else schema.text
            table = ParquetRows(table) if suffix(table) in PARQUET else read(table, text)
        if isinstance(table, ParquetRows):
            self._codec = read_codec(table, schema, self.missing)
            paired, seed = bool(self.latent_dim), self.seed or 0
            rows = CodedRows(table, self.codec, self.batch_size, MOST_STEPS, seed, paired)
            codes, steps = rows.sample(CALIBRATED), len(rows)
        else:
            frame = to_pandas(table)
            self._codec = TableCodec.fit(frame, schema or Schema.infer(frame, self.missing))
            rows = codes = self._encode(frame)
            steps = math.ceil(len(codes) / self.batch_size)
        codec = self.codec
        for column in codec.schema:
            if column.note:
                out = "is left out" if column.kind == "left out" else "is kept"
                warnings.warn(f"Column '{column.name}' {out}: {column.note}.", stacklevel=2)
        if validation_data is not None:
            held = self._encode(to_pandas(validation_data))
            validation_data = (held, *self._nothing_known(held))
        self._model = model = self._build(codec)
        epochs = self.epochs or min(max(round(STEPS / steps), 1), 100)
        model.compile(self._optimizer(epochs * steps))
        known = codes if self.latent_dim and rows is codes else None  # training forgets a part
        model.fit(
            rows,
            known,
            batch_size=self.batch_size if rows is codes else None,
            epochs=epochs,
            validation_data=validation_data,
            callbacks=list(callbacks),
            verbose=verbose,
        )
        if not self.latent_dim:
            calibrate(model, codec, codes)
        model.compile("sgd")  # what Adam remembers would be three quarters of a file
        return self

    def _nothing_known(self, codes: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.full_like(codes, UNKNOWN),) if self.latent_dim else ()

    def _build(self, codec: TableCodec) -> ConditionalVAE:
        if self.seed is not None:
            keras.utils.set_random_seed(self.seed)  # the order of the rows is Keras' own
        likelihood = Columns(
            [share.tolist() for share in codec.shares],
            [part.parent for part in codec.parts],
            codec.column_of,
            [part.ordered for part in codec.parts],
            context=CONTEXT if self.latent_dim else 0,
            blocks=self.blocks or (1 if self.latent_dim else None),
            hidden=self.hidden,
            layers=self.layers,
            dropout=self.dropout,
            seed=self.seed,
        )
        n = len(codec)
        if not self.latent_dim:
            return ConditionalVAE((n,), latent_dim=0, likelihood=likelihood, seed=self.seed)
        return ConditionalVAE(
            (n,),
            KnownColumns(likelihood.sizes, codec.column_of),
            self.latent_dim,
            likelihood=likelihood,
            prior="conditional",
            backbone=MLP((self.hidden, self.hidden), "gelu"),
            seed=self.seed,
        )

    def _optimizer(self, steps: int) -> keras.optimizers.Optimizer:
        rise = min(100, steps // 10 + 1)
        rate = keras.optimizers.schedules.CosineDecay(
            self.learning_rate / 100,
            max(steps - rise, 1),
            warmup_target=self.learning_rate,
            warmup_steps=rise,
        )
        optimizer = keras.optimizers.AdamW(
            rate,
            weight_decay=self.weight_decay,
            beta_2=0.99,
            global_clipnorm=5.0,
            use_ema=True,
            # In a short run less, so that exp(-5) of the first weights is left of the average.
            ema_momentum=min(0.99, max(0.0, 1.0 - 5.0 / steps)),
        )
        optimizer.exclude_from_weight_decay(var_names=["bias", "shift", "offset"])
        return optimizer

    def _encode(self, frame: pd.DataFrame) -> np.ndarray:
        """Levels as the network takes them, `(n, parts)` float32."""
        values = self.codec.read(frame)
        return self.codec.encode(values, len(frame)).astype("float32")
