"""From a configuration and data to a model, without a run folder."""

import numpy as np
import pytest

import keras_cvae
from keras_cvae.conditions import Categorical, Continuous, Joint, KnownPart, Optional, Unconditional
from keras_cvae.data.arrays import from_arrays
from keras_cvae.evaluation.evaluate import evaluate
from keras_cvae.runs import declaration
from keras_cvae.runs.config import ConfigError, RunConfig, load_config
from keras_cvae.runs.train import train

RNG = np.random.default_rng(0)
X = RNG.integers(0, 2, (40, 4, 4))
CLASSES = np.arange(40) % 3
NAMED = {"kind": CLASSES, "age": np.where(CLASSES, RNG.random(40), np.nan)}


@pytest.mark.further
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


def test_every_setting_reaches_its_part():
    data = from_arrays(X, CLASSES)
    small = {"units": (4,), "latent_dim": 2, "batch_size": 10}
    residual = keras_cvae.RunConfig(backbone="residual", blocks=2, cycles=2, epochs=4, **small)
    model = keras_cvae.build_model(residual, data)
    assert (type(model.backbone), model.backbone.blocks) == (keras_cvae.Residual, 2)
    assert model.objective.beta.get_config()["period"] == 4 * 4 // 2
    topdown = keras_cvae.RunConfig(
        **small | {"backbone": "topdown", "groups": 2, "precision": "mixed_float16"}
    )
    model = keras_cvae.build_model(topdown, data)
    assert type(model.backbone) is keras_cvae.TopDown
    assert list(model.latent_groups) == [1, 1]
    assert float(model.optimizer.dynamic_scale) == 1024
    bounded = keras_cvae.RunConfig(likelihood="bounded", bounds=("0..2",), **small)
    model = keras_cvae.build_model(bounded, from_arrays(RNG.random((40, 3)), CLASSES))
    np.testing.assert_array_equal(model.likelihood.high, [2, 2, 2])


@pytest.mark.parametrize(
    ("condition", "values", "message"),
    [
        (("a:categorical",), np.full(40, -1), "Condition 'a': All of its values are missing"),
        (("a:categorical",), RNG.random(40), "which is no class. Expected whole numbers or names"),
        (("a:categorical",), RNG.integers(0, 2, (40, 2)), "Classes are one an example"),
    ],
)
def test_values_that_are_not_of_their_kind_are_named(condition, values, message):
    config = keras_cvae.RunConfig(condition=condition, units=(4,))
    with pytest.raises(ValueError, match=message):
        keras_cvae.build_model(config, from_arrays(X, {"a": values}))


def test_truth_and_rows_of_tags_are_conditions():
    declared = ("paid:categorical", "tags:tags")
    config = keras_cvae.RunConfig(condition=declared, units=(4,))
    named = {"paid": CLASSES > 0, "tags": RNG.integers(0, 2, (40, 5))}
    parts = keras_cvae.build_model(config, from_arrays(X, named)).condition.parts
    assert parts["paid"].spec.names == ("False", "True")
    assert len(parts["tags"].spec.labels) == 5


@pytest.mark.further
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


@pytest.mark.parametrize("unknown", [-1, ""], ids=["numbers", "names"])
def test_examples_of_unknown_class_are_learned_from_and_measured_on_the_others(
    unknown, tmp_path, rng
):
    y = np.arange(60) % 3
    x = (rng.random((60, 9)) < 0.1 + 0.8 * (np.arange(9) % 3 == y[:, None])).astype("uint8")
    labels = y if unknown == -1 else np.array(["a", "b", "c"])[y]
    labels = np.where(np.arange(60) % 4 > 0, unknown, labels)
    data = from_arrays(x, labels, unlabelled=True)
    names = ("0", "1", "2") if unknown == -1 else ("a", "b", "c")
    assert data.class_names == names
    assert sum(data.describe()["class_counts"]["train"].values()) < len(data.train)
    assert (data.shown.y >= 0).all()
    if unknown == "":
        return
    config = RunConfig(semisupervised=True, epochs=1, units=(8,), latent_dim=2, batch_size=20)
    run = train(data, config, tmp_path / "run")
    model = run.model()
    assert isinstance(model, keras_cvae.SemiSupervisedCVAE)
    assert {"loss", "accuracy", "val_accuracy"} <= set(run.history())
    found = evaluate(model, data, samples=2, limit=5)
    assert found.settings.examples == min(5, (data.validation.y >= 0).sum())
    with pytest.raises(ConfigError, match="forgets; expected one of them"):
        load_config(semisupervised=True, label_dropout=0.1)
