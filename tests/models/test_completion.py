"""Part of x is known: what is scored, what is kept, what is refused."""

import math

import keras
import numpy as np
import pytest

import keras_cvae as kc
from keras_cvae import masks
from keras_cvae.data.batches import CompletionBatches
from keras_cvae.data.containers import Split
from keras_cvae.probability.likelihoods.base import LIKELIHOODS
from numerics import compiled, numpy, tensor

SHAPE = (4, 5, 2)


@pytest.fixture
def x(rng):
    return (rng.random((6, *SHAPE)) < 0.4).astype("float32")


@pytest.fixture
def build():
    def built(mask=None, guess=None, shape=SHAPE, **kwargs):
        condition = kc.KnownPart(shape, mask, guess)
        arguments = {"prior": "conditional", "backbone": kc.MLP((8,), "tanh"), "seed": 0}
        model = kc.ConditionalVAE(shape, condition, 2, **arguments | kwargs)
        model.compile(keras.optimizers.Adam(0.01))
        return model

    return built


def log_bernoulli(x, logits, known):
    """One value after the other, in Python's floats: `(n,)`."""
    sums = []
    for one, row, mask in zip(x, logits, known, strict=True):
        total = 0.0
        for place in np.ndindex(one.shape):
            if not mask[place]:
                p = 1.0 / (1.0 + math.exp(-row[place]))
                total += math.log(p if one[place] else 1.0 - p)
        sums.append(total)
    return np.array(sums)


def scores(model, x, z):
    """A function of masks that compares the log p of what they hide with the sum by hand."""

    def scored(y):
        parameters = model.hierarchy.decode(tensor(z), model.condition.features(y))
        return parameters, model.distribution(parameters, y).log_prob(tensor(x))

    def check(mask):
        y = model.condition.spec.prepare(masks.holes(x, mask))
        parameters, found = compiled(scored, y)
        known = np.broadcast_to(masks.known(mask, SHAPE), x.shape)
        np.testing.assert_allclose(found, log_bernoulli(x, parameters, known), rtol=1e-4, atol=1e-5)

    return check


ONE_MASK = np.zeros((4, 5), bool)
ONE_MASK[1:3, 2] = True
SELDOM = [pytest.param(n, marks=pytest.mark.nightly) for n in masks.NAMES if n != "left"]


@pytest.mark.further
def test_masks_of_every_shape_score_exactly_the_pixels_they_should(x, build, rng):
    check = scores(build(), x, rng.normal(size=(6, 2)))
    ragged = rng.random((6, *SHAPE)) < 0.5  # channels of a pixel on their own
    for mask in (*masks.NAMES, masks.random(6, SHAPE, rng), ragged, ONE_MASK, np.zeros((4, 5))):
        check(mask)


@pytest.mark.parametrize(
    "mask",
    ["left", ONE_MASK, *SELDOM],
    ids=lambda mask: mask if isinstance(mask, str) else "one of one's own",
)
def test_a_model_of_one_mask_scores_exactly_the_other_pixels(mask, x, build, rng):
    scores(build(mask), x, rng.normal(size=(6, 2)))(mask)


@pytest.mark.further
@pytest.mark.parametrize(
    "likelihood",
    ["bernoulli", "continuous_bernoulli", kc.Gaussian("predicted"), kc.CategoricalValues(2)],
    ids=lambda one: one if isinstance(one, str) else type(one).__name__,
)
def test_every_likelihood_scores_the_unknown_values_alone(x, likelihood, rng):
    likelihood = LIKELIHOODS.get(likelihood)
    parameters = rng.normal(size=(3, 6, *likelihood.parameter_shape(SHAPE)))
    known = masks.random(6, SHAPE, rng)

    def both(parameters, x):
        p = likelihood.distribution(parameters)
        return p.log_density(x), p.given(x, tensor(known, "bool")).log_prob(x)

    density, found = compiled(both, parameters, x)
    expected = np.where(known, 0.0, density).sum(axis=(2, 3, 4))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_optimal_variance_is_that_of_the_unknown_values(rng):
    likelihood = kc.Gaussian("optimal")
    x, known = rng.normal(size=(50, 6)), np.array([[1, 1, 1, 1, 0, 0]], bool)
    x[:, :4] *= 100.0
    p = likelihood.distribution(tensor(np.zeros((1, 50, 6))), training=True)
    p.given(tensor(x), tensor(known, "bool")).log_prob(tensor(x))
    log_var = float(numpy(likelihood.log_var))
    np.testing.assert_allclose(log_var, np.log(np.mean(x[:, 4:] ** 2)), rtol=1e-4)


