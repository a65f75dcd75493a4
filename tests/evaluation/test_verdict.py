"""What is said of models that are good, and of models that are built to be bad."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_cvae import MLP, ConditionalVAE, Continuous
from keras_cvae.data.arrays import from_arrays
from keras_cvae.evaluation import bound
from keras_cvae.evaluation.evaluate import evaluate
from keras_cvae.evaluation.likelihood import Independent
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
    from keras_cvae import Gaussian

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
        ("samples", {"recall": 0.01}, 2, "Draws of a class are alike"),
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


def test_independent_values_are_scored_by_hand():
    x, y = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 1.0]]), np.array([0, 1, 1])
    found = Independent.of((x, y), (x[:1], y[:1]), binary=True)
    assert found.nats == pytest.approx(-np.log(2 / 3) - np.log(2 / 3))
    values = np.array([[-1.0], [1.0]])
    found = Independent.of((values, None), (values, None), binary=False)
    assert found.nats == pytest.approx(0.5 * np.log(2 * np.pi) + 0.5)
    assert Independent.of((np.ones((2, 1)), None), (values, None), binary=False) is None
