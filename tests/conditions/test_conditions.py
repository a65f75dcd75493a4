import keras
import numpy as np
import pandas as pd
import pytest
from keras import ops

import harness
from keras_cvae import MLP, ConditionalVAE
from keras_cvae.conditions import base
from keras_cvae.conditions.base import Unconditional
from keras_cvae.conditions.categorical import Categorical
from keras_cvae.conditions.encoded import Encoded
from keras_cvae.conditions.enumerated import enumerated
from keras_cvae.conditions.joint import Joint
from keras_cvae.conditions.numbers import Continuous, Periodic
from keras_cvae.conditions.optional import Optional
from keras_cvae.conditions.tags import Tags
from keras_cvae.probability.likelihoods.gaussian import Gaussian

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
        (Categorical([2.0, 3.0]), np.array([3.0, 2.0]), [1, 0]),
        (PETS, np.array([2, 0], object), [2, 0]),
        (PETS, pd.Series(["owl", "cat"]), [2, 0]),
        (PETS, pd.Series(["owl", "cat"], dtype="category"), [2, 0]),
        (DIGITS, pd.Series([3, 0], dtype="Int64"), [3, 0]),
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
        (DIGITS, [1e30], "Unknown class 1000000000000000019884624838656"),
        (DIGITS, np.array(["2020-01-01"], "M8[D]"), "Received 2020-01-01 as a class"),
        (DIGITS, np.ma.masked_array([1, 2], [0, 1]), "example 1 is missing.*Optional"),
        (PETS, ["cat", None], "example 1 is missing.*Optional"),
        (PETS, np.array(["cat", np.nan], object), "example 1 is missing"),
        (PETS, [[0, 1, 0], [1]], "differ in length or shape"),
        (Continuous(2), [[1.0, np.inf]], "infinity or .*, first in row 0"),
        (Continuous(1), [1e40], "beyond single precision, first in row 0"),
        (Continuous(1), np.array([1, None], object), "example 1 is missing"),
        (Continuous(2), [[1, 2], [1, None]], "example 1 is missing"),
        (Continuous(2), [[1, 2], [1]], "differ in length or shape"),
        (Continuous(1), np.ma.masked_array([1.0, 2], [0, 1]), "example 1 is missing"),
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
    [
        (None, Unconditional),
        ("none", Unconditional),
        *(
            (classes, Categorical)
            for classes in (
                3,
                np.int64(3),
                range(3),
                ["a", "b"],
                np.unique(["a", "b"]),
                pd.Series(["a", "b"]).unique(),
                pd.Index(["a", "b"]),
            )
        ),
    ],
)
def test_get(identifier, cls):
    assert type(base.get(identifier)) is cls


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Categorical(0), "received 0"),
        (lambda: Categorical(["a", "a"]), "different names"),
        (lambda: Categorical(3, encoding="dense"), "received 'dense'"),
        (lambda: Continuous(0), "received 0"),
        (lambda: base.get("categoric"), "Did you mean 'categorical'"),
        (lambda: base.get(True), "Unknown condition: received True"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_many_classes_are_embedded():
    few, many = Categorical(10_000), Categorical(10_001)
    assert (few.encoding, many.encoding) == ("onehot", "embedding")
    assert Categorical(20_000, "onehot").width == 20_000
    assert features(many, [3, 10_000]).shape == (2, 16)
    assert many.mix(3, 10_000, np.array([0, 1], "float32")).shape == (2, 10_001)


TAGS = Tags(["a", "b", "c"])


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ([["a"], [], ["c", "a"]], [[1, 0, 0], [0, 0, 0], [1, 0, 1]]),
        (np.array(["a", "", "a | c"]), [[1, 0, 0], [0, 0, 0], [1, 0, 1]]),
        (np.array([[1, 0, 0], [0, 1, 1]], bool), [[1, 0, 0], [0, 1, 1]]),
        ([[1, 0, 0.5]], [[1, 0, 0.5]]),
        (pd.Series([["a"], ["b", "c"]]), [[1, 0, 0], [0, 1, 1]]),
        ([frozenset("a"), {"b"}], [[1, 0, 0], [0, 1, 0]]),
    ],
)
def test_tags_become_weights(y, expected):
    np.testing.assert_array_equal(TAGS.prepare(y), expected)
    np.testing.assert_array_equal(features(TAGS, y), expected)


