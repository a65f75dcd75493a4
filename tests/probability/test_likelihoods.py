"""What every likelihood promises: it sums to one, draws what it says, and takes what is known."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops
from scipy import stats

import harness
from keras_cvae.inference.drawing import uniforms
from keras_cvae.probability.likelihoods.base import LIKELIHOODS
from keras_cvae.probability.likelihoods.bernoulli import Bernoulli, ContinuousBernoulli
from keras_cvae.probability.likelihoods.causal import CausalBernoulli
from keras_cvae.probability.likelihoods.discrete import CategoricalValues
from keras_cvae.probability.likelihoods.gaussian import Bounded, Gaussian
from keras_cvae.probability.likelihoods.logistic import DiscretizedLogistic
from numerics import answer, compiled, gradient, log_prob, mean, sample, tensor


class TestEveryLikelihood(harness.Harness):
    part = "likelihood"


def causal():
    likelihood, rng = CausalBernoulli(channels=4, reach=1), np.random.default_rng(0)
    for weight in likelihood.trainable_variables:
        weight.assign(rng.normal(size=weight.shape))
    return likelihood


def adapted(likelihood):
    likelihood.adapt(np.array([[900.0], [1000.0], [1300.0]]))
    return likelihood


# Likelihoods of few values: how to make one, x's shape, and the values.
FINITE = {
    "bernoulli": (Bernoulli, (3,), (0, 1)),
    "categorical": (lambda: CategoricalValues(3, low=-1, high=1), (2,), (-1, 0, 1)),
    "logistic": (lambda: DiscretizedLogistic(2, levels=3), (1, 1, 2), (0, 0.5, 1)),
    "one channel": (lambda: DiscretizedLogistic(2, levels=4), (1, 2, 1), (0, 1 / 3, 2 / 3, 1)),
    "causal": (causal, (2, 2, 1), (0, 1)),
}

# Densities of one value, at every scale: how to make one.
DENSITIES = {
    "continuous bernoulli": ContinuousBernoulli,
    "fixed": lambda: adapted(Gaussian("fixed", sigma=20.0)),
    "learned": lambda: adapted(Gaussian("learned")),
    "optimal": lambda: adapted(Gaussian("optimal")),
    "predicted": lambda: adapted(Gaussian("predicted")),
    "unscaled": lambda: Gaussian("predicted"),
    "between bounds": lambda: adapted(Bounded([800], [1500])),
    "above a bound": lambda: adapted(Bounded([800])),
    "below a bound": lambda: adapted(Bounded(None, [1500])),
}


@pytest.mark.further
@pytest.mark.parametrize("name", FINITE)
def test_it_sums_to_one_and_has_the_mean_that_it_says(name):
    make, x_shape, values = FINITE[name]
    likelihood, size = make(), int(np.prod(x_shape))
    every = np.array(list(itertools.product(values, repeat=size))).reshape(-1, *x_shape)

    @given(
        arrays("float32", likelihood.parameter_shape(x_shape), elements=st.floats(-9, 9, width=32))
    )
    def check(parameters):
        rows = np.repeat(parameters[None], len(every), axis=0)
        p = np.exp(log_prob(likelihood, every, rows).astype("float64"))
        np.testing.assert_allclose(p.sum(), 1.0, rtol=2e-5)
        if name in (
            "bernoulli",
            "categorical",
        ):  # the others' means are not of what is cut or drawn
            expected = np.tensordot(p, every, axes=1)
            np.testing.assert_allclose(mean(likelihood, rows[:1])[0], expected, atol=1e-5)

    check()


@pytest.mark.further
@pytest.mark.parametrize("name", FINITE)
@pytest.mark.parametrize("seed", [0, 1])
def test_it_draws_what_it_says(name, seed):
    make, x_shape, values = FINITE[name]
    likelihood, rng, size, n = make(), np.random.default_rng(seed), int(np.prod(x_shape)), 20_000
    every = np.array(list(itertools.product(values, repeat=size))).reshape(-1, *x_shape)
    parameters = rng.normal(size=(1, *likelihood.parameter_shape(x_shape))).astype("float32")
    p = np.exp(log_prob(likelihood, every, np.repeat(parameters, len(every), axis=0)), dtype=float)
    x = sample(likelihood, np.repeat(parameters, n, axis=0), rng, x_shape).reshape(n, size)
    assert x.dtype == np.float32
    likelihood.check(x)
    level = np.abs(x[..., None] - np.array(values, "float32")).argmin(axis=-1)
    found = np.bincount(level @ len(values) ** np.arange(size)[::-1], minlength=len(every))
    often = p * n > 5
    cell = np.where(often, np.cumsum(often), 0)  # what is rarer is one case
    counts, expected = (np.bincount(cell, v)[cell.min() :] for v in (found, p * n))
    assert stats.chisquare(counts, expected * n / expected.sum()).pvalue > 1e-4


@pytest.mark.further
@pytest.mark.parametrize("name", DENSITIES)
def test_the_density_between_two_draws_is_what_the_uniforms_are_apart(name):
    likelihood, u = DENSITIES[name](), np.linspace(0.01, 0.99, 50)

    @settings(max_examples=10)
    @given(st.floats(-2, 2, width=32), st.floats(-3, 1, width=32))
    def check(location, log_var):
        both = [location, log_var][: likelihood.parameters_per_value]

        def rows(n):
            return np.tile(np.float32(both), (n, 1))

        edges = answer(likelihood, "sample", rows(50), u[:, None])[:, 0]
        edges = np.sort(edges.astype("float64"))
        x = np.float32(np.linspace(edges[:-1], edges[1:], 33))  # (33, 49)
        p = log_prob(likelihood, x.reshape(-1, 1), rows(x.size))
        p = np.exp(p.astype("float64")).reshape(x.shape)
        between = np.trapezoid(p, x=x.astype("float64"), axis=0)
        np.testing.assert_allclose(between, np.diff(u), rtol=5e-3)

    check()


@pytest.mark.further
@pytest.mark.parametrize("name", DENSITIES)
def test_the_mean_is_that_of_draws(name):
    likelihood, n = DENSITIES[name](), 40_000
    both = np.float32([0.4, -0.5])[: likelihood.parameters_per_value]
    x = sample(likelihood, np.tile(both, (n, 1)), np.random.default_rng(0), (1,))
    likelihood.check(x)
    error = 5 * x.std() / np.sqrt(n)
    np.testing.assert_allclose(x.mean(), mean(likelihood, both[None])[0, 0], atol=error)


@pytest.mark.parametrize("name", sorted({*LIKELIHOODS.classes} - {"bounded", "columns"}))
def test_leading_axes_are_kept_and_what_is_known_and_what_is_not_make_up_the_whole(name, rng):
    likelihood = LIKELIHOODS.get(name)
    likelihood.build((3, 2, 1))
    known = rng.random((4, 3, 2, 1)) < 0.5
    parameters = rng.normal(size=(5, 4, *likelihood.parameter_shape((3, 2, 1))))
    u = uniforms(rng, (5, 4, *likelihood.uniforms_shape((3, 2, 1))))

    def answers(parameters, u):
        p = likelihood.distribution(parameters)
        found = {"drawn": p.sample(u), "mean": p.mean()}
        x = found["x"] = found["drawn"][0]
        found["whole"] = p.log_prob(x)
        if name == "discretized_logistic":
            return found
        here, there = (p.given(x, tensor(part, "bool")) for part in (known, ~known))
        found |= {"parts": here.log_prob(x) + there.log_prob(x)}
        found |= {"mean given": here.mean(), "drawn given": here.sample(u)}
        found["everywhere"] = here.given(x, tensor(~known, "bool")).log_prob(x)
        return found | ({"each": p.log_density(x)} if hasattr(p, "log_density") else {})

    found = compiled(answers, parameters, u)
    assert found["drawn"].shape == found["mean"].shape == (5, 4, 3, 2, 1)
    whole, x = found["whole"], found["x"]
    assert whole.shape == (5, 4)
    if name == "discretized_logistic":
        return
    np.testing.assert_allclose(found["parts"], whole, rtol=1e-4, atol=1e-5)
    kept = np.broadcast_to(known, (5, 4, 3, 2, 1))
    for what in ("mean", "drawn"):
        given, free = found[f"{what} given"], found[what]
        np.testing.assert_array_equal(given[kept], np.broadcast_to(x, kept.shape)[kept])
        if name != "causal_bernoulli":  # whose other pixels see the known ones
            np.testing.assert_array_equal(given[~kept], free[~kept])
    np.testing.assert_allclose(found["everywhere"], 0.0, atol=1e-6)
    if "each" in found:
        assert found["each"].shape == (5, 4, 3, 2, 1)
        np.testing.assert_allclose(whole, found["each"].sum(axis=(2, 3, 4)), rtol=1e-4)


def test_a_draw_is_the_same_function_of_its_uniforms_everywhere():
    u = np.float32([[0.02, 0.3, 0.5, 0.77, 0.99]])
    location, log_var = np.float32([[-1, 0, 2, 3, -2]]), np.float32([[-1, 0, 1, -2, 2]])

    def drawn(likelihood, parameters):
        return answer(likelihood, "sample", parameters, u)

    p = 1 / (1 + np.exp(-location))
    np.testing.assert_array_equal(drawn(Bernoulli(), location), (u < p).astype("float32"))
    expected = stats.norm.ppf(u, location, np.exp(0.5 * log_var))
    both = np.concatenate([location, log_var], axis=1)
    np.testing.assert_allclose(drawn(Gaussian("predicted"), both), expected, rtol=1e-4, atol=1e-5)
    logits = np.random.default_rng(0).normal(size=(1, 5, 3)).astype("float32")
    below = np.cumsum(np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True), axis=-1)
    expected = (u[..., None] > below).sum(axis=-1)
    np.testing.assert_array_equal(drawn(CategoricalValues(3), logits.reshape(1, 15)), expected)
    continuous = ContinuousBernoulli()
    for logit in (-30.0, 1e-5, 3.0):
        steep = -abs(float(np.float32(logit)))
        low = np.log1p(u.astype("float64") * np.expm1(steep)) / steep
        found = drawn(continuous, np.full((1, 5), logit, "float32"))
        np.testing.assert_allclose(found, 1 - low if logit > 0 else low, atol=2e-6)


@pytest.mark.further
def test_continuous_bernoulli_has_finite_right_gradients():
    likelihood = ContinuousBernoulli()

    def log_density(logits):
        return ops.sum(likelihood.distribution(logits).log_density(0.25))

    def expected(logits):
        return ops.sum(likelihood.distribution(logits).mean())

    @given(st.floats(-80, 80, width=32))
    def check(logit):
        logits = np.float32([logit])
        # d/dl log p(x | l) = x - E[x], as in every exponential family.
        found = gradient(log_density, logits)
        np.testing.assert_allclose(found, 0.25 - mean(likelihood, logits), atol=1e-4)
        assert np.isfinite(gradient(expected, logits)).all()

    check()


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


def test_discretized_logistic_is_finite_where_scales_and_distances_are_extreme(rng):
    likelihood = DiscretizedLogistic(components=1)
    x = np.linspace(0, 1, 256).reshape(-1, 1, 1, 1)

    def loss(parameters):
        return ops.sum(likelihood.distribution(parameters).log_prob(tensor(x)))

    for log_scale in (-50.0, 10.0):
        parameters = np.tile([0.0, 0.3, log_scale], (256, 1, 1, 1))
        assert np.isfinite(log_prob(likelihood, x, parameters)).all()
        assert np.isfinite(gradient(loss, parameters)).all()


def test_discretized_logistic_mean_is_that_of_narrow_draws(rng):
    likelihood = DiscretizedLogistic(components=2)
    parameters = 0.3 * rng.normal(size=(1, *likelihood.parameter_shape((1, 1, 3))))
    parameters[..., 8:14] -= 3.0  # log-scales: hardly a draw beyond the range, which is cut
    draws = sample(likelihood, np.repeat(parameters, 20_000, axis=0), rng, (1, 1, 3))
    np.testing.assert_allclose(draws.mean(axis=0), mean(likelihood, parameters)[0], atol=0.01)
