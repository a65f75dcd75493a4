"""Tables and tensors as arrays of numbers, and how near a name is to others."""

from decimal import Decimal

import ml_dtypes
import numpy as np
import pytest

from keras_cvae.columns import as_array, in_order, labels_of, names_of
from keras_cvae.errors import DataError, nearest

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")

FRAME = pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5]})
NUMBERS = [[1, 0.5], [2, 1.5], [3, 2.5]]


@pytest.mark.parametrize(
    "table",
    [
        FRAME,
        FRAME.astype("Float64"),
        FRAME.astype({"a": "Int64"}),
        FRAME.astype("float64[pyarrow]"),
        FRAME.astype(object),
        FRAME.map(Decimal),
        pa.Table.from_pandas(FRAME),
        pa.RecordBatch.from_pandas(FRAME),
        FRAME.to_numpy(object),
        FRAME.to_numpy("float32").astype(ml_dtypes.bfloat16),
        pd.Series(NUMBERS),
        np.array([(1, 0.5), (2, 1.5), (3, 2.5)], "O"),
        NUMBERS,
    ],
)
def test_numbers_come_in_many_ways(table):
    found = as_array(table, "x")
    assert found.dtype.kind == "f"
    np.testing.assert_array_equal(found, NUMBERS)


def test_booleans_are_numbers_and_what_is_missing_is_nan():
    flags = pd.DataFrame({"a": [True, False], "b": [0, 1]}).astype("boolean")
    np.testing.assert_array_equal(as_array(flags, "x"), [[1, 0], [0, 1]])
    for kind in ("Float64", "Int64", "float64[pyarrow]"):
        holes = pd.DataFrame({"a": [1, None], "b": [2, 3]}).astype(kind)
        np.testing.assert_array_equal(as_array(holes, "x"), [[1, 2], [np.nan, 3]])
    np.testing.assert_array_equal(as_array(pa.table({"a": [None, 1]}), "x"), [[np.nan], [1]])


def test_tables_of_polars():
    pl = pytest.importorskip("polars")
    np.testing.assert_array_equal(as_array(pl.DataFrame(FRAME.to_dict("list")), "x"), NUMBERS)
    dates = pl.DataFrame({"a": [1]}).with_columns(b=pl.date(2020, 1, 1))
    with pytest.raises(DataError, match="The column 'b' of x holds Date"):
        as_array(dates, "x")


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (FRAME.assign(b="text"), r"The column 'b' of x holds (str|object) values. Expected num"),
        (FRAME.assign(b=pd.Categorical([1, 2, 3])), "The column 'b' of x holds category"),
        (FRAME.assign(b=pd.Timestamp("2020")), "'b' of x holds datetime64"),
        (FRAME.assign(b=1j, c="z"), "'b' of x holds complex128 values, and 1 more like it"),
        (pa.table({"a": ["u", "v"]}), "The column 'a' of x holds string"),
        ([[1, 2], [3]], "x is a list of 2 that differ in shape. Expected an array of numbers."),
        ({1, 2}, "x is a set. Expected an array of numbers."),
        ("one", "x is 'one'. Expected"),
        (None, "x is None. Expected"),
        ((row for row in NUMBERS), "x is a generator. Expected"),
    ],
)
def test_what_is_no_numbers_is_named(x, words):
    with pytest.raises(ValueError, match=words):
        as_array(x, "x")


def test_columns_have_names_where_these_tell_them_apart():
    assert names_of(FRAME) == ("a", "b")
    assert names_of(pa.Table.from_pandas(FRAME)) == ("a", "b")
    assert names_of(pd.DataFrame(NUMBERS)) is None
    assert names_of(FRAME.set_axis(["a", "a"], axis=1)) is None
    assert names_of(np.zeros((3, 2))) is None
    assert labels_of(pd.DataFrame(NUMBERS)) == (0, 1)
    for table in (FRAME, pa.Table.from_pandas(FRAME)):
        assert names_of(in_order(table, ["b", "a"])) == ("b", "a")


def test_of_many_names_one_is_found_that_is_an_edit_away():
    many = [f"Species-{i:05d}" for i in range(20_000)]
    for typed in (
        "species-00042",
        "Specis-00042",
        "Species-000042",
        "Speceis-00042",
        "Zpecies-00042",
    ):
        assert nearest(typed, many) == " Did you mean 'Species-00042'?"
    for typed in ("a bird", "", "x" * 100_000, -1):
        assert nearest(typed, many) == ""
    assert nearest("colour", ["color", "shape"]) == " Did you mean 'color'?"
