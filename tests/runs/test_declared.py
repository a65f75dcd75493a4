"""Named conditions of a run: from `--condition age:continuous` to draws of what was asked."""

import json
import sys

import numpy as np
import pytest

import keras_cvae
from keras_cvae import Joint, Optional
from keras_cvae.cli import main
from keras_cvae.data.arrays import from_arrays
from keras_cvae.data.sources import load
from keras_cvae.errors import DataError
from keras_cvae.runs.build import build_model
from keras_cvae.runs.config import ConfigError, load_config
from keras_cvae.runs.run import Run

SPECS = (
    "kind:categorical",
    "id:embedding",
    "age:continuous",
    "hour:periodic:24",
    "tags:tags",
    "look:image:mlp",
    "trace:signal",
)
SMALL = {"latent_dim": 2, "units": (8,), "epochs": 1, "batch_size": 32}


@pytest.fixture
def arrays(rng):
    kind = np.arange(60) % 3
    return {
        "x": (rng.random((60, 4, 4)) < 0.2 + 0.3 * kind[:, None, None]).astype("uint8") * 255,
        "kind": np.array(["cat", "dog", ""])[kind],
        "id": kind + 5,
        "age": np.where(np.arange(60) % 7, rng.normal(40, 9, 60), np.nan),
        "hour": rng.random(60) * 24,
        "tags": np.array(["red|round", "", "red"])[kind],
        "look": rng.integers(0, 256, (60, 3, 3)).astype("uint8"),
        "trace": rng.normal(5, 2, (60, 9)),
    }


@pytest.fixture
def path(arrays, tmp_path):
    np.savez(tmp_path / "named.npz", **arrays)
    return tmp_path / "named.npz"


