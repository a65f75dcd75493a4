"""TableCVAE: a table in, rows out; any columns known, exact log p."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_cvae import errors
from keras_cvae.data.tables.codec import UNKNOWN, TableCodec
from keras_cvae.data.tables.columns import Values
from keras_cvae.data.tables.frames import to_pandas
from keras_cvae.errors import DataError
from keras_cvae.files import atomic, check_members, parsed
from keras_cvae.inference.results import percentile
from keras_cvae.models import sharing
from keras_cvae.models.card import ANY_SIZE, TABLE, Card, read_card
from keras_cvae.models.io import load_network
from keras_cvae.models.tables import asking
from keras_cvae.models.tables.learning import Learning
from keras_cvae.models.tables.walks import law, walk

DRAWS = 64  # of z, for what is averaged over it


class TableCVAE(Learning):
    """A generative model of a table in which every column can be the condition.

    Underneath, `model` is an ordinary `ConditionalVAE` with the `Columns` likelihood, and `codec`
    turns rows into what it learns.

    Without a latent, the default, log p is exact and there is no encoder: columns that see each
    other leave nothing to z. With one, rows can be encoded, restyled and interpolated, log p is
    estimated, and `blocks` says how much is left to z.

    Args:
        latent_dim: Length of z, or of its groups; 0 is no latent.
        blocks: In how many steps a row is drawn; the columns of a step do not see each other. None:
            one column in each step; with a latent, all columns in one.
        hidden: Width of the network in which columns see each other.
        layers: Its number of residual blocks.
        dropout: Share of units dropped in training.
        epochs: Passes over the table. None: as many as make about 1,500 steps, 100 at most.
        batch_size: Rows per step.
        learning_rate: At its highest; it rises for 100 steps and falls to zero along a cosine.
        weight_decay: Of AdamW.
        missing: What an empty cell is: "state", a value of its own that is generated at its rate,
            or "unknown", a value that nobody knows: it is not scored and never generated.
        seed: Of weights, order and noise. None takes a random one.

    Examples:
        >>> import pandas as pd
        >>> df = pd.DataFrame({"age": np.arange(200) % 50 + 20, "member": np.arange(200) % 3 > 0})
        >>> table = TableCVAE(hidden=16, epochs=2, seed=0).fit(df, verbose=0)
        >>> rows = table.sample(5, member=True, age=(30, 40), seed=0)
        >>> bool(rows.member.all()), bool(rows.age.between(30, 40).all())
        (True, True)
        >>> table.impute(df.assign(age=df.age.where(df.age > 25))).age.isna().sum()
        np.int64(0)
    """

    # Asking.

    def sample(
        self,
        n: int | None = None,
        conditions: Mapping[str, Any] | None = None,
        *,
        known: Any = None,
        resample: bool = True,
        seed: int | None = None,
        **more: Any,
    ) -> pd.DataFrame:
        """Draw rows: from scratch, under conditions, or with known cells.

        Every row meets the conditions. They are drawn from p(rest | conditions) of the joint
        distribution: proposals are weighed by the ratio of two exact densities and resampled (see
        `keras_cvae.models.tables.asking`). The frame's `attrs` have the "effective_sample_size" of
        the proposals and the estimated "probability" of the conditions.

        Args:
            n: How many rows. With `known`, how many for each of its rows; 1 by default.
            conditions: Column -> a value; None for an empty cell; a set or list of values; or a
                range (low, high), both included, either of which may be None.
            known: A table with gaps: its cells are kept, what is missing or not there is drawn,
                each row from several proposals in the same way.
            resample: False takes the proposals as they come: faster, and often nearly as good.
            seed: Gives the same rows again.
            **more: Conditions by keyword, such as `income=">50K"`.

        Returns:
            A DataFrame with the columns of the table, their order and their dtypes.

        Raises:
            DataError: A column that is not there, a value that it cannot have, conditions that no
                row meets.

        Warns:
            UserWarning: The proposals do not suffice, or a number lies outside of what was seen.
        """
        if conditions is not None and not isinstance(conditions, Mapping):
            raise TypeError(
                f"conditions: received {type(conditions).__name__}. Expected a mapping of columns "
                "to what they shall be; rows with gaps are known=..."
            )
        conditions = dict(conditions or {})
        if twice := conditions.keys() & more:
            raise ValueError(
                f"sample: column '{min(twice)}' was asked for twice. Expected one condition for "
                "each; a set is {a, b}, a range (low, high)."
            )
        conditions |= more
        rng = np.random.default_rng(seed)
        if known is None:
            n = errors.whole("n", 1 if n is None else n)
            asked = asking.Asked.of(self.codec, conditions)
            rows = asking.draw(self.model, self.codec, n, asked, rng, resample)
            return asking.frame_of(self.codec, rows)
        if conditions:
            both = ", ".join(conditions)
            raise ValueError(
                f"sample: received known=... and conditions ({both}). Expected the conditions as "
                "columns of the known table."
            )
        frame = to_pandas(known)
        times = errors.whole("n", 1 if n is None else n)
        tables = self._filled(frame, times, rng, resample, empty=True)
        together = np.arange(times * len(frame)).reshape(times, -1).T  # all draws of a row
        return pd.concat(tables).iloc[together.ravel()]

    def impute(
        self, table: Any, n: int = 1, *, resample: bool = True, seed: int | None = None
    ) -> Any:
        """Fill in what is missing, given the rest of each row; never with an empty cell.

        Args:
            table: Rows with empty cells.
            n: How many tables to draw: with several, their spread says how sure the model is.
            resample: As in `sample`.
            seed: Gives the same result again.

        Returns:
            A DataFrame with the index of the table; for n > 1 a list of them.
        """
        frame, rng = to_pandas(table), np.random.default_rng(seed)
        tables = self._filled(frame, errors.whole("n", n), rng, resample, empty=False)
        return tables[0] if n == 1 else tables

    def _filled(
        self, frame: pd.DataFrame, n: int, rng: np.random.Generator, resample: bool, empty: bool
    ) -> list[pd.DataFrame]:
        codec, tables = self.codec, []
        read = codec.read(frame, all_columns=False)
        x = codec.encode(read, len(frame), gaps=True)
        for levels in asking.fill(self.model, codec, x, n, rng, resample, empty):
            values = codec.decode(levels, rng)
            for name, (given, missing) in read.items():  # cells that are there stay as they are
                drawn = values[name]
                kept = np.where(missing, drawn.values, given)
                values[name] = Values(kept, missing & drawn.missing)
            tables.append(codec.write(values).set_axis(frame.index))
        return tables

    def log_prob(
        self, table: Any, given: Sequence[str] = (), *, num_samples: int = 100, seed: int = 0
    ) -> np.ndarray:
        """Compute log p of each row in nats, `(n,)`: exactly, in the order of the columns.

        With a latent it is an estimate by importance sampling, which rises to the truth with the
        number of draws of z.

        A sum of the logarithms of probabilities; for continuous numbers of densities, in their own
        unit. Cells that are missing, but for columns in which that is a state, are not scored. A
        category that the schema has and that no learned row had makes it -inf.

        Args:
            table: The rows.
            given: Columns that are known: log p(others | given).
            num_samples: Draws of z for each row, if there is a latent.
            seed: Of these.

        Raises:
            DataError: A column that is not there, or a value that it cannot have.
        """
        frame = to_pandas(table)
        values = self.codec.read(frame)
        x = self.codec.encode(values, len(frame))
        if not len(frame):
            return np.zeros(0)
        fixed = np.zeros(len(self.codec.columns), bool)
        for name in [given] if isinstance(given, str) else given:
            fixed[self.codec.place(name)] = True
        seen = np.broadcast_to(fixed[self.codec.column_of], x.shape) & (x != UNKNOWN)
        density = self.codec.log_density(values, x)[:, ~fixed].sum(axis=1)
        if self.latent_dim:
            known = np.where(seen, x, UNKNOWN).astype("float32")
            found = self.model.log_prob(x.astype("float32"), known, num_samples, seed)
            return asking.possible(found.log_prob) + density
        return asking.possible(walk(self.model, x, seen).log_p) + density

    def predict_proba(self, table: Any, column: str) -> pd.DataFrame:
        """Compute p(column | the other columns) of each row.

        Args:
            table: The rows; the column itself may be left out, and what is missing is unknown.
            column: A category, a boolean, or a number with a level for each of its values.

        Returns:
            A DataFrame with the index of the table and a column for each value.

        Raises:
            DataError: The column is a number in bins, or a moment.
        """
        frame, codec = to_pandas(table), self.codec
        place = codec.place(column)
        coded, parts = codec.columns[place], codec.slice(column)
        read = codec.read(frame.drop(columns=column, errors="ignore"), all_columns=False)
        x = codec.encode(read, len(frame), gaps=True)
        codes, levels = coded.enumerated()
        first, *second = range(*parts.indices(len(codec)))
        p = self._law(x, first)[:, codes[:, 0]]
        for i in second:  # two digits: the second given each first
            for level in np.unique(codes[:, 0]):
                which = codes[:, 0] == level
                x[:, first] = level
                p[:, which] += self._law(x, i)[:, codes[which, 1]]
        p = np.exp(p - np.logaddexp.reduce(p, axis=1, keepdims=True))
        return pd.DataFrame(p, frame.index, pd.Index(levels, name=column))

    def _law(self, x: np.ndarray, i: int) -> np.ndarray:
        """Log p of all levels of a part given what is known of the others, `(n, longest)`."""
        if not len(x):
            return np.zeros((0, max(self.model.likelihood.sizes)))
        if not self.latent_dim:
            return law(self.model, x, x != UNKNOWN, i)
        rng, mean = np.random.default_rng(0), np.full((len(x), 1), -np.inf)
        for _ in range(DRAWS):
            noise = rng.standard_normal((len(x), self.model.latent_dim), "float32")
            mean = np.logaddexp(mean, law(self.model, x, x != UNKNOWN, i, noise))
        return mean - math.log(DRAWS)

    def score(self, table: Any, *, reference: Any = None) -> np.ndarray:
        """How normal each row is, `(n,)`; low marks an outlier.

        Args:
            table: The rows.
            reference: Normal rows that were not trained on. Then the result is the share of these
                that are no more likely: a p-value between 0 and 1. Without: log p in nats.
        """
        scores = self.log_prob(table)
        return scores if reference is None else percentile(scores, self.log_prob(reference))

    # The latent, if there is one.

    def encode(self, table: Any, *, sample: bool = False, seed: int | None = None) -> np.ndarray:
        """z `(n, latent_dim)` of each row: the mean of q(z | x), or with `sample` a draw.

        Raises:
            ValueError: This model has no latent.
        """
        codes = self._encode(to_pandas(table))
        self._check_latent("encode")
        return self.model.encode(codes, *self._nothing_known(codes), sample=sample, seed=seed)

    def restyle(
        self, table: Any, changes: Mapping[str, Any], *, seed: int | None = None
    ) -> pd.DataFrame:
        """The same rows with some values changed, and all else as it would then be.

        What a row is like beyond these columns is its style: the noise that p(z | these columns)
        makes its z of. It stays.

        Args:
            table: The rows.
            changes: Column -> its new value.
            seed: Of the draws of the columns.

        Returns:
            A DataFrame with the index of the table.
        """
        frame, codec = to_pandas(table), self.codec
        self._check_latent("restyle")
        x, n = codec.encode(codec.read(frame), len(frame)), len(frame)
        asked = asking.Asked.of(codec, changes)
        if asked.wanted:
            raise DataError(
                f"Column '{next(iter(asked.wanted))}': received a set or range. Expected a value."
            )
        new = np.broadcast_to(codec.encode(asked.known, 1), x.shape)
        known = new != UNKNOWN
        before = np.where(known, x, UNKNOWN).astype("float32")
        style = self.model.style(self.model.encode(x.astype("float32"), before), before)
        return self._styled(style, new, asked, n, seed).set_axis(frame.index)

    def interpolate(
        self, first: Any, last: Any, steps: int = 8, *, seed: int | None = None
    ) -> pd.DataFrame:
        """Rows on the straight way between the latents of two rows, both included.

        Args:
            first: A table of one row.
            last: Another one.
            steps: How many rows.
            seed: Of the draws of the columns.
        """
        ends = [self.encode(to_pandas(row)[:1]) for row in (first, last)]
        nothing = np.full((1, len(self.codec)), UNKNOWN)
        start, end = (self.model.style(z, nothing.astype("float32")) for z in ends)
        way = np.linspace(0.0, 1.0, errors.whole("steps", steps, 2), dtype="float32")[:, None]
        unknown = np.broadcast_to(nothing, (steps, nothing.shape[1]))
        style = (1.0 - way) * start + way * end
        return self._styled(style, unknown, asking.Asked({}, {}), steps, seed)

    def _styled(
        self, style: np.ndarray, x: np.ndarray, asked: asking.Asked, n: int, seed: int | None
    ) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        walked = walk(self.model, x, x != UNKNOWN, rng, noise=style)
        values = self.codec.decode(walked.x.astype(np.int64), rng)
        for name, value in asked.known.items():
            values[name] = Values(*(np.repeat(part, n) for part in value))
        return self.codec.write(values)

    def _check_latent(self, verb: str) -> None:
        if not self.latent_dim:
            raise ValueError(
                f"{verb}: this TableCVAE has no latent, so there is no z. Expected one that was "
                "built with latent_dim=8, say."
            )

    def summary(self) -> str:
        """Describe the table and the model in a few lines."""
        columns = [
            f"  {column.name}: {column.kind}, {column.describe()}"
            + (f"; missing is {column.missing}" if column.missing != "never" else "")
            for column in self.schema
        ]
        weights = sum(math.prod(weight.shape) for weight in self.model.trainable_weights)
        latent = "no latent: log p is exact, and there is no encoder"
        if self.latent_dim:
            groups = ", ".join(map(str, self.latent_dim))
            steps = self.model.likelihood.blocks or "single"
            latent = f"z of {groups} dimensions, columns drawn in {steps} steps: log p is estimated"
        return "\n".join(
            [
                f"A table of {len(self.schema.learned)} columns, {weights:,} weights; {latent}.",
                *columns,
            ]
        )

    # Files.

    def save(self, path: str | PathLike[str]) -> None:
        """Write this model to one file, `.cvae` by custom, which `load` reads on any backend."""
        with atomic(path) as whole, tempfile.TemporaryDirectory() as folder:
            network = Path(folder) / "model.keras"
            self.model.save(network)
            shutil.copyfile(network, whole)
            with zipfile.ZipFile(whole, "a") as file:
                file.writestr(TABLE, self._about(), zipfile.ZIP_DEFLATED)

    def save_to(self, path: str | PathLike[str], card: Card | dict[str, Any] | None = None) -> Card:
        """Write the model as others are to get it, as `ConditionalVAE.save_to` does.

        No row of the table is in the file. Its schema is: every category that occurs, each value of
        a column with few, the lowest and the highest number, and limits between quantiles.

        Args:
            path: A file that ends in `.cvae`; or a folder, which gets `table.cvae`, `README.md`.
            card: What is to be said of the model. What it knows itself is filled in.

        Returns:
            The card with everything filled in, the hash too.
        """
        return sharing.write(self.model, Path(path), card, self._about())

    def _about(self) -> bytes:
        """What the file has beside the network, in JSON."""
        return json.dumps({"config": self.get_config(), "codec": self.codec.to_dict()}).encode()

    @classmethod
    def load(cls, path: str | PathLike[str], *, trusted: bool = False) -> TableCVAE:
        """Read what `save` or `save_to` wrote.

        Args:
            path: The file.
            trusted: As in `keras_cvae.load`.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is damaged, or no model of a table.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no model at '{path}'.")
        try:
            with zipfile.ZipFile(path) as file:
                check_members(file, ANY_SIZE)
                about = parsed(file.read(TABLE))
            table = cls(**about["config"])
            table._codec = TableCodec.from_dict(about["codec"])
        except (zipfile.BadZipFile, zlib.error, LookupError, TypeError, ValueError) as error:
            raise ValueError(
                f"'{path}' is no saved TableCVAE, or was cut short. Expected a file that its "
                "save() wrote."
            ) from error
        table._model, table.card = load_network(path, trusted), read_card(path)
        return table
