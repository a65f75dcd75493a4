"""What counts need of numbers: exact where float32 cancels, and draws as scipy has them."""

import numpy as np
import pytest
from scipy import special as exact
from scipy import stats

from keras_cvae.probability.special import (
    excess_over_log,
    gamma_draw,
    poisson_quantile,
    stirling_error,
)
from numerics import numpy, tensor

DRAWS = 2**17
GRID = (np.arange(DRAWS) + 0.5) / DRAWS


def distance(draws, cdf):
    """The largest distance between the frequencies of draws and a distribution function."""
    values, counts = np.unique(draws, return_counts=True)
    return np.abs(np.cumsum(counts) / len(draws) - cdf(values)).max()


def test_the_stirling_error_is_what_the_formula_lacks():
    z = np.geomspace(1e-6, 1e6, 5000).astype("float32")
    wide = z.astype("float64")
    formula = (wide + 0.5) * np.log(wide) - wide + 0.5 * np.log(2 * np.pi)
    lacking = exact.gammaln(wide + 1) - formula
    np.testing.assert_allclose(numpy(stirling_error(tensor(z))), lacking, rtol=1e-6, atol=2e-6)


def test_the_excess_over_the_logarithm_has_no_cancellation():
    size = np.geomspace(1e-12, 1e6, 500)
    excess = np.concatenate([size, -size[size < 1]]).astype("float32")
    wide = excess.astype("float64")
    expected = np.where(np.abs(wide) < 1e-4, wide**2 / 2 - wide**3 / 3, wide - np.log1p(wide))
    found = numpy(excess_over_log(tensor(excess), tensor(1 + wide)))
    np.testing.assert_allclose(found, expected, rtol=2e-5)


@pytest.mark.further
@pytest.mark.parametrize("rate", [1e-4, 0.3, 1.0, 7.0, 11.99, 12.01, 35.0, 1e3, 1e6])
def test_poisson_draws_invert_the_distribution(rate):
    draws = numpy(poisson_quantile(tensor(GRID), tensor(np.full(DRAWS, rate))))
    assert distance(draws, stats.poisson(rate).cdf) < 5e-5 + 1 / DRAWS
    assert (draws >= 0).all()
    np.testing.assert_array_equal(draws, np.floor(draws))


@pytest.mark.further
@pytest.mark.parametrize("shape", [0.3, 0.99, 1.0, 1.01, 2.5, 40.0, 1e5])
def test_gamma_draws_follow_the_distribution(shape):
    uniforms = np.random.default_rng(0).random((DRAWS, 4))
    draws = numpy(gamma_draw(tensor(uniforms), tensor(np.full(DRAWS, shape))))
    assert stats.kstest(draws, stats.gamma(shape).cdf).pvalue > 1e-3
