import keras
import numpy as np
import pandas as pd
import pytest
from keras import ops

import keras_cvae
from harness import restarting
from keras_cvae import MLP, Categorical, Continuous, Joint, Optional, Tags
from keras_cvae.evaluation import bound

PETS = ["cat", "dog", "owl"]


@pytest.mark.parametrize(
    ("part", "y", "expected"),
    [
        (PETS, ["owl", None, "cat"], [2, -1, 0]),
        (PETS, ["owl", "", "cat"], [2, -1, 0]),
        (PETS, ["owl", "", None], [2, -1, -1]),
        (PETS, np.array([["owl"], [""]]), [2, -1]),
        (PETS, [{"cat": 0.5, "owl": 0.5}, None], [[0.5, 0, 0.5], [np.nan] * 3]),
        (PETS, [2, -1, 0], [2, -1, 0]),
        (PETS, np.array([2.0, np.nan, 0.0]), [2, -1, 0]),
        (PETS, np.ma.masked_array([2, 1, 0], [False, True, False]), [2, -1, 0]),
        (PETS, pd.Series(["owl", None, "cat"]), [2, -1, 0]),
        (PETS, [None, None], [-1, -1]),
        ([False, True], pd.Series([True, None, False], dtype="boolean"), [1, -1, 0]),
        (3, pd.Series([2, None, 0], dtype="Int64"), [2, -1, 0]),
        (PETS, pd.Series(["owl", None, "cat"], dtype="category"), [2, -1, 0]),
        (Continuous(), pd.Series([1, None, 3], dtype=object), [[1], [np.nan], [3]]),
        (Tags(["a", "b"]), pd.Series([["a"], None, []]), [[1, 0], [np.nan, np.nan], [0, 0]]),
        ([-1, 0, 1], [1, None, -1], [2, -1, 0]),
        (Continuous(), [1, None, 3], [[1], [np.nan], [3]]),
        (Continuous(), np.array([1, np.nan]), [[1], [np.nan]]),
        (Continuous(2), [[1, 2], None], [[1, 2], [np.nan, np.nan]]),
        (Continuous(2), np.array([[1, 2], [np.nan, np.nan]]), [[1, 2], [np.nan, np.nan]]),
        (Tags(["a", "b"]), [["a"], None, []], [[1, 0], [np.nan, np.nan], [0, 0]]),
    ],
)
def test_what_counts_as_missing(part, y, expected):
    condition = Optional(part)
    found = condition.spec.prepare(y)
    np.testing.assert_array_equal(found, expected)
    known = ops.convert_to_numpy(condition.is_known(ops.convert_to_tensor(found)))
    np.testing.assert_array_equal(
        known,
        ~np.isnan(found).reshape(len(found), -1)[:, 0] & (found.reshape(len(found), -1)[:, 0] >= 0),
    )


@pytest.mark.parametrize(
    ("part", "y", "expected", "single"),
    [
        (PETS, None, [-1], True),
        (PETS, np.nan, [-1], True),
        (PETS, "owl", [2], True),
        (PETS, ["owl", None], [2, -1], False),
        (PETS, {"cat": 0.5, "owl": 0.5}, [[0.5, 0, 0.5]], True),
        (Continuous(), 3, [[3]], True),
        (Continuous(), [3, None], [[3], [np.nan]], False),
        (Continuous(2), np.array([np.nan, np.nan]), [[np.nan, np.nan]], True),
        (Continuous(2), [1, 2], [[1, 2]], True),
        (Tags(["a", "b"]), {"a"}, [[1, 0]], True),
        (Tags(["a", "b"]), [["a"], None], [[1, 0], [np.nan, np.nan]], False),
    ],
)
def test_one_condition_or_many(part, y, expected, single):
    found, is_single = Optional(part).spec.prepare_any(y)
    np.testing.assert_array_equal(found, expected)
    assert is_single is single


def test_what_is_missing_becomes_the_learned_state():
    condition = Optional(Continuous(2))
    condition.state.assign([5.0, 6.0])
    found = ops.convert_to_numpy(condition.features(condition.spec.prepare([[1, 2], None])))
    np.testing.assert_array_equal(found, [[1, 2], [5, 6]])


