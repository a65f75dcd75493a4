"""Processes that join each other give the model of one, and end together."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import keras_cvae
from keras_cvae import devices
from keras_cvae.data.sources import load
from keras_cvae.runs import processes
from keras_cvae.runs.config import validated
from keras_cvae.runs.processes import EndedError, in_job, spawn
from keras_cvae.runs.run import Run
from keras_cvae.runs.signals import AtStepEnds
from keras_cvae.runs.train import train
from paths import ROOT

DRIVER = """
import json, sys
import keras_cvae
import keras
import numpy as np
from keras_cvae import devices
from keras_cvae.data.sources import load
from keras_cvae.evaluation.evaluate import evaluate
from keras_cvae.fused.applies import StepByStep
from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.runs import processes
from keras_cvae.runs.config import validated
from keras_cvae.runs.resume import Stopped
from keras_cvae.runs.train import train

number, source, settings, out, fast, measure = sys.argv[1:]
if int(number) > 1:
    processes.join(int(number))
settings = validated(json.loads(settings))
some = {"unlabelled": settings.semisupervised} | ({"memory_limit": 1} if "/" in source else {})
data = load(source, **some)

class Stop(keras.callbacks.Callback):
    async_safe = True
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

feeding = ConditionalVAE._feeding
def checked(self, decided, *args, **kwargs):
    plain = isinstance(decided["train"], StepByStep)
    assert plain == (fast == "plain"), decided
    return feeding(self, decided, *args, **kwargs)
ConditionalVAE._feeding = checked
try:
    train(data, settings, out, checkpoint_seconds=0.0, callbacks=[Stop()])
    raise AssertionError("not stopped")
except Stopped:
    devices.exchanged([0])  # the first one has written by now what all are to read
    run = train(data, settings, out, resume=True)
ConditionalVAE._feeding = feeding
model = run.model()
if measure == "all":
    found = evaluate(model, data, samples=40, binarize=settings.binarize, limit=150).to_dict()
else:
    split = data.train.labelled  # so that there are several blocks
    with devices.dividing():
        found = {"log_prob": model.log_prob(split.floats(), split.y, 20).log_prob.tolist()}
if devices.index() == 0:
    with open(f"{out}/found.json", "w") as file:
        json.dump(found, file)
