"""The command, as a user types it."""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from typer.main import get_command

import keras_cvae
from keras_cvae import trained
from keras_cvae.cli import app, main, shared
from keras_cvae.cli.signals import stop_after, stopped_by_signals
from keras_cvae.command import line
from keras_cvae.data.arrays import from_arrays
from keras_cvae.models.card import read_card
from keras_cvae.runs.config import RunConfig, presets
from keras_cvae.runs.resume import Stopped
from keras_cvae.runs.run import Run
from keras_cvae.runs.train import train

CVAE = (sys.executable, "-m", "keras_cvae_command")  # what the script `cvae` runs
COMMANDS = (
    "train",
    "quickstart",
    "generate",
    "restyle",
    "complete",
    "interpolate",
    "evaluate",
    "compare",
    "plot",
    "studio",
    "export",
    "serve",
    "info",
    "presets",
)
KINDS = ("samples", "defaults", "latent", "manifold", "transition", "reconstructions", "history")
COLORS = {"circle": (230, 40, 40), "square": (40, 230, 40), "triangle": (40, 40, 230)}


def tree(folder):
    return {p: p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def typed(*words, cwd, **environment):
    """Type a command in a process of its own."""
    return subprocess.run(
        [*CVAE, *map(str, words)],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "80"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory):
    """What `cvae quickstart --epochs 25` says, and the folder it was typed in."""
    folder, said = tmp_path_factory.mktemp("quickstart"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.chdir(folder)
        patch.setenv("COLUMNS", "80")
        patch.setattr(sys, "argv", ["cvae", "quickstart", "--epochs", "25"])
        with pytest.raises(SystemExit) as end:
            main.main()
    assert not end.value.code
    return said.getvalue(), folder


@pytest.fixture(scope="session")
def run(quickstart):
    return quickstart[1] / "runs" / "quickstart"


def drawn_in(path):
    with np.load(path) as drawn:
        return drawn["x"]


def pixels(path):
    with Image.open(path) as image:
        return image.size


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def shapes(root, n=40, size=12):
    """`n` red circles, green squares and blue triangles on black, each a little elsewhere."""
    rng = np.random.default_rng(0)
    for name, color in COLORS.items():
        (root / name).mkdir(parents=True)
        for i in range(n):
            image = Image.new("RGB", (size, size))
            x, y = rng.integers(1, 4, 2).tolist()
            draw, box = ImageDraw.Draw(image), (x, y, x + 7, y + 7)
            if name == "circle":
                draw.ellipse(box, fill=color)
            elif name == "square":
                draw.rectangle(box, fill=color)
            else:
                draw.polygon([(x, y + 7), (x + 7, y + 7), (x + 3, y)], fill=color)
            image.save(root / name / f"{i}.png")
    return root


# The first minute.


def test_quickstart_leaves_everything_and_says_what_to_type_next(quickstart):
    said, folder = quickstart
    run = folder / "runs" / "quickstart"
    for name in ("model.keras", "history.json", "metrics.json", "run.json"):
        assert (run / name).stat().st_size > 100, name
    pictures = {path.name for path in (run / "pictures").iterdir()}
    assert {"samples.png", "latent.png", "manifold-2.png", "transition.gif"} <= pictures
    assert "You asked for a 2" in said
    assert "█" in said
    assert "\x1b[" not in said
    commands = [line.split("  ")[-1].strip() for line in said.split("Next:")[1].splitlines()]
    assert "cvae generate runs/quickstart --condition 7 -n 16 -o sevens.png" in commands
    assert not any(path.name.startswith(".") for path in folder.rglob("*"))


def test_quickstart_again_takes_another_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(run.parent.parent)
    assert shared.unused(Path("runs/quickstart")) == Path("runs/quickstart-2")


def test_quickstart_refuses_an_unknown_digit_before_training(refused):
    refused(["quickstart", "--ask", "x"], "'x'", "0, 1, 2")


# Help and completion.


@pytest.mark.further
@pytest.mark.parametrize("command", COMMANDS)
def test_help(cvae, command):
    said = cvae(command, "--help")
    assert said.code == 0
    assert "Usage: cvae" in said.out
    assert all(len(line) <= 80 for line in said.out.splitlines())


def test_help_lists_all_commands(cvae):
    said = cvae("--help")
    assert said.code == 0
    assert all(command in said.out for command in COMMANDS)
    assert "cvae quickstart" in said.out
    assert "KERAS_CVAE_TRACEBACK=1" in said.out


def test_version(cvae):
    assert cvae("--version").out == f"keras-cvae {keras_cvae.__version__}\n"


def test_an_error_shows_its_place_in_the_code_if_asked(cvae, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["cvae", "info", "nowhere"])
    monkeypatch.setenv("KERAS_CVAE_TRACEBACK", "1")
    with pytest.raises(ValueError, match="nowhere"):
        main.main()


def test_every_setting_is_a_flag_and_every_flag_says_what_it_does():
    options = {p.name: p for p in get_command(app.app).commands["train"].params}
    for name, field in RunConfig.model_fields.items():
        assert f"--{name.replace('_', '-')}" in options[name].opts
        assert options[name].help.startswith(field.description)
        assert options[name].default is None


def test_completion_knows_the_presets(tmp_path):
    said = typed(
        cwd=tmp_path,
        _CVAE_COMPLETE="complete_bash",
        COMP_WORDS="cvae train mnist --preset note",
        COMP_CWORD="4",
    )
    assert said.stdout.split() == ["notebook"]


def test_presets(cvae):
    said = cvae("presets")
    assert all(preset.command in said.out for preset in presets().values())
    listed = json.loads(cvae("presets", "--json").out)["presets"]
    assert [preset["name"] for preset in listed] == list(presets())


# Train.

QUICK = ("--epochs", 1, "--units", "8,8", "--latent-dim", 2)


def test_train_by_flags_file_and_preset(cvae, tmp_path):
    (tmp_path / "my.toml").write_text("batch_size = 500\nbeta = 3.0\nlatent_dim = 7\n")
    words = ("--preset", "notebook", "--config", "my.toml", "--no-conditional", "--json")
    said = cvae("train", "digits", *QUICK, *words)
    assert said.code == 0
    assert json.loads(said.out)["run"] == "runs/digits-notebook"
    assert "epoch 1/1  loss" in said.err
    config = Run.open("runs/digits-notebook").config
    assert (config.units, config.latent_dim, config.batch_size) == ((8, 8), 2, 500)
    assert (config.beta, config.activation, config.conditional) == (3.0, "relu", False)
    drawn = cvae("generate", "runs/digits-notebook", "-n", 3, "-o", "x.npz")
    assert drawn.code == 0
    assert drawn_in("x.npz").shape == (3, 8, 8, 1)


@pytest.mark.further
def test_what_train_says_to_type_next_can_be_typed(cvae, tmp_path):
    said = cvae("train", "digits", *QUICK, "--out", "a run")
    commands = [
        line[line.index("cvae ") :] for line in said.out.split("Next:")[1].split("\n") if line
    ]
    assert len(commands) == 3
    assert cvae(*shlex.split(commands[0])[1:]).code == 0
    assert Path("drawn.png").is_file()


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.nightly),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.nightly),
    ],
)
def test_a_signal_stops_and_says_how_to_go_on_and_that_works(number, code, tmp_path, cvae):
    words = [*CVAE, "train", "digits", "--epochs", "4000", "--units", "8", "--out", "my run"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "my run" / "run.json").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(number)
        try:
            said = process.communicate(timeout=300)[1]
        finally:
            process.kill()
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert "Stopped" in said
    command = "cvae train digits --out 'my run' --resume"
    assert f"Continue with:\n{command}\n" in said
    assert re.search(r"stopped (before|in|after)", cvae("info", "my run").out)
    # Shorter than the user's, so that the test ends: rewrite what the run was asked for.
    path = tmp_path / "my run" / "run.json"
    about = json.loads(path.read_text())
    about["config"]["epochs"] = 2
    path.write_text(json.dumps(about))
    assert cvae("info", "my run").err.count("take out its line 'sha256'") == 1
    del about["sha256"]
    path.write_text(json.dumps(about))
    assert cvae(*shlex.split(command)[1:]).code == 0
    assert Run.open("my run").complete


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_python_drops_stops_too(tmp_path):
    heard = []

    class Terminated:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)
            heard.append("too late")

    config = RunConfig(epochs=9, units=(8,))
    with stopped_by_signals() as received:
        Terminated()
        assert received == [signal.SIGTERM]
        with pytest.raises(Stopped):
            train("digits", config, tmp_path / "run", callbacks=[stop_after(received)])
    assert not heard


