"""What one backend saves, every other loads, and it answers the same."""

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")

    def run(verb, *names):
        """On all backends at once."""
        script, pipe = ROOT / "tests" / "across_backends.py", subprocess.PIPE
        processes = [
            subprocess.Popen(
                [sys.executable, script, verb, folder, *names],
                env=os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT / "src")},
                stdout=pipe,
                stderr=pipe,
                text=True,
            )
            for backend in BACKENDS
        ]
        for process in processes:
            _, said = process.communicate()
            assert process.returncode == 0, said[-2000:]

    run("save")
    run("load", *BACKENDS)
    return folder


@pytest.mark.parametrize("model", ["classes", "kinds", "table"])
@pytest.mark.parametrize("loaded", BACKENDS)
@pytest.mark.parametrize("saved", BACKENDS)
def test_a_model_gives_the_same_on_every_backend(folder, saved, loaded, model):
    with (
        np.load(folder / f"{model}-{saved}-on-{saved}.npz") as own,
        np.load(folder / f"{model}-{saved}-on-{loaded}.npz") as other,
    ):
        for name in set(own.files) - {"loss"}:
            np.testing.assert_allclose(other[name], own[name], atol=1e-5, err_msg=name)
        assert np.isfinite(other["loss"])
        # Each backend draws other noise.
        np.testing.assert_allclose(other["loss"], own["loss"], rtol=0.05)
