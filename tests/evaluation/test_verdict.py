"""What is said of models that are good, and of models that are built to be bad."""

import dataclasses

import keras
import numpy as np
import pytest
from scipy import stats

from keras_cvae import MLP, ConditionalVAE, Continuous, Gaussian
from keras_cvae.data.arrays import from_arrays
from keras_cvae.evaluation import bound
from keras_cvae.evaluation.baseline import Independent
from keras_cvae.evaluation.calibration import Calibration
from keras_cvae.evaluation.evaluate import evaluate
from keras_cvae.evaluation.verdict import findings, verdict

WHERE = np.arange(12) % 3


@pytest.fixture(scope="module")
def bits():
    """Twelve bits of three classes, each with four that are mostly on."""
    rng = np.random.default_rng(0)
    y = np.arange(600) % 3
    pairs = np.repeat(rng.random((600, 6)), 2, axis=1)  # neighbours agree: there is more to learn
    return from_arrays((pairs < 0.1 + 0.8 * (y[:, None] == WHERE)).astype("uint8"), y)


def made(data, epochs, **arguments):
    keras.utils.set_random_seed(0)
    classes = data.class_names and len(data.class_names)
    model = ConditionalVAE((12,), **{"condition": classes, "latent_dim": 3} | arguments, seed=0)
    model.compile(keras.optimizers.Adam(1e-2))
    if epochs:
        model.fit(data.train.floats(), data.train.y, epochs=epochs, batch_size=32, verbose=0)
    return model


@pytest.fixture(scope="module")
def good(bits):
    return evaluate(made(bits, 60, backbone=MLP((32,))), bits, samples=20)


def test_a_good_model_is_healthy(good):
    assert not [finding for finding in findings(good) if finding.severity > 1]
    assert good.conditional.nats < good.baseline.nats
    assert "nats above that of independent values" in verdict(
        dataclasses.replace(good, latent=None, classification=None)
    )


def test_one_that_learned_nothing_is_not_usable(bits):
    measured = evaluate(made(bits, 0, backbone=MLP((8,))), bits, samples=20)
    said = verdict(measured)
    assert said.startswith("Not usable: ")
    assert "of the draws are what was asked for" in said
    assert "below that of independent values" in said


def test_spread_that_is_wrong_is_not_usable():
    rng = np.random.default_rng(0)
    y = rng.normal(size=800)
    x = (y[:, None] + rng.normal(size=(800, 12))).astype("float32")
    data = from_arrays(x, y)
    model = made(data, 0, condition=Continuous(), likelihood=Gaussian("fixed", sigma=0.01))
    model.fit(data.train.x, data.train.y, epochs=2, verbose=0)
    said = verdict(evaluate(model, data, samples=10))
    assert said.startswith("Not usable: ")
    assert "Draws are too narrow" in said


@pytest.mark.parametrize(
    ("part", "changes", "severity", "words"),
    [
        ("memorising", {"share": 0.4, "memorised": True}, 3, "40 % of the draws are copies"),
        ("latent", bound.verdict(0, 3, 0.0), 3, "Collapsed: the latent is ignored"),
        ("latent", bound.verdict(1, 3, 5.0), 1, "1 of 3 dimensions"),
        ("samples", {"judge_accuracy": 0.33}, 2, "The judge of draws is itself right about 33 %"),
        ("samples", {"on_label_accuracy": 0.33}, 3, "Only 33 % of the draws"),
        ("samples", {"on_label_accuracy": 0.85}, 2, "Only 85 % of the draws"),
        ("samples", {"judge_accuracy": 0.65, "chance": 0.6}, 2, "(a guess about 60 %)"),
        ("samples", {"on_label_per_class": {"1": 0.1}}, 3, "Only 10 % of the draws of '1'"),
        ("samples", {"on_label_per_class": {"1": 0.6}}, 2, "Only 60 % of the draws of '1'"),
        ("samples", {"recall": 0.01}, 2, "Draws of a class are alike"),
        ("samples", {"precision": 0.2}, 2, "unlike real examples: 20 % lie among them"),
        ("generalization", {"gap": 9.0, "train": -1.0}, 2, "It learned by heart"),
        ("conditional", {"nats": 9.5}, 3, "below that of independent values"),
        ("samples", {"tstr": 0.5}, 2, "A classifier that learns from draws is right about 50 %"),
        ("classification", {"calibration_error": 0.3}, 1, "p(y | x) is off by 30 %"),
    ],
)
def test_the_worst_is_named_first(good, part, changes, severity, words):
    bad = dataclasses.replace(good, **{part: dataclasses.replace(getattr(good, part), **changes)})
    first = findings(bad)[0]
    assert first.severity == severity
    assert words in first.text
    assert first.advice


