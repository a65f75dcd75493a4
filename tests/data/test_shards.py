"""Pictures in tar shards, in Parquet, in folders: the same listing, the same bits."""

import errno
import io
import json
import pickle
import shutil
import sys
import tarfile
import types
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_cvae.backend import cache_folder
from keras_cvae.data import decoded
from keras_cvae.data.batches import Batches
from keras_cvae.data.decoded import Decoded, Helpers, place
from keras_cvae.data.folders import in_order
from keras_cvae.data.images import ImageFiles
from keras_cvae.data.look import look
from keras_cvae.data.places import made_once
from keras_cvae.data.sources import load
from keras_cvae.data.tars import members
from keras_cvae.errors import DataError

N = 23


def png(value):
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), (value, 2 * value, 7), np.uint8)).save(stream, "png")
    return stream.getvalue()


def write_tar(path, contents, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **kwargs) as tar:
        for name, content in contents.items():
            content = content if isinstance(content, bytes) else str(content).encode()
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return path


def sample(i, **fields):
    return {f"{i:04}.png": png(i), **{f"{i:04}.{kind}": value for kind, value in fields.items()}}


@pytest.fixture
def shards(tmp_path):
    """Two shards of N pictures of three classes, with the numbers of pictures as fields."""
    root = tmp_path / "shards"
    for shard, rows in enumerate((range(10), range(10, N))):
        contents = {}
        for i in rows:
            contents |= sample(
                i, cls=i % 3, json=json.dumps({"number": i / 2, "kind": f"k{i % 2}"})
            )
        write_tar(root / f"train-{shard:04}.tar", contents)
    return root


@pytest.fixture
def folder(tmp_path):
    """The same pictures as files."""
    root = tmp_path / "folder"
    for i in range(N):
        (root / str(i % 3)).mkdir(parents=True, exist_ok=True)
        (root / str(i % 3) / f"{i:04}.png").write_bytes(png(i))
    return root


def parquet(path, rows=range(N), names=None):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pictures = [{"bytes": png(i), "path": f"{i}.png"} for i in rows]
    table = pa.table({"image": pictures, "label": [i % 3 for i in rows], "number": list(rows)})
    if names:
        about = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=5)
    return path


def epochs(split, count=2, **kwargs):
    batches = Batches(split, 4, shuffle=True, seed=3, workers=1, **kwargs)
    found = []
    for _ in range(count):
        found += [(x.tobytes(), y.tobytes()) for x, y in batches]
        batches.next_epoch()
    return found


def test_shards_parquet_and_memory_give_the_same_bits(shards, tmp_path):
    table = parquet(tmp_path / "pictures.parquet")
    streamed = [load(source, memory_limit=0) for source in (shards, table)]
    assert all(isinstance(data.train.x, ImageFiles) for data in streamed)
    expected = epochs(load(shards).train)
    for data in streamed:
        assert data.class_names == ("0", "1", "2")
        assert "are decoded once" in data.notes[-1]
        assert epochs(data.train, binarize="none") == expected
    assert epochs(streamed[0].train, binarize="dynamic") == epochs(
        load(shards).train, binarize="dynamic"
    )
    (shards / "train-0000.tar").unlink()  # what was decoded once is not asked for again
    assert epochs(streamed[0].train) == expected


def test_an_epoch_goes_on_in_its_middle_to_the_same_bits(shards):
    whole = epochs(load(shards, memory_limit=0).train, 3)
    steps = len(whole) // 3
    again = Batches(load(shards, memory_limit=0).train, 4, shuffle=True, seed=3, epoch=1, made=2)
    rest = [(x.tobytes(), y.tobytes()) for x, y in (again[i] for i in range(2, steps))]
    assert rest == whole[steps + 2 : 2 * steps]


def test_folders_are_listed_without_objects_in_the_same_order(folder):
    data = load(folder, validation=0)
    assert data.class_names == ("0", "1", "2")
    streamed = load(folder, validation=0, memory_limit=0).train.x
    assert streamed.places.path(1) == folder / "0" / "0003.png"
    np.testing.assert_array_equal(streamed[:], data.train.x)
    again = pickle.loads(pickle.dumps(streamed))
    np.testing.assert_array_equal(again[[3, 1]], data.train.x[[3, 1]])
    assert in_order(["b10", "b9", "a", "B09", "b", "b1x", "b1.y"]) == [
        *("a", "b", "b1.y", "b1x", "B09", "b9", "b10")
    ]