def test_dropout_forgets_its_share(rng):
    condition = Optional(PETS, dropout=0.25)
    y = condition.spec.prepare(rng.integers(0, 3, 1000))
    uniform = ops.convert_to_tensor(rng.random(1000, "float32"))
    dropped = ops.convert_to_numpy(condition.drop(y, lambda shape: uniform))
    assert 200 < (dropped == -1).sum() < 300
    kept = dropped != -1
    np.testing.assert_array_equal(dropped[kept], y[kept])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Optional(3, dropout=1), "received 1, expected at least 0 and less than 1"),
        (lambda: Optional(None), "received None"),
        (lambda: Optional(Optional(3)), "received Optional"),
        (lambda: Optional({"a": 3}), r"received Joint.*Joint\(parts, dropout=0.1\)"),
        (
            lambda: Optional(Continuous(2)).spec.prepare(np.array([[1, np.nan]])),
            r"example 0 is missing in part: \[ 1. nan\]",
        ),
        (lambda: Optional(PETS).spec.prepare(["dgo", None]), "Did you mean 'dog'"),
        (lambda: Optional(PETS).spec.prepare(None), "no condition was given"),
        (lambda: Categorical(PETS).spec.unknown(), "cannot be missing. Train it with Optional"),
        (
            lambda: Optional(Continuous(2)).spec.prepare(np.array([[1, None], [1, 2]], object)),
            "example 0 is missing",
        ),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param(Optional(3), marks=pytest.mark.nightly),
        Joint({"a": Optional(3), "b": Optional("continuous")}),
    ],
)
def test_fit_without_conditions_where_all_may_be_missing(small, data, condition):
    x, _ = data
    model = small(condition=condition)
    history = model.fit(x, epochs=1, validation_data=(x,), verbose=0).history
    assert np.isfinite(history["val_loss"]).all()
    assert model.generate(None, 2).shape == (2, 6)
    named = {"a": [None] * 40, "b": [None] * 40} if isinstance(condition, Joint) else [None] * 40
    given = model.evaluate(x, named, verbose=0, return_dict=True)
    assert model.evaluate(x, verbose=0, return_dict=True) == pytest.approx(given, rel=1e-5)
    terms = bound.bound(model, x, num_samples=200)
    assert -terms.elbo.mean() == pytest.approx(given["loss"], rel=0.05)
    again = small(condition=3)
    with pytest.raises(ValueError, match="no condition was given"):
        again.fit(x, verbose=0)


@pytest.mark.further
def test_dropout_resumes_exactly(small, data, tmp_path):
    def fit(model, epochs, initial=0):
        model.fit(*data, epochs=epochs, initial_epoch=initial, shuffle=False, verbose=0)
        return model

    model = small(condition=Joint({"class": 3, "again": Optional(3, 0.2)}, 0.3))
    data, restart = (data[0], {"class": data[1], "again": data[1]}), restarting(model)
    fit(model, 1).save(tmp_path / "half.keras")
    resumed = fit(keras_cvae.load(tmp_path / "half.keras"), 2, 1)
    restart()
    for a, b in zip(fit(model, 2).get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.further
def test_label_dropout_learns_both_the_class_and_what_is_without_it():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 600)
    x = (rng.random((600, 6)) < np.where(y, 0.9, 0.1)[:, None]).astype("float32")
    model = keras_cvae.ConditionalVAE(
        (6,), Optional(2, dropout=0.4), 1, backbone=MLP((24,)), prior="conditional", seed=0
    )
    model.compile(keras.optimizers.Adam(0.01))
    model.fit(x, y, epochs=25, batch_size=50, verbose=0)
    given, without = model.log_prob(x[:200], y[:200], 100), model.log_prob(x[:200], None, 100)
    marginal = model.log_marginal(x[:200], 100)
    entropy = -6 * (0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert abs(-given.mean - entropy) < 4 * given.mean_standard_error
    assert abs(without.mean - marginal.mean) < 0.15
    assert given.mean - without.mean > 0.4
    # Guidance exaggerates what the class does.
    plain = model.generate(1, 50, seed=0)
    guided = model.generate(1, 50, seed=0, guidance=2.0)
    assert guided.mean() > plain.mean() + 0.02
