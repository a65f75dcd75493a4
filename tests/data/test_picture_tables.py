"""Pictures in tables of the hub and of Parquet; no network is asked."""

import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from keras_cvae.data.picture_tables import list_hub, list_parquet, picture_column
from keras_cvae.data.sources import load
from keras_cvae.errors import DataError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def png(value):
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(stream, "png")
    return stream.getvalue()


def table(values, names=("dark", "light")):
    """Pictures of one value each, as the hub has them, with a class, a word and a gap."""
    rows = {
        "picture": [{"bytes": png(value), "path": None} for value in values],
        "label": [int(value > 100) for value in values],
        "word": [f"w{value}" if value % 2 else None for value in values],
    }
    about = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    return pa.table(rows).replace_schema_metadata({"huggingface": json.dumps(about)})


class Rows:
    """A split, as `datasets` gives it."""

    def __init__(self, rows):
        self.rows, self._fingerprint = rows, str(hash(rows.schema.to_string()) + len(rows))
        self.features = SimpleNamespace(arrow_schema=rows.schema)

    def with_format(self, kind):
        assert kind == "arrow"
        return self

    def iter(self, size):
        for start in range(0, len(self.rows), 2):
            yield self.rows.slice(start, 2)


@pytest.fixture
def hub(monkeypatch):
    """What `datasets.load_dataset` finds, by name."""
    found = {}

    def load_dataset(name, configuration):
        return found[name, configuration]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    return found


def test_a_data_set_of_the_hub_is_read_with_its_splits_and_classes(hub):
    hub["me/shades", "small"] = {
        "test": Rows(table([5, 205])),
        "train": Rows(table([10, 210, 31, 231, 50])),
        "extra": Rows(table([1])),
    }
    data = load("hf://me/shades:small")
    assert data.class_names == ("dark", "light")
    np.testing.assert_array_equal(255 * data.test.floats()[:, 0, 0, 0], [5, 205])
    assert data.test.y.tolist() == [0, 1]
    assert len(data.train) + len(data.validation) == 5
    assert any("Left out: extra" in note for note in data.notes)
    listing = list_hub("hf://me/shades:small")
    assert listing.fields[0]["word"].tolist() == ["", "", "w31", "w231", ""]
    assert listing.name == "shades"


def test_what_the_hub_cannot_give_is_said(hub, monkeypatch):
    with pytest.raises(DataError, match="'hf://none' could not be fetched or read"):
        list_hub("hf://none")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"package datasets: pip install 'keras-cvae\[hub\]'"):
        load("hf://none")


def test_tables_without_pictures_are_refused_by_what_they_hold(tmp_path, hub, monkeypatch):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"n": [1, 2], "sound": [b"a", b"b"]}), path)
    assert picture_column(path) is None
    with pytest.raises(DataError, match=r"holds n, sound. Expected a column of encoded pictures"):
        list_parquet(path, [path])
    pq.write_table(pa.table({"png": [png(1), None]}), path)
    assert picture_column(path) == "png"
    with pytest.raises(DataError, match=r"Row 1 \(counted from 0\) of train, .* is empty"):
        list_parquet(path, [path])
    pq.write_table(table([5]).slice(0, 0), path)
    with pytest.raises(DataError, match="holds no pictures"):
        list_parquet(path, [path])
    path.write_bytes(b"PAR1")
    assert picture_column(path) is None  # whoever reads it says what is wrong
    with pytest.raises(DataError, match="could not be read"):
        list_parquet(path, [path])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match="needs pyarrow: pip install"):
        list_parquet(path, [path])