@pytest.mark.further
def test_completions_keep_what_is_known_and_draw_the_rest(x, build, rng):
    model = build()
    y = masks.holes(x, masks.random(6, SHAPE, rng))
    model.fit(x, y, epochs=2, verbose=0)
    known = ~np.isnan(y)
    for output in ("mean", "sample"):
        drawn = model.complete(y, n=4, seed=1, output=output)
        assert drawn.shape == (24, *SHAPE)
        drawn = drawn.reshape(6, 4, *SHAPE)
        kept = np.broadcast_to(known[:, None], drawn.shape)
        np.testing.assert_array_equal(drawn[kept], np.repeat(y[:, None], 4, axis=1)[kept])
        assert np.isfinite(drawn).all()
        assert len(np.unique(drawn[0].reshape(4, -1), axis=0)) == 4
        np.testing.assert_array_equal(
            drawn, model.complete(y, n=4, seed=1, output=output).reshape(drawn.shape)
        )
    np.testing.assert_array_equal(
        model.complete(x[0], "left", 3, seed=1), model.complete(x[:1], "left", 3, seed=1)
    )
    hidden = np.ma.masked_array(x, ~known)  # a NumPy mask says the same, of one or of many
    for given, drawn in ((y, hidden), (y[0], hidden[0])):
        np.testing.assert_array_equal(
            model.complete(given, n=2, seed=1), model.complete(drawn, n=2, seed=1)
        )
    np.testing.assert_array_equal(
        model.complete(hidden[0], np.ones(SHAPE, bool), seed=1), model.complete(y[:1], seed=1)
    )
    reconstructed = model.reconstruct(x, y)
    np.testing.assert_array_equal(reconstructed[known], x[known])
    np.testing.assert_array_equal(model.predict(x, condition=y, verbose=0)[known], x[known])


@pytest.mark.further
def test_a_model_for_one_mask_takes_whole_examples(x, build, tmp_path):
    model = build("left")
    model.fit(x, x, epochs=1, verbose=0, validation_data=(x, x))
    holes = masks.holes(x, "left")
    np.testing.assert_array_equal(
        model.log_prob(x, x, 20).log_prob, model.log_prob(x, holes, 20).log_prob
    )
    assert model.condition.width == 4 * 2 * 2
    model.save(tmp_path / "model.keras")
    again = kc.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.complete(x, n=2, seed=3), model.complete(x, n=2, seed=3))


def test_what_is_unknown_does_not_reach_the_prior(x, build):
    model = build("left")
    other = x.copy()
    other[:, :, 2:] = 1 - other[:, :, 2:]
    np.testing.assert_array_equal(model.complete(x, seed=0), model.complete(other, seed=0))


def test_draws_from_prior_and_posterior_estimate_the_same(x, build):
    model = build("all-but-top-left")
    q, p = (model.log_prob(x, x, 4000, proposal=how) for how in ("posterior", "prior"))
    error = np.hypot(q.standard_error, p.standard_error)
    assert (np.abs(q.log_prob - p.log_prob) < 5 * error + 1e-4).all()
    with pytest.raises(ValueError, match="proposal: received 'q'"):
        model.log_prob(x, x, proposal="q")


