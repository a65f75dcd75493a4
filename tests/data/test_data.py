import io
import json
import os
import re
import zipfile

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import sparse

from keras_cvae.data.arrays import from_arrays
from keras_cvae.data.batches import Batches, NextEpoch
from keras_cvae.data.containers import Split
from keras_cvae.data.images import ImageFiles
from keras_cvae.data.look import look
from keras_cvae.data.sources import load
from keras_cvae.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 5, 4, 1), np.uint8)
LABELS = np.arange(40) % 4


def save_image(path, size=(4, 5), value=None, mode="L", **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    if value is None:
        pixels = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size[::-1])
        Image.fromarray(pixels).convert(mode).save(path, **kwargs)
    else:
        Image.new(mode, size, value).save(path, **kwargs)
    return path


@pytest.fixture
def folder(tmp_path):
    """Classes 9 and 10 with six grey 4x5 (width x height) images each, of value 10 * i."""
    root = tmp_path / "shapes"
    for name in ("10", "9"):
        for i in range(6):
            save_image(root / name / f"{i}.png", value=10 * i + (name == "10"))
    return root


@pytest.fixture
def npz(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "my.npz", **arrays)
        return tmp_path / "my.npz"

    return save


# Named sources -----------------------------------------------------------------------------------


def test_digits():
    digits = load("digits")
    assert digits.name == "digits"
    assert digits.x_shape == (8, 8, 1)
    assert digits.class_names == tuple("0123456789")
    assert digits.train.x.dtype == np.uint8
    assert digits.train.y.dtype == np.int32
    assert digits.train.x.max() == 255
    assert len(digits.train) + len(digits.validation) + len(digits.test) == 1797
    assert len(digits.test) == 359
    assert np.bincount(digits.test.y).min() >= 34


def test_digits_test_set_does_not_depend_on_the_seed_but_validation_does():
    one, two = load("digits", seed=1), load("digits", seed=2)
    np.testing.assert_array_equal(one.test.x, two.test.x)
    assert not np.array_equal(one.validation.x, two.validation.x)
    np.testing.assert_array_equal(one.validation.x, load("digits", seed=1).validation.x)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_keras_datasets(monkeypatch, name):
    shape = (32, 32, 3) if name == "cifar10" else (28, 28)
    x = RNG.integers(0, 256, (30, *shape), np.uint8)
    y = (np.arange(30) % 10).astype(np.uint8)
    y = y[:, None] if name == "cifar10" else y
    module = getattr(keras.datasets, name)
    monkeypatch.setattr(module, "load_data", lambda: ((x, y), (x[:10], y[:10])))
    loaded = load(name, validation="test")
    assert loaded.x_shape == (*shape, 1)[:3]
    assert loaded.validation is loaded.test
    assert loaded.train.y.shape == (30,)
    first = {"mnist": "0", "fashion_mnist": "T-shirt/top", "cifar10": "airplane"}
    assert loaded.class_names[0] == first[name]
    np.testing.assert_array_equal(loaded.test.y, np.arange(10))


def test_failing_download_suggests_an_npz(monkeypatch):
    def fail():
        raise Exception("URL fetch failure on https://somewhere: None -- timed out")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    with pytest.raises(DataError, match=r"'mnist' could not be downloaded.*(?s:.*)cvae train path"):
        load("mnist")


@pytest.mark.parametrize(
    ("source", "near"), [("mnits", "mnist"), ("Digits", "digits"), ("fashion-mnist", "fashion_mn")]
)
def test_unknown_source_names_the_nearest(source, near):
    with pytest.raises(DataError, match=rf"(?s){source}.*Did you mean {near}.*\.npz file"):
        load(source)


def test_missing_path_names_the_nearest_sibling(tmp_path):
    (tmp_path / "faces").mkdir()
    with pytest.raises(DataError, match=r"Did you mean .*faces\?"):
        load(tmp_path / "face")
    with pytest.raises(DataError, match="No data set, file or folder"):
        load(tmp_path / "no" / "such.npz")


