"""The layers: features of what is canonical, and what a condition does to a model."""

import keras
import numpy as np
import pandas as pd
import pytest
from keras import ops

import harness
from keras_cvae import (
    MLP,
    Categorical,
    ConditionalVAE,
    Continuous,
    Encoded,
    Gaussian,
    Joint,
    Optional,
    Periodic,
    Tags,
    Unconditional,
)
from keras_cvae.conditions import enumerated, get

DIGITS, PETS = Categorical(10), Categorical(["cat", "dog", "owl"])
TAGS = Tags(["a", "b", "c"])


class TestEveryCondition(harness.Harness):
    part = "condition"


def features(condition, y):
    return ops.convert_to_numpy(condition.features(condition.spec.prepare(y)))


def test_classes_and_tags_become_places():
    np.testing.assert_array_equal(features(DIGITS, [3, 0]), np.eye(10)[[3, 0]])
    np.testing.assert_array_equal(features(PETS, np.array([["owl"], ["cat"]])), np.eye(3)[[2, 0]])
    np.testing.assert_array_equal(features(TAGS, [["a", "c"], []]), [[1, 0, 1], [0, 0, 0]])


@pytest.mark.parametrize(
    "condition",
    [PETS, TAGS, Continuous(2), Periodic(24), Joint({"pet": Optional(PETS), "age": "continuous"})],
    ids=lambda condition: type(condition).__name__,
)
def test_a_condition_is_a_layer_of_keras_functional_models(condition):
    features = condition(condition.symbolic())
    assert features.shape == (None, condition.width)


def test_classes_may_stand_in_a_column():
    np.testing.assert_array_equal(PETS(np.array([[2], [0]])), PETS(np.array([2, 0])))


def test_a_mixture_is_the_mean_of_the_features():
    for condition in (PETS, Categorical(3, encoding="embedding", embedding_dim=4)):
        mixed = features(condition, [[0.25, 0, 0.75]])[0]
        cat, owl = features(condition, [0, 2])
        np.testing.assert_allclose(mixed, 0.25 * cat + 0.75 * owl, rtol=1e-5)


def test_embedded_tags_add_up():
    condition = Tags(3, "embedding", embedding_dim=4)
    both, one, other = features(condition, [[1, 0, 1], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(both, one + other, rtol=1e-5)


def test_continuous_standardises_with_what_it_adapted_to(rng):
    condition = Continuous(2)
    y = np.stack([rng.normal(5, 3, 500), np.full(500, 2.0)], axis=1)
    condition.adapt(y)
    found = features(condition, y)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=0), [1, 0], atol=1e-5)


def test_a_round_number_stands_for_an_example():
    for values, expected in (
        ([0.0, 1.0, 2.0, 2.0], 1.0),  # in mean 1.25
        ([161.0, 183.0, 170.0], 170.0),
        ([0.0011, 0.0019], 0.002),
        ([7.0, 7.0], 7.0),
    ):
        condition = Continuous()
        condition.adapt(values)
        assert condition.example() == expected


def test_continuous_standardises_before_it_rounds():
    y = np.array([[2021.0], [2022.0], [2023.0]])
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        condition = Continuous(1)
        condition.adapt(y)
        found = condition.features(condition.spec.prepare(y))
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
    assert type(get(identifier)) is cls


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Categorical(3, encoding="dense"), "received 'dense'"),
        (lambda: get("categoric"), "Did you mean 'categorical'"),
        (lambda: get(True), "Unknown condition: received True"),
        (lambda: Tags(3, "onehot"), "received 'onehot', expected 'multihot'"),
        (lambda: Periodic(24, harmonics=0), "received 0, expected a whole number"),
        (lambda: Encoded(two_inputs()), "one input and one output.*Received one with 2"),
        (lambda: Encoded(maps()), "Expected an input of a known shape, and features"),
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


def test_periodic_wraps():
    condition = Periodic(24, harmonics=2)
    np.testing.assert_allclose(
        features(condition, [0, 6]), [[0, 1, 0, 1], [1, 0, 0, -1]], atol=1e-6
    )
    np.testing.assert_allclose(*(features(condition, [h]) for h in (25, 1)), atol=1e-5)
    np.testing.assert_allclose(*(features(condition, [h]) for h in (-23, 24e6 + 1)), atol=1e-5)
    np.testing.assert_allclose(*(features(condition, [h]) for h in (23.999, 0.001)), atol=2e-3)


