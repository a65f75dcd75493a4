import itertools

import numpy as np
import pytest
from keras import ops
from scipy import integrate, stats

import harness
from keras_cvae.inference.drawing import uniforms
from keras_cvae.probability.likelihoods.base import LIKELIHOODS
from keras_cvae.probability.likelihoods.bernoulli import Bernoulli, ContinuousBernoulli
from keras_cvae.probability.likelihoods.causal import CausalBernoulli
from keras_cvae.probability.likelihoods.discrete import CategoricalValues
from keras_cvae.probability.likelihoods.gaussian import Bounded, Gaussian
from keras_cvae.probability.likelihoods.logistic import DiscretizedLogistic
from numerics import gradient, numpy, tensor

LOGITS = [-30.0, -3.0, -0.06, -0.04, 0.0, 1e-4, 0.0499, 0.0501, 0.7, 30.0]


class TestEveryLikelihood(harness.Harness):
    part = "likelihood"


def density(likelihood, x, *parameters, training=False):
    """p(x) for many scalar x `(n,)` under one set of parameters."""
    x = tensor(x)[:, None]
    rows = tensor(np.tile(parameters, (len(x), 1)))
    return np.exp(numpy(likelihood.distribution(rows, training).log_density(x)))[:, 0]


def log_prob(likelihood, x, parameters, training=False):
    return numpy(likelihood.distribution(tensor(parameters), training).log_prob(tensor(x)))


def mean(likelihood, parameters):
    return numpy(likelihood.distribution(tensor(parameters)).mean())


def sample(likelihood, parameters, rng, x_shape=None):
    """Draws for parameters `(n, *parameter_shape)`."""
    x_shape = parameters.shape[1:] if x_shape is None else x_shape
    u = uniforms(rng, (len(parameters), *likelihood.uniforms_shape(x_shape)))
    return numpy(likelihood.distribution(tensor(parameters)).sample(tensor(u)))


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
    found = float(mean(likelihood, [logit])[0])
    np.testing.assert_allclose(found, integrate.simpson(x * p, x=x), atol=2e-5)