@pytest.mark.parametrize(
    ("found", "severity", "words"),
    [
        ((0.5, 0.60, 0, 0.6), 3, "Draws are too narrow for the truth: 60 %"),
        ((0.5, 0.85, 0, 0.6), 2, "Draws are too narrow for the truth: 85 %"),
        ((0.5, 0.99, 0, 1.0), 3, "Draws are too wide for the truth: 99 %"),
        ((0.5, 0.90, 4, 0.4), 2, "Draws of value 5 are too narrow for the truth: 40 %"),
        ((0.5, 0.90, 4, 0.9), 2, "Draws of value 5 are of another shape"),
    ],
)
def test_no_model_whose_calibration_fails_is_healthy(good, found, severity, words):
    inside = dict(
        zip(("coverage_50", "coverage_90", "worst", "worst_coverage_90"), found, strict=True)
    )
    bad = Calibration(draws=99, examples=99, least_p_value=1e-9, **inside)
    said = verdict(dataclasses.replace(good, calibration=bad))
    assert said.startswith({3: "Not usable: ", 2: "Falls short: "}[severity])
    assert words in said
    assert "--likelihood bounded" in said
    counts = dataclasses.replace(good.settings, coding="counts")
    said = verdict(dataclasses.replace(good, calibration=bad, settings=counts))
    assert ("negative_binomial" in said, "bounded" in said) == (True, False)
    signal = dataclasses.replace(good, calibration=dataclasses.replace(bad, place="moment 5"))
    assert "(cvae plot, samples) it can be seen. --variance predicted" in verdict(signal)
    fine = verdict(
        dataclasses.replace(good, calibration=dataclasses.replace(bad, least_p_value=0.2))
    )
    assert words not in fine


@pytest.mark.parametrize("by_heart", [False, True])
@pytest.mark.parametrize("improving", [None, False, True])
def test_no_advice_of_a_verdict_contradicts_another(good, by_heart, improving):
    samples = dataclasses.replace(good.samples, on_label_accuracy=0.3, recall=0.1)
    away = dataclasses.replace(good.generalization, standard_error=1.0, gap=3.1 * by_heart)
    unused = dataclasses.replace(good.latent, **bound.verdict(1, 3, 5.0))
    bad = Calibration(draws=9, examples=9, least_p_value=0.0, coverage_50=0.5, coverage_90=0.6)
    parts = {"samples": samples, "generalization": away, "latent": unused, "calibration": bad}
    measured = dataclasses.replace(good, **parts)
    said, asked = verdict(measured, improving), set()
    for finding in findings(measured, improving):
        asked.update(finding.remedies)
    assert ("smaller" in asked) == by_heart
    assert ("larger" in asked) == (not by_heart)
    assert (
        ("longer" in asked) == ("Train longer" in said) == (not by_heart and improving is not False)
    )
    assert ("if validation still improved" in said) == (improving is None and not by_heart)
    assert "more latent dimensions" not in said  # of which two are idle
    wide = verdict(dataclasses.replace(measured, latent=good.latent), improving)
    assert ("Give z more dimensions" in wide) == (good.latent.state == "healthy")


