"""Metrics on cases whose answer is known."""

import base64
import dataclasses
import json
import math
import re
from html.parser import HTMLParser

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from scipy import linalg
from scipy.spatial.distance import cdist

from compiling import optimized
from keras_cvae import (
    MLP,
    Categorical,
    CategoricalValues,
    ConditionalNormal,
    ConditionalVAE,
    Continuous,
    Conv,
    Gaussian,
    Joint,
    Optional,
    load_data,
)
from keras_cvae.data.arrays import from_arrays
from keras_cvae.data.containers import Data, Split
from keras_cvae.data.images import ImageFiles
from keras_cvae.errors import DataError
from keras_cvae.evaluation import (
    bound,
    budget,
    calibration,
    judge,
    likelihood,
    likeness,
    prepare,
    samples,
)
from keras_cvae.evaluation.evaluate import Evaluation, evaluate
from keras_cvae.report import page, pictures, rows

LABELS = np.arange(20) % 2


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module")
def trained(digits):
    keras.utils.set_random_seed(0)
    model = ConditionalVAE(digits.x_shape, 10, [6, 2], prior="conditional", backbone=MLP((64,)))
    model.compile(keras.optimizers.Adam(3e-3))
    model.fit(digits.train.floats(), digits.train.y, epochs=15, batch_size=64, verbose=0)
    return model


@pytest.fixture(scope="module")
def measured(trained, digits):
    fewer = dataclasses.replace(digits, test=digits.test.spread(200))
    with pytest.MonkeyPatch.context() as patch, optimized():
        patch.setattr(judge, "epochs_for", lambda n: 10)
        return evaluate(trained, fewer, samples=40, binarize="dynamic")


def test_a_limit_takes_examples_from_everywhere():
    of_a_kind = Split(np.arange(90.0)[:, None], np.repeat([0, 1, 2], 30))
    some = of_a_kind.spread(9)
    np.testing.assert_array_equal(some.y, np.repeat([0, 1, 2], 3))
    assert of_a_kind.spread(90) is of_a_kind


# The bound and the latent.


@pytest.mark.further
def test_the_bound_is_what_keras_evaluates(trained, digits):
    x, y = digits.test.floats(), digits.test.y
    terms = bound.bound(trained, x, y, num_samples=20)
    found = trained.evaluate(x, y, verbose=0, return_dict=True)
    assert -terms.elbo.mean() == pytest.approx(found["loss"], rel=0.01)
    assert terms.kl.sum(axis=1).mean() == pytest.approx(found["kl"], rel=0.02)
    assert terms.kl_per_group.sum() == pytest.approx(terms.kl.sum(axis=1).mean(), rel=1e-5)
    assert len(terms.kl_per_group) == 2
    np.testing.assert_allclose(terms.elbo, bound.bound(trained, x, y, num_samples=20).elbo)


def _terms(mean, log_var):
    zeros = np.zeros_like(mean)
    z = mean + np.exp(0.5 * log_var) * np.random.default_rng(1).normal(size=mean.shape)
    return bound.Bound(zeros[:, 0], zeros, z, mean, log_var, zeros, zeros, (mean.shape[1],))


@pytest.mark.further
def test_latent_figures_of_a_gaussian_channel():
    # z | x ~ N(m, v) with m ~ N(0, 1 - v): the aggregate is N(0, 1), I = -1/2 log v.
    rng, n, v = np.random.default_rng(0), 4000, 0.25
    mean = rng.normal(size=(n, 2)) * [math.sqrt(1 - v), 0.01]
    terms = _terms(mean, np.log(np.tile([v, 1.0], (n, 1))))
    assert bound.active_units(terms).tolist() == [True, False]
    label = (mean[:, 0] > 0).astype(int)
    repeated = _terms(np.stack([2.0 * label, mean[:, 0]], axis=1), np.zeros((n, 2)))
    assert bound.active_units(repeated, label).tolist() == [False, True]  # the class is no news
    information, ceiling = bound.mutual_information(terms)
    assert information == pytest.approx(-0.5 * math.log(v), abs=0.05)
    assert ceiling == pytest.approx(math.log(n))
    assert bound.aggregate_gap(terms).max() < 0.01
    shifted = terms._replace(z=terms.z + 1.0)
    np.testing.assert_allclose(bound.aggregate_gap(shifted), 0.5, atol=0.1)


def test_collapse_is_named():
    ignored = bound.verdict(0, 8, 0.01)
    assert ignored["state"] == "collapsed"
    assert ignored["verdict"].startswith("Collapsed")
    partly = bound.verdict(2, 8, 5.0)
    assert partly["state"] == "partly collapsed"
    assert partly["verdict"] == "2 of 8 dimensions of z carry information."
    assert bound.verdict(8, 8, 20.0)["state"] == "healthy"


