import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from conftest import ROOT

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
verb, folder, *names = sys.argv[1:]
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
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")

    def run(verb, backend, *names):
        environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT / "src")}
        command = [sys.executable, "-c", SCRIPT, verb, str(folder), backend, *names]
        done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]

    for backend in BACKENDS:
        run("save", backend)
    for backend in BACKENDS:
        run("load", backend, *BACKENDS)
    return folder


@pytest.mark.parametrize("loaded", BACKENDS)
@pytest.mark.parametrize("saved", BACKENDS)
def test_a_model_gives_the_same_on_every_backend(folder, saved, loaded):
    with (
        np.load(folder / f"{saved}-on-{saved}.npz") as own,
        np.load(folder / f"{saved}-on-{loaded}.npz") as other,
    ):
        for name in ("encoder", "decoder", "prior", "generated"):
            np.testing.assert_allclose(other[name], own[name], atol=1e-5, err_msg=name)
        assert np.isfinite(other["loss"])
        # Each backend draws other noise.
        np.testing.assert_allclose(other["loss"], own["loss"], rtol=0.05)