def signal(shape=(5, 2), dtype="float32", units=3):
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, keras.layers.Dense(units)(keras.layers.Flatten()(inputs)))


def two_inputs():
    a, b = keras.Input((2,)), keras.Input((2,))
    return keras.Model([a, b], keras.layers.Add()([a, b]))


def maps():
    inputs = keras.Input((4, 4, 1))
    return keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))


def test_own_networks_read_numbers_and_words(rng):
    y = rng.normal(size=(2, 5, 2))
    assert features(Encoded(signal()), y).shape == (2, 3)
    words = keras.Input((4,), dtype="int32")
    pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 3)(words))
    condition = get(keras.Model(words, pooled))
    assert isinstance(condition, Encoded)
    assert condition.spec.dtype == "int32"
    assert features(condition, [[1, 2, 3, 8]]).shape == (1, 3)


# What a condition does to a model.


def trained(x, y, condition, epochs=20, **kwargs):
    model = ConditionalVAE(x.shape[1:], condition, 1, backbone=MLP((24,), "tanh"), seed=0, **kwargs)
    model.compile(keras.optimizers.Adam(0.01))
    model.fit(x, y, epochs=epochs, batch_size=50, verbose=0)
    return model


@pytest.mark.further
def test_a_condition_without_information_gives_the_unconditional_likelihood(rng):
    kind = rng.integers(0, 2, 1200)
    x = (rng.random((1200, 6)) < np.where(kind, 0.9, 0.1)[:, None]).astype("float32")
    noise = rng.integers(0, 2, 1200)
    given = trained(x[:1000], noise[:1000], 2).log_prob(x[1000:], noise[1000:], 100)
    plain = trained(x[:1000], None, None).log_prob(x[1000:], None, 100)
    error = np.std(given.log_prob - plain.log_prob) / np.sqrt(200)
    assert abs(given.mean - plain.mean) < 3 * error + 0.05


@pytest.mark.further
def test_a_condition_with_all_information_is_read_from_x(rng):
    y = rng.integers(0, 3, 600)
    codes = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]])
    x = codes[y].astype("float32")
    model = trained(x, y, 3)
    p = model.classify(x[:60], 50)
    assert p[np.arange(60), y[:60]].min() > 0.99
    several = {"candidates": [0, 2], "class_prior": [0.5, 0.5]}
    assert model.classify(x[y == 2][:5], 50, **several)[:, 1].min() > 0.99


@pytest.mark.further
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


@pytest.mark.further
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
    joint = get({"class": ["a", "b"], "age": Continuous()}).spec
    which, index = np.array([1, 0]), np.array([0, 1])
    k, of = enumerated(Categorical(3).spec)
    assert k == 3
    np.testing.assert_array_equal(of(index, which), [1, 0])
    k, of = enumerated(Continuous().spec, [5.0, 7.0, 9.0])
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
    ("condition", "arguments", "message"),
    [
        (Continuous(), {}, "Expected one of several classes, or candidates="),
        (Continuous(), {"candidates": []}, "candidates: received none"),
        (Continuous(), {"given": {"age": 3}}, "given: received age, expected names.*none"),
        ({"a": 2, "b": 2}, {"given": {"c": 3}}, "known are a, b"),
        ({"a": 2, "b": 2}, {"given": {"a": [0, 1, 1]}, "n": 2}, "received 3 conditions for 2"),
        ({"a": 2, "b": "continuous"}, {"given": {"a": 0}}, "expected values of b"),
        ({"a": 2}, {"given": {"a": 0}, "candidates": 1}, "what is not given"),
    ],
)
def test_enumerated_refuses(condition, arguments, message):
    with pytest.raises(ValueError, match=message):
        enumerated(get(condition).spec, **arguments)


def test_a_number_ten_deviations_from_those_of_training_is_named():
    condition = Continuous()
    condition.adapt(np.linspace(0.0, 1.0, 101))
    asked = condition.spec.prepare
    assert condition.far(asked([0.0, 3.0])) == ""
    assert condition.far(asked([0.5, 7.0])).startswith("7; in training it was 0.5 +- 0.29")