@pytest.mark.parametrize(
    ("contents", "names", "counts"),
    [
        ({"a/1.png": png(1), "a/2.png": png(2), "b/10.png": png(3)}, ("a", "b"), [2, 1]),
        ({"d/train/b/1.png": png(1), "d/train/a/1.png": png(2)}, ("a", "b"), [1, 1]),
        (sample(1, cls="cat") | sample(2, cls="dog"), ("cat", "dog"), [1, 1]),
        (sample(1, json='{"label": 4}') | sample(2, json='{"label": 2}'), ("2", "4"), [1, 1]),
        (sample(1, cls=1, json='{"label": "x"}') | sample(2, cls=0), ("0", "1"), [1, 1]),
        ({"a/1.png": png(1), "a/2.png": png(2)}, None, None),
    ],
)
def test_what_says_the_class(tmp_path, contents, names, counts):
    data = load(write_tar(tmp_path / "one.tar", contents), validation=0)
    assert data.class_names == names
    assert counts is None or np.bincount(data.train.y).tolist() == counts
    facts = look(tmp_path / "one.tar")
    assert facts.kind == "pictures"
    assert facts.classes == (None if names is None else dict(zip(names, counts, strict=True)))


def test_pictures_without_a_label_are_left_out_and_named(tmp_path):
    contents = {name: part for i in range(40) for name, part in sample(i, cls=i % 2).items()}
    contents["0003.cls"] = "  "
    del contents["0007.cls"]
    data = load(write_tar(tmp_path / "some.tar", contents))
    assert len(data.train) + len(data.validation) == 38
    assert {*data.train.y.tolist()} == {0, 1}
    assert any(
        "no label: 0003.png in" in note and "0007.png in" in note and "some.tar" in note
        for note in data.notes
    )
    for i in (9, 11):
        del contents[f"{i:04}.cls"]
    with pytest.raises(DataError, match=r"4 of 40 pictures have no label, among them 0003.png in"):
        load(write_tar(tmp_path / "many.tar", contents))
    broken = write_tar(tmp_path / "broken.tar", sample(0, cls=b"\xff\xfe"))
    with pytest.raises(DataError, match=r"the .cls beside '0000.png' is no text"):
        load(broken)
    contents["0000.npy"] = b"\xff\xfe"  # of no interest, and no field
    contents |= {"0009.cls": "1", "0011.cls": "1"}
    beside = load(write_tar(tmp_path / "beside.tar", dict(sorted(contents.items()))))
    assert len(beside.train) == len(data.train)


def test_fields_are_conditions_by_name(shards, folder):
    data = load(shards, conditions=["label", "number", "kind"], validation=0)
    assert data.class_names is None
    np.testing.assert_array_equal(data.train.y["label"], np.arange(N) % 3)
    np.testing.assert_array_equal(data.train.y["number"], np.arange(N) / 2)
    assert data.train.y["kind"][:3].tolist() == ["k0", "k1", "k0"]
    assert load(folder, conditions=["label"], validation=0).train.y["label"][0] == "0"
    with pytest.raises(DataError, match=r"has kind, label, number beside.* mean 'number'"):
        load(shards, conditions=["numbr"])
    assert look(shards).named["number"][0] == "continuous"


def test_parts_by_the_names_of_shards_and_tables(shards, tmp_path):
    write_tar(shards / "test-0000.tar", sample(5, cls=2) | sample(6, cls=0))
    write_tar(shards / "validation-0000.tar", sample(5, cls=2))
    data = load(shards, validation=0)
    assert (len(data.train), len(data.test)) == (N, 2)
    assert "1 pictures of validation" in "\n".join(data.notes)
    names = ["cat", "dog", "owl"]
    parquet(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet", names=names)
    parquet(tmp_path / "hub" / "data" / "test-00000-of-00001.parquet", range(4), names)
    data = load(tmp_path / "hub", validation="test")
    assert (data.name, len(data.train), len(data.validation)) == ("hub", N, 4)
    assert data.class_names == ("cat", "dog", "owl")
    np.testing.assert_array_equal(data.train.y, np.arange(N) % 3)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_where_tarfile_says(tmp_path, form):
    contents = {"short.png": b"x" * 700, "d/e.cls": b"", "y" * 90 + "/z.png": b"y" * 512}
    if form != tarfile.USTAR_FORMAT:
        contents["long" * 80 + "/ü.png"] = b"z"
    path = write_tar(tmp_path / "a.tar", contents, format=form)
    with tarfile.open(path) as tar:
        expected = [(m.name, m.offset_data, m.size) for m in tar]
    assert [tuple(member) for member in members(path)] == expected


def test_many_small_members_are_where_tarfile_says(tmp_path):
    rng = np.random.default_rng(0)
    inner = write_tar(tmp_path / "inner.tar", sample(1, cls=2)).read_bytes()
    contents = {}
    for i in range(600):
        size = int(rng.choice([0, 1, 511, 512, 513, 3000, 70_000], p=[0.1, *[0.17] * 5, 0.05]))
        folder = "d" * int(rng.choice([0, 1, 120], p=[0.9, 0.08, 0.02]))
        contents[f"{folder}/{i:04}.png"] = rng.bytes(size)
    contents["0300.tar"] = inner  # whose headers look like members
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = write_tar(tmp_path / "many.tar", contents, format=form)
        with tarfile.open(path) as tar:
            expected = [(m.name, m.offset_data, m.size) for m in tar]
        assert [tuple(member) for member in members(path)] == expected
    whole = bytearray(path.read_bytes())
    whole[expected[400][1] - 512 + 130] ^= 1  # a digit of its size
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=f"damaged at byte {expected[400][1] - 512}"):
        list(members(path))


