"""Tables larger than memory: a Parquet file is coded part by part, and learned from its codes.

Codes are small integers: they go to a temporary file, in which blocks of rows are read in random
order and mixed. Memory holds one part of the file, and one buffer of codes.
"""

from __future__ import annotations

import math
import tempfile
import weakref
from collections import Counter

import keras
import numpy as np
import pandas as pd

from keras_cvae.data.tables.codec import TableCodec
from keras_cvae.data.tables.columns import Category, Missing
from keras_cvae.data.tables.parquet import ParquetRows, infer_schema
from keras_cvae.data.tables.schema import Schema

BLOCK = 4_096  # rows that stay together on the disk
BUFFER = 64  # blocks that are mixed with each other


def read_codec(
    file: ParquetRows, schema: Schema | None = None, missing: Missing = "state"
) -> TableCodec:
    """Infer the schema and the codings of a Parquet file, reading it twice, part by part.

    Categories are those of the whole file; numbers are cut into bins by a sample of evenly spread
    rows.

    Raises:
        DataError: A file of which nothing can be learned, or that does not fit the schema.
    """
    sample = file.sample()
    if schema is None:
        schema, counts = infer_schema(file, missing, sample)
    else:
        schema.checked()
        for part in file.parts():
            schema.check(part)
        counts = {c.name: Counter(c.levels) for c in schema.learned if isinstance(c, Category)}
    return TableCodec.fit(_with_all(sample, schema, counts), schema)


def _with_all(sample: pd.DataFrame, schema: Schema, counts: dict[str, Counter]) -> pd.DataFrame:
    """The sample and a few rows more, so that every category of the file is there once."""
    lacking = {
        name: [level for level in found if level not in set(sample[name].dropna().unique())]
        for name, found in counts.items()
    }
    rows = max(map(len, lacking.values()), default=0)
    if not rows:
        return sample
    extra = sample.sample(rows, replace=True, random_state=0).reset_index(drop=True)
    for name, levels in lacking.items():
        if levels:
            column = extra[name].astype(object)
            column.iloc[: len(levels)] = levels
            dtype = sample[name].dtype
            if isinstance(dtype, pd.CategoricalDtype):
                dtype = pd.CategoricalDtype([*schema[name].levels], dtype.ordered)  # type: ignore[union-attr]
                sample = sample.assign(**{name: sample[name].astype(dtype)})
            extra[name] = column.astype(dtype)
    return pd.concat([sample, extra], ignore_index=True)


class CodedRows(keras.utils.PyDataset):
    """The rows of a Parquet file as levels, batch by batch, in an order that each epoch mixes anew.

    Args:
        file: The file.
        codec: The table's.
        batch_size: Rows per batch.
        steps: Batches per epoch. None: the whole file.
        seed: Of the order.
        paired: Whether a batch is `(x, x)`, for a model whose condition is a part of x.
    """

    def __init__(
        self,
        file: ParquetRows,
        codec: TableCodec,
        batch_size: int,
        steps: int | None = None,
        seed: int = 0,
        paired: bool = False,
    ):
        super().__init__(workers=1)
        self.paired = paired
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0
        self.parts = len(codec)
        self.file = tempfile.NamedTemporaryFile(suffix=".codes")  # noqa: SIM115
        self._finalizer = weakref.finalize(self, self.file.close)
        self.rows = 0
        for part in file.parts():
            codes = codec.encode(codec.read(part, warn=False), len(part))
            self.file.write(codes.astype("<i2").tobytes())
            self.rows += len(part)
        self.file.flush()
        self.steps = min(steps or math.inf, max(1, self.rows // batch_size))
        self._held: tuple[int, int] | None = None
        self._buffer = np.zeros((0, self.parts), "<i2")

    def __len__(self) -> int:
        return int(self.steps)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        size = max(1, BUFFER * BLOCK // self.batch_size) * self.batch_size
        start = index * self.batch_size
        which, within = divmod(start, size)
        if self._held != (self.epoch, which):
            self._buffer, self._held = self._mixed(which, size), (self.epoch, which)
        x = self._buffer[within : within + self.batch_size].astype("float32")
        return (x, x) if self.paired else (x,)

    def on_epoch_end(self) -> None:
        """Take another order."""
        self.epoch += 1

    def sample(self, rows: int) -> np.ndarray:
        """So many rows, from blocks that are spread over the file, `(rows, parts)` float32."""
        blocks = np.linspace(0, self._blocks - 1, min(self._blocks, -(-rows // BLOCK)))
        found = np.concatenate([self._read(int(block)) for block in np.unique(blocks.astype(int))])
        return found[np.random.default_rng(0).permutation(len(found))[:rows]].astype("float32")

    @property
    def _blocks(self) -> int:
        return max(1, -(-self.rows // BLOCK))

    def _mixed(self, which: int, size: int) -> np.ndarray:
        """The rows of one buffer; blocks come in the order of this epoch, over and over."""
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self._blocks)
        need = -(-size // BLOCK) + 1
        places = np.arange(which * need, (which + 1) * need) % self._blocks
        rows = np.concatenate([self._read(int(block)) for block in order[places]])
        rng = np.random.default_rng([self.seed, self.epoch, which])
        rows = rows[rng.permutation(len(rows))]
        return np.resize(rows, (size, self.parts)) if len(rows) < size else rows[:size]

    def _read(self, block: int) -> np.ndarray:
        row = self.parts * 2
        self.file.seek(block * BLOCK * row)
        return np.frombuffer(self.file.read(BLOCK * row), "<i2").reshape(-1, self.parts)
