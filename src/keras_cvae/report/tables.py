"""An evaluation of a table's model: lines for the terminal, and a page with pictures."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from keras_cvae.data.tables.columns import Datetime
from keras_cvae.data.tables.schema import Schema
from keras_cvae.evaluation.tables.evaluate import Conditional, TableEvaluation
from keras_cvae.evaluation.tables.fidelity import shapes, trends
from keras_cvae.evaluation.tables.plain import plain
from keras_cvae.figures.tables import dependence, marginals
from keras_cvae.report.page import Note, embedded, write_page

METRICS = {
    "auc": "AUC; 1 is the best, .5 is chance",
    "macro auc": "mean AUC of each class against the rest; 1 is the best, .5 is chance",
    "r2": "R2; 1 is the best, 0 is the mean",
}


class Line(NamedTuple):
    """One figure.

    Args:
        label: Its name.
        text: Its value, written.
        note: What it means.
    """

    label: str
    text: str
    note: str = ""

    def written(self, _: Any) -> str:
        """The value, as the page's template asks for it."""
        return self.text


def rows_of(evaluation: TableEvaluation) -> Iterator[tuple[str, list[Line]]]:
    """The figures, in groups."""
    e, privacy = evaluation, evaluation.privacy
    yield (
        "Likelihood of held-out rows",
        [
            Line(
                "log p",
                f"{e.likelihood.nats:.2f} ± {e.likelihood.standard_error:.2f} nats",
                f"{e.likelihood.rows:,} rows; {e.likelihood.train_nats:.2f} of learned ones",
            )
        ],
    )
    yield (
        "Synthetic rows against the learned ones",
        [
            Line("shapes", f"{e.shapes.score:.4f}", "every column on its own; 1 is the best"),
            Line("trends", f"{e.trends.score:.4f}", "all pairs of columns; 1 is the best"),
            *_detected("boosted trees", e.trees),
            *_detected("boosted trees, held-out rows", e.held_out_trees),
            *_detected("logistic regression", e.logistic),
            Line(
                "impossible rows",
                f"{100 * e.impossible.share:.2f} %",
                "with a pair of frequent values that the data never have together",
            ),
        ],
    )
    yield (
        "Privacy",
        [
            Line(
                "nearer to learned rows",
                f"{100 * privacy.dcr_share:.1f} ± {100 * privacy.standard_error:.1f} %",
                f"than to as many held-out ones ({privacy.rows:,}); 50 % is neutral",
            ),
            Line(
                "exact copies",
                f"{100 * privacy.copies:.2f} %",
                f"of learned rows; {100 * privacy.holdout_copies:.2f} % of others, by chance",
            ),
        ],
    )
    filled, inside = e.imputation, e.imputation.coverage
    yield (
        "Cells that were hidden and drawn",
        [
            Line("categories that are right", _share(filled.accuracy), "the most frequent draw"),
            Line("CRPS of numbers", _number(filled.crps), "in standard deviations; 0 is the best"),
            *(
                Line(f"truth within the {float(level):.0%} interval", _share(share))
                for level, share in inside.items()
            ),
        ],
    )
    if e.utility:
        metric = METRICS[e.utility.metric]
        yield (
            f"Predicting {e.utility.target} of held-out rows",
            [
                Line("learned from synthetic rows", f"{e.utility.synthetic:.4f}", metric),
                Line("learned from real rows", f"{e.utility.real:.4f}", metric),
            ],
        )
    for one in e.conditional:
        yield f"Where {condition_text(one)}", list(_conditional(one))


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{100 * value:.1f} %"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _detected(by: str, found: Any) -> Iterator[Line]:
    yield Line(f"told apart by {by}", f"AUC {found.auc:.3f}", f"score {found.score:.3f}")


def _conditional(one: Conditional) -> Iterator[Line]:
    yield Line("rows that do not meet it", f"{one.violated}", f"of {one.rows:,}")
    filtered = "" if one.filtered_auc is None else f"; filtered draws {one.filtered_auc:.3f}"
    yield Line("told apart by boosted trees", f"AUC {one.auc:.3f}", f"from the real ones{filtered}")
    yield Line("probability", f"{one.probability:.5f}", f"{one.share:.5f} of the real rows")


def condition_text(one: Conditional) -> str:
    """A condition in words."""
    return ", ".join(f"{name} is {_in_words(value)}" for name, value in one.condition.items())


def _in_words(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, tuple):
        low, high = value
        if low is None or high is None:
            return f"at most {high}" if low is None else f"at least {low}"
        return f"{low} to {high}"
    return " or ".join(map(str, value)) if isinstance(value, list) else str(value)


