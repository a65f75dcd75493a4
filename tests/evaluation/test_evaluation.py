"""Figures on cases whose answer is known."""

import base64
import dataclasses
import json
import math
import re

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure

from keras_cvae import (
    MLP,
    CategoricalValues,
    ConditionalNormal,
    ConditionalVAE,
    Continuous,
    Gaussian,
    Warmup,
    load_data,
)
from keras_cvae.data.arrays import from_arrays
from keras_cvae.data.containers import Split
from keras_cvae.evaluation import bound, calibration, evaluate, judge, likelihood, likeness, prepare
from keras_cvae.report import page, pictures, rows


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module")
def judged(digits):
    own = judge.Judge(digits.x_shape, 10, epochs=12)
    return own.fit(digits.train.x, digits.train.y)


@pytest.fixture(scope="module")
def trained(digits):
    keras.utils.set_random_seed(0)
    model = ConditionalVAE(digits.x_shape, 10, [6, 2], prior="conditional", backbone=MLP((64,)))
    model.compile(keras.optimizers.Adam(3e-3))
    model.fit(digits.train.floats(), digits.train.y, epochs=15, batch_size=64, verbose=0)
    return model


@pytest.fixture(scope="module")
def metrics(trained, digits):
    return evaluate.evaluate(trained, digits, samples=40, binarize="dynamic", limit=200)


