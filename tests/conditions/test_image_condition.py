import keras
import numpy as np
import pytest

import keras_cvae
from keras_cvae import MLP, Image


@pytest.mark.parametrize(
    ("y", "shape", "single"),
    [
        (np.ones((2, 4, 3, 1)), (2, 4, 3, 1), False),
        (np.ones((2, 4, 3)), (2, 4, 3, 1), False),
        (np.ones((4, 3, 1)), (1, 4, 3, 1), True),
        (np.ones((4, 3), bool), (1, 4, 3, 1), True),
    ],
)
def test_one_picture_or_many(y, shape, single):
    found, is_single = Image((4, 3, 1), "mlp").prepare_any(y)
    assert found.shape == shape
    assert found.dtype == np.float32
    assert is_single is single


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, r"conditioned on a picture \(4, 3, 1\), but none"),
        (np.ones((2, 3, 4, 1)), r"shape \(2, 3, 4, 1\). Expected \(n, 4, 3, 1\)"),
        (np.full((2, 4, 3, 1), 200, "uint8"), "200 to 200. Expected 0 to 1. Divide by 255"),
        (-np.ones((2, 4, 3, 1)), "-1 to -1. Expected 0 to 1.$"),
        (np.full((2, 4, 3, 1), np.nan), "from nan to nan"),
        (np.full((2, 4, 3, 1), "a"), "Expected numbers"),
    ],
)
def test_bad_pictures_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        Image((4, 3, 1), "mlp").prepare(y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (4, 3)}, r"received \(4, 3\), expected \(height, width, channels\)"),
        ({"shape": (4, 3, 1), "low": 1}, "expected low < high"),
        ({"shape": (4, 3, 1), "backbone": "con"}, "Did you mean 'conv'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Image(**arguments)


def test_a_picture_file_is_read(tmp_path):
    from PIL import Image as Pillow

    Pillow.fromarray(np.full((8, 6), 255, "uint8")).save(tmp_path / "white.png")
    condition = Image((4, 3, 1), "mlp", low=-1)
    np.testing.assert_allclose(condition.parse(str(tmp_path / "white.png")), np.ones((4, 3, 1)))
    with pytest.raises(ValueError, match="Cannot read"):
        condition.parse(str(tmp_path / "none.png"))


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
