"""Exposures: an offset of the logarithm of the mean, which q alone sees."""

import keras
import numpy as np
import pytest
from scipy import stats

import keras_cvae as kc
from keras_cvae.conditions.spec import ExposureSpec, from_json
from keras_cvae.runs import build

DAYS = np.array([1.0, 2.0, 5.0, 30.0] * 5)


@pytest.fixture(scope="module")
def model():
    """A model of sales under shop and days, whose networks do not ignore what they see."""
    rng = np.random.default_rng(0)
    model = kc.ConditionalVAE(
        (3,),
        {"shop": ["a", "b"], "days": kc.Exposure()},
        [2, 1],
        likelihood="poisson",
        prior="conditional",
        backbone=kc.MLP((8,), "tanh"),
        seed=0,
    )
    model.compile(keras.optimizers.Adam(0.01))
    x = rng.poisson(DAYS[:, None] * [3.0, 0.5, 1.0])
    model.fit(x, {"shop": np.tile(["a", "b"], 10), "days": DAYS}, epochs=1, verbose=0)
    for weight in model.trainable_variables:  # the prior's heads start at zero
        weight.assign(rng.normal(size=weight.shape, scale=0.3))
    return model


@pytest.mark.further
@pytest.mark.parametrize("output", ["mean", "sample"])
def test_twice_the_exposure_is_twice_the_mean(model, output):
    once, twice = (
        model.generate({"shop": "a", "days": days}, 2000, seed=0, output=output)
        for days in (7.0, 14.0)
    )
    if output == "mean":
        np.testing.assert_allclose(twice, 2.0 * once, rtol=1e-5)
    else:
        np.testing.assert_allclose(twice.mean(axis=0), 2.0 * once.mean(axis=0), rtol=0.1)


@pytest.mark.further
def test_the_posterior_alone_sees_the_exposure(model):
    x = np.array([[3, 1, 2]])
    short, long = (model.encode(x, {"shop": "a", "days": days}) for days in (1.0, 30.0))
    assert not np.allclose(short, long)
    z = np.array([[0.5, -1.0, 0.3]], "float32")
    styles = [model.style(z, {"shop": "a", "days": days}) for days in (1.0, 30.0)]
    np.testing.assert_array_equal(*styles)
    assert not np.allclose(styles[0], model.style(z, {"shop": "b", "days": 1.0}))


def test_log_p_is_that_of_the_scaled_rates(model):
    """Where x does not depend on z, importance sampling gives log p(x | z, y) itself."""
    decoder = model.decoder.get_weights()
    for weight in model.decoder.network.trainable_weights[:-1]:  # all but the last biases
        weight.assign(np.zeros(weight.shape))
    x, shop = np.array([[30, 2, 9], [1, 0, 0]]), ["a", "b"]
    one = model.generate({"shop": "a", "days": 1.0})  # the same for every z now
    days = np.array([12.0, 2.0])
    found = model.log_prob(x, {"shop": shop, "days": days}, 4, proposal="prior").log_prob
    model.decoder.set_weights(decoder)
    np.testing.assert_allclose(
        found, stats.poisson.logpmf(x, one * days[:, None]).sum(axis=1), rtol=1e-4
    )


def test_an_output_of_zero_means_the_mean_at_a_typical_exposure():
    condition = kc.Exposure()
    condition.adapt(DAYS)
    assert condition.example() == pytest.approx(DAYS.mean())
    poisson = kc.Poisson()
    poisson.adapt(np.full((20, 2), 4.0))
    p = poisson.distribution(keras.ops.zeros((2, 2)))
    found = condition.fix(p, np.array([[DAYS.mean()], [2 * DAYS.mean()]])).mean()
    expected = [[4.0] * 2, [8.0] * 2]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, rtol=0.02)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1)])
def test_examples_of_any_shape_are_scaled(shape, rng):
    poisson = kc.Poisson()
    poisson.build(shape)
    p = poisson.distribution(rng.normal(size=(5, 4, *shape)).astype("float32"))
    factors = np.array([1.0, 2.0, 3.0, 4.0], "float32")
    found = keras.ops.convert_to_numpy(p.scaled(np.log(factors)).mean())
    along = factors.reshape(4, *[1] * len(shape))
    np.testing.assert_allclose(found, along * keras.ops.convert_to_numpy(p.mean()), rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExposureSpec().prepare([3.0, 0.0]), "above 0, .* Received 0 in row 1"),
        (lambda: ExposureSpec().prepare([np.nan]), "condition of example 0 is missing"),
        (lambda: kc.Optional(kc.Exposure()), "cannot be missing"),
        (lambda: kc.Joint({"days": kc.Exposure(), "shop": 2}, 0.1), "'days' is an exposure"),
        (
            lambda: kc.ConditionalVAE((3,), {"days": kc.Exposure(), "shop": 2}, 2),
            "multiplies the means of counts; received the likelihood Bernoulli",
        ),
        (
            lambda: kc.Baseline((3,), likelihood="poisson", condition=kc.Exposure()),
            "predicts x from its condition",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_spec_is_kept_as_json():
    assert from_json(ExposureSpec().to_json()) == ExposureSpec()


def test_a_run_declares_an_exposure(tmp_path):
    x = np.arange(40).reshape(20, 2)
    np.savez(tmp_path / "sales.npz", x=x, shop=np.arange(20) % 2, days=DAYS)
    declared = ("shop:categorical", "days:exposure")
    config = kc.RunConfig(likelihood="poisson", condition=declared, units=(4,), label_dropout=0.1)
    data = build.load_data(str(tmp_path / "sales.npz"), config)
    model = build.build_model(config, data)
    assert isinstance(model.condition.parts["days"], kc.Exposure)
    assert isinstance(model.condition.parts["shop"], kc.Optional)
    once, twice = (model.generate({"days": days}, seed=0) for days in (3.0, 6.0))
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-5)
    np.savez(tmp_path / "gaps.npz", x=x, shop=x[:, 0], days=np.where(DAYS > 1, DAYS, np.nan))
    with pytest.raises(ValueError, match="'days': An exposure cannot be missing"):
        build.build_model(config, build.load_data(str(tmp_path / "gaps.npz"), config))