def test_a_limit_takes_examples_from_everywhere(trained, digits, monkeypatch):
    order = np.argsort(digits.test.y, kind="stable")
    of_a_kind = dataclasses.replace(digits, test=digits.test.take(order))
    seen = []
    monkeypatch.setattr(evaluate, "bound", lambda m, x, y, **_: seen.append(y) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate.evaluate(trained, of_a_kind, limit=40)
    assert len(seen[0]) == 40
    assert set(seen[0]) == set(range(10))


# The bound and the latent.


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


def test_latent_figures_of_a_gaussian_channel():
    # z | x ~ N(m, v) with m ~ N(0, 1 - v): the aggregate is N(0, 1), I = -1/2 log v.
    rng, n, v = np.random.default_rng(0), 4000, 0.25
    mean = rng.normal(size=(n, 2)) * [math.sqrt(1 - v), 0.01]
    terms = _terms(mean, np.log(np.tile([v, 1.0], (n, 1))))
    assert bound.active_units(terms).tolist() == [True, False]
    information, ceiling = bound.mutual_information(terms)
    assert information == pytest.approx(-0.5 * math.log(v), abs=0.05)
    assert ceiling == pytest.approx(math.log(n))
    assert bound.aggregate_gap(terms).max() < 0.01
    shifted = terms._replace(z=terms.z + 1.0)
    np.testing.assert_allclose(bound.aggregate_gap(shifted), 0.5, atol=0.1)


def test_collapse_is_named_with_its_remedy():
    said, advice = bound.verdict(0, 8, 0.01)
    assert "Collapsed" in said
    assert "Warm" in advice
    assert "Partly" in bound.verdict(2, 8, 5.0)[0]
    assert bound.verdict(8, 8, 20.0)[1] == "Nothing to do."
    assert Warmup(10)  # what the advice names exists


# Calibration of draws.


def test_ranks_that_are_not_uniform_are_found(rng):
    ranks = rng.integers(0, 200, (500, 3))
    ranks[:, 1] = ranks[:, 1] // 2 + 50  # too narrow
    ranks[:, 2] = np.minimum(ranks[:, 2] + 40, 199)  # too high
    found = calibration.Calibration(ranks, draws=199)
    for p in (found.chi_square(), found.chi_square(7), found.kolmogorov_smirnov()):
        assert p[0] > 0.01
        assert (p[1:] < 1e-4).all()
    np.testing.assert_allclose(found.coverage((0.5,))[0], [0.5, 1.0, 0.5], atol=0.07)
    even = calibration.Calibration(np.arange(200)[:, None], draws=199)
    for bins in (2, 7, 20):  # 7 bins of 200 ranks are uneven
        np.testing.assert_allclose(even.chi_square(bins), 1.0)


class _Prior:
    """Draws from N(y, spread^2) for x ~ N(y, 1)."""

    x_shape = (2,)

    def __init__(self, spread):
        self.spread, self.condition = spread, Continuous(2)

    def generate(self, y, n, seed, output):
        noise = np.random.default_rng(seed).standard_normal((n * len(y), 2))
        return np.repeat(y, n, axis=0) + self.spread * noise


@pytest.mark.parametrize(("spread", "right"), [(1.0, True), (0.5, False), (2.0, False)])
def test_calibration_tells_right_from_wrong_spread(rng, spread, right):
    y = rng.normal(size=(400, 2))
    x = y + rng.normal(size=(400, 2))
    found = calibration.calibration(_Prior(spread), x, y, draws=99)
    assert (found.chi_square() > 0.05).all() == right
    assert ((found.coverage((0.8,)) > 0.8) == (spread > 1)).all() or right
    for draws in (0, 9.5):
        with pytest.raises(ValueError, match=f"draws: received {draws}"):
            calibration.calibration(_Prior(spread), x, y, draws=draws)


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
    assert honest["calibration_error"] < 0.015
    assert honest["accuracy"] == pytest.approx(0.75, abs=0.01)
    assert sum(honest["count"]) == len(y)
    sure = likelihood.reliability(np.tile([1.0, 0.0], (len(y), 1)), y)
    assert sure["calibration_error"] == pytest.approx(0.25, abs=0.01)


# The quality of samples.


def test_the_judge_knows_digits_and_is_reproducible(judged, digits):
    assert judged.accuracy(digits.test.x, digits.test.y) > 0.95
    assert judged.features(digits.test.x).shape == (len(digits.test), 128)
    again = judge.Judge(digits.x_shape, 10, epochs=1).fit(digits.train.x, digits.train.y)
    keras.utils.set_random_seed(5)
    other = judge.Judge(digits.x_shape, 10, epochs=1).fit(digits.train.x, digits.train.y)
    few = digits.test.x[:20]
    np.testing.assert_allclose(again.features(few), other.features(few), rtol=1e-3, atol=1e-3)


def test_shuffled_labels_leave_the_judge_at_chance(digits):
    labels = np.random.default_rng(0).permutation(digits.train.y)
    own = judge.Judge(digits.x_shape, 10, epochs=5).fit(digits.train.x, labels)
    assert own.accuracy(digits.test.x, digits.test.y) < 0.25


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


def test_nearest_agrees_with_all_distances(digits):
    x = digits.test.floats(slice(0, 30))
    train = digits.train.floats()
    everything = np.sqrt(np.square(x[:, None] - train[None]).sum(axis=(2, 3, 4)))
    distance, index = likeness.nearest(x, digits.train, 3)
    np.testing.assert_allclose(distance, np.sort(everything, axis=1)[:, :3], atol=1e-3)
    np.testing.assert_array_equal(index[:, 0], everything.argmin(axis=1))


def test_memorising_fires_on_copies_only(digits):
    held = digits.test.floats(slice(0, 180))
    fresh = likeness.memorising(digits.test.floats(slice(180, 359)), digits.train, held)
    assert not fresh["memorised"]
    copies = digits.train.floats(slice(0, 200))
    assert likeness.memorising(copies, digits.train, held)["share"] > 0.95
    noise = np.random.default_rng(0).normal(size=copies.shape) * 0.01
    assert likeness.memorising(copies + noise, digits.train, held)["memorised"]
    half = np.concatenate([copies[:20], digits.test.floats(slice(180, 340))])
    assert likeness.memorising(half, digits.train, held)["memorised"]


# All of it.


def test_evaluate_gives_every_figure(metrics, digits):
    assert json.loads(json.dumps(metrics)) == metrics
    assert set(metrics) == {
        "settings", "elbo", "latent", "classification", "conditional", "marginal", "samples",
        "memorising", "seconds",
    }  # fmt: skip
    elbo, nll = metrics["elbo"], metrics["conditional"]
    assert elbo["elbo"] == pytest.approx(-elbo["reconstruction"] - elbo["kl"], rel=1e-5)
    assert nll["nats"] < -elbo["elbo"] + 3 * nll["monte_carlo_error"]
    # y is worth between 0 and log 10 nats, up to the noise of 200 examples
    assert 0 < metrics["marginal"]["nats"] - nll["nats"] < math.log(10) + 0.2
    assert set(nll["per_class"]) == set(digits.class_names)
    sizes = [one["examples"] for one in nll["per_class"].values()]
    weighted = [one["nats"] * one["examples"] for one in nll["per_class"].values()]
    assert sum(weighted) / sum(sizes) == pytest.approx(nll["nats"], rel=1e-6)
    assert len(elbo["kl_per_group"]) == 2
    assert len(elbo["kl_per_dimension"]) == 8
    assert metrics["samples"]["on_label_accuracy"] > 0.8
    assert metrics["samples"]["tstr"] > 0.6
    assert not metrics["memorising"]["memorised"]
    assert metrics["classification"]["accuracy"] > 0.5


def test_grey_levels_are_no_likelihood(trained, digits):
    x, y = digits.test.floats(slice(0, 40)), digits.test.y[:40]
    figures = evaluate._likelihood_figures(trained, digits, x, y, 10, "none", 0, None)
    assert "grey_level_cross_entropy" in figures
    assert not {"conditional", "marginal", "bits_per_dimension"} & set(figures)


def test_figures_that_do_not_apply_are_absent():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(120, 2)).astype("float32")
    x = (y @ rng.normal(size=(2, 5)) + rng.normal(size=(120, 5))).astype("float32")
    data = from_arrays(x, y)
    model = ConditionalVAE(
        (5,), Continuous(2), 2, likelihood=Gaussian("learned"), prior=ConditionalNormal(())
    )
    metrics = evaluate.evaluate(model, data, samples=20)
    assert {"marginal", "classification", "samples", "bits_per_dimension"}.isdisjoint(metrics)
    assert "2 numbers" in metrics["left_out"][0]
    assert metrics["components"]["count"] == len(data.train)
    assert (
        metrics["components"]["frechet_distance"] > metrics["components"]["frechet_distance_real"]
    )
    assert 0 <= metrics["calibration"]["least_p_value"] <= 1
    assert metrics["settings"]["split"] == "validation"
    assert "memorising" in metrics