def test_the_metrics_of_a_bound_are_means_of_its_terms():
    mean = np.array([[1.0, 0.0], [-1.0, 0.0], [3.0, 0.0]])
    kl = np.array([[1.0, 0.5], [2.0, 0.5], [6.0, 0.5]])
    terms = _terms(mean, np.zeros_like(mean))._replace(
        reconstruction=np.array([10.0, 20.0, 60.0]), kl=kl, groups=(1, 1)
    )
    elbo = bound.Elbo.of(terms)
    assert elbo.elbo == pytest.approx(-33.5)  # -(11.5 + 22.5 + 66.5) / 3
    assert elbo.standard_error == pytest.approx(np.std([11.5, 22.5, 66.5], ddof=1) / 3**0.5)
    assert elbo.reconstruction == pytest.approx(30.0)
    assert elbo.kl == pytest.approx(3.5)
    assert elbo.kl_per_group == elbo.kl_per_dimension == pytest.approx((3.0, 0.5))
    alone = bound.Elbo.of(bound.Bound(*(part[:1] for part in terms[:-1]), groups=(1, 1)))
    assert alone.standard_error is None
    assert "standard_error" not in alone.to_dict()
    latent = bound.Latent.of(terms)
    assert (latent.latent_dim, latent.active_units, latent.state) == (2, 1, "healthy")


# Calibration of draws.


def test_ranks_that_are_not_uniform_are_found(rng):
    ranks = rng.integers(0, 200, (500, 3))
    ranks[:, 1] = ranks[:, 1] // 2 + 50  # too narrow
    ranks[:, 2] = np.minimum(ranks[:, 2] + 40, 199)  # too high
    found = calibration.Ranks(ranks, draws=199)
    for p in (found.chi_square(), found.chi_square(7)):
        assert p[0] > 0.01
        assert (p[1:] < 1e-4).all()
    np.testing.assert_allclose(found.coverage((0.5,))[0], [0.5, 1.0, 0.5], atol=0.07)
    even = calibration.Ranks(np.arange(200)[:, None], draws=199)
    for bins in (2, 7, 20):  # 7 bins of 200 ranks are uneven
        np.testing.assert_allclose(even.chi_square(bins), 1.0)
    narrow = np.stack([ranks[:, 0], ranks[:, 0], ranks[:, 0] // 4 + 75, ranks[:, 0]], axis=1)
    for shape, place in (
        ((4,), "value 3"),
        ((4, 1), "moment 3"),
        ((2, 2), "moment 2 of channel 1"),
    ):
        told = calibration.Calibration.of(calibration.Ranks(narrow.reshape(-1, *shape), draws=199))
        assert (told.place, told.worst) == (place, 2)
    told = calibration.Calibration.of(found, np.array([True, False, True]))
    assert told.place == "value 3"
    assert told.least_p_value == pytest.approx(2 * found.chi_square()[[0, 2]].min())
    told = calibration.Calibration.of(found)
    assert told.least_p_value == pytest.approx(3 * found.chi_square().min())
    assert told.coverage_50 == pytest.approx(found.coverage((0.5,)).mean())
    assert (told.draws, told.examples) == (199, 500)


class _Prior:
    """Draws from N(y, spread^2) for x ~ N(y, 1)."""

    x_shape = (2,)

    def __init__(self, spread):
        self.spread, self.condition = spread, Continuous(2)

    def generate(self, y, n, seed, output):
        noise = np.random.default_rng(seed).standard_normal((n * len(y), 2))
        return np.repeat(y, n, axis=0) + self.spread * noise


@pytest.mark.parametrize(
    ("spread", "right", "covered"),
    # P(|spread N| < q) with q the 80 % point of N, from the truth's side: P(|N| < spread q)
    [(1.0, True, 0.8), (0.5, False, 0.478), (2.0, False, 0.990)],
)
def test_calibration_tells_right_from_wrong_spread(rng, spread, right, covered):
    y = rng.normal(size=(400, 2))
    x = y + rng.normal(size=(400, 2))
    found = calibration.calibration(_Prior(spread), x, y, draws=99)
    assert (found.chi_square() > 0.05).all() == right
    np.testing.assert_allclose(found.coverage((0.8,)), covered, atol=0.06)


@pytest.mark.parametrize("draws", [0, 9.5])
def test_calibration_needs_a_number_of_draws(draws):
    x = np.zeros((4, 2))
    with pytest.raises(ValueError, match=f"draws: received {draws}"):
        calibration.calibration(_Prior(1.0), x, x, draws=draws)


# Likelihood and classification.


def test_bits_per_dimension_of_known_distributions():
    # Uniform on 256 levels: 8 bits; as a density on [0, 1]: 0 nats.
    assert likelihood.bits_per_dimension(12 * math.log(256), (2, 2, 3)) == pytest.approx(8.0)
    assert likelihood.bits_per_dimension(0.0, (2, 2, 3), 256) == pytest.approx(8.0)


def test_reliability_of_a_calibrated_and_an_overconfident_classifier():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1.0, 40_000)
    y = (rng.random(40_000) > p).astype(int)  # class 0 with probability p
    honest = likelihood.reliability(np.stack([p, 1 - p], axis=1), y)
    assert honest.calibration_error < 0.015
    assert honest.accuracy == pytest.approx(0.75, abs=0.01)
    assert sum(honest.count) == len(y)
    np.testing.assert_allclose(honest.confidence, honest.accuracy_in_bin, atol=0.04)
    entropy = -np.mean(p * np.log(p) + (1 - p) * np.log(1 - p))
    assert honest.log_loss == pytest.approx(entropy, abs=0.01)
    sure = likelihood.reliability(np.tile([1.0, 0.0], (len(y), 1)), y)
    assert sure.confidence == (1.0,)
    assert sure.calibration_error == pytest.approx(0.25, abs=0.01)


# The quality of samples.


def test_the_judge_knows_digits_and_is_reproducible(measured, digits):
    assert measured.samples.judge_accuracy > 0.95
    some, few = digits.train.spread(200), digits.test.x[:20]
    again = judge.Judge(digits.x_shape, 10, epochs=1).fit(some.x, some.y)
    keras.utils.set_random_seed(5)
    other = judge.Judge(digits.x_shape, 10, epochs=1).fit(some.x, some.y)
    assert again.features(few).shape == (20, 128)
    np.testing.assert_allclose(again.features(few), other.features(few), rtol=1e-3, atol=1e-3)


@pytest.mark.further
def test_shuffled_labels_leave_the_judge_at_chance(digits):
    labels = np.random.default_rng(0).permutation(digits.train.y)
    with optimized():
        own = judge.Judge(digits.x_shape, 10, epochs=3).fit(digits.train.x, labels)
    assert own.accuracy(digits.test.x, digits.test.y) < 0.25


@pytest.mark.further
def test_the_judge_takes_vectors():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    x = (rng.normal(size=(600, 5)) + 1000.0 * np.eye(3, 5)[y] + 300.0).astype("float32")
    own = judge.Judge((5,), 3, epochs=5).fit(x[:400], y[:400])
    assert own.accuracy(x[400:], y[400:]) > 0.98


def test_frechet_distance_of_gaussians():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 4))
    a = rng.normal(size=(200_000, 4))
    b = rng.normal(size=(200_000, 4)) * 2.0 + 1.0
    # |m|^2 + sum (s_a - s_b)^2 for covariances that commute
    assert likeness.frechet_distance(a, b) == pytest.approx(4 * 1.0 + 4 * 1.0, rel=0.02)
    assert likeness.frechet_distance(a @ root, a @ root) == pytest.approx(0.0, abs=1e-6)
    turned = np.linalg.qr(root)[0]
    rotated = likeness.frechet_distance(a @ turned, b @ turned)
    assert rotated == pytest.approx(likeness.frechet_distance(a, b), rel=1e-6)


