"""What the commands do with tables: a file of rows, or a run on one."""

from __future__ import annotations

import itertools
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from keras_cvae import command, devices
from keras_cvae.backend import import_light_keras
from keras_cvae.cli.app import UsageError, err, out
from keras_cvae.cli.processes import end_without_the_others, first_alone, written_by_the_first
from keras_cvae.cli.shared import check_output, progress_bar, say_next, show_facts
from keras_cvae.cli.signals import ended_by, stop_after, stopped_by_signals
from keras_cvae.data.tables.columns import (
    AnyColumn,
    Boolean,
    Category,
    Datetime,
    Number,
    Ordered,
)
from keras_cvae.data.tables.files import WRITTEN, Writer, read
from keras_cvae.data.tables.parquet import infer_schema
from keras_cvae.data.tables.schema import Schema
from keras_cvae.errors import counted, nearest
from keras_cvae.files import atomic, check_writable, write_json
from keras_cvae.models.card import read_card
from keras_cvae.runs.tables import TableConfig, TableRun, large, train

if TYPE_CHECKING:
    import pandas as pd

PART = 5_000  # rows that are drawn and written at once
SHOWN = 20  # rows that are printed
WIDE = 40  # letters of a cell that are printed side by side
TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def train_table(
    source: str,
    settings: dict[str, Any],
    folder: Path | None,
    schema: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """`cvae train FILE.csv`."""
    known = TableConfig.model_fields
    if unknown := [name for name in settings if name not in known]:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in known)
        raise UsageError(
            f"--{unknown[0].replace('_', '-')} is not for tables. Expected one of {flags}."
        )
    config = TableConfig.model_validate(settings)
    import_light_keras()

    from keras_cvae.cli.progress import EpochBar

    bar = EpochBar(err, resumes=False)
    with stopped_by_signals() as received, written_by_the_first(folder) as to:
        try:
            watching = [bar, stop_after(received)]
            run = train(source, config, to, schema=schema, overwrite=overwrite, callbacks=watching)
        except RuntimeError as error:
            if devices.are_gone(error):
                end_without_the_others(error)
            raise
        except KeyboardInterrupt:
            bar.stop()
            err.print(
                "\nStopped. A table is learned in one piece and nothing of it was saved; give the "
                "same command with --overwrite to start again.",
                soft_wrap=True,
            )
            raise ended_by(received) from None
        finally:
            bar.stop()
        first_alone()
    if as_json:
        print(json.dumps({"run": str(run.folder)} | run.metrics()))
        return
    m = run.metrics()
    nats = m.get("held_out_nats")
    held = (
        ""
        if nats is None
        else (
            f" Held-out rows: log p {nats:.2f} nats a row, higher is better (a loss is minus that)."
        )
    )
    out.print(
        f"Learned {m['rows']:,} rows in {m['seconds']:.0f} s.{held} The run is in {run.folder}",
        soft_wrap=True,
    )
    asked = _example(Schema.read(run.folder / "schema.toml"))
    say_next(
        ("rows you ask for", "generate", run.folder, *asked, "-n", 500, "-o", "rows.csv"),
        ("fill gaps", "complete", run.folder, "GAPS.csv", "-o", "filled.csv"),
        ("how good is it?", "evaluate", run.folder, "--report"),
    )


def _example(schema: Schema) -> list[str]:
    """A condition to begin with: of the last column with the fewest levels."""
    columns = [  # of levels that a dtype declares, some may never occur
        column
        for column in reversed(schema.learned)
        if isinstance(column, Category | Boolean) and not column.dtype.startswith("category")
    ]
    columns = [column for column in columns if len(column.levels) > 1]
    if not columns:
        return []
    column = min(columns, key=lambda column: len(column.levels))
    return ["-c", f"{column.name}={column.levels[-1]}"]


