"""What a user may say of a condition, kind by kind; no Keras is needed for any of it."""

import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest

from keras_cvae.conditions.spec import (
    CategoricalSpec,
    ContinuousSpec,
    EncodedSpec,
    ImageSpec,
    JointSpec,
    KnownColumnsSpec,
    KnownPartSpec,
    NoneSpec,
    OptionalSpec,
    PeriodicSpec,
    SignalSpec,
    TagsSpec,
    from_json,
)
from paths import ROOT

DIGITS, PETS = CategoricalSpec(10), CategoricalSpec(["cat", "dog", "owl"])
TAGS, AGES = TagsSpec(["a", "b", "c"]), ContinuousSpec()
PICTURES, SIGNALS = ImageSpec((4, 3, 1)), SignalSpec((7, 1))
WORDS, LEVELS = EncodedSpec((4,), "int32"), KnownColumnsSpec((2, 3, 2))


@pytest.mark.parametrize(
    ("spec", "conditions", "expected"),
    [
        (DIGITS, [3, 0], [3, 0]),
        (DIGITS, np.array([3.0, 0.0]), [3, 0]),
        (DIGITS, np.array([[3], [0]], "uint8"), [3, 0]),
        (DIGITS, ["3", "0"], [3, 0]),
        (DIGITS, pd.Series([3, 0], dtype="Int64"), [3, 0]),
        (PETS, ["owl", "cat"], [2, 0]),
        (PETS, np.array(["owl", "cat"]), [2, 0]),
        (PETS, np.array([["owl"], ["cat"]]), [2, 0]),
        (PETS, [["owl"], ["cat"]], [2, 0]),
        (PETS, pd.DataFrame({"pet": ["owl", "cat"]}), [2, 0]),
        (PETS, np.array([b"owl", b"cat"]), [2, 0]),
        (PETS, np.array(["owl", "cat"], object), [2, 0]),
        (PETS, ["owl", 0], [2, 0]),
        (PETS, [2, 0], [2, 0]),
        (PETS, np.array([2, 0], object), [2, 0]),
        (PETS, pd.Series(["owl", "cat"]), [2, 0]),
        (PETS, pd.Series(["owl", "cat"], dtype="category"), [2, 0]),
        (CategoricalSpec([3, 5, 7]), [7, 3], [2, 0]),
        (CategoricalSpec([3, 5, 7]), ["7", "3"], [2, 0]),
        (CategoricalSpec(2), np.array([True, False]), [1, 0]),
        (CategoricalSpec([False, True]), ["True", "False"], [1, 0]),
        (CategoricalSpec([2.0, 3.0]), np.array([3.0, 2.0]), [1, 0]),
        (PETS, [{"cat": 0.5, 2: 0.5}, {"dog": 1}, "cat"], [[0.5, 0, 0.5], [0, 1, 0], [1, 0, 0]]),
        (PETS, np.eye(3, dtype=bool)[:2], [[1, 0, 0], [0, 1, 0]]),
        (TAGS, [["a"], [], ["c", "a"]], [[1, 0, 0], [0, 0, 0], [1, 0, 1]]),
        (TAGS, np.array(["a", "", "a | c"]), [[1, 0, 0], [0, 0, 0], [1, 0, 1]]),
        (TAGS, np.array([[1, 0, 0], [0, 1, 1]], bool), [[1, 0, 0], [0, 1, 1]]),
        (TAGS, [[1, 0, 0.5]], [[1, 0, 0.5]]),
        (TAGS, pd.Series([["a"], ["b", "c"]]), [[1, 0, 0], [0, 1, 1]]),
        (TAGS, [frozenset("a"), {"b"}], [[1, 0, 0], [0, 1, 0]]),
        (TAGS, [("a", "b"), ("b", "c")], [[1, 1, 0], [0, 1, 1]]),
        (AGES, [1, 2.5], [[1], [2.5]]),
        (AGES, pd.Series([1, 2], dtype="Int64"), [[1], [2]]),
        (PeriodicSpec(period=24), [25, -1, 24, 24 - 1e-9], [[1], [23], [0], [0]]),
        (WORDS, [[1, 2, 3, 8]], [[1, 2, 3, 8]]),
        (OptionalSpec(WORDS), [None, [1, 2, 3, 8]], [[-1] * 4, [1, 2, 3, 8]]),
        (OptionalSpec(WORDS), np.array([[-1] * 4, [1, 2, 3, 8]]), [[-1] * 4, [1, 2, 3, 8]]),
        (PETS, pd.DataFrame(np.eye(3)[:2]), [[1, 0, 0], [0, 1, 0]]),  # columns without names
        (PETS, [b"owl", b"cat"], [2, 0]),
        (PICTURES, np.zeros((0, 4, 3, 1)), np.zeros((0, 4, 3, 1))),
        (LEVELS, [[0, 2, -1], [1, -1, 0]], [[0, 2, -1], [1, -1, 0]]),
    ],
)
def test_what_is_said_of_many_examples_becomes_canonical(spec, conditions, expected):
    found = spec.prepare(conditions)
    mixtures = spec is PETS and np.ndim(expected) == 2
    assert found.dtype == ("float32" if mixtures else spec.dtype)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("spec", "condition", "expected", "single"),
    [
        (PETS, 2, [2], True),
        (PETS, "owl", [2], True),
        (PETS, np.int64(2), [2], True),
        (PETS, np.array(2), [2], True),
        (PETS, [0, 2], [0, 2], False),
        (PETS, ["owl"], [2], False),
        (PETS, {"cat": 0.5, 2: 0.5}, [[0.5, 0, 0.5]], True),
        (PETS, np.eye(3)[2], [[0, 0, 1]], True),
        (PETS, np.eye(3, dtype=bool)[2], [[0, 0, 1]], True),
        (PETS, [0.25, 0.75, 0], [[0.25, 0.75, 0]], True),
        (PETS, pd.Series([0.0, 1.0, 0.0]), [[0, 1, 0]], True),
        (PETS, [0, 0, 1], [0, 0, 1], False),  # whole numbers are classes
        (PETS, [2.0, 0.0, 1.0], [2, 0, 1], False),
        (PETS, [0.0, 1.0], [0, 1], False),  # too short for weights
        (CategoricalSpec([3, 5]), [0.0, 1.0], [[0, 1]], True),  # are no labels
        (CategoricalSpec(2), [0.25, 0.75], [[0.25, 0.75]], True),
        (CategoricalSpec(2), [True, False], [1, 0], False),
        (CategoricalSpec(2), [1.0, 1.0], [1, 1], False),
        (TAGS, "a", [[1, 0, 0]], True),
        (TAGS, "a|c", [[1, 0, 1]], True),
        (TAGS, ["a", "c"], [[1, 0, 1]], True),
        (TAGS, {"a", "c"}, [[1, 0, 1]], True),
        (TAGS, [], [[0, 0, 0]], True),
        (TAGS, [1, 0, 1], [[1, 0, 1]], True),
        (TAGS, [["a"], ["c"]], [[1, 0, 0], [0, 0, 1]], False),
        (TAGS, np.array(["a", "c"]), [[1, 0, 0], [0, 0, 1]], False),
        (AGES, 3, [[3]], True),
        (AGES, [3], [[3]], False),
        (ContinuousSpec(2), [1, 2], [[1, 2]], True),
        (ContinuousSpec(2), pd.Series([1, 2]), [[1, 2]], True),
        (ContinuousSpec(2), [[1, 2]], [[1, 2]], False),
        (WORDS, [1, 2, 3, 8], [[1, 2, 3, 8]], True),
        (SIGNALS, [0.5] * 7, np.full((1, 7, 1), 0.5), True),
        (SIGNALS, np.ones((7, 1)), np.ones((1, 7, 1)), True),
        (SIGNALS, np.ones((2, 7)), np.ones((2, 7, 1)), False),
        (PICTURES, np.ones((4, 3)), np.ones((1, 4, 3, 1)), True),
        (PICTURES, np.ones((4, 3, 1), bool), np.ones((1, 4, 3, 1)), True),
        (PICTURES, np.ones((2, 4, 3)).tolist(), np.ones((2, 4, 3, 1)), False),
        (OptionalSpec(PICTURES), [np.ones((4, 3)), np.ones((4, 3))], np.ones((2, 4, 3, 1)), False),
    ],
)
def test_one_condition_or_many(spec, condition, expected, single):
    found, is_single = spec.prepare_any(condition)
    np.testing.assert_array_equal(found, expected)
    assert is_single is single


