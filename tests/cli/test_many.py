"""`--processes` as it is typed: real processes, whose result is that of one."""

import os
import subprocess
import sys

import numpy as np
import pytest

import keras_cvae
from keras_cvae import MLP, ConditionalVAE
from paths import ROOT

pytestmark = pytest.mark.nightly
CVAE = [sys.executable, "-m", "keras_cvae"]


def typed(*words, environment=None):
    command = [*CVAE, *map(str, words)]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | (environment or {}))


def same_weights(one, many):
    for a, b in zip(one.get_weights(), many.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_table_is_learned_alike(tmp_path):
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 400)
    rows = pd.DataFrame({"kind": np.array(["a", "b", "c"])[kind], "size": kind + rng.random(400)})
    rows.round(2).to_csv(tmp_path / "rows.csv", index=False)
    few = ("--epochs", 2, "--hidden", 16, "--batch-size", 64)
    for number in (1, 2):
        words = ("train", tmp_path / "rows.csv", *few, "--processes", number)
        typed(*words, "--out", tmp_path / str(number))
    one, many = (keras_cvae.load(tmp_path / name / "table.cvae") for name in ("1", "2"))
    same_weights(one.model, many.model)
    drawn = [model.sample(50, seed=0) for model in (one, many)]
    assert (drawn[0].kind == drawn[1].kind).all()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.keras"
    ConditionalVAE((4, 4, 1), ["a", "b"], 2, backbone=MLP((8,)), seed=0).save(path)
    return path


def test_draws_are_shared(model, tmp_path):
    asked = ("generate", model, "-n", 1000, "--sample")
    for number in (1, 2):
        to = tmp_path / str(number)
        to.mkdir()
        many = ("--processes", number)
        typed(*asked, *many, "-o", to / "all.npz")
        typed(*asked, *many, "-o", to / "parts", "--shard-rows", 300)
        typed("generate", model, "-n", 3, *many, "-o", to / "pictures")
    found = sorted(path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*.*"))
    assert len(found) == 1 + 8 + 6
    for path in found:
        assert (tmp_path / "1" / path).read_bytes() == (tmp_path / "2" / path).read_bytes()


STARTED = {
    "srun": {
        "SLURM_JOB_ID": "{port}",  # JAX makes a port of it
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_PROCID": "{index}",
        "SLURM_LOCALID": "{index}",
    },
    "mpirun": {
        "OMPI_MCA_orte_hnp_uri": "{port}.0;tcp://127.0.0.1:1",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": "{index}",
        "OMPI_COMM_WORLD_LOCAL_RANK": "{index}",
    },
}


@pytest.mark.parametrize("by", STARTED)
def test_so_they_are_where_others_start_them(by, model, tmp_path):
    """JAX finds its peers by the variables that are set there."""
    job = os.getpid() * (4096 if by == "mpirun" else 1)
    running = []
    for index in range(2):
        own = {k: v.format(port=job, index=index) for k, v in STARTED[by].items()}
        words = ("generate", model, "-n", 40, "-o", tmp_path / "x.npz", "--processes", 2)
        running.append(subprocess.Popen([*CVAE, *map(str, words)], env=os.environ | own))
    assert [process.wait() for process in running] == [0, 0]
    typed("generate", model, "-n", 40, "-o", tmp_path / "one.npz")
    assert (tmp_path / "x.npz").read_bytes() == (tmp_path / "one.npz").read_bytes()
