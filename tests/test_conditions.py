import keras
import numpy as np
import pytest
from keras import ops

import harness
from keras_cvae import conditions
from keras_cvae.conditions import Categorical, Continuous, Unconditional

DIGITS, PETS = Categorical(10), Categorical(["cat", "dog", "owl"])


class TestEveryCondition(harness.Harness):
    part = "condition"


def features(condition, y):
    return ops.convert_to_numpy(condition.features(condition.prepare(y)))


@pytest.mark.parametrize(
    ("condition", "y", "expected"),
    [
        (DIGITS, [3, 0], [3, 0]),
        (DIGITS, np.array([3.0, 0.0]), [3, 0]),
        (DIGITS, np.array([[3], [0]], "uint8"), [3, 0]),
        (DIGITS, ["3", "0"], [3, 0]),
        (PETS, ["owl", "cat"], [2, 0]),
        (PETS, np.array(["owl", "cat"], object), [2, 0]),
        (PETS, [2, 0], [2, 0]),
        (Categorical([3, 5, 7]), [7, 3], [2, 0]),
        (Categorical([3, 5, 7]), ["7", "3"], [2, 0]),
        (Categorical(2), np.array([True, False]), [1, 0]),
    ],
)
def test_classes_become_positions(condition, y, expected):
    found = condition.prepare(y)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(features(condition, y), np.eye(condition.num_classes)[expected])


def test_a_mixture_is_the_mean_of_the_features():
    for condition in (PETS, Categorical(3, encoding="embedding", embedding_dim=4)):
        mixed = features(condition, [[0.25, 0, 0.75]])[0]
        cat, owl = features(condition, [0, 2])
        np.testing.assert_allclose(mixed, 0.25 * cat + 0.75 * owl, rtol=1e-5)


@pytest.mark.parametrize(
    ("y", "expected", "single"),
    [
        (2, [2], True),
        ("owl", [2], True),
        (np.int64(2), [2], True),
        ([0, 2], [0, 2], False),
        ({"cat": 0.5, 2: 0.5}, [[0.5, 0, 0.5]], True),
    ],
)
def test_one_condition_or_many(y, expected, single):
    found, is_single = PETS.prepare_any(y)
    np.testing.assert_array_equal(found, expected)
    assert is_single is single


@pytest.mark.parametrize(
    ("condition", "y", "message"),
    [
        (DIGITS, [3, 10], "Unknown class 10. This model knows 10 classes: 0, 1,"),
        (DIGITS, [-1], "Unknown class -1"),
        (DIGITS, [0.5], "Received 0.5 as a class"),
        (DIGITS, [np.nan], "Received nan as a class"),
        (PETS, ["dgo"], "Unknown class 'dgo'.*Did you mean 'dog'"),
        (PETS, [["dog"]], r"received an array of shape \(1, 1\)"),
        (PETS, np.zeros((2, 4)), r"shape \(2, 4\). Expected mixtures of 3"),
        (PETS, np.zeros((2, 3, 1)), r"shape \(2, 3, 1\)"),
        (PETS, [[0.5, 0.2, 0.2]], "sums to 0.9"),
        (PETS, [[1.5, -0.5, 0.0]], "at least 0"),
        (PETS, [[np.nan, 0.5, 0.5]], "sums to nan"),
        (PETS, None, r"conditioned on classes \(cat, dog, owl\)"),
        (Continuous(2), [1.0, 2.0], r"shape \(2,\). Expected \(n, 2\)"),
        (Continuous(2), [[1.0, np.inf]], "NaN or infinity, first in row 0"),
        (Continuous(1), ["a"], "Expected 1 number"),
        (Continuous(2), None, "conditioned on 2 number"),
        (Unconditional(), [1], "has no condition"),
    ],
)
def test_bad_conditions_are_refused(condition, y, message):
    with pytest.raises(ValueError, match=message):
        condition.prepare(y)


def test_a_mixture_that_does_not_sum_to_one_is_refused():
    with pytest.raises(ValueError, match=r"sums to 0\.8"):
        PETS.prepare_any({"cat": 0.5, "dog": 0.3})


@pytest.mark.parametrize(
    ("condition", "text", "expected"),
    [
        (DIGITS, "2", "2"),
        (DIGITS, "3:0.5,8:0.5", {"3": 0.5, "8": 0.5}),
        (PETS, "owl", "owl"),
        (Categorical(["a:b", "c"]), "a:b", "a:b"),
        (Continuous(1), "0.5", 0.5),
        (Continuous(2), "0.5,-1", [0.5, -1]),
    ],
)
def test_parse(condition, text, expected):
    found = condition.parse(text)
    np.testing.assert_equal(found if np.ndim(found) == 0 else found.tolist(), expected)
    condition.prepare_any(found)


@pytest.mark.parametrize(
    ("condition", "text", "message"),
    [
        (DIGITS, "11", "Unknown class '11'"),
        (DIGITS, "3:x", "Cannot read '3:x' as a mixture"),
        (DIGITS, "3:0.5", "sums to 0.5"),
        (Continuous(2), "1;2", "Cannot read '1;2' as 2"),
        (Continuous(2), "1", r"Expected \(n, 2\)"),
    ],
)
def test_parse_refuses(condition, text, message):
    with pytest.raises(ValueError, match=message):
        condition.parse(text)


def test_mix_goes_from_start_to_end():
    way = np.array([0, 0.25, 1], "float32")
    expected = [[1, 0, 0], [0.75, 0, 0.25], [0, 0, 1]]
    np.testing.assert_allclose(PETS.mix("cat", "owl", way), expected)
    np.testing.assert_allclose(Continuous(2).mix([0, 1], [4, 1], way), [[0, 1], [1, 1], [4, 1]])
    np.testing.assert_allclose(Continuous(1).mix(0, 4, way), [[0], [1], [4]])
    assert Unconditional().mix(None, None, way) is None


def test_continuous_standardises_with_what_it_adapted_to(rng):
    condition = Continuous(2)
    y = np.stack([rng.normal(5, 3, 500), np.full(500, 2.0)], axis=1)
    condition.adapt(y)
    found = features(condition, y)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=0), [1, 0], atol=1e-5)


def test_continuous_standardises_before_it_rounds():
    y = np.array([[2021.0], [2022.0], [2023.0]])
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        condition = Continuous(1)
        condition.adapt(y)
        found = condition.features(condition.prepare(y))
    finally:
        keras.config.set_dtype_policy(policy)
    expected = [[-1.2247], [0.0], [1.2247]]
    found = ops.convert_to_numpy(ops.cast(found, "float32"))
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize(
    ("identifier", "cls"),
    [(None, Unconditional), (3, Categorical), (["a", "b"], Categorical), ("none", Unconditional)],
)
def test_get(identifier, cls):
    assert type(conditions.get(identifier)) is cls


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Categorical(0), "received 0"),
        (lambda: Categorical(["a", "a"]), "different names"),
        (lambda: Categorical(3, encoding="dense"), "received 'dense'"),
        (lambda: Continuous(0), "received 0"),
        (lambda: conditions.get("categoric"), "Did you mean 'categorical'"),
        (lambda: conditions.get(True), "Unknown condition: received True"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