@pytest.mark.parametrize(
    ("spec", "condition", "n", "readings"),
    [
        (CategoricalSpec(2), [0.0, 1.0], None, r"class 1 .* or as 2 class numbers, 0, 1\."),
        (CategoricalSpec(2), np.eye(2)[0], None, r"class 0 .* or as 2 class numbers, 1, 0\."),
        (PETS, np.eye(3)[2], 3, r"class owl .* or as 3 class numbers, 0, 0, 1\..*\{'owl': 1.0\}"),
        (OptionalSpec(PETS), np.eye(3)[2], 3, "two ways"),
        (
            JointSpec({"pet": PETS, "age": AGES}),
            {"pet": np.eye(3)[2], "age": [1, 2, 3]},
            None,
            "two",
        ),
    ],
)
def test_what_may_be_read_in_two_ways_is_refused(spec, condition, n, readings):
    with pytest.raises(ValueError, match=readings):
        spec.prepare_any(condition, n)


def test_one_for_all_or_one_for_each():
    np.testing.assert_array_equal(PETS.for_each("owl", 3), [2, 2, 2])
    np.testing.assert_array_equal(PETS.for_each(["owl"], 2), [2, 2])
    np.testing.assert_array_equal(PETS.for_each(["owl", 0], 2), [2, 0])
    np.testing.assert_array_equal(PETS.for_each(np.eye(3)[1], 2), [[0, 1, 0]] * 2)
    with pytest.raises(
        ValueError, match=r"Received 2 conditions for 3 examples\. Expected one, or"
    ):
        PETS.for_each(["owl", 0], 3)
    assert NoneSpec().for_each(None, 3) is None


