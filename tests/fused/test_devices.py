"""Many devices give the model of one: with a `keras.distribution`, on devices that are emulated."""

import os
import subprocess
import sys

import pytest

from paths import ROOT

DRIVER = r"""
import re, sys
import keras_cvae
import keras
import numpy as np
import pytest
from keras_cvae import ELBO, IWAE, MLP, ConditionalVAE, Conv, Gaussian, Optional, SemiSupervisedCVAE
from keras_cvae.data.batches import Batches
from keras_cvae.data.containers import Split
from keras_cvae.fused.applies import StepByStep, decide

rng = np.random.default_rng(0)
grey = rng.integers(0, 256, (21, 4, 4, 1)).astype("uint8")
x, y = (grey > 127).astype("float32"), np.arange(21) % 3
weight = rng.random(21).astype("float32")

def results():
    keras.utils.set_random_seed(0)
    model = ConditionalVAE((4, 4, 1), 3, backbone=MLP((8,)), seed=0)
    model.compile(keras.optimizers.SGD(0.01))
    assert not isinstance(decide(model, x, y, training=True), StepByStep)
    fitted = {"batch_size": 8, "epochs": 2, "verbose": 0}  # 8, 8 and 5 examples
    found = model.fit(x, y, sample_weight=weight, validation_data=(x[:5], y[:5]), **fitted).history
    found |= {"evaluate": model.evaluate(x[:5], y[:5], verbose=0), "weights": model.get_weights()}
    if sys.argv[2] == "few":
        return found
    if keras.distribution.distribution() is not None and sys.argv[2] == "weights":
        kernels = [v for v in model.variables if re.search(r"dense_\d*/kernel", v.path)]
        assert not any(v.value.is_fully_replicated for v in kernels)  # also once trained
    model.save(sys.argv[3])
    found |= {"saved": keras_cvae.load(sys.argv[3]).generate(1, n=3, seed=0)}
    moved = Batches(Split(grey, y), 8, shuffle=True, binarize="dynamic", shift=1, shift_epochs=3)
    found |= {"moved": model.fit(moved, epochs=2, shuffle=False, verbose=0).history["loss"]}
    found |= {"plain": model.fit(Plain(), epochs=2, shuffle=False, verbose=0).history["loss"]}
    found |= {"predict": model.predict({"x": x[:5], "condition": y[:5]}, verbose=0)}
    found |= {"generate": model.generate(1, n=3, seed=0), "encode": model.encode(x[:5], y[:5])}
    found |= {"log_prob": model.log_prob(x[:5], y[:5], num_samples=4, seed=0).log_prob}
    return found | others() | {"batch": model.train_on_batch(x[:5], y[:5])}

def others():
    # Where rows meet: the batch's mean KL, its best variance, missing conditions, batch norm.
    missing = np.where(np.arange(21) < 20, y, -1)
    features, image = keras.Input((3,)), keras.Input((4, 4, 1))
    h = keras.layers.Concatenate()([keras.layers.Flatten()(image), features])
    h = keras.layers.BatchNormalization()(keras.layers.Dense(8, "relu")(h))
    own = keras.Model([image, features], [keras.layers.Dense(2)(h), keras.layers.Dense(2)(h)])
    models = {
        "free bits": lambda: ConditionalVAE(
            (4, 4, 1), 3, [1, 1], objective=ELBO(free_bits=0.05), backbone=MLP((8,)), seed=0
        ),
        "variance": lambda: ConditionalVAE(
            (4, 4, 1), 3, likelihood=Gaussian("optimal"), backbone=MLP((8,)), seed=0
        ),
        "missing": lambda: ConditionalVAE(
            (4, 4, 1), Optional(3, 0.3), objective=IWAE(3), backbone=MLP((8,)), seed=0
        ),
        "batch norm": lambda: ConditionalVAE(
            (4, 4, 1), 3, encoder=keras.models.clone_model(own), backbone=MLP((8,)), seed=0
        ),
        "some labels": lambda: SemiSupervisedCVAE((4, 4, 1), 3, backbone=MLP((8,)), seed=0),
    }
    if sys.argv[2] == "weights":
        models.pop("some labels")  # whose classifier has convolutions
    found = {}
    for name, make in models.items():
        keras.utils.set_random_seed(0)
        model, given = make(), missing if name in ("missing", "some labels") else y
        model.compile(keras.optimizers.SGD(0.01, global_clipnorm=1.0))
        history = model.fit(x, given, sample_weight=weight, batch_size=8, epochs=2, verbose=0)
        found |= {name: [model.get_weights(), history.history]}
        found |= {name + ", evaluate": model.evaluate(x[:8], y[:8], verbose=0)}
    return found

class Plain(keras.utils.PyDataset):
    def __len__(self):
        return 3
    def __getitem__(self, i):
        return x[8 * i : 8 * i + 8], y[8 * i : 8 * i + 8]

one = results()
assert len(keras.distribution.list_devices()) == int(sys.argv[1])
if sys.argv[2] == "weights":  # divided as well as rows are
    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh((2, len(devices) // 2), ["rows", "weights"], devices)
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*dense_[0-9]*/kernel"] = (None, "weights")
    divides = keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="rows")
else:
    divides = keras.distribution.DataParallel(auto_shard_dataset=False)
keras.distribution.set_distribution(divides)
many = results()
if sys.argv[2] == "weights":
    conv = ConditionalVAE((4, 4, 1), 3, backbone=Conv((2,), units=4), seed=0)
    conv.compile("adam")
    for call in (conv.fit, conv.evaluate, lambda x, y: conv.predict({"x": x, "condition": y})):
        with pytest.raises(ValueError, match="Expected dense networks"):
            call(x[:8], y[:8])
for name, expected in one.items():
    expected, found = keras.tree.flatten(expected), keras.tree.flatten(many[name])
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5, err_msg=name)
"""


@pytest.mark.parametrize(
    ("devices", "verbs"),
    [
        (2, "few"),
        pytest.param(2, "all", marks=pytest.mark.nightly),
        pytest.param(4, "all", marks=pytest.mark.nightly),
        pytest.param(4, "weights", marks=pytest.mark.nightly),
    ],
)
def test_many_devices_give_the_model_of_one(devices, verbs, tmp_path):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "KERAS_BACKEND": "jax"}
    words = [sys.executable, "-c", DRIVER, str(devices), verbs, str(tmp_path / "m.keras")]
    subprocess.run(words, env=environment, cwd=ROOT, check=True)
