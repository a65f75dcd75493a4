"""What one backend saves, every other loads, and it answers the same."""

import contextlib
import importlib.util
import itertools
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


def run(folder):
    """Have every backend save its models, and then load and ask all that were saved.

    All at once, a process for each backend; what they answer lies in `folder`.
    """
    script, pipe = ROOT / "tests" / "across_backends.py", subprocess.PIPE
    with contextlib.ExitStack() as stack:
        processes = {}
        for backend in BACKENDS:
            said = stack.enter_context((folder / f"{backend}.log").open("w"))
            process = subprocess.Popen(
                [sys.executable, script, folder, *BACKENDS],
                env=os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT / "src")},
                stdin=pipe,
                stdout=pipe,
                stderr=said,
                text=True,
            )
            processes[backend] = stack.enter_context(process)
        for backend, process in processes.items():
            assert "saved\n" in process.stdout, (folder / f"{backend}.log").read_text()[-2000:]
        for process in processes.values():
            process.stdin.close()  # what they wait for
        for backend, process in processes.items():
            assert process.wait() == 0, (folder / f"{backend}.log").read_text()[-2000:]


def test_a_model_gives_the_same_on_every_backend(tmp_path):
    run(tmp_path)
    for model, saved, loaded in itertools.product(("kinds", "table"), BACKENDS, BACKENDS):
        case = f"{model}, saved on {saved}, loaded on {loaded}"
        with (
            np.load(tmp_path / f"{model}-{saved}-on-{saved}.npz") as own,
            np.load(tmp_path / f"{model}-{saved}-on-{loaded}.npz") as other,
        ):
            for name in set(own.files) - {"loss"}:
                message = f"{case}: {name}"
                np.testing.assert_allclose(other[name], own[name], atol=1e-5, err_msg=message)
            assert np.isfinite(other["loss"]), case
            # Each backend draws other noise.
            np.testing.assert_allclose(other["loss"], own["loss"], rtol=0.05, err_msg=case)
