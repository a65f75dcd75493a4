"""Pictures and signals as conditions, and the encoders that read them."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_cvae
from keras_cvae import MLP, Conv, Image, Joint, Optional, Signal


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Image((4, 3)), r"received \(4, 3\), expected \(height, width, channels\)"),
        (lambda: Image((4, 3, 1), low=1), "expected low < high"),
        (lambda: Image((4, 3, 1), "con"), "Did you mean 'conv'"),
        (lambda: Signal((0, 1)), r"received \(0, 1\), expected \(length, channels\)"),
        (lambda: Signal((7, 1), backbone="con"), "Did you mean 'conv'"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.further
def test_a_picture_decides_what_is_drawn(rng):
    """The other half of a picture that is black or white, drawn from the half that is known."""
    dark = np.arange(200) % 2
    y = np.repeat(dark, 12).reshape(200, 4, 3, 1).astype("float32")
    x = np.repeat(dark, 6).reshape(200, 6).astype("float32")
    model = keras_cvae.ConditionalVAE(
        (6,), Image((4, 3, 1), MLP((8,))), 1, backbone=MLP((16,)), prior="conditional", seed=0
    )
    model.compile(keras.optimizers.Adam(0.02))
    model.fit(x, y, epochs=20, batch_size=50, verbose=0)
    black, white = model.generate(y[0], 3, seed=0), model.generate(y[:2], 3, seed=0)[3:]
    assert black.mean() < 0.1
    assert white.mean() > 0.9
    way = model.interpolate(condition=y[0], to_condition=y[1], steps=5)
    assert (np.diff(way.mean(axis=1)) > 0).all()


@pytest.mark.parametrize("length", [1, 8, 9, 1000])
def test_the_encoder_grows_with_the_length(length):
    signal = Signal((length, 2))
    assert len(signal.backbone.filters) == max(1, int(np.ceil(np.log2(length / 8))))
    assert signal.width == 128


@pytest.mark.further
def test_channels_are_standardised_by_what_is_fitted(rng, tmp_path):
    y = rng.normal([1e3, 0], [1e-1, 1e3], (60, 9, 2))
    signal = Signal((9, 2), MLP((4,)))
    signal.adapt(y)
    scaled = ops.convert_to_numpy(signal.scaled(signal.spec.prepare(y)))
    np.testing.assert_allclose(scaled.mean(axis=(0, 1)), 0, atol=1e-3)
    np.testing.assert_allclose(scaled.std(axis=(0, 1)), 1, rtol=1e-2)

    model = keras_cvae.ConditionalVAE((6,), Signal((9, 2), MLP((4,))), 1, backbone=MLP((4,)))
    model.compile()
    x = rng.integers(0, 2, (60, 6))
    model.fit(x, y, verbose=0)
    np.testing.assert_allclose(ops.convert_to_numpy(model.condition.scale), [0.1, 1e3], rtol=0.05)
    model.fit(x, np.array([1, 2]) * y, verbose=0)  # the scale of the first stays
    np.testing.assert_allclose(ops.convert_to_numpy(model.condition.scale), [0.1, 1e3], rtol=0.05)
    model.save(tmp_path / "model.keras")
    again = keras_cvae.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(model.generate(y, seed=0), again.generate(y, seed=0))


@pytest.mark.further
def test_draws_for_one_signal_share_its_encoding(rng):
    """As if each had been drawn with a copy of its own, whatever else is known."""
    y = {"s": rng.normal(size=(3, 9, 1)), "kind": np.array([0, 1, 1])}
    condition = Joint({"s": Optional(Signal((9, 1), Conv((4,), 5))), "kind": 2}, dropout=0.3)
    model = keras_cvae.ConditionalVAE((6,), condition, 2, prior="conditional", backbone=MLP((8,)))
    model.compile(keras.optimizers.Adam(0.01))
    model.fit(
        rng.integers(0, 2, (90, 6)), {k: np.repeat(v, 30, axis=0) for k, v in y.items()}, verbose=0
    )
    copies = {name: np.repeat(values, 4, axis=0) for name, values in y.items()}
    for output, guidance in (("sample", 1.0), ("mean", 2.0)):
        options = {"seed": 0, "output": output, "guidance": guidance}
        shared = model.generate(y, 4, **options)
        assert shared.shape == (12, 6)
        np.testing.assert_allclose(shared, model.generate(copies, 1, **options), atol=1e-5)
    one = {"s": y["s"][0, :, 0], "kind": 0}
    assert model.generate(one, 1000, output="sample").shape == (1000, 6)
