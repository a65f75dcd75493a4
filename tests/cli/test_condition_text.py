"""Conditions as they are typed on a command line."""

import numpy as np
import pytest
from PIL import Image as Pillow

from keras_cvae.cli.conditions import read, written
from keras_cvae.conditions.spec import (
    CategoricalSpec,
    ContinuousSpec,
    EncodedSpec,
    ImageSpec,
    JointSpec,
    KnownPartSpec,
    NoneSpec,
    OptionalSpec,
    PeriodicSpec,
    SignalSpec,
    TagsSpec,
)

DIGITS, PETS = CategoricalSpec(10), CategoricalSpec(["cat", "dog", "owl"])
TAGS, AGE = TagsSpec(["a", "b", "c"]), ContinuousSpec()
PARTS = JointSpec({"class": PETS, "age": AGE, "tags": OptionalSpec(TAGS)})


@pytest.mark.parametrize(
    ("spec", "text", "expected"),
    [
        (DIGITS, "2", "2"),
        (DIGITS, "3:0.5,8:0.5", {"3": 0.5, "8": 0.5}),
        (PETS, "owl", "owl"),
        (CategoricalSpec(["a:b", "c"]), "a:b", "a:b"),
        (AGE, "0.5", 0.5),
        (ContinuousSpec(2), "0.5,-1", [0.5, -1]),
        (PeriodicSpec(period=24), "23.5", 23.5),
        (EncodedSpec((2,)), "1,2", [1, 2]),
        (EncodedSpec((2, 2)), "1,2,3,4", [[1, 2], [3, 4]]),
        (TAGS, "a,c", ["a", "c"]),
        (TAGS, "a|c", ["a", "c"]),
        (TAGS, "", []),
        (OptionalSpec(PETS), "?", None),
        (OptionalSpec(PETS), "owl", "owl"),
        (PARTS, "class=cat,age=3", {"class": "cat", "age": 3.0}),
        (PARTS, "age=3, class=cat:0.5,dog:0.5", {"age": 3.0, "class": {"cat": 0.5, "dog": 0.5}}),
        (PARTS, "class=cat,age=3,tags=a,b", {"class": "cat", "age": 3.0, "tags": ["a", "b"]}),
        (PARTS, "class=cat,age=3,tags=?", {"class": "cat", "age": 3.0, "tags": None}),
    ],
)
def test_text_is_read(spec, text, expected):
    found = read(spec, text)
    assert (found.tolist() if isinstance(found, np.ndarray) else found) == expected


@pytest.mark.parametrize(
    ("spec", "text", "message"),
    [
        (NoneSpec(), "2", "has no condition"),
        (DIGITS, "11", "Unknown class '11'"),
        (DIGITS, "3:x", "Cannot read '3:x' as a mixture"),
        (DIGITS, "3:0.5", "sums to 0.5"),
        (ContinuousSpec(2), "1;2", r"Cannot read '1;2' as 2 number\(s\). Expected, .* 0.5,0.5"),
        (ContinuousSpec(2), "1", "Cannot read '1' as 2"),
        (EncodedSpec((2,)), "1,2,3", r"Cannot read '1,2,3' as 2 number\(s\)"),
        (TAGS, "a,bb", "Unknown tag 'bb'.*Did you mean 'b'"),
        (ImageSpec((4, 3, 2)), "a.png", "1 or 3 channels"),
        (KnownPartSpec((4, 3, 1)), "3", "cvae complete RUN IMAGE"),
        (PARTS, "cat", r"Cannot read 'cat' as conditions. Expected, for example, class=...,age="),
        (PARTS, "clas=cat", "Unknown condition 'clas'.*Did you mean 'class'"),
        (PARTS, "age=3,clas=cat", "Unknown condition 'clas'.*Did you mean 'class'"),
        (PARTS, "class=cat", "Not given: age.$"),
        (PARTS, "class=cat,age=old", "Condition 'age': Cannot read 'old'"),
        (PARTS, "class=cat,class=dog,age=3", "names a condition twice"),
    ],
)
def test_text_that_is_no_condition_is_refused(spec, text, message):
    with pytest.raises(ValueError, match=message):
        read(spec, text)


@pytest.mark.parametrize(
    "spec", [DIGITS, TAGS, AGE, ContinuousSpec(2), PeriodicSpec(2, 24), OptionalSpec(PETS), PARTS]
)
def test_an_example_may_be_typed(spec):
    asked = read(spec, written(spec.example()))
    for one, two in zip(spec.prepare_any(asked), spec.prepare_any(spec.example()), strict=True):
        np.testing.assert_equal(one, two)


def test_a_picture_file_is_read(tmp_path):
    Pillow.fromarray(np.full((8, 6), 255, "uint8")).save(tmp_path / "white.png")
    spec = ImageSpec((4, 3, 1), low=-1)
    np.testing.assert_allclose(read(spec, str(tmp_path / "white.png")), np.ones((4, 3, 1)))
    with pytest.raises(ValueError, match="no image"):
        read(spec, str(tmp_path / "none.png"))


def test_a_file_of_numbers_is_read(tmp_path):
    values = np.arange(6.0).reshape(3, 2)
    np.save(tmp_path / "signal.npy", values)
    np.savetxt(tmp_path / "signal.csv", values, delimiter=",")
    np.savetxt(tmp_path / "short.txt", np.arange(3.0))
    for name in ("signal.npy", "signal.csv"):
        np.testing.assert_array_equal(read(SignalSpec((3, 2)), str(tmp_path / name)), values)
    assert read(SignalSpec((3, 1)), str(tmp_path / "short.txt")).shape == (3,)
    with pytest.raises(ValueError, match=r"Cannot read .*none.csv.* 3 rows of 2 numbers"):
        read(SignalSpec((3, 2)), str(tmp_path / "none.csv"))
    with pytest.raises(ValueError, match=r"shape \(3,\).*Expected \(n, 3, 2\)"):
        read(SignalSpec((3, 2)), str(tmp_path / "short.txt"))