def test_a_dry_run_says_what_would_be_trained_and_how_long(cvae, tmp_path, rng):
    np.savez("sensors.npz", x=rng.normal(1e5, 1e3, (60, 3)), load=rng.random(60))
    said = cvae("train", "sensors.npz", "--units", 4, "--batch-size", 30, "--dry-run")
    assert said.code == 0, said.err
    chosen, because = said.err.splitlines()[:2]
    assert chosen.startswith("Chosen: --likelihood gaussian")
    assert "--condition load:continuous" in chosen
    assert "--units" not in chosen
    assert because.startswith("Because x are 60 vectors of 3 numbers")
    assert "--units 4" in said.out
    assert "300 epochs of 2 steps, at most about" in said.out
    assert ", less if validation no longer improves; 54 examples. Nothing was" in said.out
    assert [path.name for path in tmp_path.iterdir()] == ["sensors.npz"]
    about = json.loads(cvae("info", "sensors.npz", "--json").out)
    assert about["also_holds"]["load"].startswith("numbers from")
    assert about["train_with"]["type"] == ["cvae train sensors.npz"]
    np.savez("sensors.npz", x=rng.normal(1e5, 1e3, (60, 3)), y=np.arange(60) % 2, load=np.ones(60))
    suggested = json.loads(cvae("info", "sensors.npz", "--json").out)["train_with"]["type"]
    assert suggested[1] == "cvae train sensors.npz --condition load:continuous"
    said = cvae("train", "sensors.npz", "--units", 4, "--epochs", 1)
    assert "also holds load, which the model will not know" in said.err


