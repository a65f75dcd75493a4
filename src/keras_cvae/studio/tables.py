"""What a page has to know of a table: its columns, how values are coded, one network."""

from typing import Any

import numpy as np
from keras import ops

from keras_cvae.data.tables.codec import Coded
from keras_cvae.data.tables.columns import Boolean, Category, Datetime, Number
from keras_cvae.models.tables import TableCVAE
from keras_cvae.models.tables.walks import law
from keras_cvae.probability.likelihoods.columns import Columns
from keras_cvae.studio.lowering import UnplayableError
from keras_cvae.studio.tape import Arrays, Tape, run

ROWS = 24  # on which the page is compared with Keras


def described_table(table: TableCVAE, arrays: Arrays) -> tuple[dict[str, Any], Tape]:
    """Describe a table, and lower its network.

    Args:
        table: A fitted `TableCVAE`.
        arrays: Where its weights are kept.

    Returns:
        Values that JSON has, and the tape: from levels and which columns are seen to the logits of
        all levels, whichever are seen.

    Raises:
        UnplayableError: The table has a latent.
    """
    if table.model.latent_dim:
        raise UnplayableError(
            "A page plays tables without a latent, whose columns see each other. This one has a "
            f"latent of {table.model.latent_dim}; use `cvae generate`, or train it without."
        )
    codec, net = table.codec, table.model.likelihood
    tape = lowered(net, arrays)
    columns = [
        described_column(coded, codec.slice(coded.column.name).start, net)
        for coded in codec.columns
    ]
    order = {column.name: place for place, column in enumerate(codec.schema)}
    for column in columns:
        column["place"] = order[column["name"]]
    shares = [np.round(share, 7).tolist() for share in codec.shares]
    return {"table": columns, "shares": shares, "tapes": {"columns": tape.to_json()}}, tape


def lowered(net: Columns, arrays: Arrays) -> Tape:
    """Play the network of a table on a tape."""
    tape = Tape(arrays)
    levels = tape.input("levels", (sum(net.sizes),))
    seen = tape.input("seen", (len(net.sizes),))
    embedding = ops.convert_to_numpy(net._embedding())
    h = tape.add(tape.dense(levels, embedding, net.bias), tape.dense(seen, net.seen))
    for rise, shift, fall in net.residual:
        units = tape.activation(tape.dense(tape.normalise(h), rise, shift), "gelu_tanh")
        h = tape.add(h, tape.dense(units, fall))
    head = ops.convert_to_numpy(net.head).T.copy()
    tape.output("out", tape.dense(tape.normalise(h), head, net.offset))
    return tape


def described_column(coded: Coded, start: int, net: Columns) -> dict[str, Any]:
    """Describe one column: its parts in the code, and how levels become values."""
    column = coded.column
    about: dict[str, Any] = {
        "name": column.name,
        "kind": column.kind,
        "missing": coded.missing,
        "coding": coded.coding.to_dict(),
        "parts": [
            {"place": start + k, "from": int(net.starts[start + k]), "size": part.size}
            | {"parent": None if part.parent is None else start + part.parent}
            for k, part in enumerate(coded.parts)
        ],
    }
    if isinstance(column, Category | Boolean):
        about["labels"] = [str(level) for level in column.levels]
    if isinstance(column, Number):
        about["decimals"] = column.decimals
    if isinstance(column, Datetime):
        about |= {"steps": column.steps_a_day, "date": column.has_date}
    return about


def table_differences(table: TableCVAE, tape: Tape, arrays: list[np.ndarray]) -> dict[str, float]:
    """The greatest difference of probabilities between a table's network and its tape.

    Args:
        table: The table.
        tape: Its tape.
        arrays: The tape's weights, rounded or not.
    """
    net, rng = table.model.likelihood, np.random.default_rng(0)
    x = np.stack([rng.integers(size, size=ROWS) for size in net.sizes], axis=1)
    for i, parent in enumerate(net.parents):
        if parent is not None:  # only what can be
            allowed = net.shares[i][x[:, parent]] > 0
            x[:, i] = [rng.choice(np.flatnonzero(row)) for row in allowed]
    seen = rng.random(x.shape) < rng.random((ROWS, 1))
    inputs = {"levels": one_hot(net, x, seen), "seen": seen.astype("float32")}
    logits = run(tape, arrays, inputs, ROWS)["out"]
    apart = 0.0
    for i, (start, size) in enumerate(zip(net.starts, net.sizes, strict=True)):
        parent = net.parents[i]
        rows = np.zeros(ROWS, int) if parent is None else np.where(seen[:, parent], x[:, parent], 0)
        with np.errstate(divide="ignore"):
            scores = logits[:, start : start + size] + np.log(net.shares[i][rows])
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        known = np.where(seen, x, -1)
        exact = np.exp(law(table.model, known, seen, i)[:, :size])
        apart = max(apart, float(np.abs(scores / scores.sum(1, keepdims=True) - exact).max()))
    return {"probability": apart}


def one_hot(net: Columns, x: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Levels that are seen, as zeros and ones `(n, levels)`."""
    out = np.zeros((len(x), sum(net.sizes)), "float32")
    rows, columns = np.nonzero(seen)
    out[rows, net.starts[columns] + x[rows, columns]] = 1.0
    return out