def test_other_file_is_refused(tmp_path):
    (tmp_path / "table.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"table\.csv is not an \.npz file"):
        load(tmp_path / "table.csv")


# Arrays and .npz ---------------------------------------------------------------------------------


def test_npz_in_keras_layout(npz):
    path = npz(x_train=IMAGES[..., 0], y_train=LABELS + 5, x_test=IMAGES[:8, ..., 0],
               y_test=LABELS[:8] + 5)  # fmt: skip
    loaded = load(str(path))
    assert loaded.name == "my"
    assert loaded.class_names == ("5", "6", "7", "8")
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (36, 4, 8)
    np.testing.assert_array_equal(loaded.test.y, LABELS[:8])
    np.testing.assert_array_equal(loaded.test.x, IMAGES[:8])
    assert sorted(loaded.validation.y) == [0, 1, 2, 3]


def test_npz_with_x_alone_is_unconditional(npz):
    loaded = load(npz(x=RNG.normal(size=(20, 3))))
    assert loaded.x_shape == (3,)
    assert loaded.train.x.dtype == np.float32
    assert loaded.train.y is loaded.test is loaded.class_names is None


def test_npz_class_names(npz):
    path = npz(x=IMAGES, y=LABELS % 2, class_names=np.array(["cat", "dog", "eel"]))
    loaded = load(path)
    assert loaded.class_names == ("cat", "dog", "eel")
    assert loaded.train.y.max() == 1


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES}, r"holds images\. Expected x_train"),
        ({}, "holds nothing"),
        ({"x": IMAGES, "y": LABELS[:7]}, "x has 40 examples but y has 7"),
        ({"x_train": IMAGES, "x_test": IMAGES, "y_train": LABELS, "y_test": LABELS[:3]},
         "x_test has 40 examples but y_test has 3"),
        ({"x_train": IMAGES, "y_train": LABELS, "y_test": LABELS}, "y_test but no x_test"),
        ({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES}, "y for train but none for test"),
        ({"x_train": IMAGES, "y_test": LABELS, "x_test": IMAGES}, "y for test but none for train"),
        ({"x": IMAGES[:0], "y": LABELS[:0]}, "at least one example in x"),
    ],
)  # fmt: skip
def test_npz_errors(npz, arrays, message):
    with pytest.raises(DataError, match=message):
        load(npz(**arrays))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "text", "npy", "objects", "empty"])
def test_damaged_npz_names_the_file(tmp_path, damage):
    path = tmp_path / "bad.npz"
    np.savez_compressed(path, x=RNG.random((50, 30)))
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[200:3000] = bytes(2800)
        path.write_bytes(content)
    elif damage == "text":
        path.write_text("not a zip")
    elif damage == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif damage == "objects":
        np.savez(path, x=np.array([{}, []], object))
    else:
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"bad\.npz could not be read"):
        load(path)


@pytest.mark.parametrize(
    ("x", "dtype", "low", "high"),
    [
        (IMAGES, np.uint8, IMAGES.min(), IMAGES.max()),
        (IMAGES.astype(np.int64), np.uint8, IMAGES.min(), IMAGES.max()),
        (IMAGES.astype(np.uint16) * 9, np.float32, IMAGES.min() * 9.0, IMAGES.max() * 9.0),
        (IMAGES > 99, np.uint8, 0, 255),
        ((IMAGES > 99).astype(np.uint8), np.uint8, 0, 255),
        (IMAGES.astype(np.float64) - 7, np.float32, IMAGES.min() - 7.0, IMAGES.max() - 7.0),
        (IMAGES.reshape(40, -1).astype(int), np.float32, IMAGES.min(), IMAGES.max()),
        (IMAGES.reshape(40, -1), np.uint8, IMAGES.min(), IMAGES.max()),
    ],
)
def test_x_becomes_uint8_or_float32(x, dtype, low, high):
    split = from_arrays(x, test=(x, None)).test
    assert split.x.dtype == dtype
    assert (split.x.min(), split.x.max()) == (low, high)
    assert split.floats().dtype == np.float32
    assert split.floats().max() == (np.float32(high / 255) if dtype == np.uint8 else high)


def test_train_and_test_are_scaled_alike():
    loaded = from_arrays(IMAGES, test=((IMAGES[:3] > 99).astype(np.uint8), None))
    assert loaded.test.x.max() == 1
    with pytest.raises(DataError, match="uint8 in train but float32 in test"):
        from_arrays(IMAGES, test=(IMAGES / 255, None))
    with pytest.raises(DataError, match="same shape"):
        from_arrays(IMAGES, test=(IMAGES[:, :3], None))


@pytest.mark.parametrize(
    ("y", "names", "expected"),
    [
        ([3, 7, 3, 9], ("3", "7", "9"), [0, 1, 0, 2]),
        ([[3], [7], [3], [9]], ("3", "7", "9"), [0, 1, 0, 2]),
        ([-1, 1, 1, -1], ("-1", "1"), [0, 1, 1, 0]),
        ([True, False, True, True], ("False", "True"), [1, 0, 1, 1]),
        (["b", "a", "b", "c"], ("a", "b", "c"), [1, 0, 1, 2]),
        ([b"b", b"a", b"b", b"c"], ("a", "b", "c"), [1, 0, 1, 2]),
        (np.array(["b", "a", "b", "c"], object), ("a", "b", "c"), [1, 0, 1, 2]),
    ],
)
def test_labels_are_numbered(y, names, expected):
    loaded = from_arrays(IMAGES[:4], y, test=(IMAGES[:4], y))
    assert loaded.class_names == names
    assert loaded.test.y.dtype == np.int32
    np.testing.assert_array_equal(loaded.test.y, expected)


def test_class_names_order_string_labels_and_name_integer_ones():
    y = ["low", "high", "low", "high"]
    loaded = from_arrays(IMAGES[:4], y, test=(IMAGES[:4], y), class_names=["low", "high"])
    np.testing.assert_array_equal(loaded.test.y, [0, 1, 0, 1])
    y = [10, 20, 10, 20]
    loaded = from_arrays(IMAGES[:4], y, test=(IMAGES[:4], y), class_names=["low", "high"])
    assert loaded.class_names == ("low", "high")
    np.testing.assert_array_equal(loaded.test.y, [0, 1, 0, 1])


