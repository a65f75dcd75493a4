"""Columns of a table: each sees those that are known already, in any order."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_cvae import errors
from keras_cvae.backend import repeated
from keras_cvae.probability.distributions import Distribution, more_known
from keras_cvae.probability.likelihoods.base import LIKELIHOODS, Likelihood
from keras_cvae.tensors import Tensor

IMPOSSIBLE = -1e9  # log p of a level that cannot be
UNOBSERVED = -1.0


@LIKELIHOODS.register("columns")
class Columns(Likelihood):
    """Columns of levels 0, 1, ...: each has a softmax that sees the columns known already.

        log p(x | z, y) = sum_i log p(x_i | x_known, x_<i, z, y)

    One network serves any set of known columns: their levels are embedded and summed, and residual
    blocks give the logits of all others (order-agnostic autoregression: Uria, Murray & Larochelle
    2014; Hoogeboom et al. 2022). In training it sees random sets, half of them the first columns,
    which is what a draw with nothing known goes through. Logits start at the columns' shares.

    A level of -1 is not observed: it is neither seen nor scored.

    Args:
        shares: For each column, how often its levels occur, `(1, levels)`; of a column with a
            parent, given each of the parent's, `(levels of the parent, levels)`. Zero means that
            it cannot be: log p is then below -1e8, and it is never drawn.
        parents: For each column, the earlier column that must be known before it, or None. A column
            of a table may be coded in several columns here.
        groups: For each column, which of the table's columns it belongs to; these are known
            together. None: each to its own.
        ordered: For each column, whether neighbouring levels are alike.
        context: How many numbers the decoder gives. 0: p(x) without a latent.
        blocks: In how many steps a row is drawn: the columns of one step are independent given z
            and what was seen before them. None: as many as there are columns. The fewer there are,
            the more is left to z, which in a model with as many steps as columns falls silent.
        hidden: Width of the network.
        layers: Number of residual layers.
        dropout: Share of a layer's units that are dropped in training.
        frequencies: Cosines and sines of the rank that ordered columns are embedded by, beside
            their levels.
        seed: Of the sets that are known in training. None takes a random one.
    """

    link = "softmax"
    discrete = True

    def __init__(
        self,
        shares: Sequence[Any],
        parents: Sequence[int | None] | None = None,
        groups: Sequence[int] | None = None,
        ordered: Sequence[bool] | None = None,
        context: int = 0,
        blocks: int | None = None,
        hidden: int = 512,
        layers: int = 3,
        dropout: float = 0.1,
        frequencies: int = 3,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.shares = [np.atleast_2d(np.asarray(share, "float64")) for share in shares]
        n = len(self.shares)
        self.parents = [None] * n if parents is None else list(parents)
        self.groups = list(range(n)) if groups is None else [int(group) for group in groups]
        self.ordered = [False] * n if ordered is None else [bool(flag) for flag in ordered]
        self._check(n)
        self.context = errors.whole("context", context, 0)
        self.blocks = None if blocks is None else errors.whole("blocks", blocks)
        self.block = 1 if self.blocks is None else math.ceil(n / self.blocks)  # columns in a step
        self.hidden, self.layers = errors.whole("hidden", hidden), errors.whole("layers", layers, 0)
        self.dropout = errors.number("dropout", dropout)
        self.frequencies = errors.whole("frequencies", frequencies, 0)
        self.seed = None if seed is None else errors.whole("seed", seed, 0)
        self.noise = keras.random.SeedGenerator(self.seed)
        self.sizes = [share.shape[1] for share in self.shares]
        self.view = Levels(self.sizes)
        self.starts = np.cumsum([0, *self.sizes])[:-1]
        self._tables()
        self._weights()

    def _check(self, n: int) -> None:
        for name, given in (
            ("parents", self.parents),
            ("groups", self.groups),
            ("ordered", self.ordered),
        ):
            if len(given) != n:
                raise ValueError(f"{name}: received {len(given)}, expected one for each of {n}.")
        for i, (share, parent) in enumerate(zip(self.shares, self.parents, strict=True)):
            rows = 1 if parent is None else self.shares[parent].shape[1] if parent < i else -1
            if len(share) != rows:
                raise ValueError(
                    f"Column {i} has shares {share.shape} and the parent {parent}. Expected "
                    "(1, levels) without a parent, else (levels of an earlier column, levels)."
                )
            if (share < 0).any() or not np.allclose(share.sum(axis=1), 1.0, atol=1e-4):
                raise ValueError(f"Column {i}: expected shares that sum to 1. Received: {share}.")

    def get_config(self) -> dict[str, Any]:
        names = ("parents", "groups", "ordered", "context", "blocks", "hidden", "layers", "dropout")
        own = {name: getattr(self, name) for name in (*names, "frequencies", "seed")}
        return super().get_config() | own | {"shares": [share.tolist() for share in self.shares]}

    def _tables(self) -> None:
        """What the network needs to know of the levels, as arrays."""
        size = max(self.sizes)
        levels = sum(self.sizes)
        # Each column's logits, filled up to the longest with one that is always impossible.
        place = np.arange(size)
        inside = place < np.asarray(self.sizes)[:, None]
        self.places = np.where(inside, self.starts[:, None] + place, levels).astype("int32")
        self.rows = self.table(self.shares)
        heights = [len(share) for share in self.shares]
        self.first_row = (np.cumsum(heights) - heights).astype("int32")
        self.first_level = self.starts.astype("int32")
        self.parent = np.array([-1 if p is None else p for p in self.parents], "int32")
        self.features = self._ranks()

    def table(self, shares: Sequence[np.ndarray]) -> np.ndarray:
        """Lay shares of levels out as `rows`, in logarithms: `(rows, longest)`.

        Args:
            shares: For each column `(1, levels)`, or given its parent's levels, `(rows, levels)`.
        """
        table = np.full((sum(map(len, shares)), max(self.sizes)), IMPOSSIBLE, "float32")
        row = 0
        for share in shares:
            with np.errstate(divide="ignore"):
                log_share = np.maximum(np.log(share), IMPOSSIBLE)
            table[row : row + len(share), : share.shape[1]] = log_share
            row += len(share)
        return table

    def _ranks(self) -> np.ndarray:
        """Features of the levels of ordered columns: their rank, smoothly, `(levels, features)`."""
        each = 1 + 2 * self.frequencies
        ordered = [i for i, flag in enumerate(self.ordered) if flag]
        features = np.zeros((sum(self.sizes), each * len(ordered)), "float32")
        for k, i in enumerate(ordered):
            share = self.shares[i].mean(axis=0)
            rank = np.cumsum(share) - share / 2
            waves = np.pi * np.arange(1, self.frequencies + 1) * rank[:, None]
            columns = [2 * rank[:, None] - 1, np.sin(waves), np.cos(waves)]
            rows = slice(self.starts[i], self.starts[i] + self.sizes[i])
            features[rows, k * each : (k + 1) * each] = np.concatenate(columns, axis=1)
        return features

    def _weights(self) -> None:
        levels, n, h = sum(self.sizes), len(self.sizes), self.hidden
        seed = keras.random.SeedGenerator(self.seed)

        def add(name: str, shape: tuple[int, ...], spread: float) -> Any:
            start = keras.initializers.RandomNormal(stddev=spread, seed=seed) if spread else "zeros"
            return self.add_weight(shape, start, name=name, dtype="float32", autocast=False)

        self.embedding = add("embedding", (levels, h), 0.3)
        features = self.features.shape[1]
        self.smooth = add("smooth", (features, h), 0.3) if features else None
        self.seen = add("seen", (n, h), 0.3)
        self.bias = add("bias", (h,), 0.0)
        self.from_context = None
        if self.context:
            self.from_context = add("from_context", (self.context, h), self.context**-0.5)
        self.residual = [
            (
                add(f"rise_{k}", (h, h), 1.4 * h**-0.5),
                add(f"shift_{k}", (h,), 0.0),
                add(f"fall_{k}", (h, h), 0.3 * h**-0.5),
            )
            for k in range(self.layers)
        ]
        self.head = add("head", (levels, h), 0.1 * h**-0.5)
        self.offset = add("offset", (levels,), 0.0)

    def parameter_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        if tuple(x_shape) != (len(self.sizes),):
            raise ValueError(
                f"The columns likelihood expects the levels of {len(self.sizes)} columns, "
                f"({len(self.sizes)},). Received data of shape {tuple(x_shape)}."
            )
        return (self.context,)

    def check(self, x: np.ndarray) -> None:
        x = np.asarray(x).reshape(-1, len(self.sizes))
        wrong = (x != np.floor(x)) | (x < UNOBSERVED) | (x >= np.asarray(self.sizes))
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise ValueError(
                f"The columns likelihood expects levels 0 to {self.sizes[column] - 1} in column "
                f"{column}, or -1 where it is not observed. Received {x[row, column]:g} in row "
                f"{row}."
            )

    def distribution(self, parameters: Tensor, training: bool = False) -> Distribution:
        return KnownColumns(self, parameters, training)

    # The network.

    def embed(self, x: Tensor, seen: Tensor) -> Tensor:
        """Sum the embeddings of the levels x that are seen, both `(batch, columns)`."""
        here = self.view(ops.where(seen, x, UNOBSERVED))
        return here @ self._embedding() + ops.cast(seen, "float32") @ self.seen + self.bias

    def _embedding(self) -> Tensor:
        if self.smooth is None:
            return ops.convert_to_tensor(self.embedding)
        return self.embedding + ops.convert_to_tensor(self.features) @ self.smooth

    def hidden_units(self, embedded: Tensor, parameters: Tensor, training: bool = False) -> Tensor:
        """What the logits are read from: `(..., batch, hidden)`."""
        h = embedded
        if self.from_context is not None:
            h = h + parameters @ self.from_context
        for rise, shift, fall in self.residual:
            units = ops.gelu(_normalised(h) @ rise + shift)
            if training and self.dropout:
                units = keras.random.dropout(units, self.dropout, seed=self.noise)
            h = h + units @ fall
        return _normalised(h)

    def scores(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Compute log p of every level in x given what `hidden` has seen, `(..., batch, columns)`.

        A column whose parent has not been seen is scored as if the parent had the level in x.
        """
        logits = hidden @ ops.transpose(self.head) + self.offset
        levels = ops.maximum(ops.cast(x, "int32"), 0)
        found = []
        for i, (start, size) in enumerate(zip(self.starts, self.sizes, strict=True)):
            row, parent = int(self.first_row[i]), self.parents[i]
            shares = ops.convert_to_tensor(self.rows[row : row + len(self.shares[i]), :size])
            prior = shares[0] if parent is None else ops.take(shares, levels[:, parent], axis=0)
            log_p = ops.log_softmax(logits[..., start : start + size] + prior, axis=-1)
            at = ops.broadcast_to(levels[:, i], ops.shape(log_p)[:-1])
            found.append(ops.take_along_axis(log_p, at[..., None], axis=-1))
        return ops.concatenate(found, axis=-1)

    def log_p(self, i: Tensor, row: Tensor, hidden: Tensor) -> Tensor:
        """Compute log p of all levels of column i, `(batch, longest)`; impossible beyond its own.

        Args:
            i: The column, a whole number.
            row: Which row of `rows` holds its shares, `(batch,)`; see `row_of`.
            hidden: From `hidden_units`, `(batch, hidden)`.
        """
        places = ops.take(self.places, i, axis=0)
        head = ops.take(ops.pad(self.head, ((0, 1), (0, 0))), places, axis=0)
        offset = ops.take(ops.pad(self.offset, ((0, 1),)), places, axis=0)
        logits = hidden @ ops.transpose(head) + offset + ops.take(self.rows, row, axis=0)
        return ops.log_softmax(logits, axis=-1)

    def row_of(self, i: Tensor, x: Tensor) -> Tensor:
        """Find the row of `rows` (or of tables like it) for column i given its parent in x."""
        parent = ops.take(self.parent, i)
        above = ops.take(x, ops.maximum(parent, 0), axis=1)
        above = ops.where(parent < 0, 0.0, ops.maximum(above, 0.0))
        return ops.take(self.first_row, i) + ops.cast(above, "int32")

    def walk(
        self,
        parameters: Tensor,
        x: Tensor,
        seen: Tensor,
        choose: Callable[[Tensor, Tensor], Tensor] | None = None,
        *,
        order: Tensor = None,
        steps: Tensor = None,
        wanted: Tensor = None,
    ) -> "Walk":
        """Go through the columns, each of which sees those that were known or came before.

        Args:
            parameters: The decoder's output, `(batch, context)`.
            x: Levels `(batch, columns)`; any number where they are to be chosen.
            seen: Which are known from the start, booleans; these stay.
            choose: Levels `(batch,)` of a column, called with the column and the log-probabilities
                of its levels. None: those in x, of which -1 is passed over.
            order: The columns in the order of the walk, `(columns,)`; a parent comes before its
                children. None: as they are.
            steps: How many of them are walked through. None: all.
            wanted: Log of the share of each level that is wanted, in the layout of `rows`; draws
                are restricted to it.
        """
        order = np.arange(len(self.sizes), dtype="int32") if order is None else order
        steps = len(self.sizes) if steps is None else steps
        order = ops.convert_to_tensor(order)
        zero = 0.0 * ops.cast(seen[:, 0], "float32")
        embedding = self._embedding()

        def step(t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            x, embedded, pending, log_p, log_share = state
            if self.block > 1:  # what a step drew is seen from the next one on
                embedded = ops.where(ops.equal(t % self.block, 0), pending, embedded)
            i = ops.take(order, t)
            row = self.row_of(i, x)
            each = self.log_p(i, row, self.hidden_units(embedded, parameters))
            here, known = ops.take(x, i, axis=1), ops.take(seen, i, axis=1)
            share, law = zero, each
            if wanted is not None:
                law = each + ops.take(wanted, row, axis=0)
                share = ops.logsumexp(law, axis=-1)
                law = law - share[:, None]
            level = here if choose is None else ops.where(known, here, choose(i, law))
            new = ops.logical_and(ops.logical_not(known), level >= 0.0)
            at = ops.cast(ops.maximum(level, 0.0), "int32")
            score = ops.take_along_axis(each, at[:, None], axis=1)[:, 0]
            vector = ops.take(embedding, ops.take(self.first_level, i) + at, axis=0)
            vector = vector + ops.take(self.seen, i, axis=0)
            pending = pending + ops.where(new[:, None], vector, 0.0)
            return (
                ops.slice_update(x, (0, i), level[:, None]),
                pending if self.block == 1 else embedded,
                pending,
                log_p + ops.where(new, score, 0.0),
                log_share + ops.where(new, share, 0.0),
            )

        embedded = self.embed(x, seen)
        start = (x, embedded, embedded, zero, zero)
        x, _, _, log_p, log_share = repeated(steps, step, start)
        return Walk(x, log_p, log_share)


@keras.saving.register_keras_serializable(package="keras_cvae")
class Levels(keras.layers.Layer):
    """Levels `(..., columns)` as zeros and ones, `(..., levels)`: all zero where not observed.

    Args:
        sizes: How many levels each column has.
    """

    def __init__(self, sizes: Sequence[int], **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.sizes = [int(size) for size in sizes]
        starts = np.cumsum([0, *self.sizes])[:-1]
        self.column_of = np.repeat(np.arange(len(self.sizes)), self.sizes)
        self.level_of = (np.arange(sum(self.sizes)) - starts[self.column_of]).astype("float32")
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"sizes": self.sizes}

    def call(self, x: Tensor) -> Tensor:
        here = ops.equal(ops.take(ops.cast(x, "float32"), self.column_of, axis=-1), self.level_of)
        return ops.cast(here, "float32")

    def settle(self, x: np.ndarray, again: bool = True) -> None:
        """There is nothing to fit."""


class Walk(NamedTuple):
    """What a walk through columns found.

    Args:
        x: Levels `(batch, columns)`.
        log_p: Log p of those that were walked through, each given what was seen before, `(batch,)`.
        log_share: Log of the probability of what was wanted of each of them, given what was seen
            before it, summed, `(batch,)`.
    """

    x: Tensor
    log_p: Tensor
    log_share: Tensor


class KnownColumns(Distribution):
    """Columns of which some may be known; each sees these and those before it.

    Levels have no mean: `mean` goes through the columns once, each taking its most likely level.

    Args:
        net: The likelihood, for its weights.
        parameters: The decoder's output, `(..., batch, context)`.
        training: Whether `log_prob` is a random part of the sum, weighted to stand for all of it.
        values: Known levels, `(batch, columns)`.
        known: Where they are known, booleans; None: nowhere.
    """

    def __init__(
        self,
        net: Columns,
        parameters: Tensor,
        training: bool = False,
        values: Tensor = None,
        known: Tensor = None,
    ):
        self.net, self.parameters, self.training = net, parameters, training
        self.values, self.known = values, known

    def given(self, values: Tensor, known: Tensor) -> Distribution:
        if self.known is not None:
            values, known = more_known(self.values, self.known, values, known)
        return KnownColumns(self.net, self.parameters, self.training, values, known)

    def log_prob(self, x: Tensor) -> Tensor:
        """Compute log p of the columns that are not known, `(..., batch)` in nats.

        Exactly, in the order of the columns. In training: that of the columns which a random set
        of columns, seen beside the known ones, leaves over, weighted to stand for all.
        """
        fixed = ops.zeros_like(x, "bool")
        if self.known is not None:
            fixed = ops.logical_and(ops.logical_or(self.known, fixed), x >= UNOBSERVED + 0.5)
        if self.training:
            return self._part_of_log_prob(x, fixed)
        return ops.reshape(self._rows_walk(x, fixed).log_p, ops.shape(self.parameters)[:-1])

    def _part_of_log_prob(self, x: Tensor, fixed: Tensor) -> Tensor:
        net = self.net
        free = ops.logical_and(x >= UNOBSERVED + 0.5, ops.logical_not(fixed))
        drawn, weight = self._random_set(free)
        seen = ops.logical_or(fixed, drawn)
        hidden = net.hidden_units(net.embed(x, seen), self.parameters, True)
        log_p = ops.where(weight > 0.0, net.scores(x, hidden), 0.0)
        return ops.broadcast_to(ops.sum(weight * log_p, axis=-1), ops.shape(self.parameters)[:-1])

    def _random_set(self, free: Tensor) -> tuple[Tensor, Tensor]:
        """Draw which of the `free` columns are seen in a training step, and the others' weights.

        Half of the rows see the columns before a random one, as a draw of the whole row does; a
        quarter sees those of some of the table's columns in any order, and the last quarter these,
        and the columns before a random one of the others. The weights of a column add up to 1 in
        expectation. Where columns are seen in order, half of that belongs to the next one.

        Returns:
            Booleans and weights, `(batch, columns)` each.
        """
        net = self.net
        member = np.eye(max(net.groups) + 1, dtype="float32")[net.groups]  # (columns, groups)
        open_groups = ops.cast(free, "float32") @ ops.convert_to_tensor(member)
        open_groups = ops.cast(open_groups > 0.0, "float32")
        batch, groups = ops.shape(free)[0], member.shape[1]
        uniform = keras.random.uniform((batch, groups + 3), dtype="float32", seed=net.noise)
        any_order = uniform[:, :1] >= 0.5
        in_order = uniform[:, :1] < 0.75

        count = ops.sum(open_groups, axis=1, keepdims=True)
        rank = ops.argsort(ops.argsort(uniform[:, 3:] - 2.0 * open_groups, axis=1), axis=1)
        first = ops.where(any_order, ops.floor(uniform[:, 1:2] * count), 0.0)
        some = ops.take(ops.cast(rank, "float32") < first, net.groups, axis=1)
        rest = ops.cast(ops.logical_and(free, ops.logical_not(some)), "float32")
        chance = count / ops.maximum(count - first, 1.0)  # 1 / P(a column is among the rest)

        place = ops.floor((ops.cumsum(rest, axis=1) - 1.0) / net.block)  # the step of a draw
        size = ops.ceil(ops.sum(rest, axis=1, keepdims=True) / net.block)
        until = ops.where(in_order, ops.floor(uniform[:, 2:3] * size), 0.0)
        # A column is scored where its parent is known already, if it has one among the rest.
        padded = ops.pad(rest * (place + 1.0), ((0, 0), (1, 0)))
        parent = ops.take(padded, net.parent + 1, axis=1) - 1.0
        earlier = place - parent - 1.0  # steps from which it is scored, but for its own
        own = ops.where(earlier > 0.0, 0.5, 1.0)
        before = (1.0 - own) / ops.maximum(earlier, 1.0)
        scored = ops.where(parent < until, ops.where(place > until, before, 0.0), 0.0)
        scored = size * ops.where(ops.equal(place, until), own, scored)
        # Without an order all are scored at once, but for those that need their parent.
        at_once = ops.cast(parent < 0.0, "float32")
        share = ops.where(at_once > 0.0, 1.0, 4.0 / 3.0)
        weight = rest * chance * ops.where(in_order, share * scored, at_once)
        return ops.logical_and(free, ops.logical_or(some, place < until)), weight

    def mean(self) -> Tensor:
        # top_k: argmax of Keras looks at the sign of zeros, for which ONNX has no operation.
        return self._walk(lambda i, law: ops.cast(ops.top_k(law, 1)[1][:, 0], "float32"))

    def sample(self, uniforms: Tensor) -> Tensor:
        uniforms = ops.reshape(uniforms, (-1, len(self.net.sizes)))
        return self._walk(lambda i, law: drawn(law, ops.take(uniforms, i, axis=1)))

    def _walk(self, choose: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Choose all levels that are not known, `(..., batch, columns)`."""
        values = ops.convert_to_tensor(UNOBSERVED if self.values is None else self.values)
        known = False if self.known is None else self.known
        known = ops.logical_and(known, values >= 0.0)
        shape = (*ops.shape(self.parameters)[:-1], len(self.net.sizes))
        return ops.reshape(self._rows_walk(values, known, choose).x, shape)

    def _rows_walk(self, x: Tensor, seen: Tensor, choose: Any = None) -> Walk:
        """Walk through the columns of all rows, `(samples * batch, ...)`."""
        lead, n = ops.shape(self.parameters)[:-1], len(self.net.sizes)
        x, seen = (ops.reshape(ops.broadcast_to(p, (*lead, n)), (-1, n)) for p in (x, seen))
        parameters = self.parameters
        if self.net.context:
            parameters = ops.reshape(parameters, (-1, self.net.context))
        return self.net.walk(parameters, x, seen, choose)


def drawn(law: Tensor, uniforms: Tensor) -> Tensor:
    """Draw levels `(batch,)` from log-probabilities `(batch, levels)` by their inverse CDF."""
    below = ops.cumsum(ops.exp(law), axis=-1)
    passed = below <= uniforms[:, None] * below[:, -1:]
    return ops.sum(ops.cast(passed, "float32"), axis=-1)


def _normalised(h: Tensor) -> Tensor:
    return h * ops.rsqrt(ops.mean(ops.square(h), axis=-1, keepdims=True) + 1e-6)