def test_frechet_distance_is_that_of_its_formula(rng):
    a, b = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 3)), rng.normal(size=(40, 3)) + 1.0
    s_a, s_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    cross = np.trace(linalg.sqrtm(s_a @ s_b)).real
    shift = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    wanted = shift + np.trace(s_a) + np.trace(s_b) - 2 * cross
    assert likeness.frechet_distance(a, b) == pytest.approx(wanted, rel=1e-10)
    flat = a @ np.diag([1.0, 1.0, 0.0])  # no inverse, and fewer examples than dimensions
    assert likeness.frechet_distance(flat, flat) == pytest.approx(0.0, abs=1e-9)
    assert likeness.frechet_distance(a[:2], a[:2]) == pytest.approx(0.0, abs=1e-9)
    assert likeness.frechet_distance(a[:, :1], b[:, :1]) == pytest.approx(
        np.square(a[:, 0].mean() - b[:, 0].mean())
        + np.square(a[:, 0].std(ddof=1) - b[:, 0].std(ddof=1))
    )


@pytest.mark.further
def test_diversity_of_known_cases():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(2000, 8))
    same = likeness.diversity(real, rng.normal(size=(2000, 8)))
    assert same["density"] == pytest.approx(1.0, abs=0.06)
    assert same["coverage"] > 0.95  # Naeem et al. 2020, eq. 9: 1 - 1 / 2^k in expectation
    assert same["precision"] > 0.7
    assert same["recall"] > 0.7
    far = likeness.diversity(real, real + 100.0)
    assert max(far.values()) == 0.0
    narrow = likeness.diversity(real, 0.05 * rng.normal(size=(2000, 8)))
    assert narrow["precision"] == 1.0
    assert narrow["recall"] < 0.05
    assert narrow["coverage"] < 0.5


def test_diversity_is_that_of_its_definition(rng):
    real, drawn = rng.normal(size=(40, 3)), 0.7 * rng.normal(size=(30, 3)) + 0.5
    apart = cdist(drawn, real)
    of_real = np.sort(cdist(real, real), axis=1)[:, 4]
    of_drawn = np.sort(cdist(drawn, drawn), axis=1)[:, 4]
    assert likeness.diversity(real, drawn, k=4) == pytest.approx(
        {
            "precision": (apart <= of_real).any(axis=1).mean(),
            "recall": (apart <= of_drawn[:, None]).any(axis=0).mean(),
            "density": (apart <= of_real).sum() / (4 * 30),
            "coverage": (apart <= of_real).any(axis=0).mean(),
        }
    )