@pytest.fixture
def cvae(tmp_path, monkeypatch, capsys):
    """Type a command in an empty folder, within this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["cvae", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main.main()
        return end.value.code or 0, *capsys.readouterr()

    return call


def built(path, *specs, **settings):
    config = load_config(condition=specs, **SMALL | settings)
    data = load(path, conditions=[spec.split(":")[0] for spec in specs])
    return build_model(config, data).condition, data


def test_conditions_are_built_for_their_data(path, arrays):
    condition, data = built(path, *SPECS)
    assert isinstance(condition, Joint)
    assert not condition.dropout
    missing = [n for n, part in condition.parts.items() if isinstance(part, Optional)]
    assert missing == ["kind", "age"]  # what is missing in the data may be missing
    assert condition.parts["kind"].part.spec.names == ("cat", "dog")
    assert condition.parts["id"].spec.labels == (5, 6, 7)
    assert condition.parts["id"].encoding == "embedding"
    assert condition.parts["tags"].spec.names == ("red", "round")
    assert condition.parts["look"].spec.shape == (3, 3, 1)
    assert data.train.y["look"].max() <= 1
    assert condition.parts["trace"].spec.shape == (9, 1)
    np.testing.assert_allclose(np.array(condition.parts["trace"].mean), [5], atol=0.5)
    y = condition.spec.prepare(data.train.y)
    known = y["age"][np.isfinite(y["age"])]
    np.testing.assert_allclose(np.array(condition.parts["age"].part.mean), known.mean(), rtol=1e-5)
    facts = data.describe()["condition"]
    assert facts["hour"]["dtype"] == "float64"
    assert facts["tags"]["values"] == ", red, red|round"
    json.dumps(facts)


def test_label_dropout_lets_everything_be_missing(path):
    condition, _ = built(path, "id:categorical", "hour:periodic:24", label_dropout=0.3)
    assert condition.dropout == 0.3
    assert [part.dropout for part in condition.parts.values()] == [0.3, 0.3]


def test_train_and_test_have_their_own_arrays(arrays, tmp_path):
    split = {f"{name}_train": values[:40] for name, values in arrays.items()}
    split |= {f"{name}_test": values[40:] for name, values in arrays.items()}
    np.savez(tmp_path / "split.npz", **split)
    data = load(tmp_path / "split.npz", conditions=["age", "kind"], validation="test")
    assert list(data.train.y) == ["age", "kind"]
    np.testing.assert_array_equal(data.test.y["kind"], arrays["kind"][40:])


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["kind:continuous"], "Condition 'kind': .* like cat. Expected numbers"),
        (["age:categorical"], "Condition 'age': Received .*, which is no class"),
        (["hour:image"], r"Condition 'hour': Image shape: received \(1,\)|Image shape"),
        (["kind:signal"], r"Condition 'kind': Signal shape: received \(\)"),
        (["x:categorical"], "Condition 'x': Classes are one an example"),
        (["agee:continuous"], "Expected the condition agee among them. Did you mean 'age'"),
    ],
)
def test_data_that_are_not_of_their_kind_are_refused(path, specs, message):
    with pytest.raises((ValueError, DataError), match=message):
        built(path, *specs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"condition": ("age",)}, "received 'age', expected name:kind"),
        ({"condition": ("age:continous",)}, "unknown kind 'continous'.*Did you mean 'continuous'"),
        ({"condition": ("hour:periodic",)}, "expected hour:periodic:24, with a period"),
        ({"condition": ("look:image:big",)}, "expected look:image:conv or :mlp"),
        ({"condition": ("s:signal:big",)}, "expected s:signal:conv or :mlp"),
        ({"condition": ("age:continuous:3",)}, "expected age:continuous"),
        ({"condition": ("a:tags", "a:tags")}, "expected each name once"),
        ({"condition": ("a:tags",), "conditional": False}, "conditional=false leaves conditions"),
        ({"label_dropout": 0.1, "conditional": False}, "received label_dropout"),
        ({"condition": ("a:tags",), "task": "complete"}, "known part of x alone; .* condition"),
        ({"label_dropout": 0.1, "task": "complete"}, "received label_dropout, made for"),
        ({"label_dropout": 1.0}, "label_dropout: received 1.0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        load_config(**settings)


def test_named_conditions_need_a_file_of_arrays():
    with pytest.raises(DataError, match=r"arrays of an \.npz file, .*Received: 'digits'"):
        load("digits", conditions=["age"])


def test_lengths_are_checked(rng):
    with pytest.raises(DataError, match=r"x has 5 examples but the condition 'age' has .*\(4,\)"):
        from_arrays(rng.random((5, 3)), {"age": np.arange(4)})


def test_from_the_command_line(path, tmp_path, cvae):
    flags = [word for spec in SPECS for word in ("--condition", spec)]
    flags += ["--label-dropout", 0.3, "--latent-dim", 2, "--units", 8, "--epochs", 1]
    code, said, wrong = cvae("train", path, "--out", "run", *flags, "--batch-size", 32)
    assert code == 0, wrong
    assert "kind=dog,id=7,age=" in said
    config = json.loads((tmp_path / "run/run.json").read_text())["config"]
    assert tuple(config["condition"]) == SPECS
    assert config["label_dropout"] == 0.3
    assert Run.open("run").model().condition.dropout == 0.3

    asked = ["-c", "kind=cat,age=30", "-c", "kind=dog,tags=red,round,hour=?", "-n", 2]
    code, said, wrong = cvae("generate", "run", *asked, "--guidance", 2, "-o", "drawn", "--json")
    assert code == 0, wrong
    assert json.loads(said)["labels"][-1] == "kind=dog,tags=red,round,hour=?"
    assert len(list((tmp_path / "drawn").iterdir())) == 4
    for text, message in (
        ("kind=cta", "Condition 'kind': Unknown class 'cta'"),
        ("knd=cat", "Did you mean 'kind'?"),
        ("age=old", "Cannot read 'old' as 1 number"),
    ):
        code, _, wrong = cvae("generate", "run", "-c", text)
        assert code == 1
        assert message in " ".join(wrong.split())
    code, said, _ = cvae("info", "run", "--json")
    assert json.loads(said)["condition"]["hour"] == "1 number of period 24; may be missing"


@pytest.mark.nightly
def test_conditions_of_all_kinds_are_measured_and_drawn(path, cvae):
    flags = [word for spec in SPECS for word in ("--condition", spec)]
    flags += ["--label-dropout", 0.3, "--latent-dim", 2, "--units", 8, "--epochs", 1]
    assert cvae("train", path, "--out", "run", *flags, "--batch-size", 32)[0] == 0
    code, said, wrong = cvae("evaluate", "run", "--samples", 4, "--limit", 6, "--json")
    assert code == 0, wrong
    figures = json.loads(said)
    assert np.isfinite(figures["elbo"]["elbo"])
    assert "classification" not in figures
    code, _, wrong = cvae("plot", "run", "reconstructions")
    assert code == 0, wrong


def test_runs_with_named_or_numeric_conditions_are_judged_and_compared(arrays, tmp_path, cvae):
    arrays = {name: np.concatenate([part] * 5) for name, part in arrays.items()}  # 30 to test on
    np.savez(tmp_path / "named.npz", **arrays)
    numbers = np.nan_to_num(arrays["age"], nan=40)
    np.savez(tmp_path / "numbers.npz", x=arrays["x"], y=numbers)
    small = ["--latent-dim", 2, "--units", 8, "--epochs", 1, "--batch-size", 32]
    few = ["--condition", "kind:categorical", "--condition", "hour:periodic:24"]
    cvae("train", "named.npz", "--out", "named", *few, *small)
    cvae("train", "numbers.npz", "--out", "numbers", "--likelihood", "gaussian", *small)
    _, said, _ = cvae("evaluate", "named", "--samples", 4)
    for words in ("on-label accuracy", "Fréchet", "Left out: −log p(x) and p(y | x) sum over"):
        assert words in said
    metrics = Run.open(tmp_path / "named").evaluation()
    assert metrics["samples"]["label"] == "kind"
    _, said, _ = cvae("compare", "named", "numbers", "-o", "grid.png", "--samples", 4)
    assert "in principal components of x" in said
    assert "numbers: Left out" in said
    assert (tmp_path / "grid.png").stat().st_size
    metrics = Run.open(tmp_path / "numbers").evaluation()
    assert {"samples", "classification"}.isdisjoint(metrics)
    assert np.isfinite(metrics["components"]["frechet_distance"])


def test_guidance_needs_label_dropout(path):
    condition, _ = built(path, "id:categorical", "hour:periodic:24")
    model = keras_cvae.ConditionalVAE((6,), condition, backbone=keras_cvae.MLP((4,)))
    with pytest.raises(ValueError, match=r"Condition 'id': .*cannot be missing. Train it with"):
        model.generate({"id": 5, "hour": 3}, guidance=2.0)