def test_seeds_are_swept_and_epochs_logged(cvae):
    said = cvae(
        "train", "digits", *QUICK, "--seeds", 2, "--log", "csv", "--out", "runs/d", "--json"
    )
    assert said.code == 0, said.err
    swept = json.loads(said.out)
    assert [*swept["runs"]] == ["runs/d-0", "runs/d-1"]
    losses = [*swept["runs"].values()]
    assert swept["mean"] == pytest.approx(sum(losses) / 2)
    assert swept["standard_deviation"] == pytest.approx(abs(losses[0] - losses[1]) / 2**0.5)
    assert [Run.open(f"runs/d-{i}").config.seed for i in (0, 1)] == [0, 1]
    header, *rows = Path("runs/d-1/log.csv").read_text().splitlines()
    assert {"epoch", "loss", "val_loss"} <= set(header.split(","))
    assert len(rows) == 1
    assert "expected csv or tensorboard" in cvae("train", "digits", "--log", "cvs").err
    if not find_spec("tensorboard"):
        said = cvae("train", "digits", "--log", "tensorboard", "--out", "t")
        assert "tensorboard. Install with: pip install " in said.err
        assert "Chosen" not in said.err  # before the data are looked at


def test_commands_are_printed_as_they_can_be_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = tmp_path / "venv" / "bin" / "cvae"
    command.parent.mkdir(parents=True)
    command.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", ["venv/bin/cvae", "quickstart"])
    monkeypatch.setenv("PATH", "")
    assert line("info", "a run") == "venv/bin/cvae info 'a run'"
    monkeypatch.setattr(sys, "argv", [str(command)])
    assert line("info") == "venv/bin/cvae info"
    monkeypatch.setenv("PATH", str(command.parent))
    assert line("info") == "cvae info"
    monkeypatch.setattr(sys, "argv", ["notebook.py"])
    assert line("info") == "cvae info"


# Draw.


@pytest.mark.further
def test_generate_a_sheet_a_table_and_a_folder(cvae, run):
    assert cvae("generate", run, "-c", 2, "-n", 5, "-o", "twos.png").code == 0
    assert pixels("twos.png")[0] >= 5 * 8
    said = cvae("generate", run, "-c", 2, "-c", "3:0.5,8:0.5", "-n", 4, "-o", "x.npz", "--json")
    assert json.loads(said.out) == {"files": ["x.npz"], "labels": ["2"] * 4 + ["3:0.5,8:0.5"] * 4}
    with np.load("x.npz") as drawn:
        assert drawn["x"].shape == (8, 8, 8, 1)
        assert drawn["y"].tolist() == ["2"] * 4 + ["3:0.5,8:0.5"] * 4
        assert np.abs(drawn["x"][0] - drawn["x"][1]).max() > 0.01
    said = cvae("generate", run, "-c", 7, "-c", 7, "-n", 2, "-o", "sevens", "--json")
    written = json.loads(said.out)["files"]
    assert written == [f"sevens/7-000{i}.png" for i in range(4)]
    assert all(pixels(path) == (8, 8) for path in written)


def test_generate_in_the_terminal(cvae, run):
    said = cvae("generate", run, "-n", 1)
    assert said.code == 0
    assert all(f"{digit}:\n" in said.out for digit in range(10))
    assert max(map(len, said.out.splitlines())) <= 80


