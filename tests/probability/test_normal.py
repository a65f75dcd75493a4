import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops
from scipy import integrate, stats

from keras_cvae.probability.normal import DiagonalNormal, split_normal, standard_normal
from numerics import numpy, tensor

MEAN, LOG_VAR = np.array([0.5, -1.0, 2.0], "float32"), np.array([0.3, -2.0, 1.0], "float32")
P = DiagonalNormal(tensor(MEAN), tensor(LOG_VAR))
Q = DiagonalNormal(tensor([0.0, 0.4, 1.0]), tensor([-0.5, 0.7, 0.0]))


VECTORS = arrays("float32", (2, 3), elements=st.floats(-5, 5, width=32))


def normal(parameters):
    return DiagonalNormal(tensor(parameters[0]), tensor(parameters[1]))


@given(VECTORS, arrays("float32", (7, 3), elements=st.floats(-50, 50, width=32)))
def test_log_prob_is_scipys(parameters, z):
    mean, log_var = parameters.astype("float64")
    expected = stats.norm.logpdf(z, mean, np.exp(0.5 * log_var)).sum(axis=-1)
    found = numpy(normal(parameters).log_prob(tensor(z)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@given(VECTORS, VECTORS)
def test_kl_is_at_least_0_and_0_to_itself(one, other):
    p, q = normal(one), normal(other)
    kl = float(p.kl(q))
    assert kl >= -1e-4
    np.testing.assert_allclose(float(p.kl(p)), 0.0, atol=1e-5)
    (mean, log_var), (far, log_width) = one.astype("float64"), other.astype("float64")
    ratio, shift = np.exp(log_var - log_width), np.square(mean - far) / np.exp(log_width)
    expected = 0.5 * np.sum(ratio - 1 + log_width - log_var + shift)
    np.testing.assert_allclose(kl, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("other", [Q, standard_normal(3)], ids=["normal", "standard"])
def test_kl_is_the_integral(other):
    def one_dimension(i):
        p, q = (
            stats.norm(float(numpy(g.mean)[i]), float(np.exp(0.5 * numpy(g.log_var)[i])))
            for g in (P, other)
        )
        low, high = p.mean() - 12 * p.std(), p.mean() + 12 * p.std()
        return integrate.quad(lambda z: p.pdf(z) * (p.logpdf(z) - q.logpdf(z)), low, high)[0]

    expected = sum(one_dimension(i) for i in range(3))
    np.testing.assert_allclose(float(P.kl(other)), expected, rtol=1e-5)


def test_kl_is_the_mean_log_ratio_of_samples(rng):
    z = P.sample(tensor(rng.standard_normal((200_000, 3))))
    ratio = numpy(P.log_prob(z)) - numpy(Q.log_prob(z))
    assert abs(ratio.mean() - float(P.kl(Q))) < 4 * ratio.std() / np.sqrt(len(ratio))


def test_sample_moments(rng):
    z = numpy(P.sample(tensor(rng.standard_normal((200_000, 3)))))
    np.testing.assert_allclose(z.mean(axis=0), MEAN, atol=0.02)
    np.testing.assert_allclose(z.var(axis=0), np.exp(LOG_VAR), rtol=0.02)


@pytest.mark.further
def test_parameters_broadcast_against_samples_and_batch(rng):
    z = tensor(rng.normal(size=(5, 4, 3)))
    assert tuple(standard_normal(3).log_prob(z).shape) == (5, 4)
    batch = DiagonalNormal(tensor(np.tile(MEAN, (4, 1))), tensor(np.tile(LOG_VAR, (4, 1))))
    assert tuple(batch.log_prob(z).shape) == (5, 4)
    assert tuple(batch.kl(standard_normal(3)).shape) == (4,)


def test_split_normal_reads_mean_then_log_variance():
    both = split_normal(ops.cast(np.concatenate([MEAN, LOG_VAR])[None], "bfloat16"))
    assert keras.backend.standardize_dtype(both.mean.dtype) == "float32"
    np.testing.assert_allclose(numpy(both.mean)[0], MEAN, rtol=1e-2)
    np.testing.assert_allclose(numpy(both.log_var)[0], LOG_VAR, rtol=1e-2)