@pytest.mark.parametrize("y", [RNG.normal(size=40), RNG.normal(size=(40, 3)), RNG.random((40, 1)),
                               RNG.integers(0, 2, (40, 3))])  # fmt: skip
def test_numbers_stay_numbers(y):
    loaded = from_arrays(IMAGES, y, test=(IMAGES, y))
    assert loaded.class_names is None
    assert loaded.test.y.dtype == np.float32
    np.testing.assert_array_equal(loaded.test.y, y.astype(np.float32))


def with_nan(x):
    x = np.array(x, float)
    x[3, 1:3] = np.nan
    x[7, 0] = np.inf
    return x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: from_arrays(with_nan(np.zeros((9, 5)))), r"x holds 3 value.* first is in row 3"),
        (lambda: from_arrays(np.full((2, 2), 1e300)), "x holds 4 value"),
        (lambda: from_arrays(IMAGES, np.full(40, np.nan)), r"y holds 40 value.*row 0"),
        (lambda: from_arrays(IMAGES, LABELS[:9]), "x has 40 examples but y has 9"),
        (lambda: from_arrays(IMAGES[:0]), "at least one example"),
        (lambda: from_arrays(np.zeros(5)), r"Expected x of shape .* Received: \(5,\)"),
        (lambda: from_arrays(np.array([["a"]])), "Expected numbers in x"),
        (lambda: from_arrays(sparse.csr_array(np.eye(9))), r"x is sparse .csr_array.*x\.toarray"),
        (lambda: from_arrays(pd.DataFrame({"a": [1, 2], "b": ["u", "v"], "c": ["u", "v"]})),
         "The column 'b' of x holds (object|str) values, and 1 more"),
        (lambda: from_arrays(IMAGES, np.zeros(40, complex)), "integers, strings or floats"),
        (lambda: from_arrays(IMAGES, [["a", "b"]] * 40), "one name per example"),
        (lambda: from_arrays(IMAGES, LABELS, test=(IMAGES, LABELS + 1)),
         "label 4 is in test but not in train.*0, 1, 2, 3"),
        (lambda: from_arrays(IMAGES, LABELS, test=(IMAGES, LABELS / 2)), "same kind of condition"),
        (lambda: from_arrays(IMAGES, LABELS, class_names=["a", "b"]), "4 distinct labels"),
        (lambda: from_arrays(IMAGES, ["a", "b"] * 20, class_names=["a", "c"]), "each label once"),
        (lambda: from_arrays(IMAGES, class_names=["a", "c"]), "no y"),
        (lambda: from_arrays(IMAGES, validation="test"), "has none"),
        (lambda: from_arrays(IMAGES, validation=1.5), r"between 0 and 1, or 'test'.*1\.5"),
        (lambda: from_arrays(IMAGES, validation="tset"), "or 'test'.*'tset'"),
        (lambda: from_arrays(IMAGES[:1]), "No validation set"),
        (lambda: from_arrays(IMAGES, image_size=0), "Expected image_size"),
        (lambda: from_arrays(IMAGES, image_size=(1, 2, 3)), "Expected image_size"),
        (lambda: from_arrays(np.eye(9), image_size=4), "image_size needs images"),
        (lambda: from_arrays(np.eye(9), color="rgb"), "needs images with 1 or 3"),
        (lambda: load("digits", color="blue"), "'auto', 'grey' or 'rgb'"),
    ],
)  # fmt: skip
def test_array_errors(make, message):
    with pytest.raises(DataError, match=message):
        make()


def test_values_that_never_vary_are_noted(rng):
    x = rng.normal(size=(30, 4))
    assert from_arrays(x).notes == ()
    x[:, [1, 3]] = 7.0, 0.25
    (note,) = from_arrays(x).notes
    assert note.startswith("Values that never vary: 2 (always 7), 4 (always 0.25). They tell")


@pytest.mark.parametrize(
    ("y", "note"),
    [
        (LABELS - 1.0, "y holds 4 whole numbers as floats .-1, 0, 1, 2.*y:categorical"),
        ((LABELS * 1.0)[:, None], "y holds 4 whole numbers"),
        (LABELS - 1, "-1 is taken as a class of its own, beside 0 to 2.*y:categorical"),
        (LABELS, None),
        (LABELS % 2 - 1, None),
        (LABELS + 0.5, None),
        (np.arange(40.0), None),
        (np.eye(4)[LABELS], None),
        (None, None),
    ],
)
def test_what_is_doubtful_is_noted(y, note):
    data = from_arrays(IMAGES, y)
    assert len(data.notes) == (note is not None)
    assert data.describe().get("notes", []) == list(data.notes)
    if note:
        assert re.search(note, data.notes[0])


