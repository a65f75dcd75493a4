"""A SavedModel, on the backend that makes it; others have another process do it."""

import json

import keras
import numpy as np
import pytest

import keras_cvae
from keras_cvae import MLP, ConditionalVAE
from keras_cvae.exports import TOLERANCE

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="a SavedModel is made on TensorFlow"
)


def test_whoever_loads_it_draws_what_keras_draws(tmp_path):
    import tensorflow as tf

    condition = {"kind": ["cat", "dog"], "age": "continuous"}
    model = ConditionalVAE((6,), condition, 2, prior="conditional", backbone=MLP((8,)), seed=0)
    made = keras_cvae.export(model, tmp_path / "model", "tf", graph="generate")
    assert made.difference <= TOLERANCE
    draw = tf.saved_model.load(str(tmp_path / "model")).signatures["generate"]
    noise = np.random.default_rng(0).standard_normal((3, 2), "float32")
    kind, age = np.array([0, 1, 0], "int32"), np.array([[1.0], [2.0], [3.0]], "float32")
    given = {"noise": noise, "condition_kind": kind, "condition_age": age}
    x = draw(**{name: tf.constant(value) for name, value in given.items()})["x"]
    inputs = {"noise": noise, "condition": {"kind": kind, "age": age}}
    z = model.prior.predict(inputs, verbose=0)["z"]
    expected = model.decoder.predict({"z": z, "condition": inputs["condition"]}, verbose=0)
    np.testing.assert_allclose(x, expected, atol=TOLERANCE)
    about = json.loads((tmp_path / "model" / "assets.extra" / "keras_cvae.json").read_text())
    assert about["generate"]["inputs"]["condition_kind"] == [["batch"], "int32"]