@pytest.mark.further
def test_same_seed_same_pictures(cvae, run):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        cvae("generate", run, "-c", 3, "--seed", seed, "-o", f"{name}.npz")
    a, b, c = (drawn_in(f"{name}.npz") for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.01
    cvae("generate", run, "-c", 3, "-n", 2, "--temperature", 0, "-o", "cold.npz")
    cold = drawn_in("cold.npz")
    np.testing.assert_array_equal(cold[0], cold[1])


def test_restyle(cvae, run):
    assert cvae("generate", run, "-c", 3, "-n", 1, "-o", "threes").code == 0
    words = ("restyle", run, "threes/3-0000.png", "--to", 7, "--to", 8)
    said = cvae(*words, "--from", 3, "-o", "restyled.png", "--json")
    assert json.loads(said.out) == {"from": "3", "to": ["7", "8"], "file": "restyled.png"}
    assert pixels("restyled.png")[0] > 100
    said = cvae(*words)
    assert said.code == 0
    assert "Read as a" in said.err
    assert "(yours)" in said.out
    assert "unlike" not in said.err
    digit = 1.0 - keras_cvae.load_data("digits").test.floats()[3, :, :, 0]
    Image.fromarray((255 * digit).astype("uint8")).convert("RGB").resize((16, 16)).save("dark.png")
    said = cvae("restyle", run, "dark.png", "--to", 7)
    assert "16x16, the run's pictures 8x8: resized, taken in grey" in said.err
    warned, read = said.err.index("unlike what the model knows: its log p"), said.err.index("Most")
    assert warned < read
    assert "of its classes; --from says otherwise" in said.err
    assert "%" not in said.err
    assert "try --invert" in said.err
    assert "unlike" not in cvae("restyle", run, "dark.png", "--invert", "--to", 7).err


def test_interpolate_between_conditions_and_pictures(cvae, run):
    said = cvae("interpolate", run, "--from", 3, "--to", 8, "-n", 5, "-o", "way.npz", "--json")
    assert json.loads(said.out) == {"file": "way.npz", "steps": 5}, said.err
    way = drawn_in("way.npz")
    model = Run.open(run).model()
    np.testing.assert_allclose(way[0], model.generate("3", n=1, temperature=0.0)[0], atol=1e-5)
    np.testing.assert_allclose(way[-1], model.generate("8", n=1, temperature=0.0)[0], atol=1e-5)
    cvae("generate", run, "-c", 3, "-n", 2, "-o", "threes")
    ends = [word for i in (0, 1) for word in ("--image", f"threes/3-000{i}.png")]
    assert cvae("interpolate", run, "--from", 3, *ends, "-n", 4, "-o", "way.png").code == 0
    assert pixels("way.png")[0] > 100
    said = cvae("interpolate", run, "--from", 3, "-n", 3, "-o", "way.csv")
    assert Path("way.csv").read_text().splitlines()[0].startswith("condition,x1,x2"), said.err
    assert "Say where to begin: --from" in cvae("interpolate", run).err
    assert "no image 'none.png'" in cvae("interpolate", run, "--image", "none.png").err


def test_plot(cvae, run):
    said = cvae("plot", run, "history", "-o", "figures", "--format", "svg", "--json")
    assert json.loads(said.out) == ["figures/history.svg"]
    assert "<svg" in Path("figures/history.svg").read_text()
    said = cvae("plot", run, "manifold", "-c", "3:0.5,8:0.5", "--grid", "quantile", "-o", "figures")
    assert said.out.split() == ["figures/manifold-50__3__50__8-quantile.png"]


def test_evaluate_then_compare(cvae, tmp_path, rng, monkeypatch):
    y = np.arange(600) % 3
    x = (rng.random((600, 12)) < 0.05 + 0.9 * (np.arange(12) % 3 == y[:, None])).astype("uint8")
    np.savez("bits.npz", x=x, y=y)
    small = ("--units", 32, "--latent-dim", 2, "--epochs", 60, "--batch-size", 32)
    assert cvae("train", "bits.npz", "--out", "a", *small).code == 0
    said = cvae("evaluate", "a", "--limit", 60, "--samples", 20, "--report")
    assert said.code == 0
    assert {"−log p(x | y)", "on-label accuracy", "active dimensions"} <= {
        line.strip().split("  ")[0] for line in said.out.splitlines()
    }
    folder = tmp_path / "a" / "evaluation"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["settings"]["examples"] == 60
    assert metrics["settings"]["samples"] == 20
    assert metrics["elbo"]["elbo"] <= -metrics["conditional"]["nats"] + 1.0
    assert metrics["samples"]["on_label_accuracy"] > 0.8
    page = (folder / "report.html").read_text()
    assert "<img" in page
    assert "http" not in page.replace("http-equiv", "")

    shutil.copytree(tmp_path / "a", tmp_path / "b")
    said = cvae("compare", "a", "b")
    assert (said.code, said.err) == (0, "")
    assert f"{-metrics['elbo']['elbo']:.2f}" in said.out
    assert json.loads(cvae("compare", "a", "b", "--json").out)["b"] == metrics
    changed = metrics | {"settings": metrics["settings"] | {"samples": 500}}
    (tmp_path / "b" / "evaluation" / "metrics.json").write_text(json.dumps(changed))
    said = cvae("compare", "a", "b")
    assert "cannot be compared: they were measured with different importance samples" in said.err
    alike = "alike: cvae evaluate a --samples 20; cvae evaluate b --samples 20"
    assert alike in " ".join(said.err.split())
    guided = metrics | {"settings": metrics["settings"] | {"guidance": 2.0}}
    (tmp_path / "b" / "evaluation" / "metrics.json").write_text(json.dumps(guided))
    plain = "p(x | y) alone: cvae evaluate b --guidance 1 --temperature 1"
    assert plain in " ".join(cvae("compare", "a", "b").err.split())
    changed = metrics | {"settings": metrics["settings"] | {"kind": "signals"}}
    (tmp_path / "b" / "evaluation" / "metrics.json").write_text(json.dumps(changed))
    assert "cannot be compared: they were judged as" in cvae("compare", "a", "b").err
    shutil.rmtree(tmp_path / "b" / "evaluation")  # it is then measured as the other was
    said = cvae("compare", "a", "b")
    assert (said.code, said.err) == (0, "")
    assert Run.open("b").evaluation()["settings"] == metrics["settings"]
    monkeypatch.setattr("keras_cvae.evaluation.budget.OPERATIONS", 1)
    said = cvae("evaluate", "a")
    assert "for 60 of 60 examples, from 50 samples each" in " ".join(said.err.split())
    assert Run.open("a").evaluation()["settings"]["samples"] == 50
    assert "Expected no --limit" in cvae("evaluate", "a", "--all", "--limit", 3).err
    Path("bits.npz").rename("moved.npz")
    for words in (("evaluate", "a"), ("plot", "a", "latent")):
        assert "are gone: there is no" in cvae(*words).err
    said = cvae("plot", "a", "all", "-o", "drawn")
    assert (said.code, said.out) == (0, "drawn/history.png\n")
    assert "Left out: marginals, correlations, latent." in said.err
    for words in (("latent", "moved.npz"), ("moved.npz", "latent")):
        said = cvae("plot", "a", *words, "-o", "drawn")
        assert (said.code, said.out) == (0, "drawn/latent.png\n")
    assert "'laten' is nothing that can be drawn, and no data. Did you mean 'latent'?" in " ".join(
        cvae("plot", "a", "laten").err.split()
    )
    assert "and one data set" in cvae("plot", "a", "moved.npz", "latent", "history").err
    np.savez("other.npz", x=x[:, :5], y=y)
    assert "is 5; the model knows examples of 12" in cvae("evaluate", "a", "other.npz").err
    (tmp_path / "b" / "evaluation" / "metrics.json").write_text('{"elbo": 1}')
    again = " ".join(cvae("compare", "a", "b").err.split())
    assert again.endswith("Evaluate the run again: cvae evaluate b")
    learned_all = from_arrays(x, y, validation=0)
    monkeypatch.setattr(Run, "data", lambda self, progress=None: learned_all)
    none_left = " ".join(cvae("evaluate", "a").err.split())
    assert none_left.endswith("Expected other data: cvae evaluate a DATA")


def test_info(cvae, run):
    about = json.loads(cvae("info", run, "--json").out)
    assert about["state"] == "complete"
    assert about["condition"] == [str(i) for i in range(10)]
    assert about["x_shape"] == [8, 8, 1]
    about = json.loads(cvae("info", "digits", "--json").out)
    assert about["counts"] == {"train": 1294, "validation": 144, "test": 359}
    assert "complete" in cvae("info", run).out


def test_info_counts_what_can_be_read(cvae, tmp_path, rng):
    for i in range(30):
        noise = rng.integers(0, 256, (9, 9), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
    whole = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole[: len(whole) // 2])  # its header is fine
    about = json.loads(cvae("info", tmp_path, "--json").out)
    assert sum(about["counts"][part] for part in ("train", "validation")) == 29
    assert about["because"][0].startswith("x are 29 ")


def test_shards_are_data_like_others(cvae, tmp_path):
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "0.tar", "w") as tar:
        for i in range(12):
            picture = io.BytesIO()
            Image.new("RGB", (5, 4), (20 * i, 0, 0)).save(picture, "png")
            known = f'{{"label": "{"ab"[i % 2]}", "age": {i / 2}}}'
            for kind, content in (("png", picture.getvalue()), ("json", known.encode())):
                member = tarfile.TarInfo(f"{i}.{kind}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    about = json.loads(cvae("info", "shards", "--json").out)
    assert about["class_counts"]["train"] == {"a": 6, "b": 5}
    assert about["also_holds"] == {"age": "numbers from 0 to 5.5"}
    small = ("--backbone", "mlp", "--units", "4", "--latent-dim", 1, "--epochs", 1)
    named = ("--condition", "label", "--condition", "age")
    assert cvae("train", "shards", *named, *small, "--out", "run").code == 0
    run = Run.open("run")
    assert run.config.condition == ("label:categorical", "age:continuous")
    assert run.model().generate({"label": "b", "age": 1.0}, n=2).shape == (2, 4, 5, 3)
    said = cvae("train", "shards", "--condition", "agee", "--out", "other")
    assert "expected name:kind" in " ".join(said.err.replace("│", " ").split())


def test_own_pictures_by_class_name(cvae, tmp_path):
    shapes(tmp_path / "shapes")
    words = ("--units", "64", "--latent-dim", 4, "--batch-size", 16, "--learning-rate", 0.003)
    words += ("--backbone", "mlp", "--likelihood", "bernoulli")
    assert cvae("train", "shapes", "--epochs", 120, *words, "--out", "run").code == 0
    assert Run.open("run").model().x_shape == (12, 12, 3)
    for place, name in enumerate(COLORS):
        assert cvae("generate", "run", "-c", name, "-n", 40, "-o", f"{name}.npz").code == 0
        x = drawn_in(f"{name}.npz")
        totals = x.sum(axis=(1, 2))  # (40, 3)
        assert (totals.argmax(axis=1) == place).mean() >= 0.95, name
        assert totals[:, place].mean() > 2.0 * np.delete(totals, place, axis=1).mean()
    # It is a run of colour pictures with classes, so its draws are guided, unless that is named.
    assert Run.open("run").config.guidance == 3.0
    one = ("generate", "run", "-c", "square", "-n", 4, "--overwrite", "-o", "x.npz")
    said, guided = cvae(*one), drawn_in("x.npz")
    assert said.err.strip() == (
        "Drawn with guidance 3, as this run recommends; --guidance 1 draws from p(x|y)."
    )
    for flags, alike in ((("--guidance", 3), True), (("--guidance", 1), False)):
        assert cvae(*one, *flags).err == ""
        assert (drawn_in("x.npz") == guided).all() == alike
    message = cvae("generate", "run", "-c", "squar").err
    assert "circle, square, triangle. Did you mean 'square'?" in message


@pytest.fixture
def would(cvae, monkeypatch):
    """Type what is to be trained, without training or measuring how long that takes."""
    monkeypatch.setattr("keras_cvae.runs.measure.seconds", lambda data, config: 60.0)
    return lambda *words: cvae("train", *words, "--dry-run")


@pytest.mark.further
def test_a_label_of_minus_one_is_a_class_and_said_to_be(cvae, would, tmp_path, rng):
    x = rng.integers(0, 2, (60, 4, 4))
    npz(tmp_path / "x.npz", x_train=x, y_train=np.arange(60) % 3 - 1)
    said = cvae("train", "x.npz", *QUICK)
    assert Run.open("runs/x-run").model().condition.spec.names == ("-1", "0", "1")
    assert "-1 is taken as a class of its own, beside 0 to 1" in said.err
    assert "--condition y:categorical" in said.err
    declared = {"condition": ("y:categorical",)}
    data = keras_cvae.load_data("x.npz", conditions=["y"])
    model = keras_cvae.build_model(RunConfig(units=(4,), **declared), data)
    assert model.condition.parts["y"].part.spec.names == ("0", "1")
    assert "of its own" not in would("x.npz", *QUICK, "--condition", "y:categorical").err


def test_labels_that_look_like_numbers_are_said_to_be_taken_so(cvae, would, tmp_path, rng):
    x = rng.integers(0, 2, (60, 4, 4))
    npz(tmp_path / "x.npz", x=x, y=np.arange(60) % 3 * 1.0)
    said = would("x.npz", *QUICK)
    assert "y holds 3 whole numbers as floats (0, 1, 2)" in said.err
    assert "--condition y:categorical" in said.err
    assert "taken as numbers" in cvae("info", "x.npz").out.replace("\n", " ")
    said = would("x.npz", *QUICK, "--condition", "y:categorical")
    assert "taken as" not in said.err


@pytest.mark.further
def test_a_class_that_was_never_in_training_is_told(cvae, tmp_path, rng):
    x, names = rng.integers(0, 2, (60, 4, 4)), ["cat", "dog", "owl"]
    npz(tmp_path / "x.npz", x=x, y=np.arange(60) % 2, class_names=names)
    assert cvae("train", "x.npz", *QUICK, "--out", "run").code == 0
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        said = cvae("generate", "run", "-n", 1)
    assert said.code == 0
    assert "owl:" in said.out
    assert said.err.split("\n")[0].startswith(
        "Warning: In training there was no example of the cla"
    )


# Bad input: what came, what was expected; nothing trained, nothing written.


def bad_data(root):
    """Everything wrong with data that a file or folder can hold: name to words in the message."""
    x, y = np.full((20, 4, 4), 0.5, "float32"), np.arange(20) % 2
    spoiled = x.copy()
    spoiled[3, 0, 0] = np.nan
    infinite = np.where(np.isnan(spoiled), np.inf, spoiled)
    npz(root / "lengths.npz", x=x, y=y[:-1])
    npz(root / "unseen.npz", x_train=x, y_train=y, x_test=x, y_test=y + 1)
    npz(root / "nan.npz", x=spoiled, y=y)
    npz(root / "inf.npz", x=infinite, y=y)
    npz(root / "above.npz", x=3 * x, y=y)
    npz(root / "empty.npz", x=x[:0], y=y[:0])
    npz(root / "other.npz", pictures=x)
    npz(root / "whole.npz", x=x, y=y)
    (root / "cut.npz").write_bytes((root / "whole.npz").read_bytes()[:-60])
    (root / "text.dat").write_text("1,2,3\n")
    (root / "nothing").mkdir()
    for name, sizes in (("unreadable", [8, 8]), ("mixed", [8, 9])):
        for i, size in enumerate(sizes):
            (root / name / "class").mkdir(parents=True, exist_ok=True)
            Image.new("L", (size, size), 90).save(root / name / "class" / f"{i}.png")
    (root / "unreadable" / "class" / "2.png").write_bytes(b"no image")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("lengths.npz", ["20 examples", "19", "one condition per example"]),
        ("unseen.npz", ["label 2", "in test but not in train", "0, 1"]),
        ("nan.npz", ["NaN", "row 3"]),
        ("inf.npz", ["infinite", "row 3"]),
        ("above.npz --likelihood bernoulli", ["1.5", "Bernoulli", "0", "1"]),
        ("empty.npz", ["at least one example", "(0, 4, 4)"]),
        ("other.npz", ["pictures", "Expected x_train"]),
        ("cut.npz", ["cut.npz", "truncated"]),
        ("text.dat", ["text.dat is not an .npz file"]),
        ("nothing", ["nothing holds no images", "one sub-folder per class"]),
        ("unreadable", ["2.png", "could not be read"]),
        ("mixed --preset dense", ["8x8", "9x9", "--image-size"]),
        ("digts", ["'digts'", "Did you mean digits?"]),
        ("whole.np", ["'whole.np'", "Did you mean whole.npz?"]),
    ],
)
def test_bad_data(refused, tmp_path, data, words):
    bad_data(tmp_path)
    refused(["train", *data.split(), "--epochs", 1], *words)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train digits --preset notbook", ["'notbook'", "Did you mean 'notebook'?"]),
        ("train digits --epoch 3", ["No such option: --epoch", "--epochs"]),
        ("train digits --latent-dims 3", ["No such option", "--latent-dim"]),
        ("train digits --config a.toml", ["latent", "a.toml", "Did you mean 'latent_dim'?"]),
        ("train digits --config none.toml", ["no config file 'none.toml'"]),
        ("train digits --prior condtional", ["Did you mean 'conditional'?"]),
        ("train digits --latent-dim 0", ["latent_dim", "0", "greater than or equal to 1"]),
        ("train digits --units 3,x", ["units", "'x'"]),
        ("train digits --validation 2", ["validation", "2", "'test'"]),
        ("train digits --resume", ["'runs/digits-run' does not exist"]),
        ("train digits --resume --overwrite", ["--resume and --overwrite"]),
        ("train digits --out folder", ["'folder' exists", "nothing was touched"]),
        ("train digits --out folder --overwrite", ["'folder' exists", "nothing was touched"]),
        ("train digits --out folder/a.txt", ["'folder/a.txt' exists"]),
        ("train digits --out folder/a.txt/run", ["Cannot write", "a.txt"]),
        ("quickstart --out folder", ["'folder' exists"]),
        ("trian digits", ["No such command 'trian'", "'train'"]),
        ("info nowhere", ["'nowhere'", "Expected one of digits"]),
        ("generate folder", ["'folder' is not a run folder", "cvae train"]),
        ("generate nowhere", ["'nowhere' does not exist"]),
        ("plot nowhere", ["'nowhere' does not exist"]),
    ],
)
def test_bad_commands(refused, tmp_path, command, words):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("mine")
    (tmp_path / "a.toml").write_text("latent = 3\n")
    refused(command.split(), *words)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("generate RUN -c 11", ["'11'", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"]),
        ("generate RUN -c 3:0.5,8:0.9", ["sum to 1"]),
        ("generate RUN -c 3:a", ["3:a", "0:0.5,9:0.5"]),
        ("generate RUN -n 0", ["-n", "greater than or equal to 1"]),
        ("generate RUN -o mine.png", ["'mine.png' exists already", "--overwrite"]),
        ("generate RUN -o a.gif", ["'a.gif'", ".png, .npz, .parquet, .csv, a folder"]),
        ("generate RUN -o no/where.png", ["folder", "no' is missing"]),
        ("generate RUN --json", ["--json", "-o FILE"]),
        ("restyle RUN none.png --to 3", ["no image 'none.png'"]),
        ("restyle RUN mine.png --to 3", ["mine.png could not be read"]),
        ("restyle RUN mine.png --to 3 -o a.npz", ["'a.npz'", ".png"]),
        ("plot RUN histry", ["'histry'", "'history'"]),
        ("plot RUN manifold -c x", ["'x'", "0, 1"]),
        ("train digits --out RUN", ["exists already", "--resume", "--overwrite"]),
        ("train digits --out RUN --resume --beta 3", ["beta was 1.0, asked 3.0"]),
        ("train digits --out RUN --resume --epochs 9", ["25 epochs", "received --epochs 9"]),
    ],
)
def test_bad_commands_for_a_run(refused, run, tmp_path, command, words):
    (tmp_path / "mine.png").write_text("mine")
    before = tree(run)
    refused([run if word == "RUN" else word for word in command.split()], *words)
    assert tree(run) == before


