"""Pixels that see their neighbours: the equation, what is known, and the order of drawing."""

import itertools

import numpy as np
import pytest

from keras_cvae.inference.drawing import uniforms
from keras_cvae.probability.likelihoods.causal import CausalBernoulli
from numerics import log_prob, mean, numpy, sample, tensor


def causal(rng, **sizes):
    likelihood = CausalBernoulli(**sizes)
    for weight in likelihood.trainable_variables:
        weight.assign(rng.normal(size=weight.shape))
    return likelihood


@pytest.mark.further
def test_it_is_its_equation(rng):
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


def test_pixels_see_what_is_known_on_all_sides(rng):
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


@pytest.mark.further
@pytest.mark.parametrize("surround", [pytest.param(False, marks=pytest.mark.nightly), True])
def test_it_draws_what_is_unknown_given_what_is_known(surround, rng):
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


@pytest.mark.further
def test_the_mean_is_exact_where_pixels_do_not_depend_on_each_other(rng):
    likelihood = causal(rng, channels=4, reach=2, near=1)
    likelihood.a.assign(np.zeros(likelihood.a.shape))
    logits = rng.normal(size=(2, 3, 4, 5, 1)).astype("float32")
    many = np.tile(logits.reshape(6, 4, 5, 1), (4000, 1, 1, 1))
    draws = sample(likelihood, many, rng).reshape(4000, *logits.shape)
    np.testing.assert_allclose(draws.mean(axis=0), mean(likelihood, logits), atol=0.05)


def test_it_takes_pictures_with_one_channel():
    for shape in ((6,), (4, 4, 3)):
        with pytest.raises(ValueError, match=r"one channel, \(height, width, 1\). Received data"):
            CausalBernoulli().parameter_shape(shape)
    with pytest.raises(ValueError, match="received channels=0, reach=3, near=1"):
        CausalBernoulli(0)
