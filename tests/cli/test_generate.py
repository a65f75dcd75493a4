"""Draws are written as they come: any number of them, to one file or to a folder of files."""

import itertools
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_cvae import MLP, Categorical, ConditionalVAE, Continuous, devices, load, load_data
from keras_cvae.cli import draw
from keras_cvae.cli.shared import in_words
from keras_cvae.data import drawn
from keras_cvae.errors import DataError
from keras_cvae.runs import processes as many


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, x_shape, likelihood in (("vectors", (3,), "gaussian"), ("images", (4, 4, 1), None)):
        own = {"likelihood": likelihood} if likelihood else {}
        model = ConditionalVAE(
            x_shape, Categorical(["a", "b"]), 2, backbone=MLP((4,)), seed=0, **own
        )
        model.save(folder / f"{name}.keras")
    return folder


@pytest.fixture
def vectors(files):
    return files / "vectors.keras"


def draws(path, y, n, **options):
    return load(path).generate(y, n, seed=0, output="sample", **options)


def names_in(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def arrays(path):
    with np.load(path) as file:
        return file["x"], file["y"].tolist()


def test_one_file_of_each_kind_holds_the_same(cvae, files, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_cvae.cli.drawing.PART", 160)  # ten pictures
    table = pytest.importorskip("pandas")
    for kind in ("npz", "csv", "parquet"):
        said = cvae("generate", files / "images.keras", "-n", 33, "--sample", "-o", f"x.{kind}")
        assert (said.code, said.out) == (
            0,
            f"66 draws, 33 for each of 2 conditions, written to x.{kind}\n",
        )
    x, y = arrays("x.npz")
    assert y == ["a"] * 33 + ["b"] * 33
    expected = [draws(files / "images.keras", one, 33) for one in ("a", "b")]
    np.testing.assert_array_equal(x, np.concatenate(expected))
    rows = table.read_csv("x.csv")
    assert rows.condition.tolist() == y
    np.testing.assert_allclose(rows.iloc[:, 1:].to_numpy(), x.reshape(66, -1), rtol=1e-6)
    rows = table.read_parquet("x.parquet")
    assert rows.condition.tolist() == y
    np.testing.assert_array_equal(np.stack(rows.x), x.reshape(66, -1))
    import pyarrow.parquet as pq

    metadata = pq.read_schema("x.parquet").metadata
    assert json.loads(metadata[b"shape"]) == [4, 4, 1]


def test_a_folder_of_files_can_be_gone_on_with(cvae, vectors, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_cvae.cli.drawing.PART", 24)  # eight vectors
    monkeypatch.setattr(os, "_exit", sys.exit)  # of a command that is stopped
    asked = ("generate", vectors, "-n", 25, "--sample", "--shard-rows", 20, "-o", "draws")
    write, written = drawn.write, []

    def stopped(path, *rows):
        if len(written) == 1:
            os.kill(os.getpid(), signal.SIGTERM)  # while the second is written
        write(path, *rows)
        written.append(path)

    monkeypatch.setattr(drawn, "write", stopped)
    said = cvae(*asked)
    assert said.code == 143
    assert "1 of 3 files are whole. Continue with: cvae generate " in " ".join(said.err.split())
    assert names_in("draws") == ["_draws.json", "part-00000.npz"]
    first = (tmp_path / "draws" / "part-00000.npz").stat().st_mtime_ns
    monkeypatch.setattr(drawn, "write", write)
    other = cvae(*asked[:-4], "--seed", 1, *asked[-4:])
    assert other.code == 1
    assert "holds other draws" in other.err

    (tmp_path / "draws" / ".part-00001.0123abcd.npz").touch()  # of one that was killed
    said = cvae(*asked, "--json")
    names = [f"draws/part-{i:05d}.npz" for i in range(3)]
    assert json.loads(said.out) == {"files": names, "labels": ["a"] * 25 + ["b"] * 25}
    assert "1 of 3 files are there already" in said.err
    assert names_in("draws") == ["_draws.json", *(name[6:] for name in names)]
    assert (tmp_path / "draws" / "part-00000.npz").stat().st_mtime_ns == first
    x, y = zip(*map(arrays, names), strict=True)
    assert [*map(len, x)] == [20, 20, 10]
    assert [*itertools.chain(*y)] == ["a"] * 25 + ["b"] * 25
    expected = np.concatenate([draws(vectors, "a", 25), draws(vectors, "b", 25)])
    np.testing.assert_allclose(np.concatenate(x), expected, rtol=1e-6)

    said = cvae(*asked)
    assert (said.code, "holds all 50 draws already" in said.err) == (0, True)
    assert cvae(*asked, "--overwrite").code == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.tar").touch()
    said = cvae(*asked[:-1], "other", "--overwrite")
    assert (said.code, "'other' holds other files" in said.err) == (1, True)
    assert names_in("other") == ["mine.tar"]
    assert arrays(names[2])[1] == y[2]


def test_what_was_drawn_has_the_conditions_of_the_data_when_it_is_learned(cvae, tmp_path):
    def folder(spec, *asked):
        model = ConditionalVAE((3,), spec, 2, backbone=MLP((4,)), seed=0, likelihood="gaussian")
        model.save("model.keras")
        said = cvae("generate", "model.keras", *asked, "-n", 9, "--shard-rows", 5, "-o", "drawn")
        assert said.code == 0, said.err
        return load_data("drawn", validation=0)

    data = folder(Categorical([str(i) for i in range(11)]))
    assert data.class_names == tuple(str(i) for i in range(11))
    np.testing.assert_array_equal(data.train.y, np.repeat(np.arange(11), 9))
    with np.load(tmp_path / "drawn" / "part-00000.npz") as file:
        assert file["y"].tolist() == [0] * 5
    expected = draws("model.keras", 10, 9)
    np.testing.assert_array_equal(data.train.x[-9:], expected)
    (tmp_path / "drawn" / "part-00002.npz").unlink()
    with pytest.raises(DataError, match=r"Of the 20 files .* 1 are missing, among them part-00002"):
        load_data("drawn")
    for spec, asked, y in (
        (Continuous(1), ("-c", "0.5", "-c", "2"), np.float32([[0.5], [2]])),
        (Continuous(2), ("-c", "0.5,1", "-c", "2,3"), np.float32([[0.5, 1], [2, 3]])),
    ):
        shutil.rmtree("drawn")
        data = folder(spec, *asked)
        assert data.class_names is None
        np.testing.assert_array_equal(data.train.y.reshape(18, -1), np.repeat(y, 9, axis=0))
    shutil.rmtree("drawn")
    assert folder(None).train.y is None


def test_processes_each_write_their_share_of_a_folder(cvae, vectors, tmp_path, monkeypatch):
    asked = ("generate", vectors, "-n", 25, "--sample")
    assert cvae(*asked, "--shard-rows", 8, "-o", "one").code == 0
    assert cvae(*asked, "--shard-rows", 8, "-o", "many").code == 0
    missing = [1, 2, 5]  # the others are there already; all look before one begins
    for i in missing:
        (tmp_path / "many" / f"part-{i:05d}.npz").unlink()
    monkeypatch.setattr(drawn.Folder, "missing", lambda folder: missing)
    monkeypatch.setattr(draw, "together", lambda processes, **_: None)
    monkeypatch.setattr(devices, "exchanged", lambda numbers: None)
    written = []
    for index in (0, 1):
        monkeypatch.setattr(devices, "_place", (index, 2))
        said = cvae(*asked, "--processes", 2, "--shard-rows", 8, "-o", "many")
        assert (said.code, " draws, " in said.out) == (0, index == 0)
        monkeypatch.setattr(devices, "_place", (0, 1))
        written.append(names_in("many")[1:])
    assert [len(one) for one in written] == [5, 7]
    for name in names_in("one"):
        assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_where_processes_end_it_is_said_how_to_go_on(cvae, vectors, monkeypatch):
    def spawn(command, count, signals):
        raise many.EndedError(1, count, -9, "out of paper")

    monkeypatch.setattr(many, "spawn", spawn)
    asked = ("generate", vectors, "-n", 5, "--processes", 2)
    said = cvae(*asked, "--shard-rows", 3, "-o", "draws")
    assert f"Continue with: cvae generate {vectors} -n 5" in " ".join(said.err.split())
    assert "Continue" not in cvae(*asked, "-o", "x.npz").err


def test_of_one_file_the_first_process_writes_all(cvae, vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "together", lambda processes, **_: None)
    monkeypatch.setattr(devices, "gathered", lambda part: np.stack([part, part]))
    monkeypatch.setattr(devices, "_place", (1, 2))
    assert cvae("generate", vectors, "-n", 5, "--processes", 2, "-o", "x.npz").code == 0
    assert names_in(tmp_path) == []


def test_a_folder_of_parquet_is_read_as_one_table(cvae, vectors):
    pandas = pytest.importorskip("pandas")
    asked = ("generate", vectors, "-c", "b", "-c", "a:0.5,b:0.5", "-n", 9, "--sample")
    assert cvae(*asked, "--shard-rows", 4, "-o", "d.parquet").code == 0
    rows = pandas.read_parquet("d.parquet", columns=["condition", "x1", "x2", "x3"])
    assert rows.condition.tolist() == ["b"] * 9 + ["a:0.5,b:0.5"] * 9
    expected = [draws(vectors, one, 9) for one in ("b", {"a": 0.5, "b": 0.5})]
    np.testing.assert_array_equal(rows.iloc[:, 1:], np.concatenate(expected))


def test_what_is_interrupted_leaves_nothing(cvae, vectors, tmp_path, monkeypatch):
    def interrupted(*asked):
        raise KeyboardInterrupt

    monkeypatch.setattr(drawn, "_header", interrupted)
    monkeypatch.setattr(os, "_exit", sys.exit)
    said = cvae("generate", vectors, "-n", 5, "-o", "x.npz")
    assert said.code == 130
    assert "Stopped. Nothing was written." in said.err
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_said_before_a_model_is_loaded(refused, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "mine.txt").touch()
    refused(["generate", "no.keras", "--shard-rows", 5], "--shard-rows", "-o FOLDER")
    refused(["generate", "no.keras", "--shard-rows", 5, "-o", "x.csv"], "Expected .npz, .parquet")
    refused(["generate", "no.keras", "--shard-rows", 5, "-o", "kept"], "'kept' exists already")
    asked = ["generate", "no.keras", "--shard-rows", 5, "--overwrite", "-o", "kept/mine.txt"]
    refused(asked, "'kept/mine.txt' is a file. Expected the name of a folder")


def test_too_many_to_look_at(cvae, files):
    said = cvae("generate", files / "images.keras", "-n", 6000, "-o", "x.png")
    assert said.code == 1
    assert "A sheet of 12000 pictures" in said.err
    said = cvae("generate", files / "images.keras", "-n", 300)
    assert "... 200 more draws: -o FILE.npz writes all." in said.out
    said = cvae("generate", files / "vectors.keras", "-n", 30)
    assert "... 40 more draws: -o FILE.csv writes all." in said.out


def test_of_many_facts_the_first_are_printed():
    assert in_words({"a": 1, "b": [2.5, "x"]}) == "a=1  b=2.5, x"
    said = in_words([str(k) for k in range(100_000)])
    assert said.endswith("98, 99, ... (100,000 in all)")
    assert in_words({str(k): k for k in range(101)}).endswith("99=99  ... (101 in all)")
