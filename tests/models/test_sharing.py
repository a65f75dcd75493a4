"""Models for others: half the size, a card, and nothing that only training needs."""

import hashlib
import json
import zipfile

import h5py
import keras
import numpy as np
import pytest

import keras_cvae
from keras_cvae import MLP, Card, ConditionalVAE, load, trained
from keras_cvae.models.card import located, read_card

CARD = {"summary": "Draws noise.", "scores": {"−log p(x)": "3.1 nats"}, "licence": "CC0-1.0"}


@pytest.fixture(scope="module")
def model():
    """A trained model of numbers on a scale that float16 does not have."""
    rng = np.random.default_rng(0)
    model = ConditionalVAE((6,), 3, 2, likelihood="gaussian", backbone=MLP((40,)), seed=0)
    model.compile("adam")
    model.fit(1e7 + rng.normal(size=(64, 6)), rng.integers(0, 3, 64), verbose=0)
    return model


@pytest.mark.further
def test_a_file_with_its_card(model, tmp_path):
    path = tmp_path / "noise.keras"
    card = model.save_to(path, CARD)
    again = load(path)
    assert again.card == card == read_card(path)
    assert (card.name, card.x_shape, card.likelihood) == ("noise", (6,), "Gaussian")
    assert card.weights == sum(np.prod(w.shape) for w in model.trainable_weights)
    assert card.made_with["keras"] == keras.__version__
    with zipfile.ZipFile(path) as file:
        content = file.read("config.json") + file.read("model.weights.h5")
    assert card.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.further
def test_weights_are_rounded_and_scalings_are_not(model, tmp_path):
    model.save_to(tmp_path / "noise.keras")
    again = load(tmp_path / "noise.keras")
    learned = {id(variable) for variable in model.trainable_variables}
    kept = [v for v in model.variables if "optimizer" not in v.path]
    for ours, theirs in zip(kept, again.variables, strict=True):
        value = keras.ops.convert_to_numpy(ours)
        value = value.astype("float16") if id(ours) in learned else value
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(theirs), value)
    drawn = [one.generate(1, n=4, seed=0) for one in (model, again)]
    assert np.abs(drawn[0] - 1e7).max() < 100
    np.testing.assert_allclose(*drawn, atol=1e-2, rtol=0)


def test_what_only_training_needs_stays_behind(model, tmp_path):
    model.save(tmp_path / "whole.keras")
    model.save_to(tmp_path / "slim.keras")
    sizes = [(tmp_path / name).stat().st_size for name in ("whole.keras", "slim.keras")]
    assert sizes[1] < sizes[0] / 2
    assert not load(tmp_path / "slim.keras").compiled
    with zipfile.ZipFile(tmp_path / "slim.keras") as file, file.open("model.weights.h5") as weights:
        assert "optimizer" not in h5py.File(weights)


def test_the_same_model_gives_the_same_bytes(model, tmp_path):
    for name in ("one.keras", "two.keras"):
        model.save_to(tmp_path / name, {"name": "noise"})
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()


def test_a_folder_has_the_card_to_read(model, tmp_path):
    model.save_to(tmp_path / "noise", CARD)
    assert sorted(p.name for p in (tmp_path / "noise").iterdir()) == ["README.md", "model.keras"]
    readme = (tmp_path / "noise" / "README.md").read_text()
    assert readme.startswith("# noise\n\nDraws noise.")
    assert "| −log p(x) | 3.1 nats |" in readme
    assert load(tmp_path / "noise").card.name == "noise"


def test_a_weight_beyond_float16_stays_as_it_is(tmp_path):
    model = ConditionalVAE((4,), None, 1, backbone=MLP((4,)), seed=0)
    heavy = model.trainable_variables[0]
    heavy.assign(np.full(heavy.shape, 1e5, "float32"))
    model.save_to(tmp_path / "heavy.keras")
    np.testing.assert_array_equal(load(tmp_path / "heavy.keras").trainable_variables[0], heavy)


def test_a_file_that_is_not_what_its_card_says(model, tmp_path):
    path = tmp_path / "noise.keras"
    model.save_to(path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    config = json.loads(parts["config.json"])
    config["config"]["seed"] = 1
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)
    with pytest.raises(ValueError, match=r"not what its card says: .*expected [0-9a-f]{64}"):
        load(path)


def test_refusals(model, tmp_path):
    with pytest.raises(ValueError, match="sumary"):
        model.save_to(tmp_path / "noise.keras", {"sumary": "?"})
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"is a file\. Expected a folder"):
        model.save_to(tmp_path / "file")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    with pytest.raises(FileNotFoundError, match=r"holds no model\.keras.*finished training"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"Did you mean 'mnist-dense'"):
        load("mnist-dens")


@pytest.mark.parametrize("name", trained.names())
def test_what_comes_trained(name):
    path = located(name)
    card = read_card(path)
    assert card.name == name
    assert name in card.example
    for said in (card.summary, card.data, card.data_licence, card.licence, *card.commands):
        assert said
    assert card.scores
    assert card.evaluation
    assert path.stat().st_size < 4e6


@pytest.mark.further
def test_a_digit_that_was_asked_for_without_data_or_run():
    model = keras_cvae.load("mnist-dense")
    drawn = model.generate(list("01234567"), n=4, seed=0)
    assert drawn.shape == (32, 28, 28, 1)
    assert isinstance(model.card, Card)
    read = model.classify(drawn, num_samples=10).argmax(axis=1)
    assert np.mean(read == np.repeat(np.arange(8), 4)) > 0.9