def pictures(schema: Schema, real: pd.DataFrame, synthetic: pd.DataFrame) -> dict[str, Figure]:
    """Marginals with the worst first, and the dependence of all pairs."""
    real = real[schema.names]
    alike, pairs = shapes(real, synthetic, schema), trends(real, synthetic, schema)
    order = dict(sorted(alike.columns.items(), key=lambda item: item[1]))
    tables: list[dict[str, Any]] = [{}, {}]
    numbers = plain([real, synthetic], schema)
    for name in real:
        for table, frame, floats in zip(
            tables, (real, synthetic), numbers[name].tables, strict=True
        ):
            column = schema[name]
            if isinstance(column, Datetime):
                values, missing = column.read(frame[name])
                table[name] = np.where(missing, np.nan, values.astype(float))
            elif numbers[name].number:
                table[name] = floats
            else:
                words = frame[name].astype(object)
                table[name] = words.where(words.notna(), "(empty)").to_numpy().astype(str)
    dates = {
        column.name: partial(_date, column)
        for column in schema.learned
        if isinstance(column, Datetime)
    }
    return {
        "marginals": marginals(tables[0], tables[1], order, written=dates),
        "dependence": dependence(pairs.names, pairs.real, pairs.synthetic),
    }


def _date(column: Datetime, value: float) -> str:
    """A point in time at an axis: the day of a date."""
    text = column.shown(round(value))
    return re.split("[ T]", text)[0] if column.has_date else text


def table_page(
    evaluation: TableEvaluation,
    schema: Schema,
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    name: str,
    path: str | Path,
) -> Path:
    """Write the page, one file that needs nothing else.

    Args:
        evaluation: The figures.
        schema: The table's columns.
        real: The rows that were learned.
        synthetic: Rows that were drawn.
        name: What the table is called.
        path: Ends in .html.
    """
    e = evaluation
    shown = pictures(schema, real, synthetic)
    cards = [
        ("log p, held out", f"{e.likelihood.nats:.2f}", "nats a row"),
        ("shapes", f"{e.shapes.score:.3f}", "1 is the best"),
        ("trends", f"{e.trends.score:.3f}", "1 is the best"),
        ("told apart", f"{e.trees.auc:.3f}", "AUC; .5 is the best"),
        ("near to learned rows", f"{100 * e.privacy.dcr_share:.0f} %", "50 % is neutral"),
    ]
    if e.utility:
        value = f"{e.utility.synthetic:.3f}"
        cards.append((f"predicting {e.utility.target}", value, f"real rows {e.utility.real:.3f}"))
    content = {
        "title": f"A model of {name}",
        "lead": f"{len(real):,} learned rows, {len(synthetic):,} synthetic ones, "
        f"{len(schema.learned)} columns. A figure after ± is one standard error.",
        "cards": [dict(zip(("label", "number", "below"), card, strict=True)) for card in cards],
        "notes": list(_notes(e, schema)),
        "typed": (),
        "pictures": [
            embedded("Marginals, the worst first", shown["marginals"]),
            embedded("How columns depend on each other", shown["dependence"]),
        ],
        "table": [*rows_of(e), ("The worst pairs", _worst(e))],
        "evaluation": None,
        "foot": f"Evaluated in {e.seconds:.0f} s by keras-cvae.",
    }
    return write_page(content, path)


def _worst(evaluation: TableEvaluation) -> list[Line]:
    return [
        Line(f"{first} and {second}", f"{score:.3f}")
        for first, second, score in evaluation.trends.worst(8)
    ]


def _notes(evaluation: TableEvaluation, schema: Schema) -> Iterator[Note]:
    privacy = evaluation.privacy
    far = abs(privacy.dcr_share - 0.5) > max(0.05, 3 * privacy.standard_error)
    if far or privacy.copies > privacy.holdout_copies + 0.01:
        yield Note(
            "Memorising.",
            f"{100 * privacy.dcr_share:.1f} % of the rows are nearer to learned than to held-out "
            f"ones, {100 * privacy.copies:.1f} % are copies.",
            bad=True,
            advice="Fewer epochs, a smaller network or more dropout.",
        )
    else:
        yield Note("No memorising.", "Rows are as near to unseen rows as to learned ones.")
    if evaluation.impossible.pairs:
        first, a, second, b, times = evaluation.impossible.pairs[0]
        yield Note(
            "What cannot be.",
            f"Most often: {first} {a} with {second} {b}, in {times} rows.",
            bad=evaluation.impossible.share > 0.01,
        )
    for column in schema.left_out:
        yield Note("Left out.", f"{column.name}: {column.note}.")
