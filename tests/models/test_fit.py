"""What `fit` takes from the data before it trains: scalings, and what is held out."""

import keras
import numpy as np
import pytest

from harness import restarting
from keras_cvae import MLP, Bounded, ConditionalVAE, Continuous, SemiSupervisedCVAE

N = 40
X = np.random.default_rng(0).normal(size=(N, 2)).astype("float32") + np.arange(N)[:, None]


def build(condition=None, cls=ConditionalVAE, **kwargs):
    free = Bounded([None, None], [None, None])
    options = {"likelihood": free, "backbone": MLP((4,)), "seed": 0} | kwargs
    model = cls((2,), condition, 1, **options)
    model.compile("adam")
    return model


def numpy(weight):
    return keras.ops.convert_to_numpy(weight)


def assert_scaled_by(layer, values):
    np.testing.assert_allclose(numpy(layer.mean), values.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(numpy(layer.scale), values.std(axis=0), rtol=1e-4)


@pytest.mark.further
def test_scalings_are_those_of_what_is_trained_on():
    model, y = build(Continuous()), X[:, :1] ** 2
    history = model.fit(X, y, validation_split=0.25, verbose=0).history
    assert "val_loss" in history
    assert_scaled_by(model.likelihood.view, X[:30])
    assert_scaled_by(model.condition, y[:30])
    model.fit(X - 7, y, verbose=0)  # they stay
    assert_scaled_by(model.likelihood.view, X[:30])


@pytest.mark.further
def test_what_counts_for_nothing_moves_no_scale_and_was_never_seen():
    x, kind = X.copy(), np.arange(N) % 3
    x[::3] = 300.0
    model = build(3)
    model.fit(x, kind, class_weight={0: 0.0}, verbose=0)
    assert_scaled_by(model.likelihood.view, X[kind > 0])
    with pytest.warns(UserWarning, match="In training there was no example of the class 0"):
        model.generate(0)
    model = build()
    model.fit(iter([(x, None, (kind > 0) * 1.0)] * 3), steps_per_epoch=2, verbose=0)
    assert_scaled_by(model.likelihood.view, X[kind > 0])


@pytest.mark.further
def test_held_out_by_share_is_held_out_as_by_hand():
    model, weight = build(), np.linspace(0, 1, N)
    restart, losses = restarting(model), []
    for given in (
        {"x": X, "sample_weight": weight, "validation_split": 0.3},
        {
            "x": X[:28],
            "sample_weight": weight[:28],
            "validation_data": (X[28:], None, weight[28:]),
        },
    ):
        restart()
        keras.utils.set_random_seed(0)
        losses.append(model.fit(**given, epochs=2, verbose=0).history)
    assert losses[0] == losses[1]


def test_what_cannot_be_held_out_is_refused():
    with pytest.raises(ValueError, match=r"validation_split=0.9 of 1 example\(s\) leaves none"):
        build().fit(X[:1], validation_split=0.9)
    with pytest.raises(ValueError, match=r"cuts arrays; received generator, .*validation_data"):
        build().fit(((X,) for _ in range(2)), validation_split=0.5)
    for share in (1, -0.1, np.nan):
        with pytest.raises(ValueError, match="validation_split: received"):
            build().fit(X, validation_split=share)


LABELS = np.array([3, 5, 7])[np.arange(N) % 3]
SOME = np.where(np.arange(N) % 2, LABELS, -1)


@pytest.mark.further
@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(LABELS, id="all", marks=pytest.mark.nightly),
        pytest.param(SOME, id="some"),
    ],
)
def test_semi_supervised_models_take_scalings_too(labels):
    model = build([3, 5, 7], SemiSupervisedCVAE, classifier=MLP((4,)))
    weight = np.linspace(0.5, 1, N)
    history = model.fit(
        X, labels, 16, labelled=0.2, sample_weight=weight, validation_split=0.25, verbose=0
    ).history
    assert np.isfinite(history["val_loss"]).all()
    assert_scaled_by(model.likelihood.view, X[:30])


def test_weights_count_in_batches_of_which_a_part_is_labelled():
    """Examples of weight 0 change nothing."""
    model = build(3, SemiSupervisedCVAE, classifier=MLP((4,)), alpha=0.0)
    model.likelihood.adapt(X)
    restart, weights = restarting(model), []
    for other in (0.0, 9.0):
        restart()
        keras.utils.set_random_seed(0)
        x, y = np.where(np.arange(N)[:, None] < 20, X, other), np.where(SOME > 0, 0, -1)
        model.fit(x, y, N, sample_weight=(np.arange(N) < 20) * 1.0, verbose=0)
        weights.append(model.get_weights())
    for one, same in zip(*weights, strict=True):
        np.testing.assert_allclose(one, same, atol=1e-6)


@pytest.mark.filterwarnings("ignore:x holds")  # so far from training the model guesses
def test_examples_of_weight_0_spoil_nothing_however_far_they_are():
    model = build()
    model.likelihood.adapt(X)
    restart, found = restarting(model), []
    weight = (np.arange(N) % 5 > 0) * 1.0
    for far in (1.0, 1e5, 1e20):
        restart()
        keras.utils.set_random_seed(0)
        x = np.where(weight[:, None] > 0, X, far * X).astype("float32")
        model.fit(x, sample_weight=weight, batch_size=16, epochs=2, verbose=0)
        found.append([*model.get_weights(), model.evaluate(x, sample_weight=weight, verbose=0)])
    for one, near, far in zip(*found, strict=True):
        np.testing.assert_array_equal(one, near)
        np.testing.assert_array_equal(one, far)
        assert np.isfinite(one).all()


def test_a_loss_that_is_no_number_is_warned_of_once(small, data, tmp_path):
    model = small()
    weight = model.decoder.trainable_variables[0]
    weight.assign(np.full(weight.shape, np.nan, "float32"))
    with pytest.warns(UserWarning, match="The loss is nan in epoch 1") as warned:
        model.fit(*data, epochs=3, verbose=0)
    assert sum("The loss is" in str(one.message) for one in warned) == 1
    with pytest.warns(UserWarning, match="weights are not finite"):
        model.save(tmp_path / "model.keras")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"batchsize": 3}, TypeError, r"does not know: batchsize\. Did you mean 'batch_size'\?"),
        ({"epoch": 3}, TypeError, "Did you mean 'epochs'"),
        ({"validation_splits": 0.1}, TypeError, "Did you mean 'validation_split'"),
    ],
)
def test_arguments_that_nobody_reads_are_refused_by_name(arguments, error, words):
    model = ConditionalVAE((4,), 2, 2, backbone=MLP((4,)), seed=0)
    model.compile("adam")
    with pytest.raises(error, match=words):
        model.fit(np.zeros((8, 4), "float32"), np.arange(8) % 2, verbose=0, **arguments)


@pytest.mark.parametrize("rate", [-1e-3, float("nan"), float("inf")])
def test_a_learning_rate_that_leads_away_is_refused(rate):
    model = ConditionalVAE((4,), 2, 2, backbone=MLP((4,)), seed=0)
    x, y = np.zeros((8, 4), "float32"), np.arange(8) % 2
    decaying = keras.optimizers.schedules.CosineDecay(rate, 10)
    for optimizer in (keras.optimizers.Adam(rate), keras.optimizers.SGD(decaying)):
        model.compile(optimizer)
        with pytest.raises(
            ValueError, match=r"learning_rate: received .*, expected a number above"
        ):
            model.fit(x, y, verbose=0)