def test_pixels_that_see_their_neighbours_complete_a_picture_too(rng, build):
    x = (rng.random((12, 4, 5, 1)) < 0.5).astype("float32")
    model = build(likelihood="causal_bernoulli", shape=(4, 5, 1), prior=None)
    mask = rng.random((12, 4, 5, 1)) < 0.5
    model.fit(x, kc.masks.holes(x, mask), epochs=2, verbose=0)
    for output in ("mean", "sample"):
        drawn = model.complete(x, mask, n=3, seed=0, output=output)
        known = np.repeat(mask, 3, axis=0)
        np.testing.assert_array_equal(drawn[known], np.repeat(x, 3, axis=0)[known])
        assert np.unique(drawn[~known]).size > (2 if output == "mean" else 1)
    assert np.isfinite(model.log_prob(x, kc.masks.holes(x, mask), 8).log_prob).all()


def test_on_the_way_between_two_only_what_both_know_is_known(build):
    first, last = np.full(SHAPE, 0.0), np.full(SHAPE, 1.0)
    first[0], last[1] = np.nan, np.nan
    spec = build().condition.spec
    ends = [spec.prepare_any(one)[0] for one in (first, last)]
    way = spec.between(*ends, np.array([0.0, 0.25, 1.0]))
    assert np.isnan(way[:, :2]).all()
    np.testing.assert_allclose(way[:, 2:, 0, 0], [[0, 0], [0.25, 0.25], [1, 1]])


@pytest.mark.parametrize(
    ("mask", "y", "message"),
    [
        (None, None, "none was given"),
        (None, np.zeros((2, *SHAPE)), "Nothing is unknown"),
        (None, np.full((2, 5, 4, 2), np.nan), r"shape \(2, 5, 4, 2\). Expected \(n, 4, 5, 2\)"),
        (None, np.full((2, *SHAPE), np.inf), "infinity"),
        (None, np.full((2, *SHAPE), 1e39), "beyond single precision"),
        (None, np.full((2, *SHAPE), "a"), "Expected numbers"),
        (
            "left",
            np.full((2, *SHAPE), np.nan),
            "completes from 'left', some of which is unknown in example 0",
        ),
        (np.eye(4, 5), np.full((2, *SHAPE), np.nan), "the mask it was built with"),
    ],
)
def test_what_cannot_be_completed_is_refused(mask, y, message):
    with pytest.raises(ValueError, match=message):
        kc.KnownPart(SHAPE, mask).spec.prepare(y)


def test_masks_and_models_that_do_not_fit_are_refused(x, build, small):
    with pytest.raises(ValueError, match="knows everything"):
        kc.KnownPart(SHAPE, np.ones(SHAPE))
    with pytest.raises(ValueError, match="knows nothing"):
        kc.KnownPart(SHAPE, np.zeros(SHAPE))
    with pytest.raises(ValueError, match="guess: received function, expected a Keras model"):
        kc.KnownPart(SHAPE, guess=lambda y: y)
    with pytest.raises(ValueError, match=r"part of examples \(4, 5, 2\). Expected those of x"):
        kc.ConditionalVAE((6, 5, 2), kc.KnownPart(SHAPE))
    with pytest.raises(ValueError, match="received 6 masks"):
        kc.KnownPart(SHAPE, np.zeros((6, *SHAPE)))
    with pytest.raises(ValueError, match="Expected one built with condition=KnownPart"):
        small().complete(x)
    with pytest.raises(ValueError, match="completes from 'left'"):
        build("left").complete(x, "right")
    with pytest.raises(ValueError, match="the mask knows more of x"):  # and would draw it anew
        build("left").complete(x, "all-but-bottom-right")
    with pytest.raises(ValueError, match="Divide by 255"):
        build().complete(x * 200, "left")
    with pytest.raises(ValueError, match=r"x has the shape \(2, 5, 4, 2\)"):
        build().complete(np.zeros((2, 5, 4, 2)), "left")
    with pytest.raises(ValueError, match=r"x is 'a\.png'. Expected an array"):
        build().complete("a.png", "left")
    with pytest.raises(ValueError, match="DiscretizedLogistic cannot draw some values of x"):
        build(shape=(4, 5, 1), likelihood="discretized_logistic")
    with pytest.raises(ValueError, match="received KnownPart, expected one condition"):
        kc.Optional(kc.KnownPart(SHAPE))
    with pytest.raises(ValueError, match="'part' is a part of x itself"):
        kc.Joint({"class": 3, "part": kc.KnownPart(SHAPE)})
    with pytest.raises(ValueError, match="cannot be left out as a whole"):
        build().complete(x, "left", guidance=2.0)
    with pytest.raises(ValueError, match=r"Expected condition="):
        kc.Baseline(SHAPE)