def test_continuous_bernoulli_has_finite_right_gradients():
    logits = np.array([-80.0, *LOGITS, 80.0], "float32")
    likelihood = ContinuousBernoulli()
    found = gradient(
        lambda logit: ops.sum(likelihood.distribution(logit).log_density(0.25)), logits
    )
    # d/dl log p(x | l) = x - E[x], as in every exponential family.
    np.testing.assert_allclose(found, 0.25 - mean(likelihood, logits), atol=1e-4)
    of_mean = gradient(lambda logit: ops.sum(likelihood.distribution(logit).mean()), logits)
    assert np.isfinite(of_mean).all()


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
    expected = stats.norm.logpdf(x, 0.3, sigma)
    np.testing.assert_allclose(np.log(density(likelihood, x, *parameters)), expected, rtol=1e-4)
    rows = np.tile(np.repeat(parameters, 31), (1, 1)).astype("float32")
    np.testing.assert_allclose(log_prob(likelihood, x[None], rows), expected.sum(), rtol=1e-4)


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
    shape = (many.shape[1] // likelihood.parameters_per_value,)
    x = sample(likelihood, many, np.random.default_rng(0), shape)
    expected = mean(likelihood, many[:1])[0]
    assert x.dtype == np.float32
    assert np.all(np.abs(x.mean(axis=0) - expected) < 5 * x.std(axis=0) / 200 + 1e-6)
    np.testing.assert_array_equal(x, sample(likelihood, many, np.random.default_rng(0), shape))
    likelihood.check(x)


def test_sample_spread(rng):
    x = sample(Gaussian(sigma=0.5), np.zeros((100_000, 1), "float32"), rng)
    np.testing.assert_allclose(x.std(), 0.5, rtol=0.02)
    x = sample(Gaussian("predicted"), np.tile(np.float32([0, 1]), (100_000, 1)), rng, (1,))
    np.testing.assert_allclose(x.var(), np.e, rtol=0.03)
    x = sample(ContinuousBernoulli(), np.zeros((100_000, 1), "float32"), rng)
    np.testing.assert_allclose(x.var(), 1 / 12, rtol=0.02)


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
    before = density(likelihood, [0.5], 0.0)
    np.testing.assert_allclose(before, stats.norm.pdf(0.5, 0, 2.0), rtol=1e-5)
    expected = 0.0  # the initial sigma has no part in it: a plain mean, until momentum takes over
    for n, (x, location) in enumerate(batches, start=1):
        log_prob(likelihood, x, location, training=True)
        expected += max(0.25, 1 / n) * (np.log(np.mean((x - location) ** 2)) - expected)
        np.testing.assert_allclose(float(numpy(likelihood.log_var)), expected, rtol=1e-4)


@pytest.mark.parametrize("name", sorted({*LIKELIHOODS.classes} - {"bounded", "columns"}))
def test_log_prob_sums_over_the_data_and_keeps_leading_axes(name, rng):
    likelihood = LIKELIHOODS.get(name)
    likelihood.build((3, 2, 1))
    shape = likelihood.parameter_shape((3, 2, 1))
    x = tensor(rng.integers(0, 2, (4, 3, 2, 1)))
    parameters = tensor(rng.normal(size=(5, 4, *shape)))
    p = likelihood.distribution(parameters)
    found = numpy(p.log_prob(x))
    assert found.shape == (5, 4)
    assert tuple(p.mean().shape) == (5, 4, 3, 2, 1)
    u = uniforms(rng, (5, 4, *likelihood.uniforms_shape((3, 2, 1))))
    assert tuple(p.sample(tensor(u)).shape) == (5, 4, 3, 2, 1)
    if hasattr(p, "log_density"):
        each = numpy(p.log_density(x))
        assert each.shape == (5, 4, 3, 2, 1)
        np.testing.assert_allclose(found, each.sum(axis=(2, 3, 4)), rtol=1e-5)


def causal(rng, **sizes):
    likelihood = CausalBernoulli(**sizes)
    for weight in likelihood.trainable_variables:
        weight.assign(rng.normal(size=weight.shape))
    return likelihood


def test_causal_bernoulli_is_its_equation(rng):
    likelihood = causal(rng, channels=5, reach=2, near=1)
    (n, height, width), samples = (2 * CausalBernoulli.chunk, 4, 5), 3  # two parts
    x = rng.integers(0, 2, (n, height, width))
    logits = rng.normal(size=(samples, n, height, width))
    a, b, c, v = (numpy(w) for w in (likelihood.a, likelihood.b, likelihood.c, likelihood.v))
    expected = np.zeros((samples, n))
    for s, m, i, j in np.ndindex(samples, n, height, width):
        hidden = c[:, 0].copy()
        for places, weight, seen in (
            (likelihood.before, a, 2.0 * x[m] - 1.0),
            (likelihood.around, b, logits[s, m]),
        ):
            for (di, dj), w in zip(places, weight.T, strict=True):
                if 0 <= i + di < height and 0 <= j + dj < width:
                    hidden += w * seen[i + di, j + dj]
        logit = logits[s, m, i, j] + v[0] @ np.maximum(hidden, 0.0)
        expected[s, m] += x[m, i, j] * logit - np.log1p(np.exp(logit))
    found = log_prob(likelihood, x[..., None], logits[..., None])
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_causal_bernoulli_sums_to_one_and_draws_what_it_says(rng):
    likelihood = causal(rng, channels=4, reach=1, near=1)
    every = np.array(list(itertools.product((0, 1), repeat=6))).reshape(-1, 2, 3, 1)
    logits = rng.normal(size=(1, 2, 3, 1)).astype("float32")
    p = np.exp(log_prob(likelihood, every, np.repeat(logits, len(every), axis=0)))
    np.testing.assert_allclose(p.sum(), 1.0, rtol=1e-5)
    n = 50_000
    drawn = sample(likelihood, np.repeat(logits, n, axis=0), rng).reshape(n, -1)
    frequency = np.bincount(drawn.astype(int) @ (2 ** np.arange(5, -1, -1)), minlength=64) / n
    assert np.all(np.abs(frequency - p) < 5.0 * np.sqrt(p * (1.0 - p) / n) + 1e-12)


def test_causal_bernoulli_sees_what_is_known_on_all_sides(rng):
    likelihood = causal(rng, channels=5, reach=2, near=1, surround=True)
    n, height, width = CausalBernoulli.chunk, 4, 5
    x, known = rng.integers(0, 2, (2, n, height, width))
    logits = rng.normal(size=(n, height, width))
    a, b, c, v, d = (numpy(w) for w in likelihood.trainable_variables)
    expected = np.zeros(n)
    for m, i, j in zip(*np.nonzero(1 - known), strict=True):
        hidden, signs = c[:, 0].copy(), 2.0 * x[m] - 1.0
        for p, q in np.ndindex(height, width):
            di, dj = p - i, q - j
            if (di, dj) in likelihood.before:
                hidden += a[:, likelihood.before.index((di, dj))] * signs[p, q]
            if (di, dj) in likelihood.after and known[m, p, q]:
                hidden += d[:, likelihood.after.index((di, dj))] * signs[p, q]
            if (di, dj) in likelihood.around:
                hidden += b[:, likelihood.around.index((di, dj))] * logits[m, p, q]
        logit = logits[m, i, j] + v[0] @ np.maximum(hidden, 0.0)
        expected[m] += x[m, i, j] * logit - np.log1p(np.exp(logit))
    x, known = tensor(x[..., None]), tensor(known[..., None], "bool")
    p = likelihood.distribution(tensor(logits[..., None])).given(x, known)
    np.testing.assert_allclose(numpy(p.log_prob(x)), expected, rtol=1e-4)


@pytest.mark.parametrize("surround", [False, True])
def test_causal_bernoulli_draws_what_is_unknown_given_what_is_known(surround, rng):
    likelihood = causal(rng, channels=4, reach=1, near=1, surround=surround)
    known = np.array([[1, 0, 0], [0, 1, 1]], bool).reshape(1, 2, 3, 1)
    values = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], "float32").reshape(1, 2, 3, 1)
    logits = rng.normal(size=(1, 2, 3, 1)).astype("float32")

    def given(n, values=values, known=known):
        p = likelihood.distribution(tensor(np.repeat(logits, n, axis=0)))
        return p.given(tensor(np.repeat(values, n, axis=0)), tensor(known, "bool"))

    def draw(p, n):
        return numpy(p.sample(tensor(uniforms(rng, (n, 2, 3, 1)))))

    every = np.array(list(itertools.product((0, 1), repeat=3)))  # of the three unknown pixels
    x = np.repeat(values, 8, axis=0)
    x[np.repeat(~known, 8, axis=0)] = every.ravel()
    p = np.exp(numpy(given(8).log_prob(tensor(x))))
    np.testing.assert_allclose(p.sum(), 1.0, rtol=1e-5)
    n = 50_000
    drawn = draw(given(n), n)
    np.testing.assert_array_equal(drawn[:, known[0]], np.repeat(values[:, known[0]], n, axis=0))
    frequency = np.bincount(drawn[:, ~known[0]].astype(int) @ [4, 2, 1], minlength=8) / n
    assert np.all(np.abs(frequency - p) < 5.0 * np.sqrt(p * (1.0 - p) / n) + 1e-12)
    grey = values + np.float32(0.3)  # kept as they are
    np.testing.assert_array_equal(draw(given(1, grey), 1)[known], grey[known])
    # What is fixed first and what is fixed next are both known.
    first = np.array([[1, 0, 0], [0, 0, 0]], bool).reshape(known.shape)
    twice = given(n, known=first).given(tensor(values), tensor(known & ~first, "bool"))
    np.testing.assert_array_equal(draw(twice, n)[:, known[0]], drawn[:, known[0]])
    # The mean is exact where all pixels before are known.
    last = np.ones_like(known)
    last[0, 1, 2] = False
    one = given(1, known=last)
    found = numpy(one.mean())
    np.testing.assert_array_equal(found[last], values[last])
    expected = np.exp(numpy(one.log_prob(tensor(values))))[0]
    np.testing.assert_allclose(found[0, 1, 2, 0], expected, rtol=1e-5)