def test_embedded_tags_add_up():
    condition = Tags(3, "embedding", embedding_dim=4)
    both, one, other = features(condition, [[1, 0, 1], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(both, one + other, rtol=1e-5)


@pytest.mark.parametrize(
    ("y", "expected", "single"),
    [
        ("a", [[1, 0, 0]], True),
        (["a", "c"], [[1, 0, 1]], True),
        ({"a", "c"}, [[1, 0, 1]], True),
        ([], [[0, 0, 0]], True),
        ([1, 0, 1], [[1, 0, 1]], True),
        ([["a"], ["c"]], [[1, 0, 0], [0, 0, 1]], False),
        (np.array(["a", "c"]), [[1, 0, 0], [0, 0, 1]], False),
    ],
)
def test_tags_of_one_or_many(y, expected, single):
    found, is_single = TAGS.prepare_any(y)
    np.testing.assert_array_equal(found, expected)
    assert is_single is single


def test_periodic_wraps():
    condition = Periodic(24, harmonics=2)
    np.testing.assert_allclose(
        features(condition, [0, 6]), [[0, 1, 0, 1], [1, 0, 0, -1]], atol=1e-6
    )
    np.testing.assert_allclose(*(features(condition, [h]) for h in (25, 1)), atol=1e-5)
    np.testing.assert_allclose(*(features(condition, [h]) for h in (-23, 24e6 + 1)), atol=1e-5)
    np.testing.assert_allclose(*(features(condition, [h]) for h in (23.999, 0.001)), atol=2e-3)
    way = np.array([0, 0.5, 1], "float32")
    np.testing.assert_allclose(condition.mix(22, 4, way), [[22], [1], [4]])
    np.testing.assert_allclose(condition.mix(4, 22, way), [[4], [1], [22]])


def signal(shape=(5, 2), dtype="float32", units=3):
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, keras.layers.Dense(units)(keras.layers.Flatten()(inputs)))


def test_own_networks_read_numbers_and_words(rng):
    y = rng.normal(size=(2, 5, 2))
    found = features(Encoded(signal()), y)
    assert found.shape == (2, 3)
    words = keras.Input((4,), dtype="int32")
    pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 3)(words))
    condition = base.get(keras.Model(words, pooled))
    assert isinstance(condition, Encoded)
    assert condition.prepare([[1, 2, 3, 8]]).dtype == np.int32
    assert features(condition, [[1, 2, 3, 8]]).shape == (1, 3)
    found, single = condition.prepare_any([1, 2, 3, 8])
    assert found.shape == (1, 4)
    assert single


def two_inputs():
    a, b = keras.Input((2,)), keras.Input((2,))
    return keras.Model([a, b], keras.layers.Add()([a, b]))


