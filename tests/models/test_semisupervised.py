"""Labels that are unknown: the bound in closed form, the batches, what is learned."""

import keras
import numpy as np
import pytest

import keras_cvae as kc
from keras_cvae.data.containers import Split
from keras_cvae.data.mixed import MixedBatches
from numerics import compiled, numpy

PRIOR = [0.5, 0.3, 0.2]


def small(**kwargs):
    arguments = {"condition": 3, "latent_dim": 2, "classifier": kc.MLP((8,)), "seed": 1}
    arguments["backbone"] = kc.MLP((8,), "tanh")
    model = kc.SemiSupervisedCVAE((6,), **arguments | kwargs)
    model.compile(keras.optimizers.Adam(0.01))
    return model


@pytest.fixture
def build():
    return small


@pytest.fixture(scope="module")
def named():
    """A model of classes with names, which no test trains."""
    return small(condition=["a", "b", "c"])


def evaluated(model, x, y):
    """The model's figures of one batch, with the noise of evaluation."""
    return model.evaluate(x, y, batch_size=len(x), verbose=0, return_dict=True)


def supervised(model):
    """A plain model of the same weights."""
    arguments = ("x_shape", "condition", "latent_dim", "backbone", "prior")
    config = model.get_config()
    plain = kc.ConditionalVAE(
        **{name: keras.saving.deserialize_keras_object(config[name]) for name in arguments}
    )
    for part in ("encoder", "prior", "decoder"):
        getattr(plain, part).set_weights(getattr(model, part).get_weights())
    return plain


def elbos(model, x, noise):
    """elbo, -E[log p(x | z, y)] and KL of each x under each class, `(n, 3)`, with this noise."""
    plain, n = supervised(model), len(x)
    y = np.tile(np.arange(3, dtype="int32"), n)

    def values(x, noise):
        terms = plain.terms(x, y, noise)
        return plain.objective(terms), terms.reconstruction, terms.total_kl

    found = compiled(values, np.repeat(x, 3, axis=0), np.repeat(noise, 3, axis=1))
    return [value.reshape(n, 3) for value in found]


def evaluation_noise(model, n):
    """The noise that an evaluation of n examples in one batch starts with."""
    model.noise.rewind()
    return numpy(model.noise.draw((1, n, model.latent_dim)))


@pytest.mark.further
def test_the_unlabelled_bound_is_the_sum_over_classes_and_the_entropy(build, data):
    x, _ = data
    model = build(class_prior=PRIOR, latent_dim=[1, 1])
    found = evaluated(model, x, np.full(len(x), -1))
    elbo, reconstruction, kl = elbos(model, x, evaluation_noise(model, len(x)))
    q = model.recognise(x)
    entropy = -(q * np.log(q)).sum(axis=1)
    bound = (q * (elbo + np.log(PRIOR))).sum(axis=1) + entropy
    np.testing.assert_allclose(found["loss"], -bound.mean(), rtol=1e-4)
    np.testing.assert_allclose(found["reconstruction"], (q * reconstruction).sum(1).mean(), 1e-4)
    np.testing.assert_allclose(found["kl"], (q * kl).sum(axis=1).mean(), rtol=1e-4)


@pytest.mark.further
def test_the_labelled_bound_is_the_elbo_and_the_prior_of_the_class(build, data):
    x, y = data
    model = build(class_prior=PRIOR, alpha=0.0)
    elbo = elbos(model, x, evaluation_noise(model, len(x)))[0][np.arange(len(x)), y]
    expected = -(elbo + np.log(PRIOR)[y]).mean()
    np.testing.assert_allclose(evaluated(model, x, y)["loss"], expected, rtol=1e-4)


@pytest.mark.further
def test_the_unlabelled_bound_is_below_log_p_of_x(build, data):
    x, _ = data
    model = build(class_prior=PRIOR)
    log_p = model.log_marginal(x, 200, class_prior=PRIOR)
    assert -evaluated(model, x, np.full(len(x), -1))["loss"] < log_p.mean


@pytest.mark.further
def test_the_loss_adds_the_classifiers_cross_entropy_on_known_labels(build, data):
    x, y = data
    mixed = np.where(np.arange(40) % 2, y, -1)
    plain, weighed = build(alpha=0.0), build(alpha=3.0)
    weighed.set_weights(plain.get_weights())
    loss = [
        m.evaluate(x, mixed, batch_size=40, verbose=0, return_dict=True) for m in (plain, weighed)
    ]
    known = mixed >= 0
    log_q = np.log(plain.recognise(x[known]))
    cross_entropy = -log_q[np.arange(known.sum()), y[known]].mean()
    np.testing.assert_allclose(loss[1]["loss"] - loss[0]["loss"], 3 * cross_entropy, rtol=1e-3)
    right = (log_q.argmax(axis=1) == y[known]).mean()
    np.testing.assert_allclose(loss[0]["accuracy"], right, rtol=1e-5)


