"""How much examples count: weights of examples and of classes."""

import copy

import keras
import numpy as np
import pytest

from harness import restarting
from keras_cvae import (
    MLP,
    Categorical,
    ConditionalVAE,
    Continuous,
    Optional,
    SemiSupervisedCVAE,
    Tags,
)
from keras_cvae.conditions import get
from keras_cvae.conditions.spec import CategoricalSpec, OptionalSpec
from keras_cvae.models.weights import ClassWeights

N = 30
X = np.random.default_rng(0).integers(0, 2, (N, 6)).astype("float32")
Y = np.arange(N) % 3
NAMES = np.array(["cat", "dog", "eel"])


def trainer(condition, cls=ConditionalVAE):
    """A function that trains one model from its start, by `fit` for an epoch of one step.

    It gives the weights then, and the loss.
    """
    keras.utils.set_random_seed(0)
    model = cls((6,), copy.deepcopy(condition), 2, backbone=MLP((8,), "tanh"), seed=0)
    model.compile(keras.optimizers.SGD(0.01))
    restart = restarting(model)

    def trained(y, x=X, **options):
        restart()
        given = {"x": x} if y is None else {"x": x, "y": y}
        options = {"batch_size": N, "shuffle": False, "verbose": 0} | options
        loss = model.fit(**given, **options).history["loss"]
        return [keras.ops.convert_to_numpy(w) for w in model.trainable_variables], loss

    return trained


@pytest.fixture(scope="module")
def trained():
    """Trains one model of three classes, from its start whenever it is called."""
    return trainer(3)