def maps():
    inputs = keras.Input((4, 4, 1))
    return keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TAGS.prepare([["a"], ["d"]]), "Unknown tag 'd'. This model knows 3: a, b, c"),
        (lambda: TAGS.prepare(np.zeros((2, 4))), r"shape \(2, 4\).*Expected \(n, 3\)"),
        (lambda: TAGS.prepare([[2, 0, 0]]), "from 0 to 2"),
        (lambda: TAGS.prepare(None), "conditioned on tags"),
        (lambda: TAGS.parse("a,bb"), "Unknown tag 'bb'.*Did you mean 'b'"),
        (lambda: Tags(0), "Tags: received 0"),
        (lambda: Tags(3, "onehot"), "received 'onehot', expected 'multihot'"),
        (lambda: TAGS.prepare([[1, 0, 0], None]), "example 1 is missing"),
        (lambda: TAGS.prepare([[1, 0, 0], [1, 0]]), "differ in length or shape"),
        (lambda: Categorical(2.5), "received 2.5, expected a positive number"),
        (lambda: Categorical(True), "received True, expected a positive number"),
        (lambda: Categorical("cat"), "received 'cat', expected a positive number or a list"),
        (lambda: Categorical({"a", "b"}), "expected a positive number or a list"),
        (lambda: Categorical([0.5, 1.0]), r"received \[0.5, 1.0\].*names or whole numbers"),
        (lambda: Periodic(24).prepare(np.ma.masked_array([1, 2], [0, 1])), "1 is missing"),
        (lambda: Periodic(0), "received 0, expected a positive number"),
        (lambda: Periodic(24, harmonics=0), "received 0, expected a whole number"),
        (lambda: Periodic(24).prepare([1, np.inf]), r"first in row 1: \[inf\]"),
        (lambda: Periodic(24).prepare(["noon"]), "Received noon. Expected 1 number"),
        (lambda: Encoded(two_inputs()), "one input and one output.*Received one with 2"),
        (lambda: Encoded(maps()), "Expected an input of a known shape, and features"),
        (lambda: Encoded(signal()).prepare(np.zeros((2, 5))), r"encoder expects \(n, 5, 2\)"),
        (lambda: Encoded(signal()).prepare(np.full((1, 5, 2), np.nan)), "NaN, infinity"),
        (lambda: Encoded(signal((4,), "int32")).prepare([[0, 1, 2, -3]]), "from -3 to 2"),
        (lambda: Encoded(signal((4,), "int32")).mix([0] * 4, [1] * 4, np.ones(2)), "no way"),
        (lambda: Encoded(signal((2,))).parse("1,2,3"), "Cannot read '1,2,3' as 2 numbers"),
    ],
)
def test_other_kinds_refuse(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("condition", "text", "expected"),
    [
        (TAGS, "a,c", ["a", "c"]),
        (TAGS, "a|c", ["a", "c"]),
        (TAGS, "", []),
        (Periodic(24), "23.5", 23.5),
        (Encoded(signal((2,))), "1,2", [1, 2]),
    ],
)
def test_other_kinds_parse(condition, text, expected):
    found = condition.parse(text)
    np.testing.assert_array_equal(found, expected)
    condition.prepare_any(found)


@pytest.mark.parametrize(
    ("condition", "y", "words"),
    [
        (PETS, "owl", "owl"),
        (PETS, {"cat": 0.25, "owl": 0.75}, "25% cat, 75% owl"),
        (TAGS, ["a", "c"], "a+c"),
        (TAGS, [], "no tag"),
        (Periodic(24), 23.5, "23.5"),
        (Encoded(signal((2,))), [1, 2], ""),
    ],
)
def test_words(condition, y, words):
    assert condition.words(condition.prepare_any(y)[0][0]) == words


# What a condition does to a model.


def trained(x, y, condition, epochs=20, **kwargs):
    model = ConditionalVAE(x.shape[1:], condition, 1, backbone=MLP((24,), "tanh"), seed=0, **kwargs)
    model.compile(keras.optimizers.Adam(0.01))
    model.fit(x, y, epochs=epochs, batch_size=50, verbose=0)
    return model


def test_a_condition_without_information_gives_the_unconditional_likelihood(rng):
    kind = rng.integers(0, 2, 1200)
    x = (rng.random((1200, 6)) < np.where(kind, 0.9, 0.1)[:, None]).astype("float32")
    noise = rng.integers(0, 2, 1200)
    given = trained(x[:1000], noise[:1000], 2).log_prob(x[1000:], noise[1000:], 100)
    plain = trained(x[:1000], None, None).log_prob(x[1000:], None, 100)
    error = np.std(given.log_prob - plain.log_prob) / np.sqrt(200)
    assert abs(given.mean - plain.mean) < 3 * error + 0.05


def test_a_condition_with_all_information_is_read_from_x(rng):
    y = rng.integers(0, 3, 600)
    codes = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]])
    x = codes[y].astype("float32")
    model = trained(x, y, 3)
    p = model.classify(x[:60], 50)
    assert p[np.arange(60), y[:60]].min() > 0.99
    several = {"candidates": [0, 2], "class_prior": [0.5, 0.5]}
    assert model.classify(x[y == 2][:5], 50, **several)[:, 1].min() > 0.99


def test_continuous_conditions_interpolate(rng):
    """Trained without a band in the middle; the mean inside it is that of the truth."""
    t = rng.uniform(-2, 2, 1200) + 50
    t = t[np.abs(t - 50) > 0.5]
    mean = np.stack([0.5 * (t - 50), 1 - 0.25 * (t - 50)], axis=1)
    x = (mean + 0.1 * rng.normal(size=mean.shape)).astype("float32")
    model = trained(x, t, "continuous", 40, likelihood=Gaussian("fixed", sigma=0.1))
    inside = np.linspace(49.6, 50.4, 5)
    found = model.generate(inside, 50, seed=0).reshape(5, 50, 2).mean(axis=1)
    truth = np.stack([0.5 * (inside - 50), 1 - 0.25 * (inside - 50)], axis=1)
    np.testing.assert_allclose(found, truth, atol=0.1)