@keras.saving.register_keras_serializable(package="tests")
class Mirrored(keras.layers.Layer):
    """x turned round, in training."""

    def call(self, x, training=False):
        return keras.ops.flip(x, axis=1) if training else x


def test_consistency_is_the_cross_entropy_of_sure_answers_under_changes(build, data):
    x, y = data
    known = np.arange(40) % 2 == 0
    mixed = np.where(known, y, -1).astype("int32")
    model = build(alpha=3.0, augment=Mirrored(), consistency=2.0, confidence=0.4)

    def extra(training):
        def of_batch(x):
            seen = model({"x": x, "condition": mixed}, training=training)
            bound = model.objective(seen._replace(classification=0.0))
            return keras.ops.mean(bound - model.objective(seen))

        return float(compiled(of_batch, x))

    log_q, changed = np.log(model.recognise(x)), np.log(model.recognise(x[:, ::-1]))
    sure = ~known & (log_q.max(axis=1) > np.log(0.4))
    assert 0 < sure.sum() < (~known).sum()
    labelled = -3.0 * changed[known, y[known]].mean()
    agree = -2.0 * changed[sure, log_q[sure].argmax(axis=1)].sum() / (~known).sum()
    np.testing.assert_allclose(extra(True), labelled + agree, rtol=1e-4)
    plain = -3.0 * log_q[known, y[known]].mean()
    np.testing.assert_allclose(extra(False), plain, rtol=1e-4)  # evaluation changes nothing


@pytest.mark.further
@pytest.mark.parametrize(
    "unknown",
    [
        np.array([0, -1, 2, 1]),
        np.array([0, np.nan, 2, 1]),
        np.array([0, None, 2, 1], object),
        [0, None, 2, 1],
        np.array(["a", None, "c", "b"], object),
        np.ma.masked_array([0, 1, 2, 1], [0, 1, 0, 0]),
        np.array([[0], [-1], [2], [1]]),
    ],
)
def test_unknown_labels_are_written_in_many_ways(named, unknown):
    x = np.eye(4, 6, dtype="float32")
    marked = evaluated(named, x, np.array(["a", None, "c", "b"], object))
    assert evaluated(named, x, unknown) == marked
    assert evaluated(named, x, ["a", "a", "c", "b"]) != marked


@pytest.mark.further
def test_few_labels_and_many_examples_learn_the_classes(build, tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(600) % 3
    centres = np.kron(np.eye(3), np.ones((1, 2))) * 0.8 + 0.1
    x = (rng.random((600, 6)) < centres[y]).astype("float32")
    labels = np.where(np.arange(600) < 12, y, -1)
    model = build(alpha=1.0, latent_dim=1)
    history = model.fit(x, labels, 60, 25, verbose=0, validation_data=(x, y)).history
    assert history["val_accuracy"][-1] > 0.9
    assert history["val_loss"][-1] < history["val_loss"][0]
    np.testing.assert_allclose(
        np.mean(model.recognise(x).argmax(axis=1) == y), history["val_accuracy"][-1], atol=0.01
    )
    ones = model.generate(1, n=200, seed=0)
    np.testing.assert_allclose(ones.mean(axis=0), centres[1], atol=0.2)
    model.save(tmp_path / "model.keras")
    again = kc.load(tmp_path / "model.keras")
    assert type(again) is kc.SemiSupervisedCVAE
    assert again.get_config() == model.get_config()
    np.testing.assert_array_equal(again.recognise(x), model.recognise(x))
    np.testing.assert_array_equal(again.reconstruct(x, y), model.reconstruct(x, y))


def test_a_classifier_and_changes_of_ones_own_are_trained_and_saved(build, data, tmp_path):
    x, y = data
    own = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    changes = {"augment": Mirrored(), "consistency": 1.0, "confidence": 0.5}
    model = build(classifier=own, alpha=2.0, **changes)
    before = numpy(own.layers[0].kernel).copy()
    model.fit(x, np.where(np.arange(40) < 20, y, -1), 8, 2, verbose=0)
    assert not np.array_equal(before, numpy(own.layers[0].kernel))
    model.save(tmp_path / "model.keras")
    again = kc.load(tmp_path / "model.keras", trusted=True)
    assert isinstance(again.augment, Mirrored)
    assert (again.consistency, again.confidence) == (1.0, 0.5)
    np.testing.assert_array_equal(again.recognise(x), model.recognise(x))
    with pytest.raises(ValueError, match=r"outputs of shapes \(batch, 4\). Expected logits"):
        build(classifier=keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)]))