def test_labels_in_a_column_are_classes():
    for labels in (LABELS, np.array(list("abcd"))[LABELS]):
        data = from_arrays(IMAGES, labels[:, None])
        assert data.train.y.ndim == 1
        assert len(data.class_names) == 4


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_resize_and_recolor_arrays(dtype):
    x = np.full((10, 6, 8, 3), 200, dtype)
    loaded = from_arrays(x, image_size=(3, 4), color="grey")
    assert loaded.x_shape == (3, 4, 1)
    assert loaded.train.x.dtype == dtype
    np.testing.assert_allclose(loaded.train.x, 200, rtol=1e-5)
    assert from_arrays(IMAGES, color="rgb", image_size=7).x_shape == (7, 7, 3)


# Splits ------------------------------------------------------------------------------------------


def test_take_and_floats():
    split = Split(IMAGES, LABELS.astype(np.int32))
    part = split.take([3, 1])
    assert len(part) == 2
    np.testing.assert_array_equal(part.y, [3, 1])
    np.testing.assert_array_equal(part.floats(), IMAGES[[3, 1]].astype(np.float32) / 255)
    np.testing.assert_array_equal(split.floats(slice(2)), split.floats()[:2])
    assert len(split.take(LABELS == 0)) == 10


def test_a_few_examples_are_spread_over_the_split():
    split = Split(np.arange(10.0), np.arange(10))
    np.testing.assert_array_equal(split.spread(4).y, [0, 2, 5, 7])
    assert split.spread(10) is split
    assert split.spread(99) is split


def test_validation_is_stratified_and_disjoint():
    y = np.repeat([0, 1, 2], [100, 20, 1])
    x = np.arange(121, dtype=np.float32)[:, None]
    loaded = from_arrays(x, y, validation=0.2)
    np.testing.assert_allclose(np.bincount(loaded.validation.y, minlength=3), [20, 4, 0], atol=1)
    assert 2 in loaded.train.y  # the only example of its class is not held out
    both = np.concatenate([loaded.train.x, loaded.validation.x])
    np.testing.assert_array_equal(np.sort(both, axis=0), x)


def test_validation_has_at_least_one_example():
    assert len(from_arrays(IMAGES[:5], validation=0.01).validation) == 1
    assert len(from_arrays(np.eye(50), RNG.random(50), validation=0.5).validation) == 25


def test_describe_is_json():
    loaded = from_arrays(IMAGES, LABELS, name="it")
    facts = json.loads(json.dumps(loaded.describe()))
    assert facts["name"] == "it"
    assert facts["counts"] == {"train": 36, "validation": 4, "test": None}
    assert not facts["has_test"]
    assert facts["x_shape"] == [5, 4, 1]
    assert facts["classes"] == ["0", "1", "2", "3"]
    assert facts["class_counts"]["validation"] == {"0": 1, "1": 1, "2": 1, "3": 1}
    facts = json.loads(json.dumps(from_arrays(IMAGES / 255, RNG.random((40, 2))).describe()))
    assert (facts["condition"], facts["condition_size"]) == ("numbers", 2)
    assert 0 <= facts["value_range"][0] < facts["value_range"][1] <= 1
    assert from_arrays(IMAGES).describe()["condition"] == "none"
    x = np.stack([np.linspace(2e5, 3e5, 40), np.arange(40) % 2, np.full(40, 7.0)], axis=1)
    assert from_arrays(x, validation=0).describe()["values_of_x"] == [
        "1: 2e+05 to 3e+05",
        "2: 0 or 1, no others",
        "3: always 7",
    ]


# Folders -----------------------------------------------------------------------------------------


def test_folder_of_classes(folder):
    save_image(folder / "9" / ".hidden.png", size=(1, 1))
    (folder / "9" / "notes.txt").write_text("not an image")
    (folder / ".cache").mkdir()
    loaded = load(folder, validation=0.2)
    assert loaded.name == "shapes"
    assert loaded.class_names == ("9", "10")
    assert loaded.x_shape == (5, 4, 1)
    assert (len(loaded.train), len(loaded.validation), loaded.test) == (10, 2, None)
    np.testing.assert_array_equal(loaded.train.x[:, 0, 0, 0] % 10, loaded.train.y)
    assert sorted(loaded.validation.y) == [0, 1]


def test_folder_streams_above_the_memory_limit(folder):
    whole, streamed = load(folder), load(folder, memory_limit=12 * 20 - 1)
    files = streamed.train.x
    assert isinstance(files, ImageFiles)
    assert (files.shape, files.dtype, files.ndim) == (whole.train.x.shape, np.uint8, 4)
    np.testing.assert_array_equal(files[:], whole.train.x)
    np.testing.assert_array_equal(files[[4, 2]], whole.train.x[[4, 2]])
    np.testing.assert_array_equal(files[3], whole.train.x[3])
    part = streamed.train.take(np.array([5, 0]))
    assert isinstance(part.x, ImageFiles)
    np.testing.assert_array_equal(part.floats(), whole.train.floats([5, 0]))
    assert streamed.describe()["streamed"]
    assert isinstance(load(folder, memory_limit=12 * 20).train.x, np.ndarray)


