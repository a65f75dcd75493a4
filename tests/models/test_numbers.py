"""Numbers as they come: networks see them standardised; log p and draws are those of x."""

import keras
import numpy as np
import pytest
from scipy import stats

import keras_cvae as kc
from keras_cvae import masks
from numerics import numpy, tensor

N = 256


def numbers(rng, size=4):
    """Vectors of which the class and a hidden number say something, and their classes."""
    y = rng.integers(0, 2, N)
    x = 0.8 * rng.normal(size=(N, 1)) + 0.5 * rng.normal(size=(N, size)) + y[:, None]
    return x.astype("float32"), y


def fitted(x, y, likelihood="gaussian", epochs=3, **kwargs):
    keras.utils.set_random_seed(0)
    arguments = {"condition": 2, "latent_dim": 2, "backbone": kc.MLP((16,)), "seed": 0} | kwargs
    model = kc.ConditionalVAE(x.shape[1:], likelihood=likelihood, **arguments)
    model.compile(keras.optimizers.Adam(1e-3))
    losses = model.fit(x, y, epochs=epochs, verbose=0).history["loss"]
    return model, np.array(losses)


nightly = pytest.mark.nightly


@pytest.mark.further
@pytest.mark.parametrize(
    "variance",
    ["optimal", "predicted", *(pytest.param(one, marks=nightly) for one in ("learned", "fixed"))],
)
def test_another_unit_changes_log_p_by_its_logarithm_and_draws_by_itself(variance, rng):
    x, y = numbers(rng)
    model, losses = fitted(x, y, kc.Gaussian(variance))
    for power in (-40, 10):  # of two: u is then the same number
        unit = np.float32(2.0**power)
        other, again = fitted(unit * x, y, kc.Gaussian(variance))
        shift = 4 * power * np.log(2.0)
        np.testing.assert_allclose(again, losses + shift, rtol=1e-5, atol=1e-4)
        one, two = model.log_prob(x, y, 8).log_prob, other.log_prob(unit * x, y, 8).log_prob
        np.testing.assert_allclose(two, one - shift, rtol=1e-5, atol=1e-3)
        for output in ("mean", "sample"):
            drawn = (m.generate(1, 20, seed=0, output=output) for m in (model, other))
            one, two = drawn
            np.testing.assert_allclose(two, unit * one, rtol=1e-3, atol=1e-4 * unit)


