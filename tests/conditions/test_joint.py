import keras
import numpy as np
import pandas as pd
import pytest
from keras import ops

import keras_cvae
from keras_cvae import MLP, Categorical, Continuous, Image, Joint, Optional, Periodic, Tags
from keras_cvae.trees import take

PARTS = {"class": ["cat", "dog"], "age": Continuous(), "tags": Optional(Tags(["a", "b"]))}
MANY = {"class": ["cat", "dog", "cat"], "age": [1, 2, 3], "tags": [["a"], None, []]}
CANONICAL = {"class": [0, 1, 0], "age": [[1], [2], [3]], "tags": [[1, 0], [np.nan] * 2, [0, 0]]}


def check(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_mapping_rows_or_a_table():
    condition = Joint(PARTS)
    check(condition.spec.prepare(MANY), CANONICAL)
    check(condition.spec.prepare(condition.spec.prepare(MANY)), CANONICAL)
    rows = [{name: values[i] for name, values in MANY.items()} for i in range(3)]
    check(condition.spec.prepare(rows), CANONICAL)
    del rows[1]["tags"]
    check(condition.spec.prepare(rows), CANONICAL)
    nothing = {"class": ["cat"], "age": [3], "tags": None}
    assert np.isnan(condition.spec.prepare(nothing)["tags"]).all()
    numbers = Joint({"age": Continuous(), "hour": Periodic(24)})
    columns = {"age": [1.0, 2.0], "hour": [3.0, 25.0], "other": ["x", "y"]}
    expected = {"age": [[1], [2]], "hour": [[3], [1]]}
    check(numbers.spec.prepare(pd.DataFrame(columns)), expected)
    structured = np.array([(1.0, 3.0), (2.0, 25.0)], [("age", float), ("hour", float)])
    check(numbers.spec.prepare(structured), expected)


def test_one_condition_or_many():
    condition = Joint(PARTS)
    found, single = condition.spec.prepare_any({"class": "dog", "age": 3})
    check(found, {"class": [1], "age": [[3]], "tags": [[np.nan, np.nan]]})
    assert single
    found, single = condition.spec.prepare_any({"class": "dog", "age": [3, 4], "tags": ["a", "b"]})
    check(found, {"class": [1, 1], "age": [[3], [4]], "tags": [[1, 1], [1, 1]]})
    assert not single


def test_features_lie_side_by_side():
    condition = Joint(PARTS)
    condition.adapt(MANY)
    found = ops.convert_to_numpy(condition.features(condition.spec.prepare(MANY)))
    ages = np.sqrt(1.5) * np.array([-1, 0, 1])
    np.testing.assert_allclose(found[:, :2], np.eye(2)[[0, 1, 0]])
    np.testing.assert_allclose(found[:, 2], ages, atol=1e-6)
    np.testing.assert_allclose(found[:, 3:], [[1, 0], [0, 0], [0, 0]])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "conditioned on class, age, tags.*Received none"),
        (3, "Received int: 3"),
        ({"clas": "cat", "age": 3}, "Unknown condition 'clas'.*Did you mean 'class'"),
        ({"class": ["cat"]}, "Not given: age.$"),
        ({"class": ["cta"], "age": [3]}, "Condition 'class': Unknown class 'cta'.*'cat'"),
        ({"class": [2], "age": [3]}, "Condition 'class': Unknown class 2"),
        ({"class": [0.5], "age": [3]}, "Condition 'class': Received 0.5 as a class.*cat, dog"),
        ({"class": ["cat"], "age": ["old"]}, "Condition 'age': .*like old. Expected numbers"),
        ({"class": ["cat"], "age": [3, 4]}, "differ in length: class has 1, age has 2"),
        ({"class": ["cat"], "age": [None]}, "Condition 'age'"),
        ({"class": ["cat"], "age": [3], "tags": [["c"]]}, "Unknown tag 'c'"),
        (
            pd.DataFrame({"class": ["cat"], "agee": [3]}),
            "Not given: age, tags. Did you mean 'agee'",
        ),
    ],
)
def test_bad_conditions_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        Joint(PARTS).spec.prepare(y)


def test_words_and_examples():
    condition = Joint(PARTS | {"age": Continuous()})
    y = condition.spec.prepare(MANY)
    said = [condition.spec.words(take(y, i)) for i in range(2)]
    assert said == ["class=cat, age=1, tags=a", "class=dog, age=2, tags=?"]
    assert condition.example() == {"class": "dog", "age": 0.0, "tags": ["a"]}
    assert "age: 1 number; tags: any of 2 tags" in condition.spec.summary()