def test_progress_wraps_both_passes(folder):
    seen = []

    def progress(iterable, total, description):
        seen.append((description, total))
        return iterable

    load(folder, progress=progress)
    assert seen == [("checking images", 12), ("decoding images", 12)]


def test_train_and_test_folders(folder, tmp_path):
    root = tmp_path / "both"
    (root / "x").mkdir(parents=True)
    folder.rename(root / "train")
    (root / "x").rmdir()
    save_image(root / "test" / "10" / "a.png", value=7)
    loaded = load(root, validation="test")
    assert (len(loaded.train), len(loaded.test)) == (12, 1)
    assert loaded.test.y == [1]
    save_image(root / "test" / "11" / "a.png", value=7)
    with pytest.raises(DataError, match=r"class '11' .* 9, 10"):
        load(root)
    save_image(root / "val" / "10" / "a.png", value=7)
    with pytest.raises(DataError, match="has val/ beside train/"):
        load(root)


def test_images_without_sub_folders_are_unconditional(folder):
    loaded = load(folder / "9")
    assert loaded.train.y is loaded.class_names is None
    assert len(loaded.train) + len(loaded.validation) == 6


def test_one_class(tmp_path):
    for i in range(3):
        save_image(tmp_path / "only" / f"{i}.PNG")
    assert load(tmp_path).class_names == ("only",)


@pytest.mark.parametrize("suffix", ["png", "JPG", "jpeg", "bmp", "gif", "webp", "tif", "TIFF"])
def test_image_formats(tmp_path, suffix):
    for i in range(2):
        save_image(tmp_path / f"{i}.{suffix}", value=128)
    x = load(tmp_path).train.x
    assert x.shape == (1, 5, 4, 1)
    np.testing.assert_allclose(x.astype(int), 128, atol=2)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("1", 1, [255]),
        ("L", 77, [77]),
        ("LA", (0, 0), [255]),  # transparent: white paper
        ("LA", (40, 255), [40]),
        ("I;16", 257 * 30, [30]),
        ("RGB", (9, 9, 9), [9]),
        ("RGB", (9, 8, 9), [9, 8, 9]),
        ("RGBA", (1, 2, 3, 255), [1, 2, 3]),
        ("RGBA", (0, 0, 0, 0), [255]),
        ("P", 0, [0]),
    ],
)
def test_auto_color(tmp_path, mode, value, expected):
    for i in range(2):
        save_image(tmp_path / f"{i}.png", value=value, mode=mode)
    np.testing.assert_array_equal(load(tmp_path).train.x[0, 0, 0], expected)


def test_chosen_color(folder):
    assert load(folder, color="rgb").x_shape == (5, 4, 3)
    save_image(folder / "9" / "red.png", value=(255, 0, 0), mode="RGB")
    assert load(folder).x_shape == (5, 4, 3)
    assert load(folder, color="grey").x_shape == (5, 4, 1)


def test_jpeg_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(2):
        save_image(tmp_path / f"{i}.jpg", size=(8, 4), value=3, exif=exif)
    assert load(tmp_path).x_shape == (8, 4, 1)


def test_mixed_sizes(folder):
    odd = save_image(folder / "10" / "odd.png", size=(6, 7))
    message = r"(?s)9/0\.png is 4x5 pixels.*odd\.png is 6x7.*--image-size N"
    with pytest.raises(DataError, match=message):
        load(folder)
    assert load(folder, image_size=8).x_shape == (8, 8, 1)
    assert load(folder, image_size=(3, 9), memory_limit=0).train.floats().shape[1:] == (3, 9, 1)
    odd.unlink()
    load(folder)


def test_unreadable_image_is_named(folder):
    (folder / "10" / "bad.png").write_text("no image at all")
    with pytest.raises(DataError, match=r"10/bad\.png could not be read"):
        load(folder)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_truncated_image_is_named(tmp_path, suffix):
    for i in range(3):
        path = tmp_path / f"{i}.{suffix}"
        Image.fromarray(RNG.integers(0, 256, (60, 60), np.uint8)).save(path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DataError, match=rf"2\.{suffix} could not be read"):
        load(tmp_path)
    streamed = load(tmp_path, memory_limit=0, seed=3)  # headers are fine
    with pytest.raises(DataError, match=rf"2\.{suffix} could not be read"):
        [batch for split in (streamed.train, streamed.validation) for batch in Batches(split, 1)]


def test_streamed_image_that_changed_is_named(folder):
    streamed = load(folder, memory_limit=0)
    for i in range(len(streamed.train.x.places)):
        save_image(streamed.train.x.places.path(i), size=(9, 9))
    with pytest.raises(DataError, match=r"\.png is 9x9 pixels; others are 4x5"):
        streamed.train.floats()


def test_float_images_in_folders_are_refused(tmp_path):
    for i in range(2):
        save_image(tmp_path / f"{i}.tif", value=0.5, mode="F")
    with pytest.raises(DataError, match="floating-point"):
        load(tmp_path)


def test_no_images(tmp_path, folder):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"empty holds no images\. Expected one sub-folder per cla"):
        load(empty)
    (folder / "11").mkdir()
    with pytest.raises(DataError, match=r"11 holds no images\. Remove it"):
        load(folder)