def test_causal_bernoulli_mean_is_exact_where_pixels_do_not_depend_on_each_other(rng):
    likelihood = causal(rng, channels=4, reach=2, near=1)
    likelihood.a.assign(np.zeros(likelihood.a.shape))
    logits = rng.normal(size=(2, 3, 4, 5, 1)).astype("float32")
    many = np.tile(logits.reshape(6, 4, 5, 1), (4000, 1, 1, 1))
    draws = sample(likelihood, many, rng).reshape(4000, *logits.shape)
    np.testing.assert_allclose(draws.mean(axis=0), mean(likelihood, logits), atol=0.05)


def test_causal_bernoulli_takes_pictures_with_one_channel():
    for shape in ((6,), (4, 4, 3)):
        with pytest.raises(ValueError, match=r"one channel, \(height, width, 1\). Received data"):
            CausalBernoulli().parameter_shape(shape)
    with pytest.raises(ValueError, match="received channels=0, reach=3, near=1"):
        CausalBernoulli(0)


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


@pytest.mark.parametrize("channels", [1, 3])
def test_discretized_logistic_sums_to_one_and_draws_what_it_says(channels, rng):
    levels = 4
    likelihood = DiscretizedLogistic(components=2, levels=levels)
    grid = np.linspace(0, 1, levels)
    every = np.array(list(itertools.product(grid, repeat=channels))).reshape(-1, 1, 1, channels)
    shape = likelihood.parameter_shape((1, 1, channels))
    parameters = rng.normal(size=(1, *shape)).astype("float32")
    p = np.exp(log_prob(likelihood, every, parameters.repeat(len(every), 0)))
    np.testing.assert_allclose(p.sum(), 1.0, rtol=1e-5)
    n = 50_000
    drawn = sample(likelihood, parameters.repeat(n, 0), rng, (1, 1, channels)).reshape(n, channels)
    code = np.round(drawn * (levels - 1)).astype(int) @ levels ** np.arange(channels)[::-1]
    frequency = np.bincount(code, minlength=len(every)) / n
    assert np.all(np.abs(frequency - p) < 5.0 * np.sqrt(p / n) + 5.0 / n)