def test_a_way_goes_from_start_to_end():
    condition = Joint({"class": [5, 7], "hour": Periodic(24)})
    way = np.array([0, 0.5, 1], "float32")
    ends = [
        condition.spec.prepare_any(one)[0]
        for one in ({"class": 5, "hour": 23}, {"class": 7, "hour": 1})
    ]
    found = condition.spec.between(*ends, way)
    check(found, {"class": [[1, 0], [0.5, 0.5], [0, 1]], "hour": [[23], [0], [1]]})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Joint({}), "received {}, expected conditions by name"),
        (lambda: Joint({1: 3}), "expected conditions by name"),
        (lambda: Joint({"a": None}), "the part 'a' is no condition"),
        (lambda: Joint({"a": 3}, dropout=2), "dropout: received 2"),
        (lambda: keras_cvae.ConditionalVAE((6,), {"a": "imag"}), "Did you mean 'image'"),
        (lambda: keras_cvae.ConditionalVAE((6,), {"a": "image"}), "'image' needs arguments"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def everything(n, rng):
    """A model's condition with a part of every kind, and values; one in five is missing."""
    signal = keras.Input((5, 1))
    network = keras.Model(signal, keras.layers.Dense(2)(keras.layers.Flatten()(signal)))
    parts = {
        "class": Categorical(["a", "b", "c"], "embedding", 3),
        "tags": Tags(["p", "q"]),
        "age": Continuous(2),
        "hour": Periodic(24),
        "look": Image((4, 4, 1), MLP((4,))),
        "signal": network,
    }
    lost = np.arange(n) % 5 == 0
    y = {
        "class": np.where(lost, -1, np.arange(n) % 3),
        "tags": [None if gone else ["p"] for gone in lost],
        "age": np.where(lost[:, None], np.nan, rng.normal(50, 9, (n, 2))),
        "hour": np.ma.masked_array(rng.random(n) * 24, lost),
        "look": rng.random((n, 4, 4)),
        "signal": rng.normal(size=(n, 5, 1)),
    }
    return Joint(parts, dropout=0.2), y


def test_a_mixture_of_all_kinds_through_every_verb(rng, tmp_path):
    condition, y = everything(40, rng)
    x = (rng.random((40, 6)) < 0.5).astype("float32")
    model = keras_cvae.ConditionalVAE(
        (6,), condition, [1, 1], prior="conditional", backbone=MLP((8,), "tanh"), seed=0
    )
    model.compile()
    model.fit(x, y, validation_data=(x, y), epochs=1, batch_size=20, verbose=0)
    np.testing.assert_allclose(ops.convert_to_numpy(condition.parts["age"].part.mean), 50, atol=9)
    some = take(condition.spec.prepare(y), slice(4))
    assert np.isfinite(model.evaluate(x, y, verbose=0)).all()
    assert model.predict(x[:4], condition=some, verbose=0).shape == (4, 6)
    assert model.generate({"class": "b"}, 3, guidance=2.0).shape == (3, 6)
    assert model.generate(n=2).shape == (2, 6)
    assert model.generate(some, 2, output="sample").shape == (8, 6)
    assert model.restyle(x[:4], some, {"class": "a"}).shape == (4, 6)
    ends = {"class": "a", "hour": 23}, {"class": "b", "hour": 1}
    assert model.interpolate(condition=ends[0], to_condition=ends[1], steps=3).shape == (3, 6)
    assert np.isfinite(model.log_prob(x[:4], some, 8).log_prob).all()
    p = model.classify(x[:4], 8, candidates=[{"class": "a"}, {"class": "b", "hour": 3}])
    np.testing.assert_allclose(p.sum(axis=1), 1)
    model.save(tmp_path / "model.keras")
    again = keras_cvae.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.encode(x[:4], some), model.encode(x[:4], some))
    assert model.encode(x[:4], some, sample=True, seed=0).shape == (4, 2)


def test_all_missing_needs_it_in_training(small, data):
    x, y = data
    halves = {"a": np.where(np.arange(40) % 2, y, -1), "b": np.where(np.arange(40) % 2, -1, y)}
    model = small(condition=Joint({"a": Optional(3), "b": Optional(3)}))
    model.fit(x, halves, epochs=1, verbose=0)
    assert model.generate({"a": 1}).shape == (1, 6)
    with pytest.raises(ValueError, match="All conditions are missing, but in training"):
        model.generate()
    with pytest.raises(ValueError, match=r"Condition 'b': This model's condition .* cannot be"):
        small(condition=Joint({"a": Optional(3), "b": 3})).generate()