# Batches -----------------------------------------------------------------------------------------


def numbered(n=23, **kwargs):
    """Batches of 4 whose x tells the example's index."""
    x = np.arange(n, dtype=np.float32)[:, None]
    return Batches(Split(x, np.arange(n, dtype=np.int32)), 4, **kwargs)


def epoch_of(batches):
    return np.concatenate([x[:, 0] for x, *_ in batches])


def test_batches_cover_the_split_in_order():
    batches = numbered()
    assert len(batches) == 6
    np.testing.assert_array_equal(epoch_of(batches), np.arange(23))
    assert batches[5][0].shape == (3, 1)
    with pytest.raises(IndexError):
        batches[6]


def test_batches_without_condition_and_of_uint8():
    (x,) = Batches(Split(IMAGES), 7)[0]
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, IMAGES[:7].astype(np.float32) / 255)


def test_order_is_a_function_of_seed_and_epoch():
    first = epoch_of(numbered(shuffle=True, seed=1))
    np.testing.assert_array_equal(np.sort(first), np.arange(23))
    np.testing.assert_array_equal(first, epoch_of(numbered(shuffle=True, seed=1)))
    assert not np.array_equal(first, epoch_of(numbered(shuffle=True, seed=2)))
    assert not np.array_equal(first, epoch_of(numbered(shuffle=True, seed=1, epoch=1)))
    x, y = numbered(shuffle=True)[2]
    np.testing.assert_array_equal(x[:, 0], y)


def test_arguments_are_checked():
    for size in (0, 2.5):
        with pytest.raises(ValueError, match=f"batch_size: received {size}, .* at least 1"):
            Batches(Split(IMAGES), size)
    with pytest.raises(ValueError, match="'none' or 'dynamic'"):
        Batches(Split(IMAGES), 4, binarize="always")
    with pytest.raises(DataError, match=r"within 0\.\.1\. Received: 0\.\.22"):
        numbered(binarize="dynamic")


def test_workers(folder):
    files = load(folder, memory_limit=0).train
    assert Batches(files, 2).workers == 2
    assert Batches(files, 2, workers=3).workers == 3
    assert numbered().workers == 1


class Recorder(keras.Model):
    """Notes the examples of each epoch as they reach the training step."""

    def __init__(self):
        super().__init__()
        self.scale = self.add_weight(shape=(), initializer="zeros", name="scale")
        self.epochs = []
        self.built = True
        self.note = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda *_: self.epochs.append(np.zeros(0))
        )

    def call(self, x):
        return self.scale * x

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if self.epochs and training:
            seen = keras.ops.convert_to_numpy(x)[:, 0]
            self.epochs[-1] = np.append(self.epochs[-1], seen)
        return keras.ops.mean(y_pred)


def fitted(batches, epochs, loss=None, **kwargs):
    """The order of the examples in each epoch of a real `fit`."""
    model = Recorder()
    model.compile("sgd", loss=loss, run_eagerly=True)
    callbacks = [NextEpoch(batches), model.note]
    model.fit(batches, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks, **kwargs)
    return model.epochs


# A Keras loss makes `fit` take a batch to build it before the first epoch.
@pytest.mark.further
@pytest.mark.parametrize(("loss", "workers"), [(None, 1), (None, 3), ("mse", 1)])
def test_fit_sees_one_order_per_epoch(loss, workers):
    batches = numbered(shuffle=True, seed=5, workers=workers)
    epochs = fitted(batches, 3, loss, validation_data=numbered())
    assert batches.epoch == 3
    for epoch, order in enumerate(epochs):
        np.testing.assert_array_equal(
            order, epoch_of(numbered(shuffle=True, seed=5, epoch=epoch)), err_msg=f"epoch {epoch}"
        )


@pytest.mark.parametrize("workers", [1, 2])
def test_resumed_fit_continues_the_stream(workers):
    whole = fitted(numbered(shuffle=True, workers=workers), 4)
    resumed = numbered(shuffle=True, workers=workers, epoch=2)
    rest = fitted(resumed, 4, initial_epoch=2)
    np.testing.assert_array_equal(np.stack(whole[2:]), np.stack(rest))
    more = fitted(resumed, 1)  # the same object again: the next epoch, none skipped
    np.testing.assert_array_equal(more[0], epoch_of(numbered(shuffle=True, epoch=4)))


def test_one_batch_per_epoch_is_counted_right():
    batches = numbered(n=3, shuffle=True)
    fitted(batches, 2, "mse")
    assert batches.epoch == 2


def test_predict_on_files_without_condition(folder):
    files = load(folder / "9", memory_limit=0).train
    model = keras.Sequential([keras.Input((5, 4, 1)), keras.layers.Flatten()])
    assert model.predict(Batches(files, 2), verbose=0).shape == (5, 20)