@pytest.mark.parametrize(
    ("spec", "conditions", "message"),
    [
        (DIGITS, [3, 10], "Unknown class 10. This model knows 10 classes: 0, 1,"),
        (DIGITS, [-1], "Unknown class -1"),
        (DIGITS, [0.5], "Received 0.5 as a class"),
        (DIGITS, [1e30], "Unknown class 1000000000000000019884624838656"),
        (DIGITS, np.array(["2020-01-01"], "M8[D]"), "Received 2020-01-01.* as a class"),
        (DIGITS, np.ma.masked_array([1, 2], [0, 1]), "example 1 is missing.*Optional"),
        (DIGITS, [1, np.nan], "example 1 is missing.*Optional"),
        (DIGITS, 3, "Received one condition, 3. Expected one for each example"),
        (PETS, "cat", "Received one condition, cat"),
        (PETS, {"cat": 1.0}, "Received one condition"),
        (PETS, ["dgo"], "Unknown class 'dgo'.*Did you mean 'dog'"),
        (PETS, ["cat", [1, 0, 0]], r"Received \[1, 0, 0\] as a class"),
        (PETS, [["cat", "dog"]], r"shape \(1, 2\) and holds <U3 values. Expected mixtures of 3"),
        (PETS, np.zeros((2, 4)), r"shape \(2, 4\).*Expected mixtures of 3"),
        (PETS, np.zeros((2, 3, 1)), r"shape \(2, 3, 1\)"),
        (PETS, [[0.5, 0.2, 0.2]], "sums to 0.9"),
        (PETS, [[1.5, -0.5, 0.0]], "at least 0"),
        (PETS, [[np.nan, 0.5, 0.5]], "example 0 is missing in part"),
        (PETS, [{"cat": 0.5, "dog": 0.3}], r"sums to 0\.8"),
        (PETS, [{"cat": 1.5, "dog": -0.5}], "weight of the class dog: received -0.5"),
        (PETS, [{"cat": None}], "weight of the class cat: received None"),
        (PETS, ["cat", None], "example 1 is missing.*Optional"),
        (PETS, np.array(["cat", np.nan], object), "example 1 is missing"),
        (PETS, [[0, 1, 0], [1]], "differ in length or shape"),
        (PETS, None, "conditioned on one of 3 classes: cat, dog, owl, but no condition was given"),
        (AGES, ["a"], "holds <U1 values, like a. Expected numbers"),
        (AGES, [1e40], "beyond single precision in 1 of 1 examples, first in row 0"),
        (AGES, np.array([1, None], object), "example 1 is missing"),
        (AGES, np.ma.masked_array([1.0, 2], [0, 1]), "example 1 is missing"),
        (AGES, np.zeros((2, 2)), r"shape \(2, 2\). Expected \(n, 1\) or \(n,\)"),
        (ContinuousSpec(2), [1.0, 2.0], r"shape \(2,\). Expected \(n, 2\)"),
        (ContinuousSpec(2), [[1.0, np.inf]], "infinity or .*, first in row 0"),
        (ContinuousSpec(2), [[1, 2], [1, None]], "example 1 is missing in part"),
        (ContinuousSpec(2), [[1, 2], [1]], "differ in length or shape"),
        (ContinuousSpec(2), None, "conditioned on 2 numbers, but no condition was given"),
        (PeriodicSpec(period=24), np.ma.masked_array([1, 2], [0, 1]), "1 is missing"),
        (PeriodicSpec(period=24), [1, np.inf], "infinity or .*, first in row 1"),
        (PeriodicSpec(period=24), ["noon"], "like noon. Expected numbers"),
        (TAGS, [["a"], ["d"]], "Unknown tag 'd'. This model knows 3: a, b, c"),
        (TAGS, np.zeros((2, 4)), r"shape \(2, 4\).*Expected \(n, 3\)"),
        (TAGS, [[2, 0, 0]], "from 0 to 2"),
        (TAGS, [[1, 0, 0], None], "example 1 is missing"),
        (TAGS, [[1, 0, 0], [1, 0]], "differ in length or shape"),
        (TAGS, None, "conditioned on any of 3 tags: a, b, c, but no condition was given"),
        (EncodedSpec((5, 2)), np.zeros((2, 5)), r"array .* has the shape \(2, 5\).*\(n, 5, 2\)"),
        (EncodedSpec((5, 2)), np.full((1, 5, 2), np.inf), "NaN, infinity"),
        (WORDS, [[0, 1, 2, -3]], "from -3 to 2. Your encoder expects whole numbers"),
        (WORDS, [[0, 1, 2, 2.5]], "from 0 to 2.5"),
        (WORDS, [[0, 1, 2, 2**31]], "from 0 to 2147483647"),
        (PICTURES, None, r"conditioned on picture of shape \(4, 3, 1\)"),
        (PICTURES, np.ones((2, 3, 4, 1)), r"shape \(2, 3, 4, 1\). Expected \(n, 4, 3, 1\)"),
        (PICTURES, np.full((2, 4, 3, 1), 200, "uint8"), "200 to 200. Expected 0 to 1. Divide by"),
        (PICTURES, -np.ones((2, 4, 3, 1)), "-1 to -1. Expected 0 to 1.$"),
        (PICTURES, np.full((2, 4, 3, 1), np.nan), "example 0 is missing"),
        (PICTURES, np.full((2, 4, 3, 1), "a"), "The picture .* holds <U1 .*Expected numbers"),
        (SIGNALS, np.ones((2, 8)), r"The signal .* shape \(2, 8\). Expected \(n, 7, 1\)"),
        (SIGNALS, [np.ones(7), [1.0] * 6 + [np.inf]], "infinity .*, first in row 1"),
        (NoneSpec(), [1], "has no condition"),
        (LEVELS, [[0, 1, 0], [0, 3, 0]], "hold 3 in row 1, column 1. Expected levels from 0 to 2"),
        (LEVELS, [[0, 0.5, 0]], "hold 0.5 in row 0, column 1"),
        (LEVELS, None, "conditioned on any of 3 columns, but no condition was given"),
    ],
)
def test_bad_conditions_are_refused(spec, conditions, message):
    with pytest.raises(ValueError, match=message):
        spec.prepare(conditions)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CategoricalSpec(0), "received 0"),
        (lambda: CategoricalSpec(["a", "a"]), "different names"),
        (lambda: CategoricalSpec(2.5), "received 2.5, expected a positive number"),
        (lambda: CategoricalSpec(True), "received True, expected a positive number"),
        (lambda: CategoricalSpec("cat"), "received 'cat', expected a positive number or a list"),
        (lambda: CategoricalSpec({"a", "b"}), "expected a positive number or a list"),
        (lambda: CategoricalSpec([0.5, 1.0]), r"received \[0.5, 1.0\].*names or whole numbers"),
        (lambda: TagsSpec(0), "Tags: received 0"),
        (lambda: ContinuousSpec(0), "dim: received 0"),
        (lambda: PeriodicSpec(period=0), "received 0, expected more than 0"),
        (lambda: PeriodicSpec(period=np.nan), "received nan"),
        (lambda: ImageSpec((4, 3)), r"received \(4, 3\), expected \(height, width, channels\)"),
        (lambda: ImageSpec((4, 3, 1), low=1), "expected low < high"),
        (lambda: SignalSpec((7,)), r"Signal shape: received \(7,\), expected \(length, channels\)"),
        (lambda: SignalSpec((0, 1)), r"received \(0, 1\)"),
        (lambda: EncodedSpec((3,), "bool"), "received 'bool'"),
        (lambda: KnownPartSpec((6,), np.ones(6)), "knows everything"),
        (lambda: OptionalSpec(NoneSpec()), "received None"),
        (lambda: OptionalSpec(OptionalSpec(AGES)), "received Optional"),
        (lambda: OptionalSpec(JointSpec({"a": AGES})), r"received Joint.*Joint\(parts, dropout="),
        (lambda: JointSpec({}), "received {}, expected conditions by name"),
        (lambda: JointSpec({1: AGES}), "expected conditions by name"),
        (lambda: JointSpec({"a": NoneSpec()}), "the part 'a' is no condition"),
        (lambda: AGES.unknown(), "cannot be missing. Train it with Optional"),
        (lambda: NoneSpec().unknown(), "no condition that could be left out"),
        (lambda: WORDS.between(np.zeros((1, 4)), np.ones((1, 4)), np.ones(2)), "no way"),
    ],
)
def test_bad_specs_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_classes_have_positions():
    assert [PETS.position(label) for label in ("owl", 2, 2.0, np.int8(2), np.True_)] == [2] * 4 + [
        1
    ]
    assert CategoricalSpec([3, 5, 7]).position(5) == 1
    mixture = PETS.prepare([[0.5, 0, 0.5]])
    np.testing.assert_array_equal(PETS.as_weights(mixture), mixture)
    np.testing.assert_array_equal(PETS.as_weights(PETS.prepare(["owl"])), [[0, 0, 1]])
    assert PETS.classes is PETS
    assert OptionalSpec(PETS).classes is PETS
    assert AGES.classes is None


