"""What a model remembers of its conditions in training."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_cvae import Categorical, Joint, Optional, load
from keras_cvae.conditions import Memory, get
from keras_cvae.data.batches import Batches
from keras_cvae.data.containers import Split

NEVER = "In training there was no example of the class 2"
PETS = ["cat", "dog", "owl"]


@pytest.mark.parametrize(
    ("condition", "trained", "fine", "new"),
    [
        (Categorical(PETS), ["dog", "cat"], ["cat"], ["cat", "owl"]),
        (Categorical(PETS), [[0.5, 0.5, 0]], [1, 0], [[0.9, 0, 0.1]]),
        (Categorical([*range(19_999), "owl"]), range(19_999), [7, 0], ["owl"]),
        (Optional(PETS), [0, None, 1], [None, 1], [None, "owl"]),
        (Optional(PETS), np.array([[0, 1, 0], [np.nan] * 3, [1, 0, 0]]), [1, None], [2]),
        (
            Joint({"pet": Optional(PETS), "age": "continuous"}, 0.1),
            {"pet": [0, None], "age": [1.0, 2.0]},
            [{"age": 7.0}, {"age": 7.0, "pet": "cat"}],
            [{"age": 7.0, "pet": "owl"}],
        ),
    ],
)
def test_a_class_that_training_never_had_is_told(condition, trained, fine, new):
    spec = condition.spec
    memory = Memory(spec)
    trained, fine, new = map(spec.prepare, (trained, fine, new))
    memory.record(condition.missing(trained))
    memory.check(new)  # nobody counted classes: trained step by step
    memory.see(trained)
    memory.see(spec.prepare(["cat"]) if condition.width == 3 else trained)
    memory.check(fine)
    with pytest.warns(UserWarning, match="there was no example of the class owl, so"):
        memory.check(new)
    memory.see(None)  # a stream, that may have all
    memory.check(new)


@pytest.mark.parametrize(
    ("condition", "training", "expected"),
    [
        (get(3), [0, 1], {}),
        (Optional(3), [0, 1], {("missing",): False}),
        (Optional(3), [0, None], {("missing",): True}),
        (
            get({"a": Optional(3), "b": Optional("continuous")}),
            {"a": [0, None], "b": [None, 1]},
            {("a", "missing"): True, ("b", "missing"): True, ("missing",): False},
        ),
        (
            get({"a": Optional(3), "b": Optional("continuous")}),
            {"a": [0, None], "b": [1, None]},
            {("a", "missing"): True, ("b", "missing"): True, ("missing",): True},
        ),
        (
            get({"a": Optional(3), "b": {"c": Optional(2)}}),
            {"a": [0, None], "b": [{"c": 1}, {"c": None}]},
            {
                ("a", "missing"): True,
                ("b", "c", "missing"): True,
                ("b", "missing"): True,
                ("missing",): True,
            },
        ),
    ],
)
def test_the_step_and_the_host_agree_on_what_is_missing(condition, training, expected):
    canonical = condition.spec.prepare(training)
    in_step = {trait: bool(met) for trait, met in condition.missing(canonical).items()}
    assert in_step == expected
    occurring = condition.spec.occurring(canonical)
    assert {trait: bool(occurring[trait]) for trait in expected} == expected
    assert condition.spec.traits().keys() == occurring.keys()


def test_dropping_conditions_changes_no_weight():
    condition = Joint({"a": 3, "b": "continuous"}, 0.5)
    before = [ops.convert_to_numpy(weight) for weight in condition.weights]
    y = condition.spec.prepare({"a": [0, 1], "b": [1, 2]})
    dropped = condition.drop(y, lambda shape: ops.zeros(shape))
    assert condition.spec.missing(keras.tree.map_structure(ops.convert_to_numpy, dropped)).all()
    for one, weight in zip(before, condition.weights, strict=True):
        np.testing.assert_array_equal(one, ops.convert_to_numpy(weight))


def fitted(model, *data, **options):
    model.fit(*data, verbose=0, **options)
    return model


def asked_here(told):
    """Whether the line that is blamed is this module's, however deep the call went."""
    return {one.filename for one in told if one.category is UserWarning} == {__file__}


@pytest.mark.further
def test_every_verb_tells_of_a_class_that_was_never_in_training(small, data, tmp_path):
    (x, y), model = data, small()
    some = y < 2
    model.generate(2)  # untrained: nobody expects anything
    model.fit(x[some], y[some], verbose=0)
    model.save(tmp_path / "model.keras")
    again = load(tmp_path / "model.keras")
    for one in (model, again):
        one.generate([0, 1])
        with pytest.warns(UserWarning, match=NEVER):
            one.generate(2)
    for asked in ([0, 2], {1: 0.5, 2: 0.5}, np.array([0.5, 0, 0.5])):
        with pytest.warns(UserWarning, match=NEVER):
            again.generate(asked)
    with pytest.warns(UserWarning, match=NEVER):
        again.log_prob(x[:2], 2, 3)
    with pytest.warns(UserWarning, match=NEVER) as told:
        again.interpolate(condition=0, to_condition=2, steps=3)
    assert asked_here(told)
    with pytest.warns(UserWarning, match=NEVER) as told:
        again.restyle(x[:2], 1, 2)
    assert asked_here(told)
    again.fit(x[~some], y[~some], verbose=0)
    again.generate([0, 1, 2])
    again.interpolate(condition=0, to_condition=2, steps=3)


@pytest.mark.further
def test_classes_are_seen_in_what_was_trained_on(small, data):
    x, y = data
    order = np.argsort(y)
    with pytest.warns(UserWarning, match=NEVER):  # all twos are held out
        fitted(small(), x[order], y[order], validation_split=0.4).generate(2)
    with pytest.warns(UserWarning, match=NEVER):
        fitted(small(), Batches(Split(x[y < 2], y[y < 2]), 8)).generate(2)
    stream = ((x[:8], y[:8] % 2) for _ in range(9))
    model = fitted(small(), stream, steps_per_epoch=2, shuffle=False)
    model.generate(2)  # a stream is not looked into: it may have had them all


def test_no_verb_takes_a_missing_condition_that_was_always_there(small, data):
    x, y = data
    model = fitted(small(condition=Optional(3)), x, y)
    for ask in (
        lambda: model.generate(None),
        lambda: model.encode(x[:2], None),
        lambda: model.log_prob(x[:2], None, 3),
        lambda: model.interpolate(steps=3),
        lambda: model.interpolate([0, 0], [1, 1], steps=3),
    ):
        with pytest.raises(ValueError, match=r"none ever was in training.*dropout=0.1"):
            ask()
    with pytest.raises(ValueError, match=r"guidance=2 compares with draws without .*label dropout"):
        model.generate(1, guidance=2)
    fitted(model, x, np.where(np.arange(len(y)) % 4, y, -1))
    assert model.generate(None, 2).shape == (2, 6)
    assert model.interpolate(steps=3).shape == (3, 6)


def test_a_stream_tells_the_step_what_is_missing(small, data):
    x, y = data
    model = small(condition=Optional(3))
    fitted(model, ((x[:8], y[:8]) for _ in range(9)), steps_per_epoch=2, shuffle=False)
    with pytest.raises(ValueError, match="none ever was in training"):
        model.generate(None)
    some = np.where(np.arange(8) % 4, y[:8], -1).astype("int32")
    fitted(model, ((x[:8], some) for _ in range(9)), steps_per_epoch=2, shuffle=False)
    assert model.generate(None, 2).shape == (2, 6)
