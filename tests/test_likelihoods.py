import keras
import numpy as np
import pytest
from keras import ops
from scipy import integrate, stats

import harness
from keras_cvae.likelihoods import (
    LIKELIHOODS,
    Bernoulli,
    CategoricalValues,
    ContinuousBernoulli,
    Gaussian,
)
from numerics import gradient, numpy, tensor

LOGITS = [-30.0, -3.0, -0.06, -0.04, 0.0, 1e-4, 0.0499, 0.0501, 0.7, 30.0]


class TestEveryLikelihood(harness.Harness):
    part = "likelihood"


def density(likelihood, x, *parameters, training=False):
    """p(x) for many scalar x `(n,)` under one set of parameters."""
    x = tensor(x)[:, None]
    rows = tensor(np.tile(parameters, (len(x), 1)))
    return np.exp(numpy(likelihood.log_density(x, rows, training)))[:, 0]


@pytest.mark.parametrize("logit", LOGITS)
def test_bernoulli_sums_to_one(logit):
    p = density(Bernoulli(), [0, 1], logit)
    np.testing.assert_allclose(p, stats.bernoulli.pmf([0, 1], 1 / (1 + np.exp(-logit))), atol=1e-6)
    np.testing.assert_allclose(p.sum(), 1.0, rtol=1e-5)


@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_integrates_to_one_with_its_mean(logit):
    likelihood, x = ContinuousBernoulli(), np.linspace(0, 1, 4001)
    p = density(likelihood, x, logit)
    np.testing.assert_allclose(integrate.simpson(p, x=x), 1.0, atol=2e-5)
    mean = float(numpy(likelihood.mean(tensor([logit])))[0])
    np.testing.assert_allclose(mean, integrate.simpson(x * p, x=x), atol=2e-5)


def test_continuous_bernoulli_has_finite_right_gradients():
    logits = np.array([-80.0, *LOGITS, 80.0], "float32")
    likelihood = ContinuousBernoulli()
    found = gradient(lambda logit: ops.sum(likelihood.log_density(0.25, logit)), logits)
    # d/dl log p(x | l) = x - E[x], as in every exponential family.
    mean = numpy(likelihood.mean(tensor(logits)))
    np.testing.assert_allclose(found, 0.25 - mean, atol=1e-4)
    assert np.isfinite(gradient(lambda logit: ops.sum(likelihood.mean(logit)), logits)).all()


@pytest.mark.parametrize(
    ("likelihood", "parameters", "sigma"),
    [
        (Gaussian("fixed", sigma=0.7), [0.3], 0.7),
        (Gaussian("learned", sigma=0.7), [0.3], 0.7),
        (Gaussian("optimal", sigma=0.7), [0.3], 0.7),
        (Gaussian("predicted"), [0.3, 2 * np.log(0.7)], 0.7),
    ],
    ids=["fixed", "learned", "optimal", "predicted"],
)
def test_gaussian_is_scipys(likelihood, parameters, sigma):
    x = np.linspace(-3, 3, 31)
    expected = stats.norm.pdf(x, 0.3, sigma)
    np.testing.assert_allclose(density(likelihood, x, *parameters), expected, rtol=1e-4)


def test_categorical_is_the_softmax():
    logits = np.array([0.1, -2.0, 1.5], "float32")
    p = density(CategoricalValues(3), [0, 1, 2], *logits)
    np.testing.assert_allclose(p, np.exp(logits) / np.exp(logits).sum(), rtol=1e-5)
    np.testing.assert_allclose(density(CategoricalValues(3, -1, 1), [-1, 0, 1], *logits), p)


@pytest.mark.parametrize(
    ("likelihood", "parameters"),
    [
        (Bernoulli(), [[-1.0, 0.0, 2.0]]),
        *((ContinuousBernoulli(), [[logit]]) for logit in (-30.0, -1.0, 0.0, 0.02, 30.0)),
        (Gaussian(sigma=0.5), [[-1.0, 2.0]]),
        (Gaussian("learned", sigma=0.5), [[-1.0, 2.0]]),
        (Gaussian("predicted"), [[-1.0, 2.0, 0.5, -1.0]]),
        (CategoricalValues(3), [[0.0, 1.0, -1.0, 2.0, 0.0, 0.0]]),
        (CategoricalValues(3, low=-1, high=1), [[0.0, 1.0, -1.0]]),
    ],
)
def test_samples_have_the_mean_and_the_seed_repeats_them(likelihood, parameters):
    many = np.repeat(np.array(parameters, "float32"), 40_000, axis=0)
    x = likelihood.sample(many, np.random.default_rng(0))
    mean = numpy(likelihood.mean(tensor(many[:1])))[0]
    assert x.dtype == np.float32
    assert np.all(np.abs(x.mean(axis=0) - mean) < 5 * x.std(axis=0) / 200 + 1e-6)
    np.testing.assert_array_equal(x, likelihood.sample(many, np.random.default_rng(0)))
    likelihood.check(x)