def test_a_hundred_thousand_classes_are_positions_not_rows():
    spec = CategoricalSpec(100_000)
    found = spec.prepare(np.arange(100_000)[::-1])
    assert found.nbytes == 400_000
    assert spec.between(found[:1], found[:1], np.ones(5)).shape == (5,)
    assert spec.to_json() == {"kind": "categorical", "labels": 100_000}


@pytest.mark.parametrize(
    ("spec", "condition", "words"),
    [
        (PETS, "owl", "owl"),
        (PETS, {"cat": 0.25, "owl": 0.75}, "25% cat, 75% owl"),
        (PETS, np.eye(3)[1], "dog"),
        (TAGS, ["a", "c"], "a+c"),
        (TAGS, [], "no tag"),
        (PeriodicSpec(period=24), 23.5, "23.5"),
        (ContinuousSpec(2), [1, 2], "1, 2"),
        (EncodedSpec((2,)), [1, 2], ""),
        (OptionalSpec(PETS), None, "?"),
        (OptionalSpec(PETS), "owl", "owl"),
    ],
)
def test_words(spec, condition, words):
    assert spec.words(spec.prepare_any(condition)[0][0]) == words


def test_ways_go_from_one_end_to_the_other():
    way = np.array([0, 0.25, 1], "float32")

    def between(spec, *ends):
        return spec.between(*(spec.prepare_any(end)[0] for end in ends), way)

    np.testing.assert_allclose(between(PETS, "cat", "owl"), [[1, 0, 0], [0.75, 0, 0.25], [0, 0, 1]])
    np.testing.assert_array_equal(between(PETS, "owl", "owl"), [2, 2, 2])
    np.testing.assert_allclose(between(ContinuousSpec(2), [0, 1], [4, 1]), [[0, 1], [1, 1], [4, 1]])
    np.testing.assert_allclose(between(AGES, 0, 4), [[0], [1], [4]])
    np.testing.assert_allclose(between(PeriodicSpec(period=24), 22, 6), [[22], [0], [6]])
    np.testing.assert_allclose(between(PeriodicSpec(period=24), 6, 22), [[6], [4], [22]])
    np.testing.assert_array_equal(between(WORDS, [1] * 4, [1] * 4), [[1] * 4] * 3)
    np.testing.assert_array_equal(between(OptionalSpec(PETS), None, None), [-1, -1, -1])
    with pytest.raises(ValueError, match="no way from a missing condition"):
        between(OptionalSpec(PETS), None, "owl")
    assert NoneSpec().between(None, None, way) is None