def test_nearest_agrees_with_all_distances(digits):
    x = digits.test.floats(slice(0, 30))
    train = digits.train.floats()
    everything = np.sqrt(np.square(x[:, None] - train[None]).sum(axis=(2, 3, 4)))
    distance, index = likeness.nearest(x, digits.train, 3)
    np.testing.assert_allclose(distance, np.sort(everything, axis=1)[:, :3], atol=1e-3)
    np.testing.assert_array_equal(index[:, 0], everything.argmin(axis=1))


def test_nearest_reads_more_than_fits_at_once(rng):
    x, train = rng.normal(size=(7, 2)), rng.normal(size=(11_000, 2)).astype("float32")
    distance, index = likeness.nearest(x, Split(train), 5)
    everything = cdist(x.astype("float32"), train)
    np.testing.assert_array_equal(index, everything.argsort(axis=1, kind="stable")[:, :5])
    np.testing.assert_allclose(distance, np.sort(everything, axis=1)[:, :5], rtol=1e-5)


@pytest.mark.further
def test_memorising_fires_on_copies_only(digits):
    held = digits.test.floats(slice(0, 180))
    fresh = likeness.memorising(digits.test.floats(slice(180, 359)), digits.train, held)
    assert not fresh.memorised
    copies = digits.train.floats(slice(0, 200))
    assert likeness.memorising(copies, digits.train, held).share > 0.95
    noise = np.random.default_rng(0).normal(size=copies.shape) * 0.01
    assert likeness.memorising(copies + noise, digits.train, held).memorised
    half = np.concatenate([copies[:20], digits.test.floats(slice(180, 340))])
    assert likeness.memorising(half, digits.train, held).memorised


# All of it.


def test_evaluate_gives_every_metric(measured, digits):
    said = json.loads(json.dumps(measured.to_dict()))
    assert set(said) == {
        "settings", "elbo", "generalization", "latent", "classification", "conditional",
        "marginal", "samples", "baseline", "memorising", "left_out", "seconds",
    }  # fmt: skip
    assert Evaluation.from_dict(said) == measured
    elbo, nll = measured.elbo, measured.conditional
    assert elbo.elbo == pytest.approx(-elbo.reconstruction - elbo.kl, rel=1e-5)
    assert nll.nats < -elbo.elbo + 3 * nll.monte_carlo_error
    # y is worth between 0 and log 10 nats, up to the noise of 200 examples
    assert 0 < measured.marginal.nats - nll.nats < math.log(10) + 0.2
    assert set(nll.per_class) == set(digits.class_names)
    sizes = [one.examples for one in nll.per_class.values()]
    weighted = [one.nats * one.examples for one in nll.per_class.values()]
    assert sum(sizes) == measured.settings.examples == 200
    assert sum(weighted) / sum(sizes) == pytest.approx(nll.nats, rel=1e-6)
    assert len(elbo.kl_per_group) == 2
    assert len(elbo.kl_per_dimension) == 8
    assert measured.samples.on_label_accuracy > 0.8
    assert measured.samples.tstr > 0.6
    assert measured.samples.count == len(digits.train)
    assert not measured.memorising.memorised
    assert measured.classification.accuracy > 0.5
    assert measured.classification.uncalibrated.accuracy == measured.classification.accuracy


def test_metrics_of_another_version_are_refused(measured):
    said = measured.to_dict()
    del said["elbo"]
    with pytest.raises(ValueError, match=r"elbo: Field required\. Evaluate the run again"):
        Evaluation.from_dict(said)
    with pytest.raises(ValueError, match=r"latent\.active_units: .*valid integer"):
        Evaluation.from_dict(
            measured.to_dict() | {"latent": measured.to_dict()["latent"] | {"active_units": "all"}}
        )


@pytest.fixture(scope="module")
def few_digits(digits):
    parts = {name: getattr(digits, name).spread(60) for name in ("train", "validation", "test")}
    return dataclasses.replace(digits, **parts)


def test_a_limit_bounds_all_of_it_and_says_what_is_left_out(trained, few_digits, monkeypatch):
    def small(**kwargs):
        return evaluate(trained, few_digits, samples=3, limit=20, binarize="dynamic", **kwargs)

    found = small()
    assert found.samples.count == 30
    assert found.samples.on_label_accuracy is not None
    assert found.samples.tstr is found.samples.recall is found.memorising is None
    assert "not 30" in found.left_out[0]
    assert "need 30 examples" in found.left_out[1]
    monkeypatch.setattr(samples, "QUICK", 0)
    assert small().samples is None
    assert "Evaluate once without --limit" in small().left_out[0]
    monkeypatch.setattr("keras_cvae.evaluation.evaluate.PAIRS", 50)  # of 20 examples, 10 classes
    monkeypatch.setattr("keras_cvae.evaluation.evaluate.CLASSES", 5)
    many = small()
    assert (
        many.classification is many.marginal is many.samples is many.conditional.per_class is None
    )
    assert "10 classes for each of 20 examples, which is too much; --limit 5" in many.left_out[0]
    assert "at most 5 classes; there are 10" in many.left_out[1]
    assert many.components.count == 30
    np.testing.assert_allclose(many.conditional.nats, found.conditional.nats, rtol=0.1)