def test_sample_spread(rng):
    x = Gaussian(sigma=0.5).sample(np.zeros((100_000, 1), "float32"), rng)
    np.testing.assert_allclose(x.std(), 0.5, rtol=0.02)
    x = Gaussian("predicted").sample(np.tile(np.float32([0, 1]), (100_000, 1)), rng)
    np.testing.assert_allclose(x.var(), np.e, rtol=0.03)
    x = ContinuousBernoulli().sample(np.zeros((100_000, 1), "float32"), rng)
    np.testing.assert_allclose(x.var(), 1 / 12, rtol=0.02)


def test_optimal_variance_maximises_the_likelihood_of_the_batch(rng):
    x, mean = tensor(rng.normal(size=(2, 16, 5)))
    best = float(ops.sum(Gaussian("optimal").log_prob(x, mean, training=True)))
    others = np.linspace(0.5, 3.0, 251)
    values = [float(ops.sum(Gaussian(sigma=s).log_prob(x, mean))) for s in others]
    assert max(values) <= best + 1e-3
    assert max(values) > best - 0.01
    np.testing.assert_allclose(
        others[np.argmax(values)], np.sqrt(np.mean(numpy(x - mean) ** 2)), atol=0.01
    )


def test_optimal_variance_is_a_running_average_outside_training(rng):
    likelihood = Gaussian("optimal", sigma=2.0, momentum=0.75)
    batches = rng.normal(size=(6, 2, 16, 5)).astype("float32")
    before = density(likelihood, [0.5], 0.0)
    np.testing.assert_allclose(before, stats.norm.pdf(0.5, 0, 2.0), rtol=1e-5)
    expected = 0.0  # the initial sigma has no part in it: a plain mean, until momentum takes over
    for n, (x, mean) in enumerate(batches, start=1):
        likelihood.log_prob(tensor(x), tensor(mean), training=True)
        expected += max(0.25, 1 / n) * (np.log(np.mean((x - mean) ** 2)) - expected)
        np.testing.assert_allclose(float(numpy(likelihood.log_var)), expected, rtol=1e-4)


@pytest.mark.parametrize("name", LIKELIHOODS.classes)
def test_log_prob_sums_over_the_data_and_keeps_leading_axes(name, rng):
    likelihood = LIKELIHOODS.get(name)
    x = tensor(rng.integers(0, 2, (4, 3, 2)))
    shape = likelihood.parameter_shape((3, 2))
    parameters = tensor(rng.normal(size=(5, 4, *shape)))
    found = numpy(likelihood.log_prob(x, parameters))
    each = numpy(likelihood.log_density(x, parameters))
    assert each.shape == (5, 4, 3, 2)
    np.testing.assert_allclose(found, each.sum(axis=(2, 3)), rtol=1e-5)
    assert tuple(likelihood(parameters).shape) == (5, 4, 3, 2)
    symbolic = likelihood(keras.KerasTensor((None, *shape)))
    assert tuple(symbolic.shape) == (None, 3, 2)


@pytest.mark.parametrize(
    ("likelihood", "x", "message"),
    [
        (Bernoulli(), [0, 255], "Divide by 255"),
        (Bernoulli(), [-0.5, 1], r"in \[0, 1\]. Received values from -0.5 to 1"),
        (ContinuousBernoulli(), [0, 1.01], "continuous Bernoulli"),
        (CategoricalValues(3), [0, 3], "from 0 to 2. Received values from 0 to 3"),
        (CategoricalValues(3), [0, 0.5], "some of them in between"),
    ],
)
def test_data_outside_the_support_are_refused(likelihood, x, message):
    with pytest.raises(ValueError, match=message):
        likelihood.check(np.array(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian("big"), "received 'big', expected one of"),
        (lambda: Gaussian(sigma=0), "expected a positive number"),
        (lambda: CategoricalValues(1), "at least 2"),
        (lambda: CategoricalValues(3, low=1, high=0), "expected more than low=1"),
        (lambda: LIKELIHOODS.get("bernouli"), "Did you mean 'bernoulli'"),
        (lambda: LIKELIHOODS.get(3), "Unknown likelihood: received 3"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