# Binarisation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shuffle", [False, True])
def test_binarised_mean_is_the_pixel(dtype, shuffle):
    levels = np.array([0, 1, 30, 128, 254, 255], np.uint8)
    x = np.tile(levels, (20_000, 1))
    x = x if dtype == np.uint8 else x.astype(np.float32) / 255
    batches = Batches(Split(x), 5000, shuffle=shuffle, binarize="dynamic")
    drawn = np.concatenate([b for (b,) in batches])
    assert drawn.dtype == np.float32
    assert set(np.unique(drawn)) == {0, 1}
    p = levels / 255
    error = np.sqrt(p * (1 - p) / len(x))
    assert np.all(np.abs(drawn.mean(axis=0) - p) <= 4.5 * error)  # exact at 0 and 1


@pytest.mark.parametrize(
    "x", [IMAGES, IMAGES.astype(np.float32) / 255, np.tile(IMAGES, (5, 1, 1, 1))]
)
def test_evaluation_draw_is_fixed_per_example(x):
    def draw(batch_size, **kwargs):
        batches = Batches(Split(x), batch_size, binarize="dynamic", **kwargs)
        return np.concatenate([b for (b,) in batches])

    np.testing.assert_array_equal(draw(7), draw(len(x)))
    np.testing.assert_array_equal(draw(7), draw(64, epoch=3))
    assert not np.array_equal(draw(7), draw(7, seed=1))


def test_examples_are_drawn_independently():
    batches = Batches(Split(np.full((300, 50), 128, np.uint8)), 300, binarize="dynamic")
    assert len(np.unique(batches[0][0], axis=0)) == 300


def test_training_draw_is_fresh_in_each_epoch_and_batch_and_can_be_repeated():
    split = Split(np.full((20, 50), 128, np.uint8))

    def draw(epoch, index, seed=0):
        batches = Batches(split, 10, shuffle=True, seed=seed, epoch=epoch, binarize="dynamic")
        return batches[index][0]

    np.testing.assert_array_equal(draw(2, 1), draw(2, 1))
    for other in (draw(3, 1), draw(2, 0), draw(2, 1, seed=1)):
        assert not np.array_equal(draw(2, 1), other)


def test_streamed_images_binarise_like_those_in_memory(folder):
    memory, files = load(folder).train, load(folder, memory_limit=0).train
    for shuffle in (False, True):
        kwargs = {"shuffle": shuffle, "binarize": "dynamic"}
        for (a, _), (b, _) in zip(
            Batches(memory, 4, **kwargs), Batches(files, 4, **kwargs), strict=True
        ):
            np.testing.assert_array_equal(a, b)


# Files that want all the memory.


def archived(path, **parts):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(f"{name}.npy", content)
    return path


def header(shape, dtype="<f4"):
    content = io.BytesIO()
    about = {"shape": shape, "fortran_order": False, "descr": dtype}
    np.lib.format.write_array_header_1_0(content, about)
    return content.getvalue()


def test_arrays_that_are_smaller_than_they_say_are_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"x is said to have the shape \(10000, 10000, 10000\)"):
        load(archived(tmp_path / "claims.npz", x=header((10**4,) * 3)))
    monkeypatch.setattr("keras_cvae.data.sources.UNFOLDED", 2**20)
    with pytest.raises(DataError, match=r"x has \d+ bytes that stand for 8000128.*np\.savez"):
        load(archived(tmp_path / "zeros.npz", x=header((1000, 2000)) + bytes(8 * 10**6)))
    np.savez(tmp_path / "honest.npz", x=np.zeros((1000, 2000), "float32"))
    assert load(tmp_path / "honest.npz").x_shape == (2000,)


def test_a_picture_of_too_many_pixels_is_refused_and_programs_are_not_asked(tmp_path):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "bomb.png"
    Image.new("1", (9000, 8000)).save(path)
    with pytest.raises(DataError, match=r"bomb.png.*9000x8000 pixels, at most 67108864"):
        load(tmp_path)
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n")
    with pytest.raises(DataError, match="it is no image"):
        load(tmp_path)


# A folder as it comes from a phone.


def test_folders_within_folders_and_links_are_met_once_and_said(folder):
    (folder / "9" / "deep" / "er").mkdir(parents=True)
    inside = save_image(folder / "9" / "deep" / "er" / "in.png")
    before = len(load(folder, validation=0).train)
    (folder / "10" / "again.png").symlink_to(inside)
    (folder / "10" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "10" / "lost.png").symlink_to(folder / "nowhere.png")
    save_image(folder / "loose.png")
    (folder / "9" / "IMG_1.HEIC").touch()
    (folder / "9" / "clip.mov").touch()
    (folder / "__MACOSX").mkdir()
    data = load(folder, validation=0)
    assert len(data.train) == before
    said = "\n".join(data.notes)
    for words in (
        "belong to the class around them: ",
        "9/deep",
        "lie beside the folders of classes: ",
        "loose.png",
        "again.png",
        "links lead nowhere",
        "1 .heic",
        "Convert them to .jpg",
        "1 .mov",
    ):
        assert words in said, words
    only = folder / "12"
    only.mkdir()
    (only / "IMG_1.HEIC").touch()
    with pytest.raises(DataError, match=r"12 holds no images.*There are .*2 \.heic"):
        load(folder)