def test_the_baseline_learns_the_mean_and_is_scored_exactly(build, rng, tmp_path):
    x = np.repeat(rng.random((200, 1)) < 0.5, 6, axis=1) ^ (rng.random((200, 6)) < 0.2)
    x = x.astype("float32")
    baseline = kc.Baseline((6,), kc.MLP((16,)), condition=kc.KnownPart((6,), [1, 0, 0, 0, 0, 0]))
    baseline.compile(keras.optimizers.Adam(0.02))
    with pytest.raises(ValueError, match=r"200 examples come with 199 conditions\."):
        baseline.fit(x, x[:-1])
    history = baseline.fit(x, x, 20, 15, validation_data=(x, x), verbose=0).history
    guess = baseline.predict(x)
    np.testing.assert_array_equal(guess[:, 0], x[:, 0])
    for value in (0, 1):
        mine = x[:, 0] == value
        np.testing.assert_allclose(
            guess[mine, 1:], x[mine, 1:].mean(axis=0)[None].repeat(mine.sum(), 0), atol=0.06
        )
    of_x = np.where(x > 0, guess, 1 - guess)[:, 1:]
    expected = np.log(of_x).sum(axis=1)
    np.testing.assert_allclose(baseline.log_prob(x, x), expected, rtol=1e-4)
    np.testing.assert_allclose(history["val_loss"][-1], -expected.mean(), rtol=1e-4)
    baseline.save(tmp_path / "baseline.keras")
    again = keras.saving.load_model(tmp_path / "baseline.keras")
    np.testing.assert_array_equal(again.predict(x), guess)


@pytest.mark.further
def test_the_guess_is_fed_to_the_networks_frozen_and_saved_with_them(x, build, tmp_path):
    baseline = kc.Baseline(SHAPE, kc.MLP((8,)), condition=kc.KnownPart(SHAPE, "left"))
    before = [numpy(w).copy() for w in baseline.weights]
    model = build("left", baseline)
    assert model.condition.width == 16 + 24
    model.fit(x, x, epochs=2, verbose=0)
    for old, new in zip(before, baseline.weights, strict=True):
        np.testing.assert_array_equal(old, numpy(new))
    features = numpy(model.condition.features(model.condition.spec.prepare(x)))
    np.testing.assert_allclose(
        features[:, 16:].reshape(6, 4, 3, 2), baseline.predict(x)[:, :, 2:], rtol=1e-5
    )
    model.save(tmp_path / "model.keras")
    again = kc.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.complete(x, seed=0), model.complete(x, seed=0))


def test_batches_make_holes_in_what_is_scored(rng):
    split = Split(rng.integers(0, 256, (150, 4, 4, 1), np.uint8))
    batches = CompletionBatches(split, 40, "random", shuffle=True, binarize="dynamic", seed=3)
    first = [batches[i] for i in range(len(batches))]
    for x, y in first:
        assert np.isin(x, (0, 1)).all()
        np.testing.assert_array_equal(y[~np.isnan(y)], x[~np.isnan(y)])
    batches.epoch = 1
    assert not np.array_equal(np.isnan(batches[0][1]), np.isnan(first[0][1]))
    batches.epoch = 0
    np.testing.assert_array_equal(batches[0][1], first[0][1])
    # In evaluation they depend on the example alone.
    one, other = (CompletionBatches(split, size, "random", binarize="dynamic") for size in (40, 64))
    y, z = (np.concatenate([b[i][1] for i in range(len(b))]) for b in (one, other))
    np.testing.assert_array_equal(y, z)
    fixed = CompletionBatches(split, 40, "left")[0][1]
    assert np.isnan(fixed[:, :, 2:]).all()
    assert np.isfinite(fixed[:, :, :2]).all()
