"""The command on tables, as a user types it."""

import dataclasses
import json
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from keras_cvae.cli import main
from keras_cvae.cli.tables import _example, print_rows, read_conditions
from keras_cvae.data.tables.files import read
from keras_cvae.data.tables.schema import Schema
from keras_cvae.errors import DataError
from keras_cvae.evaluation.tables import meets
from keras_cvae.runs.run import RunError
from keras_cvae.runs.tables import TableConfig, TableRun, held_out, large, train
from keras_cvae.runs.tables import _rows as _rows_of


def _rows(n=600, seed=0):
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 66, n)
    rich = rng.random(n) < 1 / (1 + np.exp(-(age - 50) / 6))
    frame = pd.DataFrame(
        {
            "id": [f"user-{i}" for i in range(n)],
            "age": age,
            "income": np.where(rich, ">50K", "<=50K"),
            "sex": rng.choice(["Female", "Male"], n),
            "pay": np.where(rich, 60.0, 20.0) + rng.normal(0, 5, n).round(2),
        }
    )
    return frame.assign(pay=frame["pay"].where(rng.random(n) > 0.1).round(2))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A CSV and a run on it, made by the command."""
    folder = tmp_path_factory.mktemp("tables")
    _rows().to_csv(folder / "people.csv", index=False, sep=";")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("default")
        patch.chdir(folder)
        words = ["cvae", "train", "people.csv", "--out", "run", "--epochs", "20", "--hidden", "32"]
        patch.setattr(sys, "argv", [*words, "--batch-size", "128", "--learning-rate", "0.005"])
        with pytest.raises(SystemExit) as end:
            main.main()
        assert not end.value.code
    return folder


@pytest.fixture
def run(trained, monkeypatch, cvae):
    monkeypatch.chdir(trained)
    return cvae


def test_info_shows_the_schema_and_writes_it(run, tmp_path):
    said = run("info", "people.csv")
    assert said.code == 0
    assert "600 rows, 5 columns" in said.out
    shown = " ".join(said.out.split())
    assert "it is text that is different in every row" in shown
    assert "2 levels: <=50K, >50K" in shown
    said = run("info", "people.csv", "-o", tmp_path / "schema.toml")
    text = (tmp_path / "schema.toml").read_text()
    assert 'name = "age"\nkind = "number"' in text
    assert json.loads(run("info", "people.csv", "--json").out)["rows"] == 600
    said = run("info", "run")
    assert "no latent: log p is exact" in said.out
    assert json.loads(run("info", "run", "--json").out)["metrics"]["epochs"] == 20


@pytest.mark.filterwarnings("default:Column 'id'")
def test_a_schema_that_was_edited_is_given_back(run, tmp_path):
    run("info", "people.csv", "-o", tmp_path / "schema.toml")
    text = (
        (tmp_path / "schema.toml").read_text().replace('missing = "state"', 'missing = "unknown"')
    )
    (tmp_path / "schema.toml").write_text(text)
    out = tmp_path / "again"
    said = run(
        *("train", "people.csv", "--schema", tmp_path / "schema.toml", "--out", out),
        *("--epochs", 1, "--hidden", 8, "--json"),
    )
    about = json.loads(said.out)
    assert (about["run"], about["rows"], about["epochs"]) == (str(out), 540, 1)
    assert TableRun.open(out).history()["loss"] == [about["loss"]]
    rows = tmp_path / "rows.csv"
    run("generate", out, "-n", 300, "-o", rows)
    assert not read(rows).isna().any().any()


def test_rows_that_were_asked_for(run, tmp_path):
    output = tmp_path / "rows.csv"
    words = ["-c", "income=>50K", "-c", "age=30..40", "-c", "sex=Female|Male", "-n", 70]
    said = run("generate", "run", *words, "-o", output)
    assert said.code == 0
    assert "70 rows, written to" in said.out
    rows = read(output)
    assert rows.columns.tolist() == ["age", "income", "sex", "pay"]
    assert meets(rows, {"income": ">50K", "age": (30, 40)}).all()
    assert rows["age"].dtype == "int64"
    parquet = tmp_path / "rows.parquet"
    said = run("generate", "run", "-n", 30, "-o", parquet, "--json")
    assert json.loads(said.out) == {"file": str(parquet), "rows": 30}
    assert len(read(parquet)) == 30
    assert "income" in run("generate", "run", "-n", 3).out
    said = run("generate", "run", "-n", 30)
    assert "20 of 30 rows; -o FILE.csv writes all." in said.err


def test_a_table_that_comes_trained(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = run("generate", "adult", "-c", "income=>50K", "-n", 5)
    assert said.code == 0
    assert said.out.count(">50K") == 5
    assert "CC BY 4.0" in run("info", "adult").out
    about = json.loads(run("info", "adult", "--json").out)
    assert about["data_licence"] == "CC BY 4.0"
    assert "income" in [column["name"] for column in about["columns"]]
    assert "'adult' comes without the rows" in run("evaluate", "adult").err
    assert "is a model of a table" in run("export", "adult", "-o", "x.onnx").err
    assert not list(tmp_path.iterdir())


def test_rows_that_are_wider_than_the_terminal_stay_readable(capsys):
    frame = pd.DataFrame({f"column {i}": ["United-States", None, i] for i in range(9)})
    print_rows(frame)
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["column", "0", "United-States", "0"]
    assert len(said) == 9
    print_rows(frame.iloc[:, :2])
    assert capsys.readouterr().out.splitlines()[0].split() == ["column", "0", "column", "1"]


@pytest.mark.further
def test_the_condition_that_is_printed_can_be_typed(run):
    schema = TableRun.open("run").schema()
    assert _example(schema) == ["-c", "sex=Male"]
    assert "Male" in run("generate", "run", *_example(schema), "-n", 2).out


@pytest.mark.further
def test_the_nats_that_training_prints_are_those_of_held_out_rows(run):
    metrics = json.loads(run("info", "run", "--json").out)["metrics"]
    table = TableRun.open("run")
    assert metrics["held_out_nats"] == pytest.approx(table.model().log_prob(table.rows()[1]).mean())
    said = run("generate", "run", "-c", "income=>50K", "-c", "age=20.5..40", "-n", 3)
    assert "One row in" in said.out
    assert "whole numbers" in run("generate", "run", "-c", "age=30.5").err


def test_many_rows_are_drawn_part_by_part(run, tmp_path, monkeypatch):
    from keras_cvae.cli import tables

    monkeypatch.setattr(tables, "PART", 100)
    run("generate", "run", "-n", 250, "-o", tmp_path / "a.csv")
    run("generate", "run", "-n", 250, "-o", tmp_path / "b.csv")
    rows = read(tmp_path / "a.csv")
    assert len(rows) == 250
    assert rows.equals(read(tmp_path / "b.csv"))
    assert not rows[:100].equals(rows[100:200].reset_index(drop=True))


@pytest.mark.slow
def test_a_large_file_is_learned_part_by_part(run, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_cvae.runs.tables.LARGE", 500)
    path = tmp_path / "people.parquet"
    _rows().drop(columns="id").to_parquet(path, row_group_size=100)
    assert json.loads(run("info", path, "--json").out)["rows"] == 600
    out = tmp_path / "large"
    said = run("train", path, "--out", out, "--epochs", 2, "--hidden", 8)
    assert said.code == 0, said.err
    assert "Learned 540 rows" in said.out
    said = run("evaluate", out, "--json")
    assert json.loads(said.out)["likelihood"]["rows"] == 60


def test_a_category_that_occurs_once_is_learned():
    table = pd.DataFrame({"a": ["x", "y"] * 50, "b": ["once", *["often"] * 99]})
    for seed in range(20):
        config = TableConfig(validation=0.5, seed=seed)
        learned, held = held_out(table, config, Schema.infer(table))
        assert (learned["b"] == "once").sum() == 1
        assert len(learned) + len(held) == 100
        assert len(held) >= 49


def test_conditions_are_read_by_what_the_columns_are():
    rows = {
        "ok": [True, False] * 10,
        "day": pd.date_range("2024-01-01", periods=20),
        "n": [1.5, 2.0] * 10,
        "kind": ["a", "b"] * 10,
    }
    schema = Schema.infer(pd.DataFrame(rows))
    asked = ["ok=Yes", "day=2024-01-05..2024-01-07", "n=..2", "kind=a|b"]
    assert read_conditions(schema, asked) == {
        "ok": True,
        "day": ("2024-01-05", "2024-01-07"),
        "n": (None, 2),
        "kind": {"a", "b"},
    }
    assert read_conditions(schema, ["ok=maybe", "n=1.5", "day=2024-01-05"]) == {
        "ok": "maybe",
        "n": 1.5,
        "day": "2024-01-05",
    }
    assert _example(schema) == ["-c", "kind=b"]
    assert _example(Schema.infer(pd.DataFrame(rows)[["day", "n"]])) == []


def test_a_column_that_never_varies_is_said_to(run, tmp_path):
    _rows(30).assign(sex="Male").to_csv(tmp_path / "men.csv", index=False)
    said = run("info", tmp_path / "men.csv")
    assert "1 levels: Male (always 'Male')" in " ".join(said.out.split())


def test_a_run_that_is_not_whole_says_so(run, tmp_path):
    shutil.copytree("run", tmp_path / "run")
    out = tmp_path / "run"
    (out / "table.cvae").unlink()
    assert "not finished, of" in " ".join(run("info", out).out.split())
    said = run("generate", out, "-n", 3)
    assert "has not finished training. Train it again: cvae train" in " ".join(said.err.split())
    about = json.loads((out / "run.json").read_text())
    del about["table"]
    about.pop("sha256", None)
    (out / "run.json").write_text(json.dumps(about | {"table": {"hiden": 3}}))
    assert f"'{out / 'run.json'}' is damaged" in run("info", out).err
    with pytest.raises(RunError, match=r"is no run on a table. Expected one: cvae train FILE.csv"):
        TableRun.open(tmp_path)


def test_what_was_not_held_out_cannot_be_measured(run, tmp_path, monkeypatch):
    table = TableRun.open("run")
    learned, held = table.rows()
    assert (len(learned), len(held)) == (540, 60)
    held.to_csv(tmp_path / "other.csv", index=False)
    again, other = table.rows(tmp_path / "other.csv")
    pd.testing.assert_frame_equal(again, learned)
    pd.testing.assert_frame_equal(other[held.columns], held)
    shared = dataclasses.replace(table, shared=Path("run/table.cvae").absolute())
    pd.testing.assert_frame_equal(shared.rows("people.csv")[1], held)
    monkeypatch.setattr(TableRun, "rows", lambda self, data=None: (learned, held[:0]))
    none = " ".join(run("evaluate", "run").err.split())
    assert "This run held no rows out (--validation 0)" in none
    assert none.endswith("cvae evaluate run OTHER.csv")


def test_a_large_file_is_split_without_being_read(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("keras_cvae.runs.tables.LARGE", 500)
    path = tmp_path / "people.parquet"
    _rows().drop(columns="id").to_parquet(path, row_group_size=100)
    run = TableRun(tmp_path / "run", str(path), TableConfig(validation=0.1))
    learned, held = run.rows()
    assert (len(learned), len(held)) == (540, 60)
    both = pd.concat([learned, held]).sort_values("pay").reset_index(drop=True)
    whole = read(path).sort_values("pay").reset_index(drop=True)
    pd.testing.assert_series_equal(both["pay"], whole["pay"])
    assert large(path, TableConfig(validation=0)).rows == 600
    assert large(path, TableConfig(validation=0)).held().empty
    rows, others, schema = _rows_of(path, TableConfig(), None)
    assert (len(others), schema["age"].kind) == (60, "number")
    assert rows.sample(9)["income"].isin(["<=50K", ">50K"]).all()


def test_a_table_of_which_nothing_is_left_to_learn_is_refused(tmp_path):
    pd.DataFrame({"a": [1, 2, 3], "b": [1.5, 2.5, 0.5]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match=r"has 3 rows\. Expected at least two to learn"):
        train(tmp_path / "t.csv", TableConfig(validation=0.9), tmp_path / "run")


def test_a_signal_ends_the_learning_of_a_table_in_words(run, tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_cvae.cli.tables.train", interrupted)
    monkeypatch.setattr(main.os, "_exit", sys.exit)
    said = run("train", "people.csv", "--out", tmp_path / "run")
    assert said.code == 130
    assert "Stopped. A table is learned in one piece and nothing of it was saved" in said.err


def test_gaps_are_filled(run, tmp_path):
    gaps = _rows(50, seed=1).drop(columns="id")
    gaps.loc[::2, "income"] = None
    gaps.to_csv(tmp_path / "gaps.csv", index=False)
    said = run("complete", "run", tmp_path / "gaps.csv", "-o", tmp_path / "filled.csv")
    assert said.code == 0
    filled = read(tmp_path / "filled.csv")
    assert not filled.isna().any().any()
    assert filled["age"].tolist() == gaps["age"].tolist()
    assert filled["income"][1::2].tolist() == gaps["income"][1::2].tolist()
    assert "income" in run("complete", "run", tmp_path / "gaps.csv").out
    run("complete", "run", tmp_path / "gaps.csv", "-n", 3, "-o", tmp_path / "three.csv")
    assert len(read(tmp_path / "three.csv")) == 150


def test_evaluate_writes_figures_and_a_page(run, trained):
    said = run("evaluate", "run", "--target", "income", "-c", "sex=Female", "--report")
    assert said.code == 0, said.err
    for words in (
        "Likelihood of held-out rows",
        "shapes",
        "nearer to learned rows",
        "Where sex is",
    ):
        assert words in said.out
    metrics = json.loads((trained / "run/evaluation/metrics.json").read_text())
    assert metrics["utility"]["target"] == "income"
    assert metrics["conditional"][0]["violated"] == 0
    assert 0.8 < metrics["shapes"]["score"] <= 1
    page = (trained / "run/evaluation/report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "A model of people.csv" in page


def test_plot_draws_marginals_and_dependence(run, tmp_path):
    said = run("plot", "run", "-o", tmp_path, "--json")
    assert [name.rsplit("/", 1)[1] for name in json.loads(said.out)] == [
        "marginals.png",
        "dependence.png",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-c", "incom=>50K"], "There is no column 'incom'. Did you mean 'income'?"),
        (["-c", "income=60K"], "'income' has no category '60K'"),
        (["-c", "age"], "Received the condition 'age'. Expected column=value."),
        (["-c", "age=30", "-c", "age=40"], "Column 'age' was asked for twice"),
        (["-c", "age=thirty"], "'age' holds 'thirty'. Expected numbers"),
        (["-c", "age=40..30"], "'age': nothing lies in the range"),
        (["-c", "sex="], "'sex': received None, a missing cell, and there was none"),
        (["-o", "rows.xlsx"], "Cannot write 'rows.xlsx'"),
        (["--json"], "Expected -o FILE with it"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(run, words, message):
    said = run("generate", "run", *words)
    assert said.code != 0
    assert message in " ".join(said.err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "people.csv", "--out", "x", "--units", "5"], "--units is not for tables"),
        (["train", "people.csv", "--out", "x", "--preset", "dense"], "--preset is not for tables"),
        (["train", "people.csv", "--dry-run"], "--dry-run is not for tables. How long"),
        (["train", "people.csv", "--resume"], "--resume is not for tables. A table is learned in"),
        (["train", "none.csv", "--out", "x"], "There is no file 'none.csv'"),
        (
            ["train", "digits", "--missing", "state"],
            "--schema, --missing and --hidden are for tables",
        ),
        (["restyle", "run", "a.png", "--to", "b"], "is a run on a table"),
        (["evaluate", "run", "--target", "incom"], "Did you mean 'income'"),
        (["info", "digits", "-o", "x.toml"], "-o writes the schema of a table"),
    ],
)
def test_flags_that_are_not_for_tables_are_refused(run, words, message):
    said = run(*words)
    assert said.code != 0
    assert message in " ".join(said.err.replace("│", " ").split())
