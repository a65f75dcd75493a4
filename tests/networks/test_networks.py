import keras
import numpy as np
import pytest
from keras import ops

import harness
from keras_cvae.conditions.labels import Categorical
from keras_cvae.models.assembly import assemble
from keras_cvae.models.parts import GenerationNetwork
from keras_cvae.networks.backbone import BACKBONES
from keras_cvae.networks.conv import Conv, depth_to_space, space_to_depth
from keras_cvae.networks.mlp import MLP
from keras_cvae.networks.residual import Residual


class TestEveryBackbone(harness.Harness):
    part = "backbone"


class TestEveryPart(harness.Harness):
    part = "part"


def test_space_to_depth_undoes_depth_to_space(rng):
    x = rng.normal(size=(2, 4, 6, 8)).astype("float32")
    again = ops.convert_to_numpy(space_to_depth(depth_to_space(x)))
    np.testing.assert_array_equal(again, x)
    blocks = ops.convert_to_numpy(space_to_depth(x))
    np.testing.assert_array_equal(blocks[0, 1, 2], x[0, 2:4, 4:6].reshape(-1))
    blocks = ops.convert_to_numpy(space_to_depth(x[0]))  # signals
    np.testing.assert_array_equal(blocks, x[0].reshape(4, 3, 16))
    np.testing.assert_array_equal(ops.convert_to_numpy(depth_to_space(blocks)), x[0])


nightly = pytest.mark.nightly


@pytest.mark.further
@pytest.mark.parametrize(
    "shape",
    [
        (5, 7, 3),
        (33, 2),
        *(pytest.param(shape, marks=nightly) for shape in ((28, 28, 1), (1, 1, 1), (1, 1))),
    ],
)
def test_conv_fits_any_size(shape):
    body, head = Conv((3, 4, 2), 5).encoder(shape), Conv((3, 4, 2), 5).decoder(shape)
    assert body([keras.KerasTensor((None, *shape)), keras.KerasTensor((None, 3))]).shape == (
        None,
        5,
    )
    assert head([keras.KerasTensor((None, 2))]).shape == (None, *shape)


def test_residual_blocks_start_near_the_identity(rng):
    """However many there are, so that what enters a deep network also leaves it."""
    x = rng.normal(size=(64, 20)).astype("float32")
    body = Residual(20, blocks=30).encoder((20,))
    body([x])
    h = ops.convert_to_numpy(body.start(x))
    through = h
    for block in body.blocks:
        through = block(through)
    correlation = np.corrcoef(h.ravel(), ops.convert_to_numpy(through).ravel())[0, 1]
    assert correlation > 0.8


@pytest.mark.further
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=nightly) if name in ("mlp", "residual") else name
        for name in BACKBONES.classes
    ],
)
def test_the_condition_reaches_the_output(name, rng):
    shape = (4, 4, 1)
    encoder, _, decoder, _ = assemble(shape, (2,), Categorical(3), backbone=name)
    x, z = rng.random((1, *shape)).astype("float32"), rng.normal(size=(1, 2)).astype("float32")

    def answers(inputs):
        classes = [np.array([c]) for c in (0, 1)]
        return [
            [keras.tree.flatten(network({name: inputs[name], "condition": c}))[0] for c in classes]
            for network, name in ((encoder, "x"), (decoder, "z"))
        ]

    for one, other in harness.answers(answers, {"x": x, "z": z}):
        assert not np.allclose(one, other)


@pytest.mark.further
@pytest.mark.parametrize("condition", [None, 3])
def test_the_decoder_takes_samples_by_batch(condition, rng):
    decoder = GenerationNetwork((6,), 2, MLP((4,)), "gaussian", condition)
    z = rng.normal(size=(5, 4, 2)).astype("float32")
    y = None if condition is None else np.eye(3, dtype="float32")[[0, 1, 2, 0]]
    whole = ops.convert_to_numpy(decoder.parameters(z, y))
    assert whole.shape == (5, 4, 6)
    one = ops.convert_to_numpy(decoder.parameters(z[3], y))
    np.testing.assert_allclose(whole[3], one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP(()), r"received \(\), expected positive widths"),
        (lambda: Residual(0), "units: received 0"),
        (lambda: Residual(8, blocks=1.5), "blocks: received 1.5"),
        (lambda: Conv((0,)), r"received filters=\(0,\)"),
        (lambda: Conv().encoder((6,)), r"Received data of shape \(6,\). For vectors use the mlp"),
        (lambda: BACKBONES.get("cnv"), "Did you mean 'conv'"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
