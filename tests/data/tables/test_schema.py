"""What kind a column is; and tables of which nothing can be learned, refused by name."""

import io

import numpy as np
import pandas as pd
import pytest

from keras_cvae.data.tables.schema import Schema
from keras_cvae.errors import DataError

N = 50
BOOLEAN = '[[columns]]\nname = "a"\nkind = "boolean"\ndtype = "bool"\n'
GOOD = {"age": np.arange(N) % 7, "sex": np.array(["f", "m"])[np.arange(N) % 2]}


def _table(**columns):
    return pd.DataFrame(GOOD | columns, index=range(N))


def _prose(i):
    return f"the order number {i} came late and the box was {'open' if i % 3 else 'wet'} today"


@pytest.mark.parametrize(
    ("column", "kind", "note"),
    [
        ([f"user-{i}" for i in range(N)], "left out", "different in every row, such as 'user-0'"),
        ([_prose(max(i, 1)) for i in range(N)], "left out", "free text"),
        (np.arange(N) + 1, "left out", "counts the rows"),
        (["same"] * N, "category", "always 'same'"),
        ([3.0] * N, "number", "always 3.0"),
        (
            np.random.default_rng(0).permutation(N),
            "left out",
            "a number that is different in every",
        ),
        ([f"2024-01-{1 + i % 28:02}" for i in range(N)], "datetime", None),
        ([f"A{i % 30}" for i in range(N)], "category", None),
        (np.random.default_rng(0).integers(0, 10**9, N), "number", None),
        ([1e300 / (i + 1) for i in range(N)], "number", None),
        (pd.Series([np.int64(i % 9) for i in range(N)], dtype=object), "number", None),
        (["1", "2", "3", "4", "5", "x"] * 8 + ["1", "2"], "category", None),
    ],
)
def test_kinds_and_what_is_said_about_them(column, kind, note):
    found = Schema.infer(_table(x=column))["x"] if kind != "left out" else None
    if found is None:
        (found,) = Schema.infer(_table(x=column)).left_out
    assert found.kind == kind
    assert (note is None and found.note is None) or note in found.note


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (_table(x=[1, "one"] * 25), r"'x' holds values of several types: int \(1\) and str \('one"),
        (_table(x=[[1]] * N), r"'x' holds list values. Expected numbers, text or dates"),
        (_table(x=[1j] * N), r"'x' holds complex128 values"),
        (_table(x=[np.inf, 1.0] * 25), r"'x' holds infinity in 25 rows, the first with index 0"),
        (_table(x=[np.nan] * N), r"'x' is empty: all 50 cells are missing"),
        (_table(x=[*map(str, range(49)), "n/a"]), r"'x' holds numbers and text: '0' and, in 1 of"),
        (_table(x=[10**30] * N), r"'x' holds 1000.* of 64 bits at most, or text"),
        (
            _table(x=["0000-00-00", *(f"2024-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(49))]),
            r"'x' holds dates and text: '2024-01-01' and, in 1 of 50 rows, '0000-00-00'",
        ),
        (
            _table(x=["unknown", *(f"{1 + i % 12:02}/{1 + i // 5:02}/2024" for i in range(49))]),
            r"'x' holds dates and text: '01/01/2024' and, in 1 of 50 rows, 'unknown'",
        ),
        (_table().iloc[:0], r"The table has 0 rows and 2 columns"),
        (_table().iloc[:1], r"The table has 1 row and 2 columns"),
        (_table()[["age"]], r"The table has 1 column to learn. Expected at least two"),
        (pd.DataFrame(index=range(5)), r"The table has 5 rows and 0 columns"),
        (pd.concat([_table(), _table()], axis=1), r"2 columns called 'age', at positions \[0, 2\]"),
        (_table().rename(columns={"age": 7}), r"A column is called 7, which is int"),
        (_table(age=1, sex="f"), r"All columns are constant"),
        (_table(x=pd.cut(GOOD["age"], 3)), r"'x' has categories that are Interval"),
    ],
)
def test_a_table_that_cannot_be_learned_is_refused_by_name(table, message):
    with pytest.raises(DataError, match=message):
        Schema.infer(table)


def test_what_an_empty_cell_is_has_two_names():
    with pytest.raises(ValueError, match="missing: received 'drop', expected 'state' or 'unknown'"):
        Schema.infer(_table(), missing="drop")


def test_a_column_that_is_left_out_is_named_with_its_reason():
    schema = Schema.infer(_table(id=[f"user-{i}" for i in range(N)]))
    assert schema.names == ["age", "sex"]
    with pytest.raises(DataError, match=r"'id' was left out: it is text that is different"):
        schema["id"]
    with pytest.raises(DataError, match=r"'ages' is not there. Did you mean 'age'"):
        schema["ages"]


def test_a_schema_can_be_edited_and_must_fit_the_data():
    table = _table(grade=np.array(["a", "b", "c"])[np.arange(N) % 3])
    text = Schema.infer(table).to_toml()
    grade = 'name = "grade"\nkind = '
    edited = Schema.from_toml(text.replace(f'{grade}"category"', f'{grade}"ordered"'))
    assert edited["grade"].kind == "ordered"
    edited.check(table)
    with pytest.raises(DataError, match="no column 'grade'"):
        edited.check(table.drop(columns="grade"))
    with pytest.raises(DataError, match="a column 'extra' that is not in the schema"):
        edited.check(table.assign(extra=1))
    with pytest.raises(DataError, match="'grade' has no category 'd'"):
        edited.check(table.assign(grade="d"))
    with pytest.raises(DataError, match=r"'age' holds numbers from 0 to 90\. The schema expects 0"):
        edited.check(table.assign(age=[90, 0] * 25))
    with pytest.raises(DataError, match="'age' is empty in 1 of 50 rows, but the schema says"):
        edited.check(table.assign(age=[np.nan, *[1.0] * 49]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("columns = [", "is not TOML"),
        ('[[columns]]\nname = "a"\nkind = "nunber"', "columns 0: .*'number', 'category'"),
        (f"{BOOLEAN}low = 1", "columns 0 boolean low"),
        (BOOLEAN * 2, "'a' is there twice"),
    ],
)
def test_a_schema_that_is_none_is_refused(text, message):
    with pytest.raises(DataError, match=message):
        Schema.from_toml(text)


def test_text_from_a_csv_is_what_pandas_made_of_it():
    rows = "n,d,b,s\n" + "1,2024-01-31,TRUE,x\n,2024-02-01,FALSE,\n" * 20
    schema = Schema.infer(pd.read_csv(io.StringIO(rows)))
    assert [column.kind for column in schema] == ["number", "datetime", "boolean", "category"]
    assert [column.missing for column in schema] == ["state", "never", "never", "state"]