def classifier_of(size, activation=None):
    return keras.Sequential([keras.Input((size,)), keras.layers.Dense(3, activation)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"condition": None}, "received the condition Unconditional. Expected classes"),
        ({"alpha": -1.0}, "alpha: received -1.0"),
        ({"class_prior": [0.5, 0.5]}, "expected 3 weights"),
        ({"class_prior": [0.5, 0.5, 0.0]}, "received a 0"),
        (
            {"classifier": classifier_of(5)},
            r"shapes \(batch, 5\). Expected x of shape \(batch, 6\)",
        ),
        (
            {"classifier": classifier_of(6, "softmax")},
            "ends in a softmax, but the loss takes logits and applies the softmax itself",
        ),
        ({"consistency": 1.0}, "received no augment. Expected a layer"),
        ({"augment": Mirrored(), "consistency": -1.0}, "consistency: received -1.0"),
        ({"augment": Mirrored(), "confidence": 1.0}, "confidence: received 1.0"),
        ({"augment": keras.layers.ZeroPadding1D(1), "x_shape": (6, 1)}, r"makes \(8, 1\) of x"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        kc.SemiSupervisedCVAE(**{"x_shape": (6,), "condition": 3, "classifier": "mlp"} | arguments)


def test_labels_that_do_not_fit_are_refused(build, data):
    x, y = data
    with pytest.raises(ValueError, match="Unknown class 3"):
        build().fit(x, y + 1)
    with pytest.raises(ValueError, match="expected a part of 1"):
        build().fit(x, y, labelled=1.5)
    with pytest.raises(ValueError, match=r"y has the shape \(\d+, 3\). Expected labels"):
        build().fit(x, np.eye(3)[np.maximum(y, 0)])
    known = np.where(np.arange(len(y)) % 2, -1, 0)
    with pytest.raises(ValueError, match="batch_size: received 0"):
        build().fit(x, known, batch_size=0)


@pytest.mark.further
@pytest.mark.parametrize("labelled", [0.1, pytest.param(None, marks=pytest.mark.nightly)])
def test_a_class_without_a_label_is_told_where_it_is_asked_for(build, data, labelled):
    x, y = data
    model = build()
    model.fit(x, np.where((y == 2) | (np.arange(len(y)) % 2 == 0), -1, y), 8, labelled=labelled)
    model.generate([0, 1])
    with pytest.warns(UserWarning, match="no example of the class 2"):
        model.generate(2)


def test_batches_hold_a_fixed_part_of_labels_weighted_back(rng):
    known = Split(np.arange(10, dtype="float32")[:, None] / 100, np.arange(10, dtype="int32"))
    unknown = Split(np.arange(100, 190, dtype="float32")[:, None] / 1000)
    batches = MixedBatches(known, unknown, 20, 0.2, seed=1)
    assert len(batches) == 6
    seen = [batches[i] for i in range(6)]
    for x, y, weight in seen:
        assert (y[:4] >= 0).all()
        np.testing.assert_array_equal(y[:4], np.rint(100 * x[:4, 0]))
        assert (y[4:] == -1).all()
        np.testing.assert_allclose(weight[y >= 0].sum() / weight.sum(), 0.1, rtol=1e-5)
    passed = np.concatenate([x[4:] for x, _, _ in seen])
    np.testing.assert_array_equal(np.sort(passed, axis=0), unknown.x)
    np.testing.assert_array_equal(batches[0][0], seen[0][0])
    batches.next_epoch()
    assert not np.array_equal(batches[0][0], seen[0][0])


@pytest.mark.nightly
def test_a_fit_that_goes_on_is_as_if_it_had_not_stopped(build, tmp_path):
    x = (np.random.default_rng(0).random((30, 6)) < 0.5).astype("float32")
    labels = np.where(np.arange(30) < 9, np.arange(30) % 3, -1)
    whole, stopped = build(), build()
    whole.fit(x, labels, 10, epochs=3, verbose=0)
    stopped.fit(x, labels, 10, epochs=2, verbose=0)
    stopped.save(tmp_path / "model.keras")
    again = kc.load(tmp_path / "model.keras")
    again.fit(x, labels, 10, epochs=3, initial_epoch=2, verbose=0)
    for a, b in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