def test_damaged_and_foreign_models(refused, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "model.keras"
    path.write_bytes(path.read_bytes()[:-1000])
    refused(["generate", "run"], "model.keras' is damaged")
    path.unlink()
    refused(["generate", "run"], "saved nothing yet", "cvae train digits --out run --resume")
    (tmp_path / "run" / "history.json").write_text('{"loss": [1')
    with pytest.warns(UserWarning, match=r"history.json' is damaged"):
        Run.open("run").history()
    (tmp_path / "run" / "run.json").write_text("{")
    refused(["generate", "run"], "run.json' is damaged")


def test_wrong_latent_shape(run):
    with pytest.raises(ValueError, match=r"z has the shape \(4, 3\)\. Expected \(n, 8\)"):
        Run.open(run).model().decode(np.zeros((4, 3)), 2)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_protected_folder(refused, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    refused(["train", "digits", "--out", "locked/run"], "Cannot write", "locked")
    refused(["train", "digits", "--out", "locked"], "Cannot write", "locked")


@pytest.mark.parametrize("words", ["evaluate", "compare", "plot", "export -o {}/x.onnx"])
def test_a_run_on_a_disk_that_is_read_only(cvae, run, words, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # also of root
    verb, *more = words.format(run).split()
    said = cvae(verb, run, *more)
    assert said.code == 1
    assert "is read-only. Choose another place." in " ".join(said.err.split())


@pytest.mark.parametrize(
    ("backend", "words"),
    [("torch", "'torch' (from KERAS_BACKEND) is not installed"), ("jaks", "jaks")],
)
def test_a_backend_that_is_not_there(tmp_path, backend, words):
    if find_spec(backend):
        pytest.skip(f"{backend} is installed")
    said = typed("train", "digits", "--epochs", 1, cwd=tmp_path, KERAS_BACKEND=backend)
    assert said.returncode == 1
    assert words in said.stderr
    assert "Traceback" not in said.stderr
    assert not list(tmp_path.iterdir())


# The real MNIST.


@pytest.mark.slow
def test_the_notebooks_score(cvae, mnist_path):
    said = cvae("train", mnist_path, "--preset", "notebook", "--json")
    assert json.loads(said.out)["val_loss"] <= 131.3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # twelve epochs do
def test_dense_draws_what_is_asked_for(cvae, mnist_path, mnist):
    from sklearn.neural_network import MLPClassifier

    judge = MLPClassifier((256,), max_iter=12, random_state=0, batch_size=256)
    judge.fit(mnist["x_train"].reshape(-1, 784) / 255, mnist["y_train"])
    assert judge.score(mnist["x_test"].reshape(-1, 784) / 255, mnist["y_test"]) > 0.97
    assert cvae("train", mnist_path, "--preset", "dense", "--out", "run").code == 0
    assert cvae("generate", "run", "-n", 200, "-o", "drawn.npz").code == 0
    with np.load("drawn.npz") as drawn:
        read, asked = judge.predict(drawn["x"].reshape(-1, 784)), drawn["y"].astype(int)
    for digit in range(10):
        assert (read[asked == digit] == digit).mean() >= 0.9, digit
    assert (read == asked).mean() >= 0.95


# A page to play with.


def test_studio_writes_a_page(cvae, run):
    said = cvae("studio", run)
    page = run / "studio.html"
    assert str(page) in said.out
    assert f"<title>{run.name}</title>" in page.read_text()
    assert '"data":"digits"' in page.read_text()
    page.write_text("old")
    assert cvae("studio", run).code == 0  # its own page is made anew
    assert page.stat().st_size > 10_000
    Path("mine.html").touch()
    assert "exists already" in cvae("studio", run, "-o", "mine.html").err
    assert "Expected .html" in cvae("studio", run, "-o", "mine.png").err


# Completing pictures.


@pytest.mark.parametrize("name", ["mnist-dense", "adult"])
def test_a_page_of_what_comes_trained_has_its_card(cvae, name):
    assert cvae("studio", name).code == 0
    page = Path(f"{name}.html").read_text()
    assert read_card(trained.path(name)).data_licence in page


@pytest.fixture(scope="module")
def completing(tmp_path_factory):
    """A run that completes digits from any part."""
    folder = tmp_path_factory.mktemp("completing") / "run"
    config = RunConfig(task="complete", objective="hybrid", units=(16,), epochs=1, batch_size=500)
    return keras_cvae.train("digits", config, folder).folder


@pytest.fixture
def digit(tmp_path):
    pixels = np.zeros((8, 8), np.uint8)
    pixels[1:7, 4] = 255
    Image.fromarray(pixels).save(tmp_path / "digit.png")
    return "digit.png"


def test_complete_draws_the_rest_and_keeps_what_is_known(cvae, completing, digit):
    said = cvae("complete", completing, digit, "--known", "left", "-n", 3, "-o", "c.npz", "--json")
    assert json.loads(said.out) == {"file": "c.npz", "completions": 3}
    drawn = np.load("c.npz")["x"]
    assert drawn.shape == (3, 8, 8, 1)
    assert (drawn[:, :, :4] == 0).all()
    assert 0 < drawn[:, :, 4:].mean() < 1
    Image.fromarray(np.kron(np.eye(2), np.full((4, 4), 255)).astype("uint8")).save("mask.png")
    said = cvae("complete", completing, digit, "--known", "mask.png", "-o", "c.png")
    assert "10 completions" in said.out, said.err
    with Image.open("c.png") as drawn:
        assert drawn.size[0] > 100
    assert "known" in cvae("complete", completing, digit, "--known", "1", "-n", 2).out
    Image.new("RGBA", (30, 20)).save("wide.png")
    said = cvae("complete", completing, "wide.png", "--known", "random", "-n", 1, "-o", "r.png")
    assert "1 completion, written" in said.out, said.err
    assert "'wide.png' is 30x20, the run's pictures 8x8: cropped to fit" in said.err


def test_a_completing_run_is_measured_and_drawn(cvae, completing):
    said = cvae("evaluate", completing, "--samples", 5, "--limit", 40, "--json")
    figures = json.loads(said.out)
    assert figures["settings"]["examples"] == 40
    assert {"elbo", "from_prior"} <= set(figures)
    assert "samples" not in figures
    assert cvae("compare", completing, completing, "-o", "drawn.png").code == 0
    assert Path("drawn.png").is_file()
    said = cvae("plot", completing, "all", "-o", "drawn")
    assert {path.name for path in Path("drawn").iterdir()} == {"completions.png", "history.png"}
    assert "Expected one of completions, history" in cvae("plot", completing, "latent").err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "digits", "--known", "left"), "known: received without task=complete"),
        (
            ("train", "digits", "--task", "complete", "--known", "botom-left"),
            "Did you mean 'bottom-left'",
        ),
        (("train", "digits", "--task", "complete", "--condition", "a:tags"), "made for task="),
        (("train", "digits", "--reach", 4), "does nothing with likelihood=bernoulli"),
        (("complete", "RUN", "digit.png"), "Say which is known with --known"),
        (("complete", "RUN", "digit.png", "--known", "white.png"), "says that all is known"),
        (("complete", "RUN", "digit.png", "--known", "middle"), "Unknown mask 'middle'"),
        (("complete", "RUN", "none.png", "--known", "left"), "There is no image 'none.png'"),
        (("complete", "RUN", "digit.png", "--json"), "Expected -o FILE"),
        (("generate", "RUN"), "cvae complete RUN IMAGE"),
    ],
)
def test_completing_refuses_what_cannot_be_done(cvae, completing, digit, words, message):
    Image.new("L", (8, 8), 255).save("white.png")
    said = cvae(*(completing if word == "RUN" else word for word in words))
    assert said.code == 1
    assert message in said.err


def test_what_comes_trained_needs_no_run(cvae, monkeypatch):
    def load(*args, **kwargs):
        pytest.fail("Data were loaded.")

    monkeypatch.setattr("keras_cvae.data.sources.load", load)
    monkeypatch.setattr("keras_cvae.runs.build.load", load)
    said = cvae("generate", "mnist-dense", "-c", "2", "-n", "3", "-o", "twos.npz")
    assert (said.code, np.load("twos.npz")["x"].shape) == (0, (3, 28, 28, 1)), said.err
    said = cvae("plot", "mnist-dense", "manifold", "-c", "2", "--json")
    assert said.code == 0, said.err
    assert Path(json.loads(said.out)[0]).is_relative_to("runs/mnist-dense-trained")
    about = json.loads(cvae("info", "mnist-dense", "--json").out)
    assert about["data_licence"] == "CC BY-SA 3.0"
    come = json.loads(cvae("presets", "--json").out)["trained"]
    assert "mnist-dense" in [card["name"] for card in come]
    assert about["example"] in cvae("presets").out