def test_a_model_of_periodic_conditions_comes_round(rng):
    """Trained without the hours around midnight, which the hours before and after give."""
    hour = rng.uniform(1.5, 22.5, 800)
    angle = 2 * np.pi * hour / 24
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.1 * rng.normal(size=(800, 2))
    model = trained(
        x.astype("float32"), hour, Periodic(24), 30, likelihood=Gaussian("fixed", sigma=0.1)
    )
    found = model.generate([0, 24, 48], temperature=0.0)
    np.testing.assert_allclose(found, np.tile([[1, 0]], (3, 1)), atol=0.15)
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


# p(y): which conditions y may be.


def test_enumerated_candidates():
    joint = base.get({"class": ["a", "b"], "age": Continuous()})
    which, index = np.array([1, 0]), np.array([0, 1])
    k, of = enumerated(Categorical(3))
    assert k == 3
    np.testing.assert_array_equal(of(index, which), [1, 0])
    k, of = enumerated(Continuous(), [5.0, 7.0, 9.0])
    assert k == 3
    np.testing.assert_array_equal(of(index, which), [[7], [5]])
    k, of = enumerated(joint, given={"age": [30, 40]}, n=2)
    assert k == 2
    found = of(index, which)
    np.testing.assert_array_equal(found["class"], [1, 0])
    np.testing.assert_array_equal(found["age"], [[30], [40]])
    k, of = enumerated(joint, {"age": [1, 2, 3]}, {"class": "b"}, n=2)
    assert k == 3
    np.testing.assert_array_equal(of(index, which)["class"], [1, 1])


@pytest.mark.parametrize(
    ("condition", "trained", "fine", "new"),
    [
        (Categorical(["cat", "dog", "owl"]), ["dog", "cat"], ["cat"], ["cat", "owl"]),
        (Categorical(["cat", "dog", "owl"]), [[0.5, 0.5, 0]], [1, 0], [[0.9, 0, 0.1]]),
        (Categorical([*range(19_999), "owl"]), range(19_999), [7, 0], ["owl"]),
        (Optional(["cat", "dog", "owl"]), [0, None, 1], [None, 1], [None, "owl"]),
        (Optional(["cat", "dog", "owl"]), np.array([[0, 1, 0], [np.nan] * 3]), [1], [2]),
        (
            Joint({"pet": Optional(["cat", "dog", "owl"]), "age": "continuous"}, 0.1),
            {"pet": [0, None], "age": [1.0, 2.0]},
            [{"age": 7.0}, {"pet": "cat"}],
            [{"age": 7.0, "pet": "owl"}],
        ),
    ],
)
def test_a_class_that_training_never_had_is_told(condition, trained, fine, new):
    trained, fine, new = map(condition.prepare, (trained, fine, new))
    condition.drop(trained, lambda shape: ops.zeros(shape))  # says that some are missing
    condition.check_trained(new)  # nobody counted: trained step by step
    condition.see(trained)
    condition.see(fine)
    condition.check_trained(fine)
    with pytest.warns(UserWarning, match="there was no example of the class owl, so"):
        condition.check_trained(new)
    condition.see(None)  # a stream, that may have all
    condition.check_trained(new)


@pytest.mark.parametrize(
    ("condition", "arguments", "message"),
    [
        (Continuous(), {}, "Expected a Categorical one, or candidates="),
        (Continuous(), {"given": {"age": 3}}, "given: received age, expected names.*none"),
        ({"a": 2, "b": 2}, {"given": {"c": 3}}, "known are a, b"),
        ({"a": 2, "b": 2}, {"given": {"a": [0, 1, 1]}, "n": 2}, "received 3 conditions for 2"),
        ({"a": 2, "b": "continuous"}, {"given": {"a": 0}}, "expected values of b"),
    ],
)
def test_enumerated_refuses(condition, arguments, message):
    with pytest.raises(ValueError, match=message):
        enumerated(base.get(condition), **arguments)
