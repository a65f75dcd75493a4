"""p(x | y) without a latent: log p is exact, nothing is inferred, the verbs of a model remain."""

import keras
import numpy as np
import pytest

import keras_cvae
from keras_cvae.probability.likelihoods.columns import Columns


def _gaussian(**options):
    model = keras_cvae.ConditionalVAE(
        (2,),
        condition=["a", "b"],
        latent_dim=0,
        likelihood=keras_cvae.Gaussian("predicted"),
        backbone=keras_cvae.MLP((8,)),
        seed=0,
        **options,
    )
    model.compile(keras.optimizers.Adam(0.05))
    return model


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    y = np.array(["a", "b"])[np.arange(400) % 2]
    x = rng.normal(np.where(y == "a", -2.0, 3.0)[:, None], [0.5, 1.0], (400, 2))
    model = _gaussian()
    model.fit(x.astype("float32"), y, epochs=30, batch_size=100, verbose=0)
    return model


def test_it_learns_the_distribution_of_each_class(model):
    drawn = model.generate("b", n=4_000, output="sample", seed=0)
    np.testing.assert_allclose(drawn.mean(axis=0), 3.0, atol=0.3)
    np.testing.assert_allclose(drawn.std(axis=0), [0.5, 1.0], atol=0.2)
    assert model.latent_dim == 0
    assert model.encode(drawn[:3], "b").shape == (3, 0)
    np.testing.assert_array_equal(model.restyle(drawn[:1], "b", "a"), model.generate("a"))


@pytest.mark.further
def test_log_p_is_exact(model):
    x = np.array([[-2.0, -1.5], [0.0, 1.0]], "float32")
    found = model.log_prob(x, "a")
    assert found.num_samples == 1
    assert (found.standard_error == 0).all()
    p = model.likelihood.distribution(
        model.decoder.parameters(np.zeros((2, 0)), model.condition(np.array([0, 0])))
    )
    np.testing.assert_allclose(found.log_prob, np.asarray(p.log_prob(x)), rtol=1e-5)
    assert -model.evaluate(x, ["a", "a"], verbose=0, return_dict=True)["loss"] == pytest.approx(
        found.mean, rel=1e-4
    )
    assert model.classify(x)[0, 0] > 0.99


def test_it_comes_back_from_a_file(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras_cvae.load(tmp_path / "model.keras")
    x = np.zeros((3, 2), "float32")
    np.testing.assert_array_equal(again.log_prob(x, "b").log_prob, model.log_prob(x, "b").log_prob)


@pytest.mark.further
def test_columns_need_no_decoder_at_all():
    shares = [[[0.5, 0.5]], [[0.25, 0.75]]]
    likelihood = Columns(shares, hidden=16, layers=1, dropout=0.0, seed=0)
    model = keras_cvae.ConditionalVAE((2,), latent_dim=0, likelihood=likelihood, seed=0)
    assert model.decoder.weights == likelihood.weights
    model.compile(keras.optimizers.Adam(0.003))
    x = np.array([[0, 0], [1, 1], [1, 1], [0, 1]], "float32")
    model.fit(np.tile(x, (256, 1)), epochs=20, batch_size=128, verbose=0)
    p = np.exp(model.log_prob(np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")).log_prob)
    np.testing.assert_allclose(p, [0.25, 0.25, 0.0, 0.5], atol=0.03)
    drawn = model.generate(n=2_000, output="sample", seed=0)
    assert (drawn == [1, 1]).all(axis=1).mean() == pytest.approx(0.5, abs=0.05)


def test_what_needs_a_latent_is_refused():
    with pytest.raises(ValueError, match=r"without a latent has no prior, .*; received prior"):
        _gaussian(prior="conditional")
    with pytest.raises(ValueError, match="DReG needs q"):
        _gaussian(objective="dreg")
    with pytest.raises(ValueError, match="latent_dim: received -1"):
        keras_cvae.ConditionalVAE((2,), latent_dim=-1)