def test_shards_that_cannot_be_read_are_refused_in_words(tmp_path, shards):
    path = shards / "train-0001.tar"
    whole = path.read_bytes()
    for content, words in (
        (whole[:5000], "cut off at byte 5000: the mark of its end is missing"),
        (whole[:3600], r"train-0001\.tar.*ends in the middle of '0011\.png', at byte 3600"),
        (b"\x1f\x8b" + whole, "it is compressed: unpack it first"),
        (b"nothing" * 200, "it is no tar"),
        (whole[:1024] + b"?" * 512 + whole[1536:], "damaged at byte 1024"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=words):
            load(shards)
    write_tar(path, {"1.png": png(1), "1.json": "[1]"})
    with pytest.raises(DataError, match=r"\.json beside '1\.png' is damaged: expected an object"):
        load(shards)
    write_tar(path, {"1.cls": "2"})
    shutil.copy(path, tmp_path / "alone.tar")
    with pytest.raises(DataError, match="holds no pictures"):
        load(tmp_path / "alone.tar")
    write_tar(path, {"a/bad.png": "no picture", "a/bad.cls": "2"})
    with pytest.raises(DataError, match=r"a/bad\.png in .*train-0001\.tar could not be read"):
        load(shards)


def test_tables_that_cannot_be_read_are_refused_in_words(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": [1]}), path)
    with pytest.raises(DataError, match=r"holds n\. Expected a column of encoded pictures"):
        load(path)
    pq.write_table(pa.table({"image": [png(1), None]}), path)
    with pytest.raises(DataError, match=r"Row 1 .* is empty"):
        load(path)
    pq.write_table(pa.table({"image": [png(1), b"no picture"]}), path)
    with pytest.raises(DataError, match=r"image 1 \(counted from 0\) of train of .*a\.parquet"):
        load(path)
    path.write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match="could not be read"):
        load(path)


def test_a_data_set_of_the_hub_is_read_by_its_own_package(tmp_path, monkeypatch):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'keras-cvae\[hub\]'"):
        load("hf://pictures")
    names = ["cat", "dog", "owl"]
    table = pq.read_table(parquet(tmp_path / "a.parquet", names=names))

    class Rows:  # what is used of `datasets.Dataset`
        features = types.SimpleNamespace(arrow_schema=table.schema)
        _fingerprint = "one"

        def with_format(self, form):
            assert form == "arrow"
            return self

        def iter(self, size):
            return (pa.concat_tables([table.slice(i, 9)]) for i in range(0, N, 9))

    asked = []

    def load_dataset(*what):
        asked.append(what)
        if what[0] == "missing":
            raise FileNotFoundError("Couldn't reach 'missing' on the Hub")
        return {"validation": Rows(), "train": Rows()}

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    data = load("hf://someone/pictures:small", validation=0)
    assert asked == [("someone/pictures", "small")]
    assert (data.name, data.class_names) == ("pictures", tuple(names))
    np.testing.assert_array_equal(data.train.x, load(tmp_path / "a.parquet", validation=0).train.x)
    assert "Left out: validation" in data.notes[0]
    with pytest.raises(DataError, match="'hf://missing' could not be fetched or read: Couldn't"):
        load("hf://missing")


def test_spoiled_pixels_are_decoded_again(shards):
    files = load(shards, memory_limit=0).train.x
    expected = files[:]
    pixels = files.kept.folder / "pixels"
    with pixels.open("r+b") as file:
        file.write(b"\xff" * 500)
    np.testing.assert_array_equal(files[:], expected)
    again = load(shards, memory_limit=0).train.x
    again.places = None  # all is there
    np.testing.assert_array_equal(again[:], expected)


@pytest.mark.further
def test_other_processes_help_to_decode(shards):
    files = load(shards, memory_limit=0, validation=0).train.x
    helpers = Helpers(files, 2)
    helpers.wait()
    assert [process.returncode for process in helpers.processes] == [0, 0]
    assert all(files.kept.has(i) for i in range(N))
    expected = load(shards, validation=0).train.x
    files.places = None
    np.testing.assert_array_equal(files[:], expected)


def test_others_help_where_many_pictures_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(decoded, "_HELPED", 8)
    write_tar(tmp_path / "a.tar", {f"{i}.png": png(i % 120) for i in range(60)})
    files = load(tmp_path / "a.tar", memory_limit=0, validation=0).train.x
    files[:5]
    assert files.kept.helpers is None
    files[5:9]
    files.kept.helpers.wait()
    assert all(files.kept.has(i) for i in range(60))
    again = load(tmp_path / "a.tar", memory_limit=0, validation=0).train.x
    again.kept.missing(again, 9)  # of another process, while the first still has them
    assert again.kept.helpers is None
    stopped = Helpers(files, 1)
    stopped.processes[0].stdin.close()  # as it is when the training is killed
    stopped.wait()


def test_a_full_disk_keeps_no_more_pictures_and_says_so(shards):
    expected = load(shards).train.x
    files = load(shards, memory_limit=0).train.x
    files[:3]
    with Path("/dev/full").open("r+b", buffering=0) as full:
        files.kept._file = full
        with pytest.warns(UserWarning, match="no longer kept in .*: No space left on device. "):
            np.testing.assert_array_equal(files[:], expected)
        np.testing.assert_array_equal(files[:], expected)  # said once
    again = load(shards, memory_limit=0).train.x
    assert [again.kept.has(again.rows[i]) for i in (0, 2, 5)] == [True, True, False]
    np.testing.assert_array_equal(again[:], expected)


def test_where_there_is_no_room_at_all_pictures_are_decoded_in_every_epoch(shards, monkeypatch):
    def full(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Decoded, "__init__", full)
    data = load(shards, memory_limit=0)
    assert "decoded again in every epoch" in data.notes[-1]
    assert "(No space left on device)" in data.notes[-1]
    np.testing.assert_array_equal(data.train.x[:], load(shards).train.x)


def test_others_that_keep_the_same_pictures_take_nothing_away(tmp_path):
    one = Decoded(tmp_path / "one", 9, (4, 5, 3))
    one.write(3, np.full((4, 5, 3), 7, np.uint8))
    other, image = Decoded(tmp_path / "one", 9, (4, 5, 3)), np.empty((4, 5, 3), np.uint8)
    assert other.read(3, image)
    assert (image == 7).all()
    assert not other.read(4, image)
    other.write(4, image + 1)
    assert one.has(4)


def test_what_is_kept_of_shards_is_made_again_once_it_is_damaged(shards):
    expected = load(shards, validation=0)
    kept = (cache_folder() / "shards").glob("*/0/field*.npy")
    for path in [*kept]:  # the labels, and other numbers
        content = bytearray(path.read_bytes())
        content[-1] ^= 64
        path.write_bytes(content)
    again = load(shards, validation=0, memory_limit=0)
    np.testing.assert_array_equal(again.train.y, expected.train.y)
    np.testing.assert_array_equal(again.train.x[:], expected.train.x)


def test_what_is_made_once_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = []

    def make(folder):
        assert not [*folder.iterdir()]
        made.append(folder)
        (folder / "a.npy").write_bytes(b"1")
        if len(made) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_once("some", ["a"], make)
    (made[0].mkdir(), (made[0] / "left.npy").write_bytes(b"half"))  # by one that was killed
    with ThreadPool(4) as pool:
        found = pool.map(lambda _: made_once("some", ["a"], make), range(8))
    assert len({*found}) == 1
    assert len(made) == 2
    assert sorted(path.name for path in found[0].iterdir()) == ["a.npy", "sums.json"]


def test_decoded_pictures_stay_within_their_limit(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_CVAE_PICTURES_GB", "0.0002")
    kept = {}
    for name in ("first", "second"):
        folder, said = place(name, 150_000)
        assert "decoded once" in said
        kept[name] = Decoded(folder / "train", 15, (10_000,))
        for i in range(15):
            kept[name].write(i, np.full(10_000, i, np.uint8))
    assert not (tmp_path / "keras-cvae" / "pictures" / "first").exists()
    folder, said = place("third", 10**6)
    assert folder is None
    assert "may take 0.0 GB" in said
    assert kept["second"].has(3)
