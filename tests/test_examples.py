"""Every public name has an example, and it runs."""

import doctest
import inspect

import numpy as np
import pytest

import keras_cvae
import keras_cvae.sklearn

PUBLIC = {name: getattr(keras_cvae, name) for name in [*keras_cvae.__all__, "TableCVAE"]}
PUBLIC |= {name: getattr(keras_cvae.sklearn, name) for name in keras_cvae.sklearn.__all__}
LONG = {"TableCVAE", "export", "train", *keras_cvae.sklearn.__all__}


def test_every_public_name_has_an_example():
    assert [name for name, public in PUBLIC.items() if ">>>" not in inspect.getdoc(public)] == []


def run(examples):
    """Run examples in one namespace: that of `ConditionalVAE` makes the model of the others."""
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    names = {"keras_cvae": keras_cvae, "np": np} | PUBLIC
    for name, public in {"ConditionalVAE": keras_cvae.ConditionalVAE, **examples}.items():
        parsed = doctest.DocTestParser().get_doctest(inspect.getdoc(public), {}, name, None, None)
        parsed.globs = names
        runner.run(parsed, clear_globs=False)
    return runner.summarize()


@pytest.mark.further
def test_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    methods = inspect.getmembers(keras_cvae.ConditionalVAE, inspect.isfunction)
    examples = PUBLIC | {name: method for name, method in methods if inspect.getdoc(method)}
    found = run({name: one for name, one in examples.items() if name not in LONG})
    assert found.attempted > 100
    assert not found.failed, capsys.readouterr().out


@pytest.mark.nightly
def test_examples_that_take_longer_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert not run({name: PUBLIC[name] for name in sorted(LONG)}).failed, capsys.readouterr().out
