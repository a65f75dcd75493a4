"""From a configuration and data to a model, without a run folder."""

import numpy as np
import pytest

import keras_cvae
from keras_cvae.conditions import Categorical, Continuous, Joint, KnownPart, Optional, Unconditional
from keras_cvae.data.arrays import from_arrays
from keras_cvae.runs import declaration

RNG = np.random.default_rng(0)
X = RNG.integers(0, 2, (40, 4, 4))
CLASSES = np.arange(40) % 3
NAMED = {"kind": CLASSES, "age": np.where(CLASSES, RNG.random(40), np.nan)}


@pytest.mark.parametrize(
    ("y", "settings", "expected"),
    [
        (CLASSES, {}, Categorical),
        (CLASSES, {"label_dropout": 0.1}, Optional),
        (CLASSES, {"conditional": False}, Unconditional),
        (None, {}, Unconditional),
        (RNG.random((40, 2)), {}, Continuous),
        (None, {"task": "complete", "known": "left"}, KnownPart),
        (None, {"task": "complete"}, KnownPart),
        (NAMED, {"condition": ("kind:categorical", "age:continuous")}, Joint),
    ],
)
def test_a_configuration_and_data_are_a_model(y, settings, expected):
    data = from_arrays(X, y, name="made")
    config = keras_cvae.RunConfig(units=(4,), latent_dim=3, seed=2, **settings)
    model = keras_cvae.build_model(config, data)
    assert type(model.condition) is expected
    assert model.x_shape == (4, 4, 1)
    assert model.latent_dim == 3
    assert model.compiled
    again = keras_cvae.build_model(config, data)
    for one, same in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)


def test_what_may_be_missing_and_scales_are_those_of_the_data():
    data = from_arrays(X, NAMED)
    config = keras_cvae.RunConfig(condition=("kind:embedding", "age:continuous"), units=(4,))
    parts = keras_cvae.build_model(config, data).condition.parts
    assert parts["kind"].encoding == "embedding"
    age = data.train.y["age"]
    np.testing.assert_allclose(parts["age"].part.mean, [np.nanmean(age)], rtol=1e-5)


def test_a_declaration_has_a_name_a_kind_and_what_the_kind_needs():
    assert declaration.read("hour:periodic:24") == ("hour", "periodic", "24")
    assert declaration.read(" age :continuous").name == "age"