def test_what_is_scored_is_bounded_by_the_size_of_the_model(trained, few_digits, monkeypatch):
    vectors = ConditionalVAE((3,), None, 2, backbone=MLP((4,)), likelihood="gaussian")
    assert budget.operations(vectors) == 2 * 4 + 4 * 3
    waves = ConditionalVAE((8, 1), None, 2, backbone=Conv((4, 6), 5), likelihood="gaussian")
    # z -> 5 -> 2 places of 6 channels -> 8, folded to 4 places of 4 -> 2, folded to 8 places
    assert budget.operations(waves) == 2 * 5 + 5 * 12 + 2 * (3 * 6 * 8) + 4 * (3 * 4 * 2)
    assert budget.affordable(vectors, 10_000) == (10_000, 500)
    each = 10 * 16 + 3 * 484  # pilots of ten classes, and all samples of three of them
    held = 1000 * (10 * 16 + 3 * 84)
    for count, expected in ((1230, (1200, 500)), (700, (1500, 200)), (1, (100, 50))):
        enough = budget.operations(trained) * (count * each + held)
        monkeypatch.setattr(budget, "OPERATIONS", enough)
        assert budget.affordable(trained, 2000) == expected
    found = evaluate(trained, few_digits, samples=3, scored=5, binarize="dynamic")
    assert found.conditional.examples == found.settings.scored == 5
    assert found.settings.examples == len(few_digits.test)
    assert found.memorising is not None
    whole = dataclasses.replace(found, settings=dataclasses.replace(found.settings, scored=None))
    assert "examples for log p(x | y) (a: 5, b: None)" in rows.apart({"a": found, "b": whole})


def test_draws_are_judged_as_they_are_made(few_digits):
    model = ConditionalVAE(
        few_digits.x_shape, Optional(Categorical(10), dropout=0.5), 2, backbone=MLP((16,)), seed=0
    )
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(few_digits.train.floats(), few_digits.train.y, epochs=5, verbose=0)
    found, plain = (
        evaluate(model, few_digits, samples=3, limit=40, binarize="dynamic", **drawing)
        for drawing in ({"guidance": 3.0, "temperature": 0.5}, {})
    )
    assert (found.settings.guidance, found.settings.temperature) == (3.0, 0.5)
    assert found.samples.frechet_distance != plain.samples.frechet_distance
    # What is said of p(x | y) is the same, whatever is drawn.
    assert found.from_model == plain.samples
    assert plain.from_model is None
    assert found.conditional == plain.conditional
    both = {"a": found, "b": plain}
    assert "(a: 3 and 0.5, b: 1 and 1)" in rows.drawn_apart(both)
    assert rows.apart(both) == rows.drawn_apart({"a": found, "b": found}) == ""
    table = rows.compare(both)
    assert {row["best"] for row in table if row["group"] == "Samples"} == {None}


def test_pictures_in_files_are_measured_part_by_part_to_the_same_figures(
    trained, digits, few_digits, monkeypatch, tmp_path
):
    monkeypatch.setattr(judge, "epochs_for", lambda n: 1)

    def in_files(split, name):
        paths = [tmp_path / f"{name}{i}.png" for i in range(len(split))]
        for path, image in zip(paths, split.x, strict=True):
            Image.fromarray(image[..., 0]).save(path)
        return Split(ImageFiles(paths, (8, 8), 1), split.y)

    few = dataclasses.replace(few_digits, train=digits.train.spread(120))
    streamed = dataclasses.replace(
        few, train=in_files(few.train, "train"), test=in_files(few.test, "test")
    )
    monkeypatch.setattr(prepare, "PART", 16)
    monkeypatch.setattr(prepare, "LARGE", 4000)  # 15 examples, 62 pictures
    x, _ = prepare.examples(trained, streamed.test)
    assert isinstance(x, prepare.Streamed)
    rows = np.array([3, 3, 40, 7, 39])
    np.testing.assert_array_equal(x[rows], few.test.floats(rows))
    whole, parts = (
        evaluate(trained, data, samples=10, binarize="dynamic") for data in (few, streamed)
    )
    for name in ("settings", "elbo", "generalization", "conditional", "marginal", "classification"):
        assert getattr(parts, name) == getattr(whole, name)
    assert "learned from 62 of 120 training pictures, evenly spread" in parts.left_out[0]
    assert parts.samples.count == 62
    assert not [said for said in whole.left_out if "The judge learned" in said]