def test_discretized_logistic_is_finite_where_scales_and_distances_are_extreme(rng):
    likelihood = DiscretizedLogistic(components=1)
    x = tensor(np.linspace(0, 1, 256).reshape(-1, 1, 1, 1))
    for log_scale in (-50.0, 10.0):
        parameters = np.tile([0.0, 0.3, log_scale], (256, 1, 1, 1))
        assert np.isfinite(log_prob(likelihood, x, parameters)).all()

        def loss(parameters):
            return ops.sum(likelihood.distribution(parameters).log_prob(x))

        assert np.isfinite(gradient(loss, parameters)).all()


def test_discretized_logistic_mean_is_that_of_narrow_draws(rng):
    likelihood = DiscretizedLogistic(components=2)
    parameters = 0.3 * rng.normal(size=(1, *likelihood.parameter_shape((1, 1, 3))))
    parameters[..., 8:14] -= 3.0  # log-scales: hardly a draw beyond the range, which is cut
    draws = sample(likelihood, np.repeat(parameters, 20_000, axis=0), rng, (1, 1, 3))
    np.testing.assert_allclose(draws.mean(axis=0), mean(likelihood, parameters)[0], atol=0.01)


BOUNDS = [(-1e-3, 2e-3), (1e3, None), (None, 5.0), (None, None)]


def bounded(low, high, spread=1.0, location=0.0):
    """A likelihood of one value, scaled by data a third of the way, or near the bound."""
    likelihood = Bounded([low], high)
    way = np.linspace(0.2, 0.8, 50)[:, None]
    if low is not None and high is not None:
        x = low + (high - low) * way
    else:
        x = way - 0.5 if low is high else (low + way if high is None else high - way)
    likelihood.adapt(x)
    return likelihood, [location, 2 * np.log(spread)]


@pytest.mark.parametrize(("low", "high"), BOUNDS)
@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_bounded_integrates_to_one_with_its_mean(low, high, spread):
    likelihood, parameters = bounded(low, high, spread, 0.4)
    u = np.linspace(0.4 - 8 * spread, 0.4 + 8 * spread, 20001)
    edges = numpy(likelihood.view.inverse(tensor(u[:, None]))).astype("float64")[:, 0]
    x = edges if low is None else edges - low  # where distances to the bound have all their digits
    keep = np.concatenate([[True], np.diff(edges) > 0])
    edges, x = edges[keep], x[keep]
    if low is not None and high is not None:
        inside = (edges > np.float32(low)) & (edges < np.float32(high))
        edges, x = edges[inside], x[inside]
    p = density(likelihood, edges, *parameters)
    if low == 1e3:  # single precision tells 1000 from 1000.0001: coarse cells, right in mean
        np.testing.assert_allclose(integrate.trapezoid(p, x=x), 1.0, atol=0.01)
    else:
        np.testing.assert_allclose(integrate.trapezoid(p, x=x), 1.0, atol=2e-4)
    expected = integrate.trapezoid(p * x, x=x) + (low or 0.0)
    scale = np.sqrt(integrate.trapezoid(p * np.square(x), x=x))
    np.testing.assert_allclose(mean(likelihood, [parameters])[0, 0], expected, atol=0.01 * scale)


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_bounded_draws_stay_inside_and_have_the_mean(low, high):
    likelihood, parameters = bounded(low, high, 1.0)
    many = np.repeat(np.array([parameters], "float32"), 40_000, axis=0)
    x = sample(likelihood, many, np.random.default_rng(0), (1,))
    likelihood.check(x)
    assert x.dtype == np.float32
    found = mean(likelihood, many[:1])[0]
    assert np.all(np.abs(x.mean(axis=0) - found) < 5 * x.std(axis=0) / 200 + 1e-4 * np.abs(found))
    far = np.array([[300.0, 0.0], [-300.0, 0.0]], "float32")  # rounds to the bounds, if any
    likelihood.check(sample(likelihood, far, np.random.default_rng(0), (1,)))


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