def test_bits_per_dimension_are_of_dequantised_data():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60, 4, 4, 1)).astype("uint8")
    data = from_arrays(x, test=(x[:20], None))
    model = ConditionalVAE(
        (4, 4, 1), None, 2, likelihood=Gaussian(sigma=0.3), backbone=MLP((4,)), seed=0
    )
    bits = evaluate.evaluate(model, data, samples=10)["bits_per_dimension"]
    assert 8.0 < bits["bits"] < 14.0  # no model of uniform noise can go below 8
    assert bits["examples"] == 20


# The report.


def test_the_report_needs_nothing_but_itself(trained, digits, metrics, tmp_path):
    shown = pictures.pictures(trained, digits, metrics)
    assert {"Samples", "Reconstructions", "Outliers", "Reliability of p(y | x)"} <= set(shown)
    path = page.report_html(metrics, shown, tmp_path / "report.html")
    text = path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    linked = re.findall(r"(?:src|href)=\"?([^\" >]*)", text)
    assert all(link.startswith("data:image/png") for link in linked)
    assert not re.search(r"<script|@import|url\(", text)
    images = re.findall(r"base64,([^\"]+)", text)
    assert len(images) == len(pictures)
    assert all(base64.b64decode(image).startswith(b"\x89PNG") for image in images)
    assert f"{metrics['conditional']['nats']:.2f}" in text
    with pytest.raises(ValueError, match=r"\.html"):
        page.report_html(metrics, {}, tmp_path / "report.pdf")


def test_a_report_escapes_and_warns(metrics, tmp_path):
    said, advice = bound.verdict(0, 8, 0.0)
    bad = metrics | {
        "settings": metrics["settings"] | {"data": "<b>"},
        "latent": metrics["latent"] | {"verdict": said, "advice": advice},
        "memorising": metrics["memorising"] | {"memorised": True, "share": 0.9},
    }
    text = page.report_html(bad, {}, tmp_path / "r.html").read_text()
    assert "&lt;b&gt;" in text
    assert "Collapsed" in text
    assert "Warm beta up" in text
    assert "90.0 % of the samples are copies" in text


def test_few_effective_samples_are_named(metrics, tmp_path):
    row = next(row for row in rows.ROWS if row.label.startswith("effective samples"))
    few, many = (json.loads(json.dumps(metrics)) for _ in range(2))
    few["conditional"]["median_effective_sample_size"] = 2.5
    many["conditional"]["median_effective_sample_size"] = 31.4
    assert rows.written(few, row) == "2 of 40 (few)"
    assert rows.written(many, row) == "31 of 40"
    assert "by about 0.20 nats" in rows.few_samples(few)
    assert rows.few_samples(many) == ""
    pages = [page.report_html(one, {}, tmp_path / "r.html").read_text() for one in (few, many)]
    assert "Take more samples" in pages[0]
    assert "Take more samples" not in pages[1]


def test_compare_marks_the_best_only_beyond_the_errors(metrics):
    better = json.loads(json.dumps(metrics))
    better["conditional"]["nats"] -= 10.0
    better["marginal"]["nats"] -= 1e-4
    del better["classification"]
    found = {row["label"]: row for row in rows.compare({"a": metrics, "b": better})}
    assert found["−log p(x | y)"]["best"] == 1
    assert found["−log p(x)"]["best"] is None
    assert found["accuracy of p(y | x)"]["values"][1] == ""
    assert all(len(row["values"]) == 2 for row in found.values())


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
    assert likeness.memorising(train.floats(slice(0, 500)), train, held(slice(0, 500)))["memorised"]
    assert not likeness.memorising(held(slice(500, 1000)), train, held(slice(0, 500)))["memorised"]


@pytest.mark.parametrize(("low", "high"), [(0, None), (0, 1)])
def test_categorical_levels_are_scaled_as_their_likelihood_counts(low, high, digits):
    likelihood = CategoricalValues(256, low, high)
    model = ConditionalVAE((8, 8, 1), likelihood=likelihood, backbone=MLP((4,)))
    x = prepare.prepared(model, digits.validation)
    likelihood.check(x)
    np.testing.assert_allclose(prepare.brightness(model, x), digits.validation.floats(), atol=1e-6)
