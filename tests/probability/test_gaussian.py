"""Gaussians: their variances, and the bijection between x and what networks see."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops
from scipy import stats

from keras_cvae.probability.likelihoods.base import LIKELIHOODS
from keras_cvae.probability.likelihoods.gaussian import Bounded, Gaussian
from numerics import gradient, log_prob, numpy, sample, tensor

SIGMAS = st.floats(0.01, 100.0)


@pytest.mark.further
@given(SIGMAS, st.floats(-1e4, 1e4), st.sampled_from(["fixed", "learned", "optimal", "predicted"]))
def test_it_is_scipys(sigma, location, variance):
    likelihood = Gaussian(variance, sigma=None if variance == "predicted" else sigma)
    both = [location, 2 * np.log(sigma)][: likelihood.parameters_per_value]
    x = location + sigma * np.linspace(-3, 3, 31)
    location = np.float32(location)
    p = likelihood.distribution(tensor(np.tile(both, (31, 1))))
    expected = stats.norm.logpdf(np.float32(x), location, sigma)
    np.testing.assert_allclose(
        numpy(p.log_prob(tensor(x[:, None]))), expected, rtol=1e-3, atol=1e-2
    )
    row = np.repeat(both, 31)[None]  # many values of one example
    p = likelihood.distribution(tensor(row))
    np.testing.assert_allclose(
        numpy(p.log_prob(tensor(x[None])))[0], expected.sum(), rtol=1e-3, atol=1e-2
    )


def test_optimal_variance_maximises_the_likelihood_of_the_batch(rng):
    x, location = rng.normal(size=(2, 16, 5))
    best = log_prob(Gaussian("optimal"), x, location, training=True).sum()
    others = np.linspace(0.5, 3.0, 251)
    values = [stats.norm.logpdf(x, location, s).sum() for s in others]
    assert max(values) <= best + 1e-3
    assert max(values) > best - 0.01
    np.testing.assert_allclose(
        others[np.argmax(values)], np.sqrt(np.mean((x - location) ** 2)), atol=0.01
    )


def test_the_variance_is_the_best_one_unless_a_sigma_is_given():
    # At sigma 1, values from 0 to 1 say nothing worth a KL: q(z | x, y) collapses onto the prior.
    assert [Gaussian().variance, Gaussian(sigma=0.1).variance] == ["optimal", "fixed"]
    assert LIKELIHOODS.get("gaussian").get_config()["variance"] == "optimal"


def test_optimal_variance_is_a_running_average_outside_training(rng):
    likelihood = Gaussian("optimal", sigma=2.0, momentum=0.75)
    batches = rng.normal(size=(6, 2, 16, 5)).astype("float32")
    before = log_prob(likelihood, [[0.5]], [[0.0]])
    np.testing.assert_allclose(before, stats.norm.logpdf([0.5], 0, 2.0), rtol=1e-5)
    expected = 0.0  # the initial sigma has no part in it: a plain mean, until momentum takes over
    for n, (x, location) in enumerate(batches, start=1):
        log_prob(likelihood, x, location, training=True)
        expected += max(0.25, 1 / n) * (np.log(np.mean((x - location) ** 2)) - expected)
        np.testing.assert_allclose(float(numpy(likelihood.log_var)), expected, rtol=1e-4)


def test_what_rounds_to_a_bound_is_drawn_beside_it():
    for low, high in [(-1e-3, 2e-3), (1e3, None), (None, 5.0), (None, None)]:
        likelihood = Bounded([low], high)
        likelihood.build((1,))
        far = np.array([[300.0, 0.0], [-300.0, 0.0]], "float32")
        x = sample(likelihood, far, np.random.default_rng(0), (1,))
        assert np.isfinite(x).all()
        likelihood.check(x)


def test_bounded_has_finite_gradients_close_to_the_bounds():
    likelihood = Bounded([0.0, 1e3, None, None], [1.0, None, -5.0, None])
    above, below = np.float32(1.0), np.float32(0.0)
    x = np.array(
        [
            [np.nextafter(below, above), np.nextafter(np.float32(1e3), np.float32(2e3)), -6, 1e3],
            [np.nextafter(above, below), 1e6, np.nextafter(np.float32(-5), np.float32(-6)), -1e-3],
            [1e-30, 1001, -1e6, 0],
        ],
        "float32",
    )
    likelihood.check(x)
    likelihood.build((4,))
    parameters = np.tile(np.float32([0.1] * 4 + [-1.0] * 4), (3, 1))
    found = gradient(lambda p: ops.sum(likelihood.distribution(p).log_prob(tensor(x))), parameters)
    assert np.isfinite(found).all()
    assert np.isfinite(numpy(likelihood.view(tensor(x)))).all()
    of_mean = gradient(lambda p: ops.sum(likelihood.distribution(p).mean()), parameters)
    assert np.isfinite(of_mean).all()


def test_bounded_undoes_itself_at_any_scale(rng):
    x = np.stack(
        [
            rng.uniform(1e-3, 2e-3, 500),
            1e3 * rng.lognormal(size=500),
            -1 - rng.exponential(5, 500),
            rng.normal(0, 1e-3, 500),
        ],
        axis=1,
    )
    likelihood = Bounded([1e-3, 0, None, None], [2e-3, np.inf, -1, None])
    likelihood.adapt(x)
    u = likelihood.view(tensor(x))
    np.testing.assert_allclose(numpy(u).mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(numpy(u).std(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(numpy(likelihood.view.inverse(u)), x, rtol=2e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bounded(0, 1), r"low of shape \(\) and high of shape \(\). Expected one for each"),
        (lambda: Bounded([0, 0], [1, 1, 1]), r"low of shape \(2,\) and high of shape \(3,\)"),
        (lambda: Bounded([0, 2], [1, 1]), "Bounds of value 1: received low=2, high=1"),
        (lambda: Bounded([1e8], [1e8 + 1]), "expected low < high, by more than single precision"),
        (lambda: Bounded([0], variance="non"), "variance: received 'non'"),
        (lambda: Bounded([0]).parameter_shape((3,)), r"bounds for 1 values. .* shape \(3,\)"),
        (
            lambda: Bounded([None, 0], [None, 1]).check(np.array([[5, 0.5], [-5, 1.5]])),
            "Value 1 of x is bounded by 0 and 1. Received values from 0.5 to 1.5",
        ),
        (lambda: Bounded([0]).check(np.array([[0.0], [2.0]])), "0 and inf.*not on a bound"),
        (lambda: LIKELIHOODS.get("bounded"), "'bounded' needs arguments"),
    ],
)
def test_bad_bounds_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
