"""Runs: complete, stopped, killed, resumed, refused."""

import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

import keras_cvae
from keras_cvae.data.arrays import from_arrays
from keras_cvae.data.sources import load
from keras_cvae.errors import DataError
from keras_cvae.evaluation import prepare
from keras_cvae.files import WriteError
from keras_cvae.runs import typical
from keras_cvae.runs.best import Best
from keras_cvae.runs.config import ConfigError, RunConfig, load_config
from keras_cvae.runs.health import exploded
from keras_cvae.runs.resume import DivergenceError, Stopped
from keras_cvae.runs.run import Run, RunError, alone, check_folder, create
from keras_cvae.runs.train import train

SMALL = {"latent_dim": 3, "units": (16,), "batch_size": 256}
EPOCHS = 12

# Every epoch is a checkpoint here, so that a kill has something to come back to.
DRIVER = """
import json, sys
from keras_cvae.runs.config import validated
from keras_cvae.data.sources import load
from keras_cvae.runs.train import train
source, settings, out, seconds = sys.argv[1:]
data = load(source, memory_limit=1)  # decodes a folder batch by batch
train(data, validated(json.loads(settings)), out, checkpoint_seconds=float(seconds))
"""


def settings(**changes):
    return RunConfig(**SMALL | {"epochs": EPOCHS} | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of 60 grey pictures, 8x8, of two classes."""
    root, rng = tmp_path_factory.mktemp("data") / "pictures", np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 128)):
        (root / name).mkdir(parents=True)
        for i in range(30):
            pixels = rng.integers(low, low + 128, (8, 8), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def vectors(rng):
    """Sixty vectors of two classes: unlike of pictures, how likely they are is not measured."""
    return from_arrays((rng.random((60, 8)) < 0.5).astype("uint8"), np.arange(60) % 2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    return train("digits", settings(), tmp_path_factory.mktemp("runs") / "whole")


def killed(source, config, out, seconds, ready):
    """Start a run in another process and SIGKILL it a random moment after `ready()`."""
    arguments = [str(source), json.dumps(config.model_dump()), str(out), str(seconds)]
    process = subprocess.Popen([sys.executable, "-c", DRIVER, *arguments])
    deadline = time.monotonic() + 300
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.2))
    process.kill()
    assert process.wait() == -signal.SIGKILL, "The run ended before it could be killed."


def assert_same(run, other):
    assert run.history() == other.history()
    ours, theirs = run.model(), other.model()
    pairs = list(zip(ours.variables, theirs.variables, strict=True))
    pairs += zip(ours.optimizer.variables, theirs.optimizer.variables, strict=True)
    assert len(pairs) > 20
    for a, b in pairs:
        np.testing.assert_array_equal(np.array(a), np.array(b), err_msg=a.path)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.further
def test_a_run_folder_holds_what_it_says(whole):
    assert files(whole.folder) == [
        "history.json",
        "metrics.json",
        "model.keras",
        "run.json",
        "typical.json",
    ]
    history, metrics = whole.history(), whole.metrics()
    names = ("loss", "reconstruction", "kl")
    assert set(history) == {*names, *(f"val_{name}" for name in names)}
    assert all(len(values) == EPOCHS for values in history.values())
    assert metrics["val_loss"] == history["val_loss"][-1]
    assert metrics["epochs"] == EPOCHS
    assert metrics["seconds"] > 0
    assert history["loss"][-1] < history["loss"][0]
    assert Run.open(whole.folder) == whole
    evaluated = whole.data().validation
    again = whole.model().evaluate(evaluated.floats(), evaluated.y, verbose=0, batch_size=256)
    assert again[0] == pytest.approx(metrics["val_loss"], abs=1e-3)


@pytest.mark.further
def test_another_seed_is_another_run(whole, tmp_path):
    other = train("digits", settings(seed=1, epochs=1), tmp_path / "other")
    assert other.history()["loss"][0] != whole.history()["loss"][0]


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        pytest.param("digits", {}, id="plain"),
        pytest.param(
            "digits",
            {"binarize": "dynamic", "shift": 1, "num_samples": 2, "cycles": 2},
            id="dynamic",
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            "folder",
            {"batch_size": 16, "shift": 2},
            id="streamed",
            marks=pytest.mark.optimized,
        ),
    ],
)
def test_killed_and_resumed_is_as_if_it_had_not_been(source, changes, whole, folder, tmp_path):
    source = folder if source == "folder" else source
    config, out = settings(**changes), tmp_path / "killed"
    moment, history = random.randint(1, EPOCHS - 4), out / "history.json"
    killed(
        source,
        config,
        out,
        0,
        lambda: history.is_file() and len(json.loads(history.read_text())["loss"]) >= moment,
    )
    data = load(source, memory_limit=1)
    expected = train(data, config, tmp_path / "whole") if changes else whole
    resumed = train(data, None, out, resume=True)
    assert_same(resumed, expected)
    assert resumed.config == expected.config
    assert files(out) == files(expected.folder)


def test_one_process_trains_in_a_folder_and_may_be_killed_before_it_has_saved(whole, tmp_path):
    out = tmp_path / "killed"

    def others_are_refused():
        if not (out / "run.json").is_file():
            return False
        for how in ("resume", "overwrite"):
            with pytest.raises(RunError, match=r"Another process is training in .*/killed'"):
                train("digits", settings(epochs=9999), out, **{how: True})
        return True

    killed("digits", settings(epochs=9999), out, 1e9, others_are_refused)
    with pytest.raises(RunError, match=r"saved nothing yet.*cvae train digits --out .* --resume"):
        Run.open(out).model()
    about = json.loads((out / "run.json").read_text())
    about["config"]["epochs"] = EPOCHS  # of what would never end
    del about["sha256"]
    (out / "run.json").write_text(json.dumps(about))
    assert_same(train("digits", out=out, resume=True), whole)  # what was killed holds nothing
    assert files(out) == files(whole.folder)


def test_interrupted_says_how_to_go_on(whole, tmp_path):
    class Interrupt(keras_cvae.models.cvae.keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.step == 3 * 6 + 2:
                raise KeyboardInterrupt

    out = tmp_path / "with space"
    words = rf"(?s)in epoch 4 of {EPOCHS}, after 1 step.*--out '.*with space' --resume\nOr .* 3$"
    with pytest.raises(Stopped, match=words):
        train("digits", settings(), out, callbacks=[Interrupt()], checkpoint_seconds=0)
    stopped = Run.open(out)
    assert not stopped.complete
    assert len(stopped.history()["loss"]) == 3
    with pytest.warns(UserWarning, match=r"stopped in epoch 4 of .* of then.*space' --resume$"):
        assert np.isfinite(keras_cvae.load(out).generate(2, seed=0)).all()
    with alone(out), pytest.warns(UserWarning, match=r"in training, last saved .* of then\.$"):
        stopped.model()
    shutil.copytree(out, tmp_path / "ended")
    ended = train("digits", RunConfig(epochs=3), tmp_path / "ended", resume=True)
    assert ended.complete
    assert (ended.config.epochs, len(ended.history()["loss"])) == (3, 3)
    assert train("digits", out=ended.folder, resume=True) == ended  # nothing is left to do
    with pytest.raises(ConfigError, match="made 3 epochs; received --epochs 2, expected at least"):
        train("digits", RunConfig(epochs=2), out, resume=True)
    assert_same(train("digits", settings(), out, resume=True), whole)


class Signals(keras.callbacks.Callback):
    """Sends this process a signal at the given moments, each once."""

    async_safe = True

    def __init__(self, *moments):
        super().__init__()
        self.moments = [*moments]

    def send(self, *moment):
        if moment in self.moments:
            self.moments.remove(moment)
            signal.raise_signal(signal.SIGINT)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        self.send("step", self.epoch, batch)

    def on_test_begin(self, logs=None):
        self.send("validation", self.epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.send("end", epoch)


class Asks(keras.callbacks.Callback):
    """Asks how long the training takes, which must not change it."""

    async_safe = True

    def before_training(self, measure):
        assert measure() > 0


def columns(x, rng):
    """Vectors with two conditions, of which one is sometimes missing."""
    size = np.where(rng.random(len(x)) < 0.2, np.nan, rng.random(len(x)))
    return from_arrays(x, {"kind": np.array(list("abc"))[np.arange(len(x)) % 3], "size": size})


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        pytest.param("vectors", {"ema": 0.9}, id="averages"),
        pytest.param("folder", {"ema": 0.9, "shift": 1}, id="streamed", marks=pytest.mark.nightly),
        pytest.param(
            "columns",
            {"condition": ("kind:categorical", "size:continuous"), "precision": "mixed_float16"},
            id="conditions, float16",
            marks=pytest.mark.nightly,
        ),
        pytest.param("folder", {"task": "complete"}, id="completion", marks=pytest.mark.nightly),
        pytest.param(
            "labels", {"semisupervised": True}, id="few labels", marks=pytest.mark.nightly
        ),
    ],
)
def test_a_signal_saves_at_its_step_and_nothing_is_lost(source, changes, rng, folder, tmp_path):
    vectors = (rng.random((50, 5)) < 0.5).astype("uint8")
    data = {
        "vectors": lambda: from_arrays(vectors, np.arange(50) % 3),
        "folder": lambda: load(folder, memory_limit=1),
        "columns": lambda: columns(vectors, rng),
        "labels": lambda: from_arrays(vectors, np.arange(50) % 4 - 1, unlabelled=True),
    }[source]()
    config = settings(epochs=3, batch_size=8, units=(4,), **changes)
    whole = train(data, config, tmp_path / "whole", checkpoint_seconds=1e9)
    out, signals = tmp_path / "stopped", Signals(("step", 0, 2), ("validation", 1), ("end", 1))
    where = ("in epoch 1 of 3, after . steps", "in epoch 2 of 3, after . steps", "after epoch 2 of")
    for again, words in enumerate(where):
        how = {"callbacks": [signals, Asks()], "checkpoint_seconds": 1e9}
        with pytest.raises(Stopped, match=f"saved as it was {words}"):
            train(data, config, out, resume=again > 0, **how)
    assert_same(train(data, config, out, resume=True), whole)
    assert files(out) == files(whole.folder)


@pytest.mark.further
def test_history_that_ran_ahead_of_the_checkpoint_is_cut_back(whole, tmp_path):
    class Die(keras_cvae.models.cvae.keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 4:
                raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(Stopped):
        train("digits", settings(), out, callbacks=[Die()], checkpoint_seconds=0)
    ahead = {name: [*values, 0.0] for name, values in Run.open(out).history().items()}
    (out / "history.json").write_text(json.dumps(ahead))
    (out / ".checkpoint.0123abcd.keras").write_bytes(b"left by a kill")
    assert_same(train("digits", out=out, resume=True), whole)
    assert files(out) == files(whole.folder)


@pytest.mark.further
def test_more_epochs_for_a_complete_run(vectors, tmp_path):
    constant = {"schedule": "constant", "warmup": 0.0, "batch_size": 16}
    long = train(vectors, settings(epochs=4, **constant), tmp_path / "long")
    short = train(vectors, settings(epochs=2, **constant), tmp_path / "short")
    grown = train(vectors, RunConfig(epochs=4), short.folder, resume=True)
    assert_same(grown, long)
    assert grown.config == long.config
    assert Run.open(short.folder) == grown
    with pytest.raises(ConfigError, match="has 4 epochs; received --epochs 3"):
        train(vectors, RunConfig(epochs=3), short.folder, resume=True)


@pytest.mark.further
def test_a_schedule_starts_again_over_the_epochs_that_are_left(vectors, tmp_path):
    rates = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))
            if epoch == killed_at:
                raise KeyboardInterrupt

    def grown(out):
        return train(vectors, RunConfig(epochs=6), out, resume=True, callbacks=[Watch()])

    killed_at, out = None, tmp_path / "run"
    config = settings(epochs=2, ema=0.9, batch_size=16)
    train(vectors, config, out, callbacks=[Watch()], checkpoint_seconds=0)
    shutil.copytree(out, tmp_path / "killed")
    run = grown(out)
    assert run.begun == 2
    assert Run.open(out) == run
    assert len(run.history()["loss"]) == 6
    assert rates[1] < rates[0] < config.learning_rate
    assert rates[1] <= rates[5] < rates[4] < rates[3] < rates[2] < config.learning_rate
    assert train(vectors, out=out, resume=True) == run  # complete: nothing is left to do
    killed_at = 2  # before the first checkpoint that keeps to the new plan
    with pytest.raises(Stopped, match="--resume"):
        grown(tmp_path / "killed")
    killed_at = None
    assert_same(train(vectors, out=tmp_path / "killed", resume=True), run)


def test_the_best_of_averages_is_its_average(small, data, tmp_path):
    model, best, averages = small(compiled=False), Best(tmp_path / "best.keras", 3), []

    class Average(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            values = self.model.optimizer._model_variables_moving_average
            averages.append([keras.ops.convert_to_numpy(value) for value in values])

    model.compile(keras.optimizers.Adam(0.3, use_ema=True, ema_momentum=0.5))
    history = model.fit(
        *data, validation_data=data, epochs=6, callbacks=[best, Average()], verbose=0
    ).history
    assert best.epoch == int(np.argmin(history["val_loss"])) + 1
    best.finish(averages=True)
    for weight, average in zip(model.trainable_variables, averages[best.epoch - 1], strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), average)


@pytest.mark.further
def test_patience_ends_a_training_and_keeps_the_best(vectors, tmp_path):
    class Die(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == best + 3:
                raise KeyboardInterrupt

    config = settings(epochs=300, patience=5, learning_rate=0.02, batch_size=16)
    run = train(vectors, config, tmp_path / "run", checkpoint_seconds=0)
    losses, metrics = run.history()["val_loss"], run.metrics()
    best = int(np.argmin(losses)) + 1
    assert len(losses) == best + 5 < 300
    assert (metrics["best_epoch"], metrics["val_loss"]) == (best, losses[best - 1])
    held = vectors.validation
    again = run.model().evaluate(held.floats(), held.y, verbose=0, batch_size=16)[0]
    assert again == pytest.approx(losses[best - 1], abs=1e-3)
    assert files(run.folder) == ["history.json", "metrics.json", "model.keras", "run.json"]
    assert train(vectors, out=run.folder, resume=True) == run
    stopped = tmp_path / "stopped"
    with pytest.raises(Stopped):
        train(vectors, config, stopped, checkpoint_seconds=0, callbacks=[Die()])
    words = rf"after epoch {best + 3} of 300.*best weights so far, of epoch {best}"
    with pytest.warns(UserWarning, match=words):
        so_far = Run.open(stopped).model()
    for ours, theirs in zip(so_far.weights, run.model().weights, strict=True):
        np.testing.assert_array_equal(np.array(ours), np.array(theirs))
    shutil.copytree(stopped, tmp_path / "ended")
    ended = train(vectors, RunConfig(epochs=best + 3), tmp_path / "ended", resume=True)
    assert (ended.metrics()["best_epoch"], ended.metrics()["epochs"]) == (best, best + 3)
    np.testing.assert_array_equal(ended.model().generate(1, seed=0), so_far.generate(1, seed=0))
    assert_same(train(vectors, out=stopped, resume=True), run)


def test_the_best_of_a_run_that_goes_on_is_kept_where_none_better_comes(vectors, tmp_path):
    class Die(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == best + 2:
                raise KeyboardInterrupt

    config = settings(epochs=300, patience=4, learning_rate=0.05, batch_size=16, units=(8,))
    run = train(vectors, config, tmp_path / "run", checkpoint_seconds=0)
    best, longer = run.metrics()["best_epoch"], RunConfig(epochs=301)
    (run.folder / "evaluation").mkdir()
    (run.folder / "evaluation" / "metrics.json").write_text("{}")
    shutil.copytree(run.folder, tmp_path / "stopped")
    again = train(vectors, longer, run.folder, resume=True, checkpoint_seconds=0)
    assert not (run.folder / "evaluation" / "metrics.json").exists()  # it was of the earlier end
    stopped = tmp_path / "stopped"
    with pytest.raises(Stopped):
        train(vectors, longer, stopped, resume=True, checkpoint_seconds=0, callbacks=[Die()])
    assert not Run.open(stopped).complete
    assert_same(train(vectors, out=stopped, resume=True), again)


def test_a_run_that_is_stopped_once_complete_says_so(tmp_path, monkeypatch):
    """As by a signal while it is measured how likely pictures are."""

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(typical, "measure", interrupted)
    with pytest.raises(Stopped, match=r"^Stopped. The run '.*stopped' is complete.$"):
        train("digits", settings(epochs=1), tmp_path / "stopped")
    assert Run.open(tmp_path / "stopped").complete


def test_nothing_held_out_trains_on_everything(rng, tmp_path):
    data = from_arrays((rng.random((20, 4)) < 0.5).astype("uint8"), np.arange(20) % 2, validation=0)
    run = train(data, settings(epochs=1, validation=0), tmp_path / "run")
    assert len(data.train) == 20
    assert set(run.history()) == {"loss", "reconstruction", "kl"}
    assert run.complete
    with pytest.raises(DataError, match="trained on all examples"):
        prepare.tested(data)
    with pytest.raises(ConfigError, match="patience: received 3 without held-out"):
        load_config(validation=0, patience=3)


@pytest.mark.further
def test_resuming_a_complete_run_changes_nothing(whole):
    before = (whole.folder / "model.keras").read_bytes()
    assert train("digits", settings(), whole.folder, resume=True) == whole
    assert (whole.folder / "model.keras").read_bytes() == before


@pytest.mark.further
def test_averages_of_a_short_run_forget_where_it_began(tmp_path):
    digits, ends = load("digits").train, []
    data = from_arrays(digits.x.reshape(len(digits), -1), digits.y)
    for ema in (0.0, 0.999):  # a memory of 1,000 steps, in a run of 39
        config = settings(ema=ema, units=(64,), batch_size=128, epochs=3)
        ends.append(train(data, config, tmp_path / str(ema)).history()["val_loss"][-1])
    assert abs(ends[1] - ends[0]) < 0.5


def test_an_iwae_run_opens_again(vectors, tmp_path):
    config = settings(objective="iwae", num_samples=2, epochs=1)
    run = train(vectors, config, tmp_path / "iwae")
    assert Run.open(run.folder) == run
    assert train(vectors, config, run.folder, resume=True) == run


@pytest.mark.nightly
def test_vectors_numbers_and_no_condition(rng, tmp_path):
    for i, y in enumerate([rng.random((40, 2)), None]):
        data = from_arrays(rng.standard_normal((40, 5)), y)
        config = settings(likelihood="gaussian", epochs=2)
        run = train(data, config, tmp_path / str(i))
        condition = None if y is None else [0.1, 0.2]
        assert run.model().generate(condition, n=3).shape == (3, 5)


def test_what_are_no_pictures_cannot_be_moved(rng, tmp_path):
    data = from_arrays(rng.standard_normal((40, 5)), None)
    with pytest.raises(DataError, match=r"shift moves pictures .* received x of shape \(5,\)"):
        train(data, settings(likelihood="gaussian", shift=1), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.further
def test_a_data_set_by_name_wins_over_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    run = train("digits", settings(epochs=1))
    assert run.source == "digits"
    assert run.folder == Path("runs/digits-run")
    assert len(run.data().train)


def test_overwrite_replaces_the_run_and_nothing_else(whole, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(whole.folder, out)
    (out / "pictures").mkdir()
    (out / "pictures" / "old.png").touch()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"exists already.*--resume.*--overwrite"):
        train("digits", settings(epochs=1), out)
    run = train("digits", settings(epochs=1), out, overwrite=True)
    assert len(run.history()["loss"]) == 1
    assert files(out) == [
        "history.json",
        "metrics.json",
        "model.keras",
        "notes.txt",
        "run.json",
        "typical.json",
    ]
    assert (out / "notes.txt").read_text() == "mine"


@pytest.fixture
def no_fit(monkeypatch):
    """Fail if anything gets as far as training."""

    def fit(*args, **kwargs):
        pytest.fail("Training started.")

    monkeypatch.setattr(keras_cvae.ConditionalVAE, "fit", fit)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (settings(latent_dim=9), r"latent_dim was 3, asked 9"),
        (settings(seed=5, beta=2.0), r"beta was 1.0, asked 2.0"),
        (settings(epochs=2), r"12 epochs; received --epochs 2"),
        ("dense", r"other settings"),
    ],
)
def test_resume_with_other_settings_is_refused(whole, no_fit, config, words):
    before = {path: path.read_bytes() for path in whole.folder.iterdir()}
    with pytest.raises(ValueError, match=words):
        train("digits", config, whole.folder, resume=True)
    assert {path: path.read_bytes() for path in whole.folder.iterdir()} == before


def test_resume_on_other_data_or_nothing_is_refused(whole, folder, no_fit, tmp_path):
    with pytest.raises(RunError, match="started on 'digits', not on"):
        train(folder, None, whole.folder, resume=True)
    with pytest.raises(RunError, match=r"does not exist\. Expected a folder"):
        train("digits", out=tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("x", "y", "error", "words"),
    [
        (np.full((20, 4), 1.5), None, ValueError, "1.5"),
        (np.full((20, 4), -0.5), None, ValueError, "-0.5"),
        (np.full((20, 4), np.nan), None, DataError, "NaN"),
        (np.full((20, 4), 0.5), np.zeros(19, int), DataError, "20 examples.*19"),
        (np.zeros((0, 4)), None, DataError, "at least one example"),
    ],
    ids=["above", "below", "nan", "lengths", "empty"],
)
def test_bad_arrays_leave_nothing(x, y, error, words, no_fit, tmp_path):
    with pytest.raises(error, match=words):
        train(from_arrays(x, y), settings(), tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"data": "digits", "config": {"a": 1}}'])
def test_a_damaged_run_is_named(content, tmp_path):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"run\.json' is damaged"):
        Run.open(tmp_path)


def test_a_loss_that_explodes_is_named(rng, tmp_path):
    data = from_arrays(1e18 * rng.standard_normal((40, 5)))
    config = settings(likelihood="gaussian", variance="fixed", learning_rate=1e6)
    with pytest.raises(
        DivergenceError, match=r"(?s)The loss is .* \(steps 1 to .*lower rate.*overwrite"
    ):
        train(data, config, tmp_path / "run")
    with pytest.raises(DivergenceError, match="learning rate"):
        train(data, config, tmp_path / "run", resume=True)


def test_a_loss_that_explodes_and_stays_finite_is_named(rng, tmp_path):
    data = from_arrays(rng.standard_normal((40, 5)))
    config = settings(likelihood="gaussian", variance="predicted", learning_rate=1.0, batch_size=8)
    with pytest.raises(DivergenceError, match=r"has diverged: the loss is .* was .* learned"):
        train(data, config, tmp_path / "run")
    assert not Run.open(tmp_path / "run").complete


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("untrained", [-5e3, 7.0, 1e7])
def test_what_counts_as_exploded_has_no_unit(untrained, scale):
    model = SimpleNamespace(x_shape=(5,), latent_dim=2)
    moved = untrained + 5 * np.log(scale)  # as the density of x in another unit
    assert not exploded(model, moved + 500.0, moved)
    assert not exploded(model, 1e12, None)
    assert exploded(model, 1e12, moved)


class FullDisk(keras.callbacks.Callback):
    """Lets no file grow beyond 4 kB, from an epoch on."""

    async_safe = True

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_test_end(self, logs=None):
        if self.model.step >= 2 * self.epoch:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))


def test_one_flipped_byte_is_named_wherever_it_is(whole, rng, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(whole.folder, out)
    run = Run.open(out)
    for name in ("run.json", "model.keras", "history.json", "metrics.json"):
        content = (out / name).read_bytes()
        for at in rng.integers(0, len(content), 20):
            (out / name).write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            words, found = [], None
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                try:
                    found = Run.open(out)
                    found.history(), found.metrics()
                    if name == "model.keras":
                        found.model()
                except ValueError as error:
                    words.append(str(error))
            words += [str(one.message) for one in warned]
            if words:
                assert f"{name}' is damaged" in words[0]
            else:  # a blank, or a name that nothing has
                assert name == "run.json"
                assert found == run
        (out / name).write_bytes(content)


def test_a_full_disk_is_a_sentence_and_what_was_saved_stays(rng, tmp_path):
    data, out = from_arrays((rng.random((18, 5)) < 0.5).astype("uint8")), tmp_path / "run"
    config = settings(epochs=3, units=(4,), batch_size=8)
    assert len(data.train) == 16
    try:
        words = r"(?s)Cannot write '.*checkpoint.keras'.* epoch 2 of 3, after 2 steps"
        with pytest.raises(WriteError, match=words):
            train(data, config, out, callbacks=[FullDisk(2)], checkpoint_seconds=0.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    assert files(out) == ["checkpoint.keras", "history.json", "metrics.json", "run.json"]
    (out / "history.json").write_text("{")
    with pytest.warns(UserWarning, match=r"history.json' is damaged.*checkpoint.keras' says"):
        assert len(Run.open(out).history()["loss"]) == 1
    (out / "metrics.json").write_text("[")
    assert len(train(data, config, out, resume=True).history()["loss"]) == 3


def test_a_damaged_picture_that_is_met_on_the_way_stops_the_run_in_words(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "pictures")
    config, out = settings(epochs=2, batch_size=9), tmp_path / "out"
    data = load(tmp_path / "pictures", memory_limit=1)
    damaged = data.train.x.places.path(data.train.x.rows[20])
    content = damaged.read_bytes()
    damaged.write_bytes(content[:40])
    with pytest.raises(DataError, match=f"{damaged} could not be read: .*Replace(.|\n)*--resume"):
        train(data, config, out)
    damaged.write_bytes(content)
    assert train(data, config, out, resume=True).complete


def test_a_run_that_was_killed_as_it_began_can_be_started_again(rng, tmp_path, monkeypatch):
    out = tmp_path / "run"
    out.mkdir()
    (out / ".lock").touch()
    (out / ".run.0123abcd.json").write_text("{")
    with pytest.raises(RunError, match=r"stopped as it began.*without --resume"):
        Run.open(out)
    check_folder(out)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(30, "read-only")))
    with pytest.raises(WriteError, match=r"run.json': the disk is read-only. Choose another place"):
        create(Run(out, "digits", settings()), keep=False)
    assert files(out) == [".lock"]


class Spoils(keras.callbacks.Callback):
    """Turns a weight into NaN after an epoch, whose loss is fine still."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            weight = self.model.decoder.trainable_variables[-1]
            weight.assign(np.full(weight.shape, np.nan, "float32"))


def test_what_cannot_draw_is_never_complete_and_goes_on_with_another_rate(rng, tmp_path):
    y = np.arange(40) % 3
    data = from_arrays((rng.random((40, 5)) < 0.5).astype("uint8"), y)
    config, run = settings(epochs=2, units=(4,)), tmp_path / "run"
    with pytest.raises(DivergenceError, match=r"weights are not finite"):
        train(data, config, run, callbacks=[Spoils(1)], checkpoint_seconds=0.0)
    assert files(run) == ["checkpoint.keras", "history.json", "metrics.json", "run.json"]
    with pytest.raises(RunError, match="other settings"):
        train(data, settings(epochs=2, units=(5,)), run, resume=True)
    lower = settings(epochs=2, units=(4,), learning_rate=1e-5)
    again = train(data, lower, run, resume=True)
    assert Run.open(run).config.learning_rate == 1e-5
    rate = again.model().optimizer.get_config()["learning_rate"]["config"]
    assert rate["initial_learning_rate"] == 1e-5
    assert len(again.history()["loss"]) == 2


@pytest.mark.further
def test_how_likely_pictures_are_is_measured_where_the_training_ends(whole, tmp_path):
    known = typical.typical(replace(whole, source=str(tmp_path / "gone")), whole.model())
    assert known.examples == 500
    assert known.least <= known.low < 0