def test_a_judge_is_trained_once_for_the_same_data(few_digits, tmp_path, monkeypatch):
    x, y = few_digits.train.x, few_digits.train.y
    first = judge.Judge(x.shape[1:], 10, epochs=1).fit_once(x, y, tmp_path)

    def fit(*args):
        raise AssertionError("trained again")

    with monkeypatch.context() as patch:
        patch.setattr(judge.Judge, "fit", fit)
        again = judge.Judge(x.shape[1:], 10, epochs=1).fit_once(x, y, tmp_path)
        np.testing.assert_array_equal(first.features(x), again.features(x))
        for other in ((x + 1, y, 0), (x, 9 - y, 0), (x, y, 1)):
            own = judge.Judge(x.shape[1:], 10, epochs=1, seed=other[2])
            with pytest.raises(AssertionError, match="trained again"):
                own.fit_once(*other[:2], tmp_path)
    [kept] = tmp_path.iterdir()
    values = (1e6 * x.reshape(len(x), -1)).astype("float32")  # in a unit of their own
    of_vectors = [judge.Judge((64,), 10, epochs=1) for _ in range(2)]
    found = [one.fit_once(values, y, tmp_path / "vectors") for one in of_vectors]
    np.testing.assert_array_equal(*(one.features(values) for one in found))
    kept.write_bytes(b"damaged")
    judge.Judge(x.shape[1:], 10, epochs=1).fit_once(x, y, tmp_path)
    assert kept.stat().st_size > 1000


def test_what_was_measured_differently_is_not_compared(measured):
    alike = {"a": measured, "b": measured}
    assert rows.apart(alike) == ""
    for change, words in (
        ({"samples": 7}, "importance samples (a: 40, b: 7)"),
        ({"coding": "density"}, "codings of x (a: binary, b: density)"),
        ({"test": "0123"}, "other test examples"),
    ):
        settings = dataclasses.replace(measured.settings, **change)
        other = dataclasses.replace(measured, settings=settings)
        assert words in rows.apart({"a": measured, "b": other})
        assert {row["best"] for row in rows.compare({"a": measured, "b": other})} == {None}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: from_arrays(np.zeros((20, 4, 4)), LABELS), "is 4x4x1; the model knows .*8x8x1"),
        (lambda: from_arrays(np.zeros((20, 8, 8))), "has no classes"),
        (lambda: from_arrays(np.zeros((20, 8, 8)), LABELS), "The classes of 'arrays' are 0, 1;"),
    ],
)
def test_data_of_another_kind_are_refused_in_words(trained, data, words):
    with pytest.raises(DataError, match=words):
        evaluate(trained, data(), samples=1)


@pytest.mark.further
def test_grey_levels_are_no_likelihood(trained, few_digits):
    found = evaluate(trained, few_digits, samples=10, limit=20)
    grey = found.grey_level_cross_entropy
    assert grey.loss == -found.elbo.elbo
    assert grey.standard_error == found.elbo.standard_error
    assert grey.importance_weighted < grey.loss
    assert found.conditional is found.marginal is found.bits_per_dimension is None


@pytest.mark.further
def test_metrics_that_do_not_apply_are_absent():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(120, 2)).astype("float32")
    x = (y @ rng.normal(size=(2, 5)) + rng.normal(size=(120, 5))).astype("float32")
    data = from_arrays(x, y, validation=0.3)
    model = ConditionalVAE(
        (5,), Continuous(2), 2, likelihood=Gaussian("learned"), prior=ConditionalNormal(())
    )
    found = evaluate(model, data, samples=20)
    assert {"marginal", "classification", "samples", "bits_per_dimension"}.isdisjoint(
        found.to_dict()
    )
    assert "2 numbers" in found.left_out[0]
    assert "in principal components of x" in found.left_out[1]
    assert found.components.count == len(data.train)
    assert found.components.output == "sample"
    assert found.components.frechet_distance > found.components.frechet_distance_real
    assert 0 <= found.calibration.least_p_value <= 1
    assert found.settings.split == "validation"
    assert found.memorising is not None


@pytest.mark.further
def test_signals_are_calibrated_moment_by_moment(rng):
    y = np.arange(240) % 2
    x = (y[:, None, None] + rng.normal(size=(240, 6, 2))).astype("float32")
    model = ConditionalVAE(
        (6, 2), 2, 1, likelihood=Gaussian("fixed", sigma=0.1), backbone=MLP((4,))
    )
    model.likelihood.adapt(x)
    data = from_arrays(x, y, validation=0.5, signals=True)
    found = evaluate(model, data, samples=2, limit=100).calibration
    assert found.coverage_90 < 0.5  # draws of a width of 0.1
    assert found.place.startswith("moment ")
    assert " of channel " in found.place


@pytest.mark.parametrize("classes", [True, False])
def test_values_that_never_vary_are_left_out_of_what_is_said_of_draws(rng, monkeypatch, classes):
    def values(y, wobble):
        each = rng.normal(24.1, wobble, len(y)), rng.normal(8.0 * y), rng.normal(0, 900.0, len(y))
        return np.stack(each, axis=1).astype("float32")

    def draw(model, train, conditional, *args, **kwargs):
        rows = np.arange(len(train))
        y = train.y if conditional else rows % 2
        return samples.Draws(values(y, 0.02), rows, conditional, "sample")

    monkeypatch.setattr("keras_cvae.evaluation.evaluate.draw", draw)
    y = np.arange(400) % 2
    data = from_arrays(values(y, 0.0), y if classes else None, validation=0.5)
    model = ConditionalVAE(
        (3,), 2 if classes else None, 1, likelihood=Gaussian("learned"), backbone=MLP((4,)), seed=0
    )
    model.likelihood.adapt(data.train.x)
    found = evaluate(model, data, samples=2)
    like = found.samples if classes else found.components
    assert like.frechet_distance < 0.5 + 3.0 * like.frechet_distance_real
    assert min(like.precision, like.recall, like.coverage) > 0.8
    if classes:
        assert min(like.on_label_accuracy, like.tstr, like.judge_accuracy) > 0.95
    assert not found.memorising.memorised
    assert found.calibration.place in ("value 2", "value 3")
    assert found.baseline is None  # whose density has no upper bound either
    (said,) = [one for one in found.left_out if "never varies" in one]
    assert said.startswith("Value 1 never varies in training: ")