@pytest.mark.further
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda x: x * 3000, id="thousands"),
        pytest.param(lambda x: np.clip(128 + 40 * x, 0, 255).astype("uint8"), id="bytes"),
        pytest.param(lambda x: x + 1e7, id="far from 0", marks=nightly),
        pytest.param(lambda x: x * 1e37, id="huge"),
        pytest.param(
            lambda x: np.stack(
                [0 * x[:, 0] + 7, 5e5 + 2e5 * x[:, 0], 1e-3 * x[:, 1], 0 * x[:, 0]], 1
            ),
            id="columns",
        ),
        pytest.param(lambda x: np.exp(4 * x), id="skewed", marks=nightly),
        pytest.param(lambda x: np.zeros_like(x), id="zeros", marks=nightly),
    ],
)
def test_any_numbers_train_and_come_back(make, rng, tmp_path):
    x, y = numbers(rng)
    x = make(x.astype("float64"))
    model, losses = fitted(x, y, epochs=4)
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert np.isfinite(model.log_prob(x, y, 8).log_prob).all()
    drawn = model.generate(y, 4, seed=0, output="sample").astype("float64")
    centre, spread = x.mean(axis=0), x.std(axis=0)
    least = np.where(x.max(axis=0) > x.min(axis=0), spread, 0.1 * np.maximum(abs(centre), 1.0))
    assert (np.abs(drawn.mean(axis=0) - centre) < 0.7 * least).all()
    assert (drawn.std(axis=0) < 2.0 * least).all()
    assert (drawn.std(axis=0) >= 0.4 * spread).all()
    model.save(tmp_path / "model.keras")
    again = kc.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.generate(1, 3, seed=1), model.generate(1, 3, seed=1))
    before = model.likelihood.view.get_weights()
    model.fit(x + 0.5 * least, y, verbose=0)  # what is learned later does not change the scale
    for one, two in zip(before, model.likelihood.view.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("variance", ["fixed", "learned"])
def test_a_sigma_is_in_the_units_of_x(variance, rng):
    likelihood = kc.Gaussian(variance, sigma=20.0)
    x = 1000.0 + np.array([1.0, 50.0, 1e4]) * rng.normal(size=(30, 3))
    likelihood.adapt(x)
    u = rng.normal(size=(30, 3)).astype("float32")
    p = likelihood.distribution(tensor(u))
    mean = x.mean(axis=0) + x.std(axis=0) * u
    expected = stats.norm.logpdf(x, mean, 20.0)
    np.testing.assert_allclose(numpy(p.mean()), mean, rtol=1e-5)
    np.testing.assert_allclose(numpy(p.log_density(tensor(x))), expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(numpy(p.log_prob(tensor(x))), expected.sum(axis=1), rtol=1e-3)


@pytest.mark.parametrize(
    "backbone", [kc.MLP((16,)), pytest.param(kc.TopDown(8), marks=nightly)], ids=["mlp", "topdown"]
)
def test_channels_have_a_scale_each(backbone, rng):
    x = rng.normal(size=(N, 3, 4, 2)) * [1e3, 1e-3] + [0, 5]
    model, losses = fitted(x, rng.integers(0, 2, N), epochs=1, backbone=backbone)
    assert np.isfinite(losses).all()
    view = model.likelihood.view
    np.testing.assert_allclose(numpy(view.mean), x.mean(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(numpy(view.scale), x.std(axis=(0, 1, 2)), rtol=1e-4)
    drawn = model.generate(0, 100, output="sample", seed=0)
    np.testing.assert_allclose(drawn.std(axis=(0, 1, 2)), x.std(axis=(0, 1, 2)), rtol=0.3)


@pytest.mark.parametrize("mask", [None, pytest.param([1, 1, 0, 0], marks=nightly)])
def test_what_is_known_is_seen_to_scale_and_kept_exactly(mask, rng, tmp_path):
    x = (1e6 + 1e4 * numbers(rng)[0]).astype("float32")
    hidden = rng.random(x.shape) < 0.5 if mask is None else np.array(mask) == 0
    y = np.where(hidden, np.float32(np.nan), x)
    baseline = kc.Baseline((4,), kc.MLP((8,)), "gaussian", kc.KnownPart((4,), mask))
    baseline.compile(keras.optimizers.Adam(1e-2))
    losses = baseline.fit(x, y, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0] < 100.0
    guessed = baseline.predict(y)
    np.testing.assert_array_equal(guessed[~np.isnan(y)], y[~np.isnan(y)])
    condition = kc.KnownPart((4,), mask, baseline)
    model, losses = fitted(x, y, condition=condition, prior="conditional", epochs=1)
    assert np.isfinite(losses).all()
    assert np.abs(numpy(condition.features(tensor(y)))).max() < 10.0
    for output in ("mean", "sample"):
        drawn = model.complete(y, n=2, seed=0, output=output)
        kept = np.repeat(y, 2, axis=0)
        np.testing.assert_array_equal(drawn[~np.isnan(kept)], kept[~np.isnan(kept)])
        assert (np.abs(drawn - 1e6) < 1e5).all()
    model.save(tmp_path / "model.keras")
    model.prior.save(tmp_path / "prior.keras")
    again = kc.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.complete(y, seed=1), model.complete(y, seed=1))
    prior = keras.saving.load_model(tmp_path / "prior.keras")
    inputs = {"noise": np.ones((N, 2), "float32"), "condition": y}
    for one, two in zip(prior(inputs).values(), model.prior(inputs).values(), strict=True):
        np.testing.assert_array_equal(numpy(one), numpy(two))
    other, losses = fitted(x, y, condition=condition, epochs=1)  # of the same x: one scale
    assert other.likelihood.view is model.likelihood.view
    with pytest.raises(ValueError, match="This KnownPart belongs to another model"):
        fitted(x, y, "bernoulli", condition=condition)


def test_bounds_hold_for_what_is_known(rng):
    x = 1e3 * rng.random((N, 3))
    condition = kc.KnownPart((3,), [1, 0, 0])
    model, losses = fitted(x, x, kc.Bounded([0] * 3, [1e3] * 3), condition=condition)
    assert np.isfinite(losses).all()
    drawn = model.complete(x, output="sample", seed=0)
    np.testing.assert_array_equal(drawn[:, 0], x[:, 0].astype("float32"))
    assert ((drawn > 0) & (drawn < 1e3)).all()
    with pytest.raises(ValueError, match="Value 0 of x is bounded by 0 and 1000"):
        model.complete(x + np.array([2e3, 0, 0]))


@pytest.mark.further
def test_the_classifier_of_few_labels_sees_x_to_scale(rng, tmp_path):
    x, y = numbers(rng)
    x, few = 1e5 * x, np.where(rng.random(N) < 0.3, y, -1)
    keras.utils.set_random_seed(0)
    model = kc.SemiSupervisedCVAE((4,), 2, 2, likelihood="gaussian", backbone=kc.MLP((16,)), seed=0)
    model.compile(keras.optimizers.Adam(0.01))
    losses = model.fit(x, few, 32, epochs=6, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    p = model.recognise(x)
    assert 0.02 < p.min() < p.max() < 0.9999
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(kc.load(tmp_path / "model.keras").recognise(x), p)


def test_a_scale_is_taken_once_whatever_it_came_to(rng):
    for first in (np.zeros((8, 2)), np.array([[-1.0, 1.0], [1.0, -1.0]]), rng.normal(size=(8, 2))):
        for layer in (kc.Gaussian(), kc.Continuous(2)):
            layer.adapt(first)
            scaled = layer.view if isinstance(layer, kc.Gaussian) else layer
            before = scaled.get_weights()
            scaled.settle(first + 5.0, again=False)
            for one, two in zip(before, scaled.get_weights(), strict=True):
                np.testing.assert_array_equal(one, two)
            scaled.settle(first + 5.0)
            np.testing.assert_allclose(numpy(scaled.mean), first.mean(axis=0) + 5.0, rtol=1e-5)


def test_a_likelihood_belongs_to_x_of_one_size():
    likelihood = kc.Gaussian()
    for _ in range(2):
        kc.ConditionalVAE((4,), likelihood=likelihood, backbone=kc.MLP((4,)))
    with pytest.raises(ValueError, match=r"has 4 values or channels. Received .* \(5,\)"):
        kc.ConditionalVAE((5,), likelihood=likelihood, backbone=kc.MLP((4,)))


@pytest.mark.further
def test_masks_of_pictures_complete_bytes(rng):
    x = rng.integers(0, 256, (64, 4, 4, 1)).astype("uint8")
    condition = kc.KnownPart((4, 4, 1), "left")
    model, losses = fitted(x, masks.holes(x.astype("float32"), "left"), condition=condition)
    assert np.isfinite(losses).all()
    np.testing.assert_array_equal(model.complete(x[:5], seed=0)[:, :, :2], x[:5, :, :2])