def info_table(source: str, output: Path | None, overwrite: bool, as_json: bool) -> None:
    """`cvae info FILE.csv`: the schema that is inferred."""
    if output is not None:
        check_output(output, (".toml",), overwrite)
    file = large(source, TableConfig(validation=0))
    table = read(source) if file is None else file.sample()
    rows = len(table) if file is None else file.rows
    schema = Schema.infer(table) if file is None else infer_schema(file)[0]
    if output is not None:
        with atomic(output) as path:
            path.write_text(schema.to_toml(), encoding="utf-8")
    if as_json:
        print(json.dumps({"rows": rows, **schema.model_dump(mode="json")}))
        return
    out.print(f"{rows:,} rows, {counted(len(schema.columns), 'column')}")
    show_schema(schema, table)
    if output is not None:
        out.print(f"\nThe schema is {output}; edit it, and train with it:", soft_wrap=True)
        say_next(("learn it", "train", source, "--schema", output))
    else:
        say_next(
            ("edit the schema", "info", source, "-o", "schema.toml"),
            ("learn the table", "train", source),
        )


def show_schema(schema: Schema, table: pd.DataFrame | None = None) -> None:
    """Print the columns of a table."""
    shown = Table(box=None, padding=(0, 2))
    for name in ("column", "kind", "values", "missing"):
        shown.add_column(name, style="bold" if name == "column" else "", no_wrap=name != "values")
    for column in schema:
        missing = ""
        if table is not None and (empty := float(table[column.name].isna().mean())):
            missing = f"{100 * empty:.1f} %"
        elif column.missing != "never":
            missing = column.missing
        style = "dim" if column.kind == "left out" else ""
        about = column.describe()
        if column.note and column.kind != "left out":
            about = f"{about} ({column.note})"
        shown.add_row(column.name, column.kind, about, missing, style=style)
    out.print(shown)


def about_run(folder: Path, as_json: bool) -> None:
    """`cvae info RUN` of a run on a table."""
    run = TableRun.open(folder)
    schema = run.schema()
    if run.shared is not None:
        _about_shared(run, schema, as_json)
        return
    if as_json:
        about = {"run": str(run.folder), "data": run.source, "settings": run.config.model_dump()}
        about |= {"metrics": run.metrics(), **schema.model_dump(mode="json")}
        print(json.dumps(about))
        return
    state = "complete" if run.complete else "not finished"
    out.print(f"{run.folder}, {state}, of {run.source}", soft_wrap=True)
    show_schema(schema)
    if run.complete:
        import_light_keras()
        out.print("\n" + run.model().summary().splitlines()[0])


def _about_shared(run: TableRun, schema: Schema, as_json: bool) -> None:
    """The card and the columns of a model that came without its run."""
    card = read_card(run.model_path)
    about = {} if card is None else card.shown()
    if as_json:
        print(json.dumps(about | schema.model_dump(mode="json")))
        return
    show_facts(about)
    out.print()
    show_schema(schema)