def test_of_named_conditions_the_classes_are_judged(rng):
    kind, age = np.array(["a", "b", "c"])[np.arange(210) % 3], rng.normal(size=210)
    x = (rng.normal(size=(210, 4)) + 4 * (np.arange(210) % 3)[:, None]).astype("float32")

    def part(start, stop):
        some = slice(start, stop)
        return Split(x[some], {"kind": kind[some], "age": age[some].astype("float32")})

    data = Data("joint", part(0, 150), part(150, 180), part(180, 210), None)
    condition = Joint({"age": Continuous(), "kind": ["a", "b", "c"]})
    model = ConditionalVAE((4,), condition, 2, likelihood=Gaussian("learned"), backbone=MLP((8,)))
    found = evaluate(model, data, samples=5)
    assert found.samples.label == "kind"
    assert found.samples.judge_accuracy > 0.9
    assert found.samples.on_label_accuracy < 0.9  # the model never learned anything
    assert "On-label" not in " ".join(found.left_out)


def test_a_model_without_a_latent_is_measured_too(few_digits, tmp_path):
    model = ConditionalVAE(few_digits.x_shape, 10, 0, backbone=MLP((8,)))
    found = evaluate(model, few_digits, samples=2, binarize="dynamic")
    assert found.elbo.kl == 0
    assert found.elbo.kl_per_group == found.elbo.kl_per_dimension == ()
    assert found.elbo.elbo == pytest.approx(-found.conditional.nats, rel=1e-5)  # it is exact
    assert found.latent is None
    shown = pictures.pictures(model, few_digits, found)
    assert "Samples" in shown
    assert not {"KL by dimension", "The latent", "Reconstructions"} & set(shown)
    assert "The latent." not in page.report_html(found, {}, tmp_path / "r.html").read_text()


def test_bits_per_dimension_are_of_dequantised_data():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60, 4, 4, 1)).astype("uint8")
    data = from_arrays(x, test=(x[:20], None))
    model = ConditionalVAE(
        (4, 4, 1), None, 2, likelihood=Gaussian(sigma=0.3), backbone=MLP((4,)), seed=0
    )
    bits = evaluate(model, data, samples=10).bits_per_dimension
    assert 8.0 < bits.bits < 14.0  # no model of uniform noise can go below 8
    assert bits.examples == 20


# The report.