def test_several_by_name_survive_json():
    spec = JointSpec({"pet": OptionalSpec(PETS), "age": AGES})
    assert from_json(spec.to_json()) == spec


def test_arrays_of_pyarrow_are_many():
    pa = pytest.importorskip("pyarrow")
    found, single = PETS.prepare_any(pa.array(["owl", "cat"]))
    assert (found.tolist(), single) == ([2, 0], False)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "Expected an object with the 'kind'"),
        ({"labels": 3}, "Expected an object with the 'kind'"),
        ({"kind": "categoric"}, "Unknown kind of condition 'categoric'.*Did you mean"),
        ({"kind": "categorical"}, "kind 'categorical': .*labels"),
        ({"kind": "categorical", "labels": 3, "file": "x"}, "kind 'categorical': .*file"),
        ({"kind": "categorical", "labels": [0.5]}, "names or whole numbers"),
        ({"kind": "image", "shape": [4, 3, 1], "low": "a"}, "kind 'image'"),
        ({"kind": "optional", "part": None}, "Expected an object with the 'kind'"),
        ({"kind": "joint", "parts": ["a"]}, "expected conditions by name"),
    ],
)
def test_json_that_is_no_spec_is_refused(value, message):
    with pytest.raises(ValueError, match=message):
        from_json(value)


def test_checking_what_is_said_needs_no_keras():
    program = f"""
        import sys, types
        sys.modules["keras"] = None  # importing it raises
        package = types.ModuleType("keras_cvae")
        package.__path__ = [{str(ROOT / "src" / "keras_cvae")!r}]
        sys.modules["keras_cvae"] = package
        from keras_cvae.conditions.spec import from_json
        spec = from_json({{"kind": "categorical", "labels": ["cat", "dog"]}})
        print(spec.prepare(["dog"]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[1]\n"
