"""`cvae train`, but for the training itself."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from keras_cvae import MLP, Continuous, Image, Joint, KnownPart, Signal, Unconditional
from keras_cvae.cli import main, train
from keras_cvae.cli.train import _how_to_ask
from keras_cvae.conditions import get


def words(said):
    return " ".join(said.split())


def test_a_sweep_says_each_loss_their_mean_and_their_spread(cvae, monkeypatch):
    losses = {0: 83.0, 1: 79.0, 2: 81.0}

    def trained(data, config, folder, **_):
        return SimpleNamespace(metrics=lambda: {"val_loss": losses[config.seed], "loss": 0.0})

    monkeypatch.setattr(train, "_train", trained)
    said = cvae("train", "digits", "--seeds", 3, "--out", "runs/d")
    assert [line.split() for line in said.out.splitlines()[:3]] == [
        [f"runs/d-{seed}", f"{loss:.2f}", "nats"] for seed, loss in losses.items()
    ]
    assert "examples: 81.00 nats, standard deviation 2.00." in words(said.out)
    assert "cvae evaluate runs/d-1" in said.out
    assert "cvae compare runs/d-0 runs/d-1 runs/d-2" in said.out
    assert "Seed 1, 2 of 3: runs/d-1" in said.err


def test_a_dry_run_as_json_with_what_there_is_to_note(cvae, monkeypatch, rng):
    monkeypatch.setattr("keras_cvae.runs.measure.seconds", lambda data, config: 5.9)
    np.savez("x.npz", x=rng.integers(0, 2, (60, 4, 4)), y=np.arange(60) % 3 * 1.0)
    words = ("--epochs", 4, "--batch-size", 20, "--dry-run", "--json")
    said = cvae("train", "x.npz", *words)
    about = json.loads(said.out)
    assert about["settings"]["epochs"] == 4
    assert (about["examples"], about["steps"], about["seconds"]) == (54, 12, 6)
    assert "y holds 3 whole numbers as floats (0, 1, 2)" in said.err


@pytest.mark.parametrize("flag", ["--signals", "--no-signals", None])
def test_what_may_be_signals_is_what_the_flag_says(cvae, monkeypatch, rng, flag):
    monkeypatch.setattr("keras_cvae.runs.measure.seconds", lambda data, config: 5.9)
    peaks = np.exp(-(((np.arange(64) - rng.uniform(0, 64, (60, 1))) / 0.9) ** 2))
    np.savez("x.npz", x=peaks + rng.normal(0, 0.02, peaks.shape))
    said = cvae("train", "x.npz", *([flag] if flag else []), "--dry-run", "--json")
    settings, hint = json.loads(said.out)["settings"], "If these are signals in time: --signals."
    assert (hint in said.err) == (flag is None)
    assert ("signals of length 64" in said.err) == (flag == "--signals")
    assert settings.get("backbone") == ("conv" if flag == "--signals" else None)
    assert settings.get("signals", False) == (flag == "--signals")
    if flag is None:
        assert hint in cvae("info", "x.npz").out


def test_a_signal_before_the_training_is_said_too(cvae, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_cvae.runs.train.train", interrupted)
    monkeypatch.setattr(main.os, "_exit", sys.exit)
    said = cvae("train", "digits", "--epochs", 1)
    assert said.code == 130
    assert "Stopped before the training began." in said.err


@pytest.mark.parametrize(
    ("condition", "flags"),
    [
        (get(["cat", "dog"]), ["--condition", "dog"]),
        (
            Joint({"age": Continuous(), "kind": get(["cat", "dog"])}),
            ["--condition", "age=0,kind=dog"],
        ),
        (Unconditional(), []),
        (Image((4, 4, 1), MLP((2,))), None),
        (Signal((9, 1)), None),
        (KnownPart((4,)), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_typed_next_asks_for_what_can_be_typed(condition, flags):
    assert _how_to_ask(condition) == flags
