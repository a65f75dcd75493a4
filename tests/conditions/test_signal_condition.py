import keras
import numpy as np
import pytest
from keras import ops

import keras_cvae
from keras_cvae import MLP, Conv, Joint, Optional, Signal


@pytest.mark.parametrize(
    ("y", "shape", "single"),
    [
        (np.ones((2, 7, 1)), (2, 7, 1), False),
        (np.ones((2, 7)), (2, 7, 1), False),
        (np.ones((7, 1)), (1, 7, 1), True),
        (np.ones(7, int), (1, 7, 1), True),
        ([0.5] * 7, (1, 7, 1), True),
    ],
)
def test_one_signal_or_many(y, shape, single):
    found, is_single = Signal((7, 1)).prepare_any(y)
    assert found.shape == shape
    assert found.dtype == np.float32
    assert is_single is single


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, r"conditioned on a signal \(7, 2\), but none"),
        (np.ones((2, 7)), r"signals .* have the shape \(2, 7\). Expected \(n, 7, 2\)"),
        (np.ones((2, 8, 2)), r"shape \(2, 8, 2\). Expected \(n, 7, 2\)"),
        (np.ones((0, 7, 2)), r"shape \(0, 7, 2\)"),
        (np.stack([np.ones((7, 2)), np.full((7, 2), np.nan)]), "NaN or infinity, first in row 1"),
        (np.full((2, 7, 2), "a"), "The signal holds <U1 values. Expected numbers"),
    ],
)
def test_bad_signals_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        Signal((7, 2)).prepare(y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (7,)}, r"Signal shape: received \(7,\), expected \(length, channels\)"),
        ({"shape": (0, 1)}, r"received \(0, 1\)"),
        ({"shape": (7, 1), "backbone": "con"}, "Did you mean 'conv'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Signal(**arguments)


@pytest.mark.parametrize("length", [1, 8, 9, 1000])
def test_the_encoder_grows_with_the_length(length):
    signal = Signal((length, 2))
    assert len(signal.backbone.filters) == max(1, int(np.ceil(np.log2(length / 8))))
    assert signal.width == 128


def test_channels_are_standardised_by_what_is_fitted(rng, tmp_path):
    y = rng.normal([1e3, 0], [1e-1, 1e3], (60, 9, 2))
    signal = Signal((9, 2), MLP((4,)))
    signal.adapt(y)
    scaled = ops.convert_to_numpy(signal.scaled(signal.prepare(y)))
    np.testing.assert_allclose(scaled.mean(axis=(0, 1)), 0, atol=1e-3)
    np.testing.assert_allclose(scaled.std(axis=(0, 1)), 1, rtol=1e-2)

    model = keras_cvae.ConditionalVAE((6,), Signal((9, 2)), 1, backbone=MLP((4,)))
    model.compile()
    x = rng.integers(0, 2, (60, 6))
    model.fit(x, y, verbose=0)
    np.testing.assert_allclose(ops.convert_to_numpy(model.condition.scale), [0.1, 1e3], rtol=0.05)
    model.fit(x, 2 * y, verbose=0)  # the scale of the first stays
    np.testing.assert_allclose(ops.convert_to_numpy(model.condition.scale), [0.1, 1e3], rtol=0.05)
    model.save(tmp_path / "model.keras")
    again = keras_cvae.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(model.generate(y, seed=0), again.generate(y, seed=0))


def test_a_file_of_numbers_is_read(tmp_path):
    values = np.arange(6.0).reshape(3, 2)
    np.save(tmp_path / "signal.npy", values)
    np.savetxt(tmp_path / "signal.csv", values, delimiter=",")
    np.savetxt(tmp_path / "short.txt", np.arange(3.0))
    for name in ("signal.npy", "signal.csv"):
        np.testing.assert_array_equal(Signal((3, 2)).parse(str(tmp_path / name)), values)
    assert Signal((3, 1)).parse(str(tmp_path / "short.txt")).shape == (3, 1)
    with pytest.raises(ValueError, match=r"Cannot read .*none.csv.* 3 rows of 2 numbers"):
        Signal((3, 2)).parse(str(tmp_path / "none.csv"))
    with pytest.raises(ValueError, match=r"shape \(3,\).*Expected \(n, 3, 2\)"):
        Signal((3, 2)).parse(str(tmp_path / "short.txt"))


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
    for output, guidance in (("mean", 1.0), ("sample", 1.0), ("mean", 2.0)):
        options = {"seed": 0, "output": output, "guidance": guidance}
        shared = model.generate(y, 4, **options)
        assert shared.shape == (12, 6)
        np.testing.assert_allclose(shared, model.generate(copies, 1, **options), atol=1e-5)
    one = {"s": y["s"][0, :, 0], "kind": 0}
    assert model.generate(one, 1000, output="sample").shape == (1000, 6)
