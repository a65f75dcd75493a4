import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from paths import ROOT

BACKENDS = ("jax", "torch", "tensorflow")
MISSING = [name for name in BACKENDS if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"needs jax, torch and tensorflow; not installed: {', '.join(MISSING)}"
)

# One process per backend and round: `save` trains and saves, `load` loads what all three saved.
SCRIPT = """
import sys
import numpy as np
import keras_cvae
import keras_cvae as cvae
import keras
verb, folder, *names = sys.argv[1:]
if keras.backend.backend() == "tensorflow":
    import tensorflow

    keras.utils.set_random_seed(0)
    tensorflow.config.experimental.enable_op_determinism()  # Keras then does without XLA


def every_kind(n):
    # A condition with a part of each kind, and values of which every fifth is missing.
    signal = keras.Input((5, 1))
    network = keras.Model(signal, keras.layers.Dense(2)(keras.layers.Flatten()(signal)))
    parts = {
        "class": cvae.Categorical(["a", "b", "c"], "embedding", 3),
        "tags": cvae.Tags(["p", "q"]),
        "age": cvae.Continuous(2),
        "hour": cvae.Periodic(24),
        "look": cvae.Image((4, 4, 1), cvae.Conv((2,), 4)),
        "signal": network,
    }
    rng, lost = np.random.default_rng(1), np.arange(n) % 5 == 0
    y = {
        "class": np.where(lost, -1, np.arange(n) % 3),
        "tags": [None if gone else ["p"] for gone in lost],
        "age": np.where(lost[:, None], np.nan, rng.normal(50, 9, (n, 2))),
        "hour": np.ma.masked_array(rng.random(n) * 24, lost),
        "look": rng.random((n, 4, 4)),
        "signal": rng.normal(size=(n, 5, 1)),
    }
    return cvae.Joint(parts, dropout=0.2), y


rng = np.random.default_rng(0)
x, y = (rng.random((32, 5, 7, 1)) < 0.3).astype("float32"), np.arange(32) % 3
z = rng.normal(size=(32, 3)).astype("float32")
if verb == "save":
    model = keras_cvae.ConditionalVAE(
        (5, 7, 1), ["a", "b", "c"], [2, 1], prior="conditional", seed=0,
        backbone=keras_cvae.Conv((4, 3), 8),
    )
    model.compile()
    model.fit(x, y, epochs=2, verbose=0)
    model.save(f"{folder}/{names[0]}.keras")
    condition, y = every_kind(32)
    model = cvae.ConditionalVAE(
        (5, 7, 1), condition, [2, 1], prior="conditional", seed=0, backbone=cvae.MLP((8,))
    )
    model.compile()
    model.fit(x, y, epochs=2, verbose=0)
    model.save(f"{folder}/{names[0]}-kinds.keras")
else:
    for name in names[1:]:
        model = keras_cvae.load(f"{folder}/{name}.keras")
        np.savez(
            f"{folder}/{name}-on-{names[0]}.npz",
            encoder=model.encode(x, y),
            decoder=model.decode(z, y),
            prior=model.sample_prior([0, 1, 2], 4, seed=0),
            generated=model.generate("b", 4, seed=0),
            loss=model.evaluate(x, y, verbose=0)[0],
        )
        model = cvae.load(f"{folder}/{name}-kinds.keras")
        _, given = every_kind(32)
        one = {"class": "b", "age": [48, 55], "hour": 23}
        np.savez(
            f"{folder}/{name}-kinds-on-{names[0]}.npz",
            encoder=model.encode(x, given),
            decoder=model.decode(z, given),
            prior=model.sample_prior(one, 4, seed=0),
            generated=model.generate(one, 4, seed=0, guidance=2.0),
            without=model.generate(None, 4, seed=0),
            loss=model.evaluate(x, given, verbose=0)[0],
        )
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")

    def run(verb, *names):
        """On all backends at once."""
        started = []
        for backend in BACKENDS:
            environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT / "src")}
            command = [sys.executable, "-c", SCRIPT, verb, str(folder), backend, *names]
            pipes: dict = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            started.append(subprocess.Popen(command, env=environment, **pipes))
        for process in started:
            _, said = process.communicate()
            assert process.returncode == 0, said[-2000:]

    run("save")
    run("load", *BACKENDS)
    return folder


@pytest.mark.parametrize("kinds", ["", "-kinds"])
@pytest.mark.parametrize("loaded", BACKENDS)
@pytest.mark.parametrize("saved", BACKENDS)
def test_a_model_gives_the_same_on_every_backend(folder, saved, loaded, kinds):
    with (
        np.load(folder / f"{saved}{kinds}-on-{saved}.npz") as own,
        np.load(folder / f"{saved}{kinds}-on-{loaded}.npz") as other,
    ):
        for name in set(own.files) - {"loss"}:
            np.testing.assert_allclose(other[name], own[name], atol=1e-5, err_msg=name)
        assert np.isfinite(other["loss"])
        # Each backend draws other noise.
        np.testing.assert_allclose(other["loss"], own["loss"], rtol=0.05)
