"""Networks on tapes give the numbers of Keras."""

import keras
import numpy as np
import pytest

from keras_cvae import MLP, ConditionalVAE, TopDown
from keras_cvae.studio.lowering import UnplayableError, tapes
from keras_cvae.studio.packing import pack
from keras_cvae.studio.tape import Arrays
from keras_cvae.studio.walking import differences, directions
from pages import made, parametrized

DAY = ("colour", "convolutions", "maps", "signal", "direct")


@pytest.mark.further
@pytest.mark.parametrize("name", parametrized(DAY))
def test_tapes_are_the_networks(name):
    model, arrays = made(name), Arrays()
    played = tapes(model, arrays)
    apart = differences(model, played, arrays.arrays, n=6)
    assert set(apart) == ({"picture", "latent"} if model.latent_dim else {"picture"})
    assert max(apart.values()) < 2e-5


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({"latent_dim": 0, "likelihood": "gaussian"}, id="without a latent"),
        pytest.param(
            {"latent_dim": [2, 1], "backbone": TopDown(4)}, id="top-down", marks=pytest.mark.nightly
        ),
    ],
)
def test_without_a_condition_a_network_may_begin_with_a_constant(parts):
    model = ConditionalVAE((5,), None, seed=1, **parts)
    for weight in model.trainable_variables:
        weight.assign(np.linspace(-2, 3, int(np.prod(weight.shape))).reshape(weight.shape))
    arrays = Arrays()
    apart = differences(model, tapes(model, arrays), arrays.arrays, n=3)
    assert apart["picture"] < 2e-5


def test_weights_are_rounded_to_a_thousandth_of_their_size():
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((50, 40)).astype("float32"), np.zeros(3, "float32")]
    packed = pack(arrays, steps=1024)
    size = np.sqrt(np.square(arrays[0]).mean())
    assert np.abs(packed.arrays[0] - arrays[0]).max() < 0.51 * size / 1024
    assert (packed.arrays[1] == 0).all()
    assert len(packed.text) < 2000 * 2 * 1.25  # at most 13 of 16 bits, in 85 characters
    assert "<" not in packed.text


def test_means_and_scales_are_not_rounded():
    model = ConditionalVAE((2,), 2, 2, likelihood="gaussian", backbone=MLP((4,)), seed=0)
    model.likelihood.adapt(np.random.default_rng(0).normal([2e5, -1e-4], [0.3, 1e-7], (50, 2)))
    arrays = Arrays()
    played = tapes(model, arrays)
    assert max(differences(model, played, pack(arrays.arrays).arrays, n=4).values()) < 0.01


def test_an_array_with_one_large_number_still_fits():
    array = np.array([1e4, *[1e-3] * 10_000], "float32")
    packed = pack([array])
    assert np.abs(packed.arrays[0] - array).max() <= 1e4 / 32767 / 2 * 1.01


def test_directions_are_those_of_a_linear_decoder():
    model = made("plane")
    model.decoder.set_weights([0 * w for w in model.decoder.get_weights()])
    vectors, shares = directions(model, n=4)
    assert vectors.shape == (2, 2)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(2), atol=1e-6)
    assert shares.sum() == pytest.approx(0.0, abs=1e-6)  # nothing changes


def test_the_direction_that_changes_most_comes_first():
    model = ConditionalVAE((4,), 2, 3, likelihood="gaussian", backbone=MLP((6,), "linear"), seed=0)
    first, _, last, _ = (w for w in model.decoder.weights if "view" not in w.path and w.trainable)
    kernel = np.zeros(first.shape)
    kernel[:3, :3] = np.diag([0.1, 3.0, 1.0])
    first.assign(kernel)
    last.assign(np.eye(*last.shape))
    vectors, shares = directions(model, n=4)
    np.testing.assert_allclose(np.abs(vectors), np.eye(3)[:, [1, 2, 0]], atol=1e-4)
    np.testing.assert_allclose(shares, np.array([9.0, 1.0, 0.01]) / 10.01, rtol=1e-3)


def test_networks_of_ones_own_are_refused_in_words():
    z = keras.Input((2,))
    decoder = keras.Model(z, keras.layers.Dense(4)(z))
    model = ConditionalVAE((4,), None, 2, decoder=decoder)
    with pytest.raises(UnplayableError, match="networks of your own"):
        tapes(model, Arrays())


def test_an_activation_that_a_page_lacks_is_refused_in_words():
    model = ConditionalVAE((4,), None, 2, backbone=MLP((3,), "hard_sigmoid"))
    with pytest.raises(UnplayableError, match=r"activation 'hard_sigmoid'.*gelu"):
        tapes(model, Arrays())
