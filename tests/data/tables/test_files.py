"""Tables as people have them in files, and files that are damaged, refused by name."""

import gzip
import sys

import numpy as np
import pandas as pd
import pytest

from keras_cvae.data.kinds import is_table
from keras_cvae.data.tables.files import Writer, batches, read
from keras_cvae.data.tables.schema import Schema
from keras_cvae.errors import DataError

FRAME = pd.DataFrame({"n": [1, 2, 3], "name": ["a", "ü, b", "c"], "x": [0.5, 1.5, -2.0]})


def _csv(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ('n,name,x\n1,a,0.5\n2,"ü, b",1.5\n3,c,-2\n', "utf-8"),
        ('n,name,x\r\n1,a,0.5\r\n2,"ü, b",1.5\r\n3,c,-2\r\n', "utf-8-sig"),
        ('n,name,x\r1,a,0.5\r2,"ü, b",1.5\r3,c,-2\r', "utf-8"),
        ("n;name;x\n1;a;0.5\n2;ü, b;1.5\n3;c;-2\n", "cp1252"),
        ("n\tname\tx\n1\ta\t0.5\n2\tü, b\t1.5\n3\tc\t-2\n", "utf-16"),
        ('n, name, x\n1, a, 0.5\n2, "ü, b", 1.5\n3, c, -2\n', "utf-8"),
    ],
)
def test_csv_of_every_kind_is_the_same_table(tmp_path, text, encoding):
    pd.testing.assert_frame_equal(read(_csv(tmp_path / "t.csv", text, encoding)), FRAME)


def test_bytes_that_no_code_page_knows_are_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"n,name\n1,\x81\n2,b\n")
    assert read(path)["name"].tolist() == ["\x81", "b"]


def test_files_of_arrow_need_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "t.feather").write_bytes(b"ARROW1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"'t.feather' needs pyarrow: pip install 'keras-cvae\["):
        read(tmp_path / "t.feather")


def test_a_file_of_which_nothing_was_written_is_none(tmp_path):
    with pytest.raises(RuntimeError), Writer(tmp_path / "t.csv"):
        raise RuntimeError("stopped")
    assert not list(tmp_path.iterdir())


def test_compressed_csv(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"n,x\n1,2\n3,4\n"))
    assert read(path)["x"].tolist() == [2, 4]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"could not be read: .* cut short"):
        read(path)


def test_what_is_missing_and_what_is_a_word(tmp_path):
    table = read(_csv(tmp_path / "t.csv", "n,x,c\n1,NA,NA\n,0.5,?\n3,n/a,DE\n"))
    assert table["n"].dtype == "Int64"
    assert table["n"].isna().tolist() == [False, True, False]
    assert table["x"].isna().tolist() == [True, False, True]
    assert table["c"].tolist() == ["NA", "?", "DE"]  # Namibia


def test_codes_and_decimal_commas(tmp_path):
    text = "zip;n;price;big;\n01234;0;1.234,50;100000000000000000000;\n99999;10;-2,5;7;\n"
    table = read(_csv(tmp_path / "t.csv", text))
    assert table.columns.tolist() == ["zip", "n", "price", "big"]
    assert table["zip"].tolist() == ["01234", "99999"]
    assert table["n"].tolist() == [0, 10]
    assert table["price"].tolist() == [1234.5, -2.5]
    assert table["big"].tolist() == ["100000000000000000000", "7"]
    schema = Schema.infer(table.assign(n=[0, 1]))
    digits = read(_csv(tmp_path / "t.csv", "zip;n\n1234;2\n99999;3\n"), schema.text)
    assert digits["zip"].tolist() == ["1234", "99999"]
    assert digits["n"].tolist() == [2, 3]
    gaps = read(_csv(tmp_path / "t.csv", "price;paid\n1,5;True\n2,5;\n"))
    assert gaps["price"].tolist() == [1.5, 2.5]
    assert gaps["paid"].tolist()[0] is True
    assert gaps["paid"].isna().tolist() == [False, True]
    table = read(_csv(tmp_path / "t.csv", 'a,b\n"1,5",2\n"2,5",3\n'))
    assert table["a"].tolist() == ["1,5", "2,5"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n1,2,3\n4,5\n", r"line 3 has 2 cells, and the first line names 3 columns"),
        ("a,b\n1,2\n1,2,3\n", r"line 3 has 3 cells, and the first line names 2 columns"),
        ("", r"is empty"),
        ("PK\x03\x04", r"is no text, whatever it is called"),
    ],
)
def test_ragged_and_empty_csv_are_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(_csv(tmp_path / "t.csv", text))


def test_names_that_occur_twice_are_kept_for_the_schema_to_refuse(tmp_path):
    table = read(_csv(tmp_path / "t.csv", "a,b,a\n1,2,3\n4,5,6\n"))
    assert table.columns.tolist() == ["a", "b", "a"]


def test_files_that_are_no_tables_are_refused(tmp_path):
    with pytest.raises(DataError, match="There is no file"):
        read(tmp_path / "none.csv")
    other = tmp_path / "t.xls"
    other.write_text("1")
    with pytest.raises(DataError, match=r"is no table. Expected one of .csv"):
        read(other)
    assert is_table("x/adult.CSV.gz")
    assert is_table("adult.parquet")
    assert not is_table("mnist.npz")


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".feather"])
def test_rows_are_written_as_they_come(tmp_path, suffix):
    pytest.importorskip("pyarrow")
    path = tmp_path / f"t{suffix}"
    with Writer(path) as writer:
        writer.write(FRAME[:2])
        assert not path.exists()
        writer.write(FRAME[2:])
    assert writer.rows == 3
    pd.testing.assert_frame_equal(read(path), FRAME)
    with pytest.raises(RuntimeError), Writer(tmp_path / f"half{suffix}") as writer:  # noqa: PT012
        writer.write(FRAME)
        raise RuntimeError("stopped")
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


def test_a_part_of_nothing_but_empty_cells_is_of_the_first_ones_types(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"a": pd.Series(["x", None], dtype=object), "n": [1, 2]})
    with Writer(tmp_path / "t.parquet") as writer:
        writer.write(frame[:1])
        writer.write(frame[1:])
    again = read(tmp_path / "t.parquet")
    assert again["a"].isna().tolist() == [False, True]


def test_whole_numbers_of_others_stay_whole(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = pa.table({"n": pa.array([1, None, 2**60 + 1], pa.int64())})
    pq.write_table(table, tmp_path / "t.parquet")
    again = read(tmp_path / "t.parquet")
    assert str(again["n"].dtype) == "Int64"
    assert again["n"][2] == 2**60 + 1


def test_parquet_in_parts_and_cut_short(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "t.parquet"
    whole = pd.DataFrame({"x": np.arange(1000)})
    whole.to_parquet(path)
    parts = list(batches(path, rows=300))
    assert [len(part) for part in parts] == [300, 300, 300, 100]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"could not be read: .* cut short"):
        read(path)


def test_other_kinds_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match=r"Cannot write .* Expected one of .csv, .parquet"):
        Writer(tmp_path / "t.xlsx")
