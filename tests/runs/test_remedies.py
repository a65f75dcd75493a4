"""What a verdict advises can be typed."""

import shlex
from typing import get_args

from keras_cvae.evaluation.verdict import Finding, Remedy
from keras_cvae.runs import manifest
from keras_cvae.runs.config import RunConfig, load_config
from keras_cvae.runs.remedies import _CHANGES, commands, had
from keras_cvae.runs.run import Run


def advised(run, *remedies):
    return [line for _, line in commands(run, [Finding(2, "", "", remedies)])]


def test_each_remedy_is_a_command_on_the_run(tmp_path):
    config = RunConfig(units=(64,), epochs=20, likelihood="gaussian", variance="learned")
    run = Run(tmp_path / "my run", "digits", config)
    (tmp_path / "my run").mkdir()
    manifest.write(run.folder, {"data": "digits", "config": config.model_dump()})
    assert set(get_args(Remedy)) == {
        *_CHANGES, "longer", "marginals", "samples", "bounded",
    }  # fmt: skip
    name = shlex.quote(str(run.folder))
    assert advised(run, "longer", "marginals", "longer") == [
        f"cvae train digits --out {name} --resume --epochs 40",
        f"cvae plot {name} marginals",
    ]
    for remedy, changed in {
        "larger": {"units": (128,)},
        "smaller": {"units": (32,)},
        "wider": {"latent_dim": 64},
        "patience": {"patience": 30},
        "lower rate": {"learning_rate": 1e-4},
        "warm-up": {"warmup": 0.3},
        "free bits": {"free_bits": 0.5},
        "lower beta": {"beta": 0.5},
        "own width": {"variance": "predicted"},
    }.items():
        words = shlex.split(advised(run, remedy)[0])
        assert words[:4] == ["cvae", "train", "digits", "--config"]
        assert words[-1].startswith(f"{run.folder}-")
        typed = dict(zip(words[5:-2:2], words[6:-2:2], strict=True))
        given = {flag[2:].replace("-", "_"): value for flag, value in typed.items()}
        assert {n: str(v).strip("(),") for n, v in changed.items()} == given
        assert load_config(None, words[4], **changed) == config.model_copy(update=changed)


def test_what_is_so_already_or_cannot_be_typed_is_not_advised(tmp_path):
    counts = RunConfig(likelihood="negative_binomial", patience=9)
    run = Run(tmp_path / "run", "digits", counts)
    assert advised(run, "patience", "own width") == []
    assert advised(run, "overdispersed") == []
    assert "zero_inflated_negative_binomial" in advised(run, "zero-inflated")[0]
    poisson = Run(tmp_path / "run", "digits", RunConfig(likelihood="poisson"))
    assert "--likelihood negative_binomial" in advised(poisson, "overdispersed")[0]
    assert had(run) == {"patience", "own width", "overdispersed"}
    bounded = RunConfig(likelihood="bounded", bounds=("0..",), variance="predicted", warmup=0.5)
    assert had(Run(tmp_path, "digits", bounded)) >= {"bounded", "own width", "warm-up"}
    weighted = Run(tmp_path, "digits", RunConfig(objective="iwae"))
    assert had(weighted) >= {"warm-up", "free bits", "lower beta"}  # it has no beta
    gone = Run(tmp_path / "run", "arrays", counts)
    assert advised(gone, "longer") == []