def generate_table(
    folder: Path,
    conditions: list[str] | None,
    n: int,
    output: Path | None,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """`cvae generate RUN -c 'income=>50K' -n 500 -o rows.csv`."""
    _check_table(output, overwrite, as_json)
    run = TableRun.open(folder)
    asked = read_conditions(run.schema(), conditions or [])
    import_light_keras()
    model = run.model()
    if output is None:
        rows = model.sample(min(n, SHOWN), asked, seed=seed)
        print_rows(rows)
        _say_rarity(model.schema, asked, rows.attrs["probability"])
        if n > SHOWN:
            err.print(f"{SHOWN} of {n} rows; -o FILE.csv writes all.")
        return
    parts, drawn = range(0, n, PART), []
    with Writer(output) as writer:
        for i, start in enumerate(progress_bar(parts, len(parts), "Drawing")):
            rows = min(PART, n - start)
            frame = model.sample(rows, asked, seed=seed if n <= PART else _seed(seed, i))
            writer.write(frame)
            drawn.append(frame.attrs)
    about = {name: sum(each[name] for each in drawn) for name in drawn[0]}
    about["probability"] /= len(drawn)
    _say_written(output, writer.rows, as_json, about if asked else {})
    if asked and not as_json:
        _say_rarity(model.schema, asked, about["probability"], about["effective_sample_size"])


def _seed(seed: int, part: int) -> int:
    import numpy as np

    return int(np.random.SeedSequence([seed, part]).generate_state(1)[0])


def complete_table(
    folder: Path, gaps: Path, n: int, output: Path | None, seed: int, overwrite: bool, as_json: bool
) -> None:
    """`cvae complete RUN gaps.csv -o filled.csv`."""
    _check_table(output, overwrite, as_json)
    run = TableRun.open(folder)
    table = read(gaps, run.schema().text)
    import_light_keras()
    import pandas as pd

    filled = run.model().impute(table, n, seed=seed)
    if n > 1:  # the completions of a row side by side
        filled = pd.concat(filled).sort_index(kind="stable")
    if output is None:
        print_rows(filled.head(SHOWN))
        return
    with Writer(output) as writer:
        writer.write(filled)
    _say_written(output, writer.rows, as_json)


def evaluate_table_run(
    folder: Path,
    data: str | None,
    target: str | None,
    conditions: list[str] | None,
    report: bool,
    seed: int,
    as_json: bool,
) -> None:
    """`cvae evaluate RUN --target income --report`."""
    run = TableRun.open(folder)
    check_writable(run.folder / "evaluation")
    schema = run.schema()
    if target is not None:
        schema[target]
    asked = [read_conditions(schema, [text]) for text in conditions or []]
    import_light_keras()

    from keras_cvae.evaluation.tables.evaluate import evaluate_table
    from keras_cvae.report.tables import rows_of, table_page

    model = run.model()
    learned, held = run.rows(data)
    if not len(held):
        raise UsageError(
            "This run held no rows out (--validation 0). Expected a table that it has not seen: "
            f"{command.line('evaluate', run.folder, 'OTHER.csv')}"
        )
    synthetic = model.sample(len(learned), seed=seed)
    evaluation = evaluate_table(
        model, learned, held, target=target, conditions=asked, seed=seed, synthetic=synthetic
    )
    (run.folder / "evaluation").mkdir(parents=True, exist_ok=True)
    write_json(run.folder / "evaluation" / "metrics.json", evaluation.to_dict())
    if report:
        page = run.folder / "evaluation" / "report.html"
        table_page(evaluation, schema, learned, synthetic, Path(run.source).name, page)
    if as_json:
        print(json.dumps(evaluation.to_dict()))
        return
    shown = Table(box=None, padding=(0, 2), show_header=False)
    shown.add_column(no_wrap=True)
    notes = out.width >= 100  # else they would be columns of single words
    for group, rows in rows_of(evaluation):
        shown.add_row(Text(group, "bold"))
        for label, value, about in rows:
            note = [Text(about, "dim")] if notes else []
            shown.add_row(f"  {label}", Text(value, justify="right"), *note)
    out.print(shown)
    if report:
        out.print(f"The page is {page}", soft_wrap=True)


def plot_table(
    folder: Path, data: str | None, output: Path | None, form: str, seed: int, as_json: bool
) -> None:
    """`cvae plot RUN [DATA]` of a run on a table."""
    run = TableRun.open(folder)
    check_writable(output or run.folder / "pictures")
    import_light_keras()

    from keras_cvae.figures import writing
    from keras_cvae.report.tables import pictures

    learned, others = run.rows(data)
    if data is not None and run.shared is None:
        learned = others
    model = run.model()
    drawn = pictures(model.schema, learned, model.sample(len(learned), seed=seed))
    target = output or run.folder / "pictures"
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in drawn.items():
        paths.append(target / f"{name}.{form}")
        writing.save(figure, paths[-1])
    if as_json:
        print(json.dumps([str(path) for path in paths]))
    else:
        for path in paths:
            out.print(str(path), soft_wrap=True)


# Conditions as text.


def read_conditions(schema: Schema, texts: list[str]) -> dict[str, Any]:
    """Read `column=value`, `column=low..high`, `column=a|b` and `column=` (an empty cell).

    Raises:
        UsageError: No such column, the same one twice, or a value that it cannot be.
    """
    asked: dict[str, Any] = {}
    for text in texts:
        name = max(
            (name for name in schema.names if text.startswith(f"{name}=")), key=len, default=None
        )
        if name is None:
            given, equals, _ = text.partition("=")
            if not equals:
                raise UsageError(f"Received the condition '{text}'. Expected column=value.")
            raise UsageError(f"There is no column '{given}'.{nearest(given, schema.names)}")
        if name in asked:
            raise UsageError(
                f"Column '{name}' was asked for twice. Expected one condition for each; a set is "
                f"{name}=a|b, a range {name}=low..high."
            )
        asked[name] = _asked(schema[name], text[len(name) + 1 :])
    return asked


def _asked(column: AnyColumn, text: str) -> Any:
    if isinstance(column, Category) and text in map(str, column.levels):
        return _value(column, text)
    if not text:
        return None
    if "|" in text:
        return {_value(column, part) for part in text.split("|")}
    if ".." in text and isinstance(column, Number | Datetime | Ordered):
        low, _, high = text.partition("..")
        return tuple(_value(column, end) if end else None for end in (low, high))
    return _value(column, text)


def _value(column: AnyColumn, text: str) -> Any:
    if isinstance(column, Category):
        return next((level for level in column.levels if str(level) == text), text)
    if isinstance(column, Boolean):
        return TRUTH.get(text.lower(), text)
    if isinstance(column, Number):
        for read in (int, float):
            with suppress(ValueError):
                return read(text)
    return text


def _check_table(path: Path | None, overwrite: bool, as_json: bool) -> None:
    if path is not None:
        check_output(path, (*WRITTEN, ".gz"), overwrite)
    elif as_json:
        raise UsageError("--json says which file was written. Expected -o FILE with it.")


def _say_written(
    output: Path, rows: int, as_json: bool, about: dict[str, float] | None = None
) -> None:
    if as_json:
        print(json.dumps({"file": str(output), "rows": rows} | (about or {})))
        return
    out.print(f"{counted(rows, 'row')}, written to {output}", soft_wrap=True)


def _say_rarity(
    schema: Schema, asked: dict[str, Any], probability: float, effective: float | None = None
) -> None:
    """Say how rare the conditions are, unless that is a density, of a continuous number."""
    numbers = [(schema[name], value) for name, value in asked.items()]
    if not asked or any(
        isinstance(column, Number) and column.decimals is None and not isinstance(value, tuple)
        for column, value in numbers
    ):
        return
    worth = f"; the proposals are worth {effective:,.0f} draws" if effective is not None else ""
    out.print(f"One row in {1 / max(probability, 1e-300):,.3g} meets the conditions{worth}.")


def print_rows(frame: pd.DataFrame) -> None:
    """Print rows; if they are wider than the terminal, each from the top down, side by side."""
    names = [str(name) for name in frame]
    rows = [
        ["" if _empty(value) else str(value) for value in row] for row in frame.to_numpy(object)
    ]
    widths = [max(map(len, column)) + 2 for column in zip(names, *rows, strict=True)]
    if sum(widths) <= out.width:
        shown = _cells(*names)
        for row in rows:
            shown.add_row(*map(Text, row))
        out.print(shown)
        return
    room = max(1, out.width - max(map(len, names)) - 2)
    widest = min(max(map(len, itertools.chain.from_iterable(rows))), WIDE) + 2
    for start in range(0, len(rows), fit := max(1, room // widest)):
        shown = _cells("", *[""] * len(rows[start : start + fit]), header=False)
        for name, *cells in zip(names, *rows[start : start + fit], strict=True):
            shown.add_row(Text(name, "dim"), *map(Text, cells))
        out.print(shown)
        if start + fit < len(rows):
            out.print()


def _cells(*names: str, header: bool = True) -> Table:
    shown = Table(box=None, padding=(0, 1), show_header=header)
    for name in names:
        shown.add_column(Text(name), overflow="fold", max_width=WIDE)
    return shown


def _empty(value: Any) -> bool:
    return value is None or bool(value != value)
