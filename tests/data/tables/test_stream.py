"""A Parquet file that is learned part by part has the codec and the rows of the whole."""

import numpy as np
import pandas as pd
import pytest

from keras_cvae.data.tables import parquet, stream
from keras_cvae.data.tables.codec import TableCodec
from keras_cvae.data.tables.parquet import ParquetRows
from keras_cvae.data.tables.schema import Schema
from keras_cvae.data.tables.stream import CodedRows, read_codec
from keras_cvae.errors import DataError

pytest.importorskip("pyarrow")


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "SAMPLE", 200)
    monkeypatch.setattr(stream, "BLOCK", 16)
    monkeypatch.setattr(stream, "BUFFER", 4)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "row": np.arange(1000) % 97,
            "name": rng.choice(["a", "b"], 1000),
            "gap": np.where(rng.random(1000) < 0.5, np.nan, 1.0 + rng.integers(0, 3, 1000)),
        }
    )
    frame.loc[501, "name"] = "rare"
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=100)
    return tmp_path / "t.parquet", frame


def test_categories_of_the_whole_file_are_known(file):
    path, frame = file
    codec = read_codec(ParquetRows(path))
    assert ParquetRows(path).rows == 1000
    assert codec.schema["name"].levels == ("a", "b", "rare")
    assert (codec.schema["row"].low, codec.schema["row"].high) == (0, 96)
    assert codec.schema["gap"].missing == "state"
    assert (codec.shares[1] > 0).all()
    codes = codec.encode(codec.read(frame, warn=False), 1000)
    assert (codes >= 0).all()


def test_categories_that_the_sample_lacks_have_a_level(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "SAMPLE", 100)
    frame = pd.DataFrame({"n": np.arange(400) % 7, "c": ["a", "b"] * 200, "o": ["x", "y"] * 200})
    frame.loc[303, ["c", "o"]] = ["rare", "seldom"]
    frame["o"] = frame["o"].astype(pd.CategoricalDtype(["x", "y", "seldom"], ordered=True))
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=100)
    codec = read_codec(ParquetRows(tmp_path / "t.parquet"))
    assert codec.schema["c"].levels == ("a", "b", "rare")
    assert codec.schema["o"].levels == ("x", "y", "seldom")
    codes = codec.encode(codec.read(frame), 400)
    pd.testing.assert_frame_equal(codec.write(codec.decode(codes, np.random.default_rng(0))), frame)
    for name in ("c", "o"):
        (share,) = codec.shares[codec.slice(name)]
        assert (share > 0).all()


def test_every_epoch_has_the_rows_in_another_order(file):
    path, frame = file
    codec = read_codec(ParquetRows(path))
    rows = CodedRows(ParquetRows(path), codec, 16, seed=1)
    assert len(rows) == 62
    epochs = []
    for _ in range(2):
        epochs.append(np.concatenate([rows[i][0] for i in range(len(rows))]))
        rows.on_epoch_end()
    codes = codec.encode(codec.read(frame, warn=False), 1000)
    for epoch in epochs:
        assert epoch.dtype == np.float32
        share = (epoch[:, 1] == 0).mean()
        assert share == pytest.approx((codes[:, 1] == 0).mean(), abs=0.06)
        assert set(map(tuple, epoch.astype(int))) <= set(map(tuple, codes))
    assert not np.array_equal(*epochs)
    assert rows[3][0].tolist() == rows[3][0].tolist()
    assert rows.sample(100).shape == (100, 3)


def test_a_table_is_learned_from_its_file(file):
    from keras_cvae import TableCVAE

    path, _ = file
    table = TableCVAE(hidden=8, layers=0, epochs=2, batch_size=64, seed=0).fit(path, verbose=0)
    drawn = table.sample(300, seed=0)
    assert drawn.columns.tolist() == ["row", "name", "gap"]
    assert drawn["gap"].isna().mean() == pytest.approx(0.5, abs=0.1)


def test_rows_are_held_out_and_sampled_without_reading_all(file):
    path, frame = file
    rows = ParquetRows(path, every=10)
    assert rows.held()["row"].tolist() == frame["row"][::10].tolist()
    learned = pd.concat(list(rows.parts()))
    assert len(learned) == 900
    assert set(learned.index) & set(range(0, 1000, 10)) == set()
    some = rows.sample(100)
    assert 90 <= len(some) <= 120
    assert set(some["row"]) <= set(learned["row"])
    assert len(ParquetRows(path).held()) == 0
    with pytest.raises(DataError, match="There is no file"):
        ParquetRows(path.parent / "none.parquet")


def test_a_schema_that_was_given_must_fit_the_file(file):
    path, frame = file
    schema = Schema.infer(frame[frame["name"] != "rare"])
    with pytest.raises(DataError, match="'name' has no category 'rare'"):
        read_codec(ParquetRows(path), schema)
    codec = read_codec(ParquetRows(path), Schema.infer(frame))
    assert codec.schema["name"].levels == ("a", "b", "rare")


def test_what_the_sample_lacks_is_found_in_the_rest(tmp_path):
    frame = pd.DataFrame({"n": np.arange(400) % 7 / 1, "c": ["a", "b"] * 200})
    frame["t"] = pd.date_range("2024-01-01", periods=400)
    frame["w"] = np.random.default_rng(0).normal(size=400)
    frame["b"] = frame["w"] > 0
    frame["id"] = [f"user-{i}" for i in range(400)]
    frame["late"] = frame["n"].where(frame.index != 350)
    frame.loc[301, "n"] = 3.25
    frame.loc[302, "t"] = pd.Timestamp("2031-05-01 10:30")
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=100)
    schema, _ = parquet.infer_schema(ParquetRows(tmp_path / "rows.parquet"), sample=frame[:100])
    assert schema["n"].decimals == 2
    assert schema["t"].step == "minute"
    assert schema["t"].high == "2031-05-01 10:30:00"
    assert (schema["w"].decimals, schema["w"].low) == (None, frame["w"].min())
    assert schema["b"].kind == "boolean"
    assert schema.left_out[0].name == "id"
    assert schema["late"].missing == "state"
    codec = TableCodec.fit(frame, schema)
    pd.testing.assert_frame_equal(codec.write(codec.read(frame)), frame.drop(columns="id"))
