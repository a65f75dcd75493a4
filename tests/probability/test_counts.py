"""Likelihoods of counts against scipy: probabilities, gradients, draws, and what is learned."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops
from scipy import special, stats

import keras_cvae as kc
from harness import seldom_elsewhere
from keras_cvae.probability.likelihoods.counts import (
    IndependentNegativeBinomial,
    IndependentPoisson,
    IndependentZeroInflated,
    NegativeBinomial,
    Poisson,
    ZeroInflated,
)
from keras_cvae.runs import build
from keras_cvae.runs.config import load_config
from numerics import compiled, gradient, log_prob, numpy, tensor


def nbinom(log_mean, log_r):
    mean, r = (np.exp(np.asarray(v, "float32").astype("float64")) for v in (log_mean, log_r))
    return stats.nbinom(r, r / (r + mean))


def poisson(log_rate):
    return stats.poisson(np.exp(np.asarray(log_rate, "float32").astype("float64")))


def inflated(log_p, x, logits):
    """By the formula, in float64."""
    logits = np.asarray(logits, "float32").astype("float64")
    share = special.expit(logits)
    return np.where(
        x > 0, special.log_expit(-logits) + log_p, np.log(share + (1 - share) * np.exp(log_p))
    )


def many(rng, n=20_000):
    """Log-means, log-dispersions and counts, up to 1e6, half of them far from the mean."""
    log_mean, log_r = rng.uniform(-9, 13.8, n), rng.uniform(-9, 15, n)
    likely = rng.poisson(np.exp(log_mean) * rng.gamma(np.exp(log_r)) / np.exp(log_r))
    x = np.where(rng.random(n) < 0.5, likely, np.floor(10 ** rng.uniform(0, 6, n)))
    return log_mean, log_r, np.minimum(x, 1e6)


def assert_close(found, expected):
    """To single precision: of a sum of terms that large, not of a small rest of them."""
    found, expected = np.asarray(found, "float64"), np.asarray(expected)
    assert np.max(np.abs(found - expected) / (1 + np.abs(expected))) < 2e-5


def test_log_p_is_scipys_up_to_a_million(rng):
    log_mean, log_r, x = many(rng)

    def log_p(x, log_mean, log_r):
        return IndependentNegativeBinomial(log_mean, log_r).log_density(x)

    assert_close(compiled(log_p, x, log_mean, log_r), nbinom(log_mean, log_r).logpmf(x))
    x = np.minimum(rng.poisson(np.exp(log_mean)), 1e6)
    found = compiled(lambda x, log_rate: IndependentPoisson(log_rate).log_density(x), x, log_mean)
    assert np.abs(found - poisson(log_mean).logpmf(x)).max() < 0.05


def log_p_of_both(x, log_mean, log_r, logit):
    negative = IndependentNegativeBinomial(log_mean, log_r)
    return IndependentZeroInflated(negative, logit).log_density(x), negative.log_density(x)


@pytest.mark.further
@given(
    x=st.integers(0, 10**6),
    log_mean=st.floats(-20, 14, width=32),
    log_r=st.floats(-11, 15, width=32),
    logit=st.floats(-20, 20, width=32),
)
def test_any_count_has_the_log_p_of_the_formula(x, log_mean, log_r, logit):
    args = [np.array([v], "float32") for v in (log_mean, log_r, logit)]
    log_p = nbinom(*args[:2]).logpmf(x)
    with_zeros, negative = compiled(log_p_of_both, [x], *args)
    assert_close(with_zeros, inflated(log_p, x, args[2]))
    assert_close(negative, log_p)


def test_the_gradients_are_those_in_closed_form(rng):
    log_mean, log_r, x = (np.asarray(v, "float32") for v in many(rng, 2000))

    def total(log_mean, log_r):
        p = IndependentNegativeBinomial(log_mean, log_r)
        return ops.sum(p.log_density(tensor(x)))

    by_mean, by_r = gradient(total, log_mean, log_r)
    m, r, x64 = (
        np.exp(log_mean.astype("float64")),
        np.exp(log_r.astype("float64")),
        x.astype("float64"),
    )
    expected = r * (x64 - m) / (r + m)
    np.testing.assert_allclose(by_mean, expected, rtol=1e-3, atol=1e-3)
    psi = special.digamma(x64 + r) - special.digamma(r)
    expected = r * (psi + np.log(r / (r + m)) + 1 - (x64 + r) / (r + m))
    steady = r < 1e4  # above, what is left of the difference in float64 is noise
    np.testing.assert_allclose(by_r[steady], expected[steady], rtol=5e-3, atol=5e-3)
    rate = gradient(lambda v: ops.sum(IndependentPoisson(v).log_density(tensor(x))), log_mean)
    np.testing.assert_allclose(rate, x64 - m, rtol=1e-3, atol=1e-3)


MEANS = np.array([[2.0, 100, 1e5, 0.1], [5, 30, 2e5, 0.5], [1, 60, 5e4, 0.3]])  # of classes
R = np.array([1.0, 5, 10, 2])


@pytest.fixture(scope="module")
def counts():
    """Counts `(600, 4)` of three classes `(600,)`, from 0.1 to 2e5 in mean, and their log p."""
    rng, y = np.random.default_rng(0), np.arange(600) % 3
    x = rng.poisson(MEANS[y] * rng.gamma(R, size=(600, 4)) / R)
    return x, y, stats.nbinom.logpmf(x, R, R / (R + MEANS[y])).sum(axis=1)


def fitted(likelihood, x, y, epochs=40):
    model = kc.ConditionalVAE((4,), 3, 1, likelihood=likelihood, backbone=kc.MLP((32,)), seed=0)
    model.compile(keras.optimizers.Adam(0.01))
    model.fit(x, y, batch_size=100, epochs=epochs, verbose=0)
    return model


@pytest.mark.further
@seldom_elsewhere
def test_counts_of_any_size_are_learned_as_they_come(counts):
    x, y, truth = counts
    model = fitted("negative_binomial", x, y)
    found = model.log_prob(x, y, 50)
    assert abs(found.mean - truth.mean()) < 0.15
    np.testing.assert_allclose(model.generate([0, 1, 2]), MEANS, rtol=0.3, atol=0.2)
    drawn = model.generate(2, 4000, output="sample", seed=0)
    np.testing.assert_array_equal(drawn, np.floor(drawn))
    spread = MEANS[2] + MEANS[2] ** 2 / R
    np.testing.assert_allclose(drawn.mean(axis=0), MEANS[2], rtol=0.3)
    np.testing.assert_allclose(drawn.var(axis=0), spread, rtol=0.6)


@pytest.mark.parametrize(
    "likelihood", [Poisson(), NegativeBinomial("predicted"), ZeroInflated("poisson")]
)
def test_an_output_of_zero_means_the_mean_of_the_data(counts, likelihood):
    x, _, _ = counts
    likelihood.adapt(x)
    parameters = tensor(np.zeros((1, *likelihood.parameter_shape((4,)))))
    found = numpy(likelihood.distribution(parameters).mean())
    np.testing.assert_allclose(found[0], x.mean(axis=0), rtol=0.06)


def test_the_networks_see_standardised_logarithms(counts):
    x, _, _ = counts
    likelihood = Poisson()
    likelihood.adapt(x)
    seen = numpy(likelihood.view(tensor(x)))
    logs = np.log1p(x)
    np.testing.assert_allclose(seen, (logs - logs.mean(0)) / logs.std(0), rtol=1e-3, atol=1e-4)


def test_wild_outputs_give_finite_log_p_and_gradients():
    likelihood = NegativeBinomial("predicted")
    likelihood.build((2,))
    outputs = np.array([[-1e6, 0, 1e6, -1e6], [1e6, -200, -1e6, 1e6]], "float32")

    def total(outputs):
        return ops.sum(likelihood.distribution(outputs).log_prob(tensor([[0, 3], [7, 1e6]])))

    assert np.isfinite(compiled(total, outputs))
    assert np.isfinite(gradient(total, outputs)).all()


DRAWS = 100_000


def draws_and_mean(log_mean, log_r, uniforms):
    p = IndependentNegativeBinomial(log_mean, log_r)
    return p.sample(uniforms), p.mean()


@pytest.mark.parametrize(("mean", "r"), [(0.3, 0.2), (3.0, 1.0), (50.0, 3.0), (1e5, 20.0)])
def test_negative_binomial_draws_have_the_frequencies_of_scipy(mean, r):
    log_mean, uniforms = np.full(DRAWS, np.log(mean)), np.random.default_rng(0).random((DRAWS, 5))
    draws, found = compiled(draws_and_mean, log_mean, np.log(r), uniforms)
    values, times = np.unique(draws, return_counts=True)
    off = np.cumsum(times) / DRAWS - nbinom(np.log(mean), np.log(r)).cdf(values)
    assert np.abs(off).max() < 1.95 / np.sqrt(DRAWS)  # passed by 1 in 1000 of right ones
    np.testing.assert_allclose(found, mean, rtol=1e-5)


def test_added_zeros_are_drawn_and_counted():
    logits, rate = np.linspace(-3, 3, 5), 4.0
    shape = (DRAWS // 5, 5)

    def drawn(log_rate, uniforms):
        p = IndependentZeroInflated(IndependentPoisson(log_rate), tensor(logits))
        return p.sample(uniforms), p.mean()

    uniforms = np.random.default_rng(0).random((*shape, 2))
    draws, mean = compiled(drawn, np.full(shape, np.log(rate)), uniforms)
    share = special.expit(logits)
    zeros = share + (1 - share) * np.exp(-rate)
    np.testing.assert_allclose((draws == 0).mean(axis=0), zeros, atol=0.015)
    np.testing.assert_allclose(draws.mean(axis=0), (1 - share) * rate, atol=0.06)
    np.testing.assert_allclose(mean[0], (1 - share) * rate, rtol=1e-5)


@pytest.mark.parametrize("make", [Poisson, NegativeBinomial, ZeroInflated])
def test_the_probabilities_of_small_counts_sum_to_one(make):
    likelihood = make()
    likelihood.build((1,))
    parameters = [[0.7, -0.4][: likelihood.parameters_per_value]]
    log_p = log_prob(likelihood, np.arange(300)[:, None], parameters)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1.0, rtol=1e-5)


@pytest.mark.further
@pytest.mark.parametrize("make", [Poisson, NegativeBinomial, ZeroInflated])
def test_known_counts_are_kept_and_the_others_scored(make, rng):
    likelihood = make()
    likelihood.build((3,))
    x, known = np.array([[2, 0, 5], [1, 4, 0]]), [[True, False, True]]

    def answers(x, parameters, uniforms):
        free = likelihood.distribution(parameters)
        p = free.given(x, tensor(known, "bool"))
        return free.log_density(x), p.log_prob(x), p.sample(uniforms), p.mean()

    parameters = rng.normal(size=(2, *likelihood.parameter_shape((3,))))
    uniforms = rng.random((2, *likelihood.uniforms_shape((3,))))
    each, log_p, drawn, mean = compiled(answers, x, parameters, uniforms)
    np.testing.assert_allclose(log_p, each[:, 1], rtol=1e-5)
    for found in (drawn, mean):
        np.testing.assert_array_equal(found[:, [0, 2]], x[:, [0, 2]])


def test_scaling_multiplies_the_mean_and_leaves_the_rest():
    def answers(x, log_factor):
        negative = IndependentNegativeBinomial(tensor([[0.3, -1.0]]), tensor([0.5, 1.0]))
        inflated = IndependentZeroInflated(negative, tensor([[0.2, -0.7]]))
        log_p = negative.scaled(log_factor).log_density(x)
        return inflated.mean(), inflated.scaled(log_factor).mean(), log_p

    mean, scaled, log_p = compiled(answers, [[3.0, 0.0]], np.log([7.0]))
    np.testing.assert_allclose(scaled, 7 * mean, rtol=1e-5)
    expected = nbinom(np.log(7) + np.array([0.3, -1.0]), [0.5, 1.0])
    np.testing.assert_allclose(log_p[0], expected.logpmf([3, 0]), rtol=1e-5)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[0.5, 1.0]], "from 0.5 to 1, some of them not whole. Give the counts themselves"),
        ([[-1, 3]], "whole numbers from 0 to 16777216. Received values from -1 to 3"),
        ([[2.0**25]], "Received values from 3.35544e"),
    ],
)
def test_what_is_no_count_is_refused(x, message):
    with pytest.raises(ValueError, match=message):
        Poisson().check(np.array(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NegativeBinomial("gene"), "received 'gene', expected one of"),
        (lambda: ZeroInflated("bernoulli"), "received Bernoulli. Expected Poisson"),
        (lambda: ZeroInflated(ZeroInflated()), "received ZeroInflated"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("poisson", "Poisson"),
        ("negative_binomial", "NegativeBinomial"),
        ("zero_inflated_poisson", "Poisson"),
        ("zero_inflated_negative_binomial", "NegativeBinomial"),
    ],
)
def test_a_run_takes_counts_as_they_are(name, kind, tmp_path):
    x = np.arange(40, dtype="uint8").reshape(20, 2)  # bytes would else be pictures, 0 to 1
    np.savez(tmp_path / "sales.npz", x=x, y=np.arange(20) % 2)
    config = kc.RunConfig(likelihood=name, units=(4,), latent_dim=1)
    data = build.load_data(str(tmp_path / "sales.npz"), config)
    assert data.train.x.max() > 30
    likelihood = build.build_model(config, data).likelihood
    assert isinstance(likelihood, ZeroInflated) == name.startswith("zero")
    assert type(getattr(likelihood, "likelihood", likelihood)).__name__ == kind
    with pytest.raises(ValueError, match=r"Counts are the array x of an \.npz file"):
        build.load_data(str(tmp_path), config)
    np.savez(tmp_path / "prices.npz", x=x / 2)
    with pytest.raises(ValueError, match="some of them not whole"):
        build.build_model(config, build.load_data(str(tmp_path / "prices.npz"), config))


def test_a_setting_of_another_likelihood_is_refused():
    with pytest.raises(ValueError, match="expected likelihood=negative_binomial"):
        load_config(likelihood="poisson", dispersion="predicted")