def test_what_was_not_judged_is_not_called_healthy_without_a_word(good):
    unseen = dataclasses.replace(good, samples=None, classification=None, latent=None)
    assert verdict(unseen).startswith("Healthy, as far as it was measured: ")


def test_a_model_that_knows_its_examples_by_heart_is_found(rng):
    x = rng.normal(size=(60, 12)).astype("float32")
    data = from_arrays(x, rng.normal(size=(60, 12)).astype("float32"))  # which tell nothing of x
    network = {"condition": Continuous(12), "backbone": MLP((128,))}
    model = made(data, 0, likelihood=Gaussian("learned"), **network)
    model.fit(data.train.x, data.train.y, epochs=150, batch_size=32, verbose=0)
    said = verdict(evaluate(model, data, samples=5))
    assert said.startswith(("Not usable: ", "Falls short: "))
    assert "It learned by heart" in said


def test_draws_of_a_model_without_a_condition_are_calibrated_too(rng):
    x = rng.exponential(size=(900, 12)).astype("float32")
    data = from_arrays(x, None)
    model = made(data, 0, likelihood=Gaussian("learned"), backbone=MLP((8,)))
    model.fit(data.train.x, epochs=5, batch_size=64, verbose=0)
    parts = []

    def progress(items, total, description):
        parts.append(description)
        return items

    measured = evaluate(model, data, samples=5, progress=progress)
    waits = {"the ELBO", "importance sampling", "draws", "distances", "copies", "calibration"}
    assert waits == set(parts)  # none of them is silent
    assert measured.calibration.least_p_value < 0.01  # no Gaussian is exponential
    assert "Draws" in verdict(measured)
    assert verdict(measured).startswith(("Not usable: ", "Falls short: "))


def test_baselines_are_those_of_scipy(rng):
    y, asked = np.arange(40) % 2, np.array([0, 1])
    counts = rng.negative_binomial(2, 0.2, (40, 3))
    found = Independent.of((counts, y), (counts[:2], asked), "counts")
    each = []
    for k in asked:
        mean, variance = counts[y == k].mean(0), counts[y == k].var(0)
        mean = (20 * mean + 0.5) / 21
        size = mean**2 / (variance - mean)
        each.append(stats.nbinom.logpmf(counts[k], size, size / (size + mean)).sum())
    assert found.nats == pytest.approx(-np.mean(each))
    line = rng.normal(size=40)
    x = 3.0 * line[:, None] + rng.normal(size=(40, 2))
    fit = stats.linregress(line, x[:, 0])
    own = Independent.of((x[:, :1], line), (x[:1, :1], line[:1]), "density")
    rest = x[:, 0] - fit.intercept - fit.slope * line
    assert own.nats == pytest.approx(-stats.norm.logpdf(rest[0], 0, rest.std()))
    levels = np.arange(8.0)[:, None]
    total = [Independent.of((levels, None), (levels[i : i + 1], None), 8).nats for i in range(8)]
    assert np.exp(-np.array(total)).sum() == pytest.approx(1.0)  # a distribution


def test_independent_values_are_scored_by_hand():
    x, y = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 1.0]]), np.array([0, 1, 1])
    found = Independent.of((x, y), (x[:1], y[:1]), "binary")
    assert found.nats == pytest.approx(-np.log(2 / 3) - np.log(2 / 3))
    values = np.array([[-1.0], [1.0]])
    found = Independent.of((values, None), (values, None), "density")
    assert found.nats == pytest.approx(0.5 * np.log(2 * np.pi) + 0.5)
    constant = np.full((3, 1), 0.1)  # whose mean in floating point is another number
    assert constant.var() > 0
    for condition in (None, np.array([0.0, 1.0, 3.0])):
        of = (constant, condition)
        assert Independent.of(of, of, "density") is None