devices.leave()
"""

SETTINGS = {
    "latent_dim": 2,
    "units": (8,),
    "batch_size": 16,  # 8 of them, and 7 that two do not divide
    "epochs": 3,
    "learning_rate": 0.01,
    "binarize": "dynamic",
    "ema": 0.9,
    "warmup": 0.5,
    "shift": 1,
}


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """150 grey pictures, 6x6, of three classes, in a file."""
    path, rng = tmp_path_factory.mktemp("data") / "grey.npz", np.random.default_rng(0)
    np.savez(path, x=rng.integers(0, 256, (150, 6, 6), "uint8"), y=np.arange(150) % 3)
    return path


def by(number, source, settings, out, kind="fast", measure="log_prob"):
    """Train, stop after two epochs, go on and measure, in so many processes."""
    words = [number, source, json.dumps(settings), out, kind, measure]
    command = [sys.executable, "-W", "ignore", "-c", DRIVER, *map(str, words)]
    if number == 1:
        subprocess.run(command, check=True, cwd=ROOT)
    else:
        assert spawn(command, number) == 0


def same(one, many, to=1e-6):
    """The model, the history and the figures of many processes are those of one."""
    models = [keras_cvae.load(run / "model.keras") for run in (one, many)]
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(a, b, atol=to)
    for name, values in Run.open(one).history().items():
        np.testing.assert_allclose(Run.open(many).history()[name], values, rtol=10 * to)
    figures = [json.loads((run / "found.json").read_text()) for run in (one, many)]
    if "log_prob" in figures[0]:
        np.testing.assert_allclose(figures[0]["log_prob"], figures[1]["log_prob"], rtol=10 * to)
        return
    assert figures[0]["settings"] == figures[1]["settings"]
    for part in ("elbo", "conditional", "marginal", "samples"):
        for name, value in (figures[0].get(part) or {}).items():
            if isinstance(value, float):
                assert figures[1][part][name] == pytest.approx(value, rel=1e-3)


@pytest.mark.nightly
def test_two_processes_give_the_model_of_one(tmp_path, arrays):
    for number in (1, 2):
        by(number, arrays, SETTINGS, tmp_path / str(number))
    same(tmp_path / "1", tmp_path / "2")


# A process of a job that needs no model: what it does is a line of Python.
WORKER = """
import os, signal, sys, time
index = int(os.environ["KERAS_DISTRIBUTION_PROCESS_ID"])
{}
"""


def job(line):
    return [sys.executable, "-c", WORKER.format(line)]


def test_one_that_is_killed_ends_all_and_is_named(tmp_path):
    line = "open(f'{sys.argv[1]}/{index}', 'w').write(str(os.getpid())); "
    line += "os.kill(os.getpid(), signal.SIGKILL) if index == 1 else time.sleep(600)"
    with pytest.raises(EndedError, match=r"Process 1 of 3 .*SIGKILL"):
        spawn([*job(line), str(tmp_path)], 3)
    for path in tmp_path.iterdir():
        if said := path.read_text():  # one may have ended before it wrote
            with pytest.raises(ProcessLookupError):
                os.kill(int(said), 0)


def test_one_that_fails_is_named_with_what_it_said(monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 0.5)
    with pytest.raises(EndedError, match=r"(?s)Process 1 of 2 .*exit code 3.*out of paper"):
        spawn(job("index and (print('out of paper'), sys.exit(3)); time.sleep(600)"), 2)


def test_whoever_loses_the_others_is_not_to_blame():
    line = "time.sleep(0.2); index == 2 and os.kill(os.getpid(), 9); sys.exit(70)"
    with pytest.raises(EndedError, match=r"Process 2 of 3 .*SIGKILL"):
        spawn(job(line), 3)


@pytest.mark.parametrize("code", [70, -signal.SIGABRT])
def test_one_that_hangs_is_named(code):
    """JAX ends the others, which hear nothing of it; one that is stopped is not waited for."""
    end = f"sys.exit({code})" if code > 0 else "os.abort()"
    line = f"os.kill(os.getpid(), signal.SIGSTOP) if index == 1 else (time.sleep(0.5), {end})"
    with pytest.raises(EndedError, match=r"Process 1 of 3 .*does not answer"):
        spawn(job(line), 3)


def test_the_first_one_speaks_for_itself(capfd):
    assert spawn(job("print(index, 'of', os.environ['KERAS_DISTRIBUTION_NUM_PROCESSES'])"), 2) == 0
    assert capfd.readouterr().out == "0 of 2\n"
    assert spawn(job("sys.exit(0 if index else 5)"), 2) == 5


def test_a_taken_port_is_tried_again(tmp_path):
    line = f"open({str(tmp_path / 'tries')!r}, 'a').write('.') if not index else None; sys.exit(75)"
    assert spawn(job(line), 1) == 75
    assert (tmp_path / "tries").read_text() == "..."


def test_signals_go_to_the_first_process_alone(tmp_path):
    line = "signal.signal(15, lambda *_: sys.exit(143)); "
    line += f"open(f'{tmp_path}/{{index}}', 'w').close(); time.sleep(0 if index else 600)"

    def press():
        while not (tmp_path / "0").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=press, daemon=True).start()
    assert spawn(job(line), 2) == 143
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("name", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_what_has_started_several_is_not_started_again(name, monkeypatch):
    for other in (*processes._STARTERS, "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(other, raising=False)
    assert not in_job(4)
    monkeypatch.setenv(name, "1")  # one task, in which several may be started
    assert not in_job(4)
    monkeypatch.setenv(name, "4")
    assert in_job(4)
    with pytest.raises(ValueError, match="Expected --processes 4"):
        in_job(2)


def test_kubernetes_says_itself_how_many_there_are(monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert not in_job(2)  # a pod that is no part of an indexed job
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "0")
    assert in_job(2)


def test_what_all_do_is_asked_at_calls_that_all_know(monkeypatch):
    signals, said = SimpleNamespace(number=0), []

    def exchanged(numbers):
        said.append(list(numbers))
        return np.array([[*numbers[:2], 3], [signal.SIGTERM, 0, 99]])

    monkeypatch.setattr(devices, "count", lambda: 2)
    monkeypatch.setattr(devices, "exchanged", exchanged)
    model, together = SimpleNamespace(settle=lambda: None), processes.Together(signals)
    found = [together.ask(model, True) for _ in range(5)]
    # The other one's signal; that it is time to save says the first one alone.
    assert found == [(15, True), (0, False), (0, False), (15, True), (0, False)]
    assert len(said) == 2  # 3 calls later, as the first one measured


def test_a_signal_of_another_process_is_heard_as_ones_own():
    heard = []
    with AtStepEnds() as signals:
        signals.handlers[signal.SIGTERM] = lambda number, frame: heard.append(number)
        signals.hear(signal.SIGTERM)
        signals.hear()
    assert heard == [signal.SIGTERM]


def test_alone_there_is_nothing_to_agree_on():
    assert (devices.count(), devices.index(), devices.joined()) == (1, 0, None)
    part = np.array([0.1, np.pi])
    np.testing.assert_array_equal(devices.gathered(part), part[None])
    with devices.dividing():
        assert devices.share() == (0, 1)
    devices.leave()


# What follows is one case and more of what the test above has shown for arrays.

VECTORS = {"latent_dim": 2, "units": (8,), "batch_size": 16, "epochs": 3, "likelihood": "gaussian"}

FEW = {"latent_dim": 2, "units": (8,), "batch_size": 16, "epochs": 3, "semisupervised": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """90 pictures, 6x6, of two classes, which are read as they are needed."""
    root, rng = tmp_path_factory.mktemp("data") / "pictures", np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 128)):
        (root / name).mkdir(parents=True)
        for i in range(45):
            pixels = rng.integers(low, low + 128, (6, 6), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """150 vectors with a number each, in a file."""
    path, rng = tmp_path_factory.mktemp("data") / "vectors.npz", np.random.default_rng(0)
    y = rng.normal(size=150)
    np.savez(path, x=(y[:, None] + rng.normal(size=(150, 5))).astype("float32"), y=y)
    return path


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """150 binary vectors in a file, a quarter of which have no label."""
    path, rng = tmp_path_factory.mktemp("data") / "labels.npz", np.random.default_rng(0)
    np.savez(path, x=rng.integers(0, 2, (150, 5), "uint8"), y=np.arange(150) % 4 - 1)
    return path


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("number", "devices_each", "source", "settings", "kind", "measure"),
    [
        (4, 1, "arrays", SETTINGS, "fast", "log_prob"),
        (2, 2, "arrays", SETTINGS, "fast", "log_prob"),
        (2, 1, "digits", SETTINGS | {"batch_size": 255, "units": (32,)}, "fast", "all"),
        (2, 1, "folder", SETTINGS, "plain", "log_prob"),
        (2, 1, "arrays", SETTINGS | {"backbone": "conv", "filters": (4, 8)}, "plain", "log_prob"),
        (2, 1, "arrays", SETTINGS | {"task": "complete"}, "plain", "all"),
        (2, 1, "arrays", SETTINGS | {"patience": 2, "ema": 0.0}, "fast", "log_prob"),
        (2, 1, "arrays", SETTINGS | {"precision": "mixed_bfloat16"}, "fast", "log_prob"),
        (2, 1, "vectors", VECTORS, "fast", "log_prob"),
        (2, 1, "labels", FEW, "fast", "log_prob"),
    ],
)
def test_so_it_is_for(
    number, devices_each, source, settings, kind, measure, tmp_path, request, monkeypatch
):
    path = source if source == "digits" else request.getfixturevalue(source)
    by(1, path, settings, tmp_path / "1", kind, measure)
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count="
    monkeypatch.setenv("XLA_FLAGS", f"{flags}{devices_each}")
    by(number, path, settings, tmp_path / "many", kind, measure)
    reduced = "precision" in settings  # whose rounding is as coarse
    same(tmp_path / "1", tmp_path / "many", 1e-3 if reduced else 1e-6)


KILLED = """
import json, os, signal, sys
import keras_cvae
import keras
from keras_cvae import devices
from keras_cvae.data.sources import load
from keras_cvae.runs import processes
from keras_cvae.runs.config import validated
from keras_cvae.runs.train import train

class Kill(keras.callbacks.Callback):
    async_safe = True
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1 and devices.index() == 1:
            os.kill(os.getpid(), signal.SIGKILL)

source, settings, out = sys.argv[1:]
processes.join(2)
settings = validated(json.loads(settings))
train(load(source), settings, out, checkpoint_seconds=0.0, callbacks=[Kill()])
"""


@pytest.mark.nightly
def test_killed_in_two_processes_it_goes_on_in_one(tmp_path, arrays):
    out = tmp_path / "run"
    words = [str(arrays), json.dumps(SETTINGS), str(out)]
    with pytest.raises(EndedError, match=r"Process 1 of 2 .*SIGKILL"):
        spawn([sys.executable, "-c", KILLED, *words], 2)
    (out / "found.json").write_text(json.dumps({"log_prob": []}))
    data, config = load(str(arrays)), validated(SETTINGS)
    train(data, config, out, resume=True)
    whole = train(data, config, tmp_path / "whole")
    (whole.folder / "found.json").write_text(json.dumps({"log_prob": []}))
    same(whole.folder, out)