@pytest.mark.parametrize(("fit", "expected"), [("crop", 128.0), ("pad", 0.0), ("stretch", 128.0)])
def test_pictures_of_another_shape_are_cropped_or_padded_never_squashed(tmp_path, fit, expected):
    picture = np.zeros((10, 30), np.uint8)
    picture[:, 10:20] = 128  # a square in the middle
    Image.fromarray(picture).save(tmp_path / "wide.png")
    Image.fromarray(picture).save(tmp_path / "wide2.png")
    data = load(tmp_path, image_size=10, fit=fit, validation=0)
    x = data.train.x[0, :, :, 0].astype(float)
    width = {"crop": 10, "pad": 10 / 3, "stretch": 10 / 3}[fit]
    assert (x[5] > 64).sum() == pytest.approx(width, abs=1)
    height = {"crop": 10, "pad": 10 / 3, "stretch": 10}[fit]
    assert (x[:, 5] > 64).sum() == pytest.approx(height, abs=1)
    assert x[0, 5] == expected
    again = from_arrays(picture[None].repeat(2, 0), image_size=10, fit=fit, validation=0)
    np.testing.assert_array_equal(again.train.x[0, :, :, 0], x)


def test_signals_keep_their_units_and_get_an_axis_of_channels(rng):
    x = rng.normal(0, 1e-4, (20, 64))
    assert from_arrays(x, signals=True).x_shape == (64, 1)
    data = from_arrays(np.stack([x, x], axis=2), signals=True)
    assert data.x_shape == (64, 2)
    assert abs(data.train.x).max() < 1e-2
    with pytest.raises(DataError, match="Expected signals in x"):
        from_arrays(rng.random((3, 4, 4, 4)), signals=True)


def test_a_look_sees_mixed_sizes_lonely_classes_and_dark_on_light(folder, tmp_path):
    save_image(folder / "10" / "odd.png", size=(6, 7))
    (folder / "11").mkdir()
    save_image(folder / "11" / "only.png")
    facts = look(folder)
    assert set(facts.sizes) == {(5, 4), (7, 6)}
    assert facts.alone == ["11"]
    about = facts.describe()
    assert about["sizes"][-1] == "1 of 6x7"
    ink = np.full((10, 12, 12), 255, np.uint8)
    ink[:, 4:7, 2:9] = 0
    ink[:, 8, 8] = 100
    np.savez(tmp_path / "ink.npz", x=ink)
    assert look(tmp_path / "ink.npz").light
    np.savez(tmp_path / "ink.npz", x=255 - ink)
    assert not look(tmp_path / "ink.npz").light


def test_pictures_are_of_the_class_they_lie_in_whatever_links_lead_to_them(folder):
    (folder / "10" / "album").symlink_to(folder / "9", target_is_directory=True)
    (folder / "10" / "first.png").symlink_to(folder / "9" / "0.png")
    loaded = load(folder, validation=0)
    assert np.bincount(loaded.train.y).tolist() == [6, 6]  # "10" comes first in the alphabet
    (note,) = loaded.notes
    assert "lead to pictures that are taken already" in note
    assert "10/album" in note
    assert "10/first.png" in note


def test_copies_are_taken_once_and_pictures_of_two_classes_named(folder):
    (folder / "9" / "0 (1).png").write_bytes((folder / "9" / "0.png").read_bytes())
    (folder / "10" / "other.png").write_bytes((folder / "9" / "1.png").read_bytes())
    loaded = load(folder, validation=0)
    assert np.bincount(loaded.train.y).tolist() == [6, 7]
    once, apart = loaded.notes
    assert once.startswith("Taken once")
    assert "0 (1).png" in once
    assert "in several classes" in apart
    assert "10/other.png = " in apart
    for i in range(9):  # so many may be meant to weigh more
        (folder / "9" / f"more {i}.png").write_bytes((folder / "9" / "0.png").read_bytes())
    loaded = load(folder, validation=0)
    assert np.bincount(loaded.train.y).tolist() == [16, 7]
    assert "All are taken" in loaded.notes[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "it is empty"), (b"\0\0\0\x18ftypheic" + bytes(99), "it is HEIC"), (b"?", "no image")],
)
def test_a_few_files_that_cannot_be_read_are_left_out_and_named(tmp_path, content, words):
    for i in range(40):
        noise = RNG.integers(0, 256, (20, 20), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
    (tmp_path / "odd.jpg").write_bytes(content)
    whole = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole[: len(whole) // 2])  # its header is fine
    loaded = load(tmp_path, validation=0)
    assert len(loaded.train) == 39
    assert len(loaded.notes) == 2
    assert words in loaded.notes[0]
    assert "odd.jpg" in loaded.notes[0]
    assert "3.png" in loaded.notes[1]
    assert look(tmp_path).examples == 40
    for i in range(4, 9):
        (tmp_path / f"{i}.png").write_bytes(content)
    with pytest.raises(DataError, match=r"4\.png could not be read.* more cannot be read"):
        load(tmp_path)