def assert_same(one, other):
    np.testing.assert_allclose(one[1], other[1], rtol=1e-6)
    for a, b in zip(one[0], other[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


by_label = np.array([5.0, 1.0, 0.5])
PART = np.where(np.arange(N) % 2, Y, -1)
MIXED = np.tile([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]], (N // 2, 1)).astype("float32")
NAMED = {"kind": Categorical(list(NAMES)), "age": Continuous()}
AGE = np.arange(N) / N


@pytest.mark.parametrize(
    ("condition", "y", "class_weight", "expected"),
    [
        (3, Y, {0: 5, 2: 0.5}, by_label[Y]),
        (list(NAMES), NAMES[Y], {"cat": 5.0, "eel": 0.5}, by_label[Y]),
        (list(NAMES), Y, {0: 5.0, "eel": 0.5}, by_label[Y]),
        ([1, 2, 3], Y + 1, {1: 5, 3: 0.5}, by_label[Y]),
        (3, MIXED, {0: 5, 2: 0.5}, MIXED @ by_label),
        (Optional(3), PART, {0: 5, 2: 0.5, -1: 2}, np.where(PART < 0, 2, by_label[Y])),
        (Optional(3), PART, {0: 5, 2: 0.5, None: 2}, np.where(PART < 0, 2, by_label[Y])),
        (NAMED, {"kind": NAMES[Y], "age": AGE}, {"cat": 5, "eel": 0.5}, by_label[Y]),
        (
            NAMED | {"other": 2},
            {"kind": NAMES[Y], "age": AGE, "other": np.arange(N) % 2},
            {"kind": {"cat": 5, "eel": 0.5}, "other": {1: 3}},
            by_label[Y] * (1 + 2 * (np.arange(N) % 2)),
        ),
    ],
)
def test_weights_of_classes_are_those_of_their_examples(condition, y, class_weight, expected):
    spec = get(condition).spec
    found = ClassWeights(spec, class_weight).of(spec.prepare(y))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.further
@pytest.mark.parametrize(
    ("condition", "y", "class_weight", "expected"),
    [
        (list(NAMES), NAMES[Y], {"cat": 5.0, "eel": 0.5}, by_label[Y]),
        (Optional(3), PART, {0: 5, 2: 0.5, -1: 2}, np.where(PART < 0, 2, by_label[Y])),
        (NAMED, {"kind": NAMES[Y], "age": AGE}, {"cat": 5, "eel": 0.5}, by_label[Y]),
    ],
    ids=["names", "optional", "several conditions"],
)
def test_training_weighs_classes_as_their_examples(condition, y, class_weight, expected):
    trained = trainer(condition)
    weighed = trained(y, class_weight=class_weight)
    assert_same(weighed, trained(y, sample_weight=expected))
    assert not np.allclose(weighed[1], trained(y)[1])


def test_both_kinds_of_weights_are_multiplied(trained):
    some = np.linspace(0.1, 1, N)
    both = trained(Y, class_weight={0: 5, 2: 0.5}, sample_weight=some[:, None])
    assert_same(both, trained(Y, sample_weight=some * by_label[Y]))


def test_what_is_held_out_is_not_weighed():
    keras.utils.set_random_seed(0)
    model = ConditionalVAE((6,), 3, 2, backbone=MLP((8,)), seed=0)
    model.compile("adam")
    options = {"validation_split": 0.5, "class_weight": {0: 100}, "verbose": 0}
    loss = model.fit(X, Y, **options).history["val_loss"][-1]
    np.testing.assert_allclose(loss, model.evaluate(X[15:], Y[15:], verbose=0)[0], rtol=1e-6)


@pytest.mark.further
@pytest.mark.parametrize("labelled", [0.5, None])
def test_classes_are_weighed_where_some_are_unknown(labelled):
    trained = trainer(3, SemiSupervisedCVAE)
    given = np.where(PART < 0, 2, by_label[Y])
    assert_same(
        trained(PART, class_weight={0: 5, 2: 0.5, -1: 2}, labelled=labelled),
        trained(PART, sample_weight=given, labelled=labelled),
    )


class Chunks(keras.utils.PyDataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return X, Y


def as_tf():
    tensorflow = pytest.importorskip("tensorflow")
    return tensorflow.data.Dataset.from_tensor_slices((X, Y)).batch(N)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ((X, Y) for _ in range(1)),
        Chunks,
        lambda: (({"x": X, "condition": Y},) for _ in range(1)),
        lambda: ((X, Y, np.full(N, 2.0)) for _ in range(1)),  # the mean is by weight
        as_tf,
    ],
    ids=["generator", "PyDataset", "dict", "weighed", "tf.data"],
)
def test_data_sets_are_weighed(make, trained):
    options = {"steps_per_epoch": 1, "batch_size": None, "class_weight": {0: 5, 2: 0.5}}
    found = trained(None, make(), **options)
    assert_same(found, trained(Y, sample_weight=by_label[Y]))


def test_named_conditions_take_weights_of_examples():
    weight = np.where(np.arange(N) < 15, 1.0, 0.0)
    y, trained = {"kind": NAMES[Y], "age": AGE}, trainer(NAMED)
    same = trained(y, np.where(weight[:, None], X, 1 - X), sample_weight=weight)
    assert_same(trained(y, sample_weight=weight), same)


@pytest.mark.parametrize(
    ("condition", "y", "class_weight", "message"),
    [
        (list(NAMES), NAMES[Y], {"catt": 2}, "Unknown class 'catt'.*Did you mean 'cat'"),
        (list(NAMES), NAMES[Y], {3: 2}, "Unknown class 3.*cat, dog, eel"),
        ([1, 2, 3], Y + 1, {0: 2}, "Unknown class 0.*1, 2, 3"),
        (3, Y, {-1: 2}, "Unknown class -1"),
        (3, Y, {0: -1}, "weight of 0: received -1"),
        (3, Y, {0: np.nan}, "weight of 0: received nan"),
        (3, Y, {0: "much"}, "weight of 0: received 'much'"),
        (3, Y, {0: 0, 1: 0, 2: 0}, "class_weight holds nothing but 0"),
        (3, Y, [1, 2, 3], r"class_weight: received \[1, 2, 3\], expected weights by class"),
        (3, Y, {}, "class_weight: received"),
        (None, None, {0: 1}, "class_weight weighs classes"),
        (Continuous(), AGE, {0: 1}, "class_weight weighs classes"),
        (Tags(3), np.eye(3)[Y], {0: 1}, "class_weight weighs classes"),
        (
            {"a": 3, "b": 3},
            {"a": Y, "b": Y},
            {0: 1},
            "of the conditions a, b, 2 have classes. Expected weights by name",
        ),
        ({"a": 3, "b": 3}, {"a": Y, "b": Y}, {"c": {0: 1}}, "unknown condition 'c'"),
        (NAMED, {"kind": NAMES[Y], "age": AGE}, {"age": {0: 1}}, "weighs classes.*1 number"),
    ],
)
def test_weights_of_classes_that_do_not_fit_are_refused(condition, y, class_weight, message):
    with pytest.raises(ValueError, match=message):
        trainer(condition)(y, class_weight=class_weight)


@pytest.mark.further
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-np.ones(N), "sample_weight holds -1, first in row 0"),
        (np.where(np.arange(N) == 7, np.nan, 1), "sample_weight holds nan, first in row 7"),
        (np.full(N, np.inf), "sample_weight holds inf"),
        (np.zeros(N), "sample_weight holds nothing but 0"),
        (np.ones(N + 1), r"shape \(31,\).*one number for each of 30 examples"),
        (np.ones((N, 6)), r"shape \(30, 6\)"),
        (3.0, r"shape \(\)"),
        (["much"] * N, "holds <U4 values"),
    ],
)
def test_weights_of_examples_that_do_not_fit_are_refused(weight, message, trained):
    for given in (
        {"sample_weight": weight},
        {"validation_data": (X, Y, weight)},
    ):
        with pytest.raises(ValueError, match=message):
            trained(Y, **given)


def test_what_has_no_condition_weighs_what_a_missing_one_does():
    weights = ClassWeights(OptionalSpec(CategoricalSpec(["cat", "dog"])), {None: 2.0, "cat": 3.0})
    x = np.zeros((4, 2))
    for batch in ((x,), ({"x": x},), (x, None, np.ones(4))):
        np.testing.assert_array_equal(weights.weigh(batch)[2], [2.0] * 4)
    np.testing.assert_array_equal(weights.weigh((x[:3], np.array([0, 1, -1])))[2], [3, 1, 2])
