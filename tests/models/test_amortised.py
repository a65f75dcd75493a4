"""Amortised inference: x are parameters, the condition is a signal, and the posterior is known."""

import keras
import numpy as np
import pytest

from keras_cvae import MLP, Bounded, ConditionalVAE, Gaussian, Signal
from keras_cvae.evaluation import calibration

LENGTH, NOISE = 32, 0.7
T = np.linspace(0.0, 1.0, LENGTH)
A = np.stack([np.sin(2 * np.pi * T), np.sin(2 * np.pi * T + 0.6)], axis=1)
# signal = A theta + noise and theta ~ N(0, I): the posterior is N(K signal, COVARIANCE).
COVARIANCE = np.linalg.inv(np.eye(2) + A.T @ A / NOISE**2)
K = COVARIANCE @ A.T / NOISE**2


def simulate(n, seed):
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal((n, 2))
    return theta, theta @ A.T + NOISE * rng.standard_normal((n, LENGTH))


def trained(theta, signal, epochs, likelihood, seed=0):
    keras.utils.set_random_seed(seed)
    model = ConditionalVAE(
        theta.shape[1:],
        Signal((LENGTH, 1), MLP((32,), "gelu")),
        latent_dim=2,
        likelihood=likelihood,
        prior="conditional",
        backbone=MLP((32,), "gelu"),
        seed=seed,
    )
    steps = epochs * len(theta) // 128
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)))
    model.fit(theta, signal, batch_size=128, epochs=epochs, verbose=0)
    return model


def errors(model, signals=100, draws=5000):
    """Of the posterior's mean, in units of the prior's deviation, root mean square over signals and
    parameters; of its covariance, in mean over signals, in relative Frobenius norm."""
    _, signal = simulate(signals, seed=1)
    found = model.generate(signal, draws, seed=0, output="sample").reshape(signals, draws, 2)
    mean = np.sqrt(np.mean(np.square(found.mean(axis=1) - signal @ K.T)))
    covariance = np.mean([np.cov(one.T) for one in found], axis=0)
    norm = np.linalg.norm
    return mean, norm(covariance - COVARIANCE) / norm(COVARIANCE)


@pytest.fixture(scope="module")
def linear():
    return trained(*simulate(2**17, seed=0), 3, Gaussian("predicted"))


@pytest.mark.further
def test_the_posterior_is_the_closed_form_within_two_percent(linear):
    correlation = COVARIANCE[0, 1] / np.sqrt(COVARIANCE[0, 0] * COVARIANCE[1, 1])
    assert correlation < -0.6  # a latent is needed: p(x | z, y) is diagonal
    mean, covariance = errors(linear)
    assert mean < 0.02
    assert covariance < 0.02


@pytest.mark.further
def test_ranks_are_uniform_and_intervals_cover(linear):
    theta, signal = simulate(1000, seed=2)
    found = calibration.calibration(linear, theta, signal, seed=0)
    assert found.ranks.shape == (1000, 2)
    assert (found.chi_square() > 0.05).all()
    levels = np.array([0.5, 0.9])
    assert np.abs(found.coverage(levels) - levels[:, None]).max() < 0.05
    # The same draws for other signals are no posteriors.
    wrong = calibration.calibration(linear, theta, signal[::-1], seed=0)
    assert (wrong.chi_square() < 1e-6).all()


@pytest.mark.further
def test_bounded_parameters_of_any_scale():
    """exp(theta) in units of 1e-3 and of 1e3, positive; the posterior of the logarithm is known."""
    theta, signal = simulate(2**15, seed=0)
    units = np.array([1e-3, 1e3])
    model = trained(units * np.exp(theta), signal, 5, Bounded([0, 0]))
    _, signal = simulate(100, seed=1)
    found = model.generate(signal, 2000, seed=0, output="sample")
    assert (found > 0).all()
    logs = np.log(found / units).reshape(100, 2000, 2)
    error = logs.mean(axis=1) - signal @ K.T
    assert np.sqrt(np.mean(np.square(error))) < 0.05
    spread = logs.std(axis=1).mean(axis=0)
    np.testing.assert_allclose(spread, np.sqrt(np.diag(COVARIANCE)), rtol=0.08)
