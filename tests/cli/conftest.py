"""The command, typed within this process."""

import sys
from dataclasses import dataclass

import pytest

import keras_cvae
from keras_cvae.cli import main, measure


@dataclass
class Said:
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Where the command keeps what it can make again."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cvae(monkeypatch, capsys, tmp_path, cache):
    """Type a command in an empty folder, within this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measure, "cache_folder", lambda: cache)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["cvae", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main.main()
        return Said(end.value.code or 0, *capsys.readouterr())

    return call


@pytest.fixture
def refused(cvae, monkeypatch, tmp_path):
    """Type a command that must be refused: its message, nothing trained or changed."""

    def fit(*args, **kwargs):
        pytest.fail("Training started.")

    monkeypatch.setattr(keras_cvae.ConditionalVAE, "fit", fit)

    def call(command, *words):
        before = tree(tmp_path)
        said = cvae(*command)
        message = " ".join(said.err.replace("│", " ").split())
        assert said.code not in (0, 130)
        assert said.out == ""
        assert "Traceback" not in said.err
        assert all(str(word) in message for word in words), message
        assert tree(tmp_path) == before
        return message

    return call


def tree(folder):
    return {p: p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}