class _Page(HTMLParser):
    """Checks that tags are closed in order, and keeps the text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text = [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_report_needs_nothing_but_itself(trained, digits, measured, tmp_path):
    shown = pictures.pictures(trained, digits, measured)
    assert {"Samples", "Reconstructions", "Outliers", "Reliability of p(y | x)"} <= set(shown)
    path = page.report_html(measured, shown, tmp_path / "report.html")
    text = path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    linked = re.findall(r"(?:src|href)=\"?([^\" >]*)", text)
    assert all(link.startswith("data:image/png") for link in linked)
    assert not re.search(r"<script|@import|url\(", text)
    images = re.findall(r"base64,([^\"]+)", text)
    assert len(images) == len(shown)
    assert all(base64.b64decode(image).startswith(b"\x89PNG") for image in images)
    said = _Page(text).text
    assert f"{measured.conditional.nats:.2f}" in said
    assert all(row.label in said for row in rows.ROWS if row.written(measured))
    with pytest.raises(ValueError, match=r"\.html"):
        page.report_html(measured, {}, tmp_path / "report.pdf")


def test_a_report_escapes_and_warns(measured, tmp_path):
    bad = dataclasses.replace(
        measured,
        settings=dataclasses.replace(measured.settings, data="<b>&"),
        latent=dataclasses.replace(measured.latent, **bound.verdict(0, 8, 0.0)),
        memorising=dataclasses.replace(measured.memorising, memorised=True, share=0.9),
        left_out=("<i>this</i>",),
    )
    typed = [("train longer", "cvae train '<s>.npz' --out \"a & b\"")]
    path = tmp_path / "r.html"
    text = page.report_html(bad, {'<u>"': Figure()}, path, typed=typed).read_text()
    assert not re.search("<b>&|<i>this|<u>|<s>", text)
    said = _Page(text).text
    assert "A conditional VAE on <b>&" in said
    assert '<u>"' in said
    assert "<i>this</i>" in said
    assert "Collapsed" in said
    assert "Let beta grow slowly (--warmup 0.3)" in said
    assert "90 % of the draws are copies" in said
    assert typed[0][1] in said


def test_few_effective_samples_are_named(measured, tmp_path):
    row = next(row for row in rows.ROWS if row.label.startswith("effective samples"))
    few, many = (
        dataclasses.replace(
            measured,
            conditional=dataclasses.replace(
                measured.conditional, median_effective_sample_size=effective
            ),
        )
        for effective in (2.5, 31.4)
    )
    assert row.written(few) == "2 of 40 (few)"
    assert row.written(many) == "31 of 40"
    assert "by about 0.20 nats" in few.conditional.warning
    assert "on at most 2.5 effective samples of 40" in few.conditional.warning
    assert many.conditional.warning == ""
    density = dataclasses.replace(
        measured, conditional=dataclasses.replace(measured.conditional, nats=-7.0)
    )
    nats = next(row for row in rows.ROWS if (row.section, row.name) == ("conditional", "nats"))
    assert nats.written(density).startswith("-7.00")
    assert "few" not in nats.written(density)
    pages = [page.report_html(one, {}, tmp_path / "r.html").read_text() for one in (few, many)]
    assert "Take more samples" in pages[0]
    assert "Take more samples" not in pages[1]


def test_compare_marks_the_best_only_beyond_the_errors(measured):
    better = dataclasses.replace(
        measured,
        conditional=dataclasses.replace(measured.conditional, nats=measured.conditional.nats - 10),
        marginal=dataclasses.replace(measured.marginal, nats=measured.marginal.nats - 1e-4),
        elbo=dataclasses.replace(measured.elbo, elbo=measured.elbo.elbo - 10),
        classification=None,
    )
    found = {row["label"]: row for row in rows.compare({"a": measured, "b": better})}
    assert found["−log p(x | y)"]["best"] == 1
    assert found["−log p(x)"]["best"] is None
    assert found["−ELBO"]["best"] == 0
    assert found["−ELBO"]["values"][0].startswith(f"{-measured.elbo.elbo:.2f} ± ")
    assert found["accuracy of p(y | x)"]["values"][1] == ""
    assert found["accuracy of p(y | x)"]["best"] is None
    assert all(len(row["values"]) == 2 for row in found.values())


def test_shares_within_chance_are_not_called_better(measured):
    n = measured.settings.examples
    for gain, best in ((0.5 / n, None), (0.4, 1)):
        a, b = (
            dataclasses.replace(
                measured,
                samples=dataclasses.replace(measured.samples, on_label_accuracy=0.5 + more),
            )
            for more in (0.0, gain)
        )
        found = {row["label"]: row["best"] for row in rows.compare({"a": a, "b": b})}
        assert found["on-label accuracy"] == best


def test_draws_that_other_judges_saw_are_not_compared(measured):
    assert measured.settings.kind == "pictures"
    other = dataclasses.replace(
        measured,
        settings=dataclasses.replace(measured.settings, kind="vectors"),
        conditional=dataclasses.replace(measured.conditional, nats=measured.conditional.nats - 10),
        samples=dataclasses.replace(measured.samples, on_label_accuracy=1.0),
    )
    both = {"a": measured, "b": other}
    assert rows.apart(both) == rows.judged_apart({"a": measured, "b": measured}) == ""
    assert "(a: pictures, b: vectors), by judges that differ" in rows.judged_apart(both)
    found = {row["label"]: row["best"] for row in rows.compare(both)}
    assert (found["on-label accuracy"], found["−log p(x | y)"]) == (None, 1)


def test_no_two_rows_have_the_same_name():
    names = [row.label for row in rows.ROWS]
    assert len({*names}) == len(names)


def test_pictures_of_runs_side_by_side(trained):
    figure = pictures.compare_pictures({"one": trained, "two": trained}, n=4)
    assert isinstance(figure, Figure)


@pytest.mark.slow
def test_the_judge_on_mnist(mnist):
    x, y = mnist["x_train"][..., None], mnist["y_train"].astype("int32")
    own = judge.Judge((28, 28, 1), 10).fit(x, y)
    assert own.accuracy(mnist["x_test"][..., None], mnist["y_test"]) >= 0.99
    held = Split(mnist["x_test"][..., None]).floats
    train = Split(x, y)
    assert likeness.memorising(train.floats(slice(0, 500)), train, held(slice(0, 500))).memorised
    assert not likeness.memorising(held(slice(500, 1000)), train, held(slice(0, 500))).memorised


@pytest.mark.parametrize(("low", "high"), [(0, None), (0, 1)])
def test_categorical_levels_are_scaled_as_their_likelihood_counts(low, high, digits):
    likelihood = CategoricalValues(256, low, high)
    model = ConditionalVAE((8, 8, 1), likelihood=likelihood, backbone=MLP((4,)))
    x, condition = prepare.examples(model, digits.validation)
    assert condition is None
    likelihood.check(x)
    np.testing.assert_allclose(prepare.brightness(model, x), digits.validation.floats(), atol=1e-6)
