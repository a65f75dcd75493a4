import json
import typing

import pytest

from keras_cvae.conditions.base import Unconditional
from keras_cvae.conditions.labels import Categorical
from keras_cvae.conditions.numbers import Continuous
from keras_cvae.data.arrays import from_arrays
from keras_cvae.networks.backbone import BACKBONES
from keras_cvae.probability.likelihoods.base import LIKELIHOODS
from keras_cvae.probability.objectives import OBJECTIVES
from keras_cvae.probability.priors import PRIORS
from keras_cvae.runs.build import build_model
from keras_cvae.runs.config import ConfigError, RunConfig, load_config, presets, validated


@pytest.mark.parametrize(
    ("field", "registry"),
    [
        ("likelihood", LIKELIHOODS),
        ("prior", PRIORS),
        ("backbone", BACKBONES),
        ("objective", OBJECTIVES),
    ],
)
def test_names_are_those_of_the_registries(field, registry):
    names = set(typing.get_args(RunConfig.model_fields[field].annotation))
    not_by_name = {"columns"}  # takes columns
    two_in_one = {"topdown-conv", "zero_inflated_poisson", "zero_inflated_negative_binomial"}
    found = set(registry.classes) - not_by_name - {"zero_inflated"}
    assert names - two_in_one == found


def test_flags_win_over_the_file_and_the_file_over_the_preset(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("latent_dim = 5\nbatch_size = 77\n")
    config = load_config("notebook", file, batch_size=99, seed=None)
    assert (config.units, config.latent_dim, config.batch_size, config.seed) == ((512,), 5, 99, 0)


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_a_file_may_name_a_preset(tmp_path, suffix):
    file = tmp_path / f"run{suffix}"
    content = {"preset": "notebook", "epochs": 3}
    toml = 'preset = "notebook"\nepochs = 3\n'
    file.write_text(json.dumps(content) if suffix == ".json" else toml)
    assert load_config(file=file) == load_config("notebook", epochs=3)
    assert load_config("conv", file) == load_config("conv", epochs=3)


def test_every_preset_is_valid_and_says_what_to_expect():
    assert next(iter(presets())) == "quickstart"
    for name, preset in presets().items():
        assert isinstance(load_config(name), RunConfig)
        assert name in preset.command
        assert all((preset.summary, preset.score, preset.time, preset.hardware))


@pytest.mark.parametrize(
    "settings",
    [{}, {"objective": "iwae", "num_samples": 4}, *(p.config for p in presets().values())],
)
def test_what_a_run_folder_stores_reads_back(settings):
    config = validated(settings)
    assert validated(json.loads(json.dumps(config.model_dump()))) == config


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"latent_dm": 3}, ["latent_dm", "Did you mean 'latent_dim'?"]),
        ({"latent_dim": 0}, ["latent_dim", "0", "greater than or equal to 1"]),
        ({"prior": "learned"}, ["prior", "'learned'", "'standard' or 'conditional'"]),
        ({"beta": float("inf")}, ["beta", "inf", "finite"]),
        ({"beta": float("nan")}, ["beta", "nan"]),
        ({"seed": -1}, ["seed", "-1"]),
        ({"seed": 2**32}, ["seed", str(2**32), "less than"]),
        ({"units": ()}, ["units", "positive widths"]),
        ({"units": (64, 0)}, ["units", "positive widths"]),
        ({"units": ("a",)}, ["units", "'a'", "integer"]),
        ({"validation": 1.5}, ["validation", "1.5", "between 0 and 1", "'test'"]),
        ({"validation": "tset"}, ["validation", "'tset'", "between 0 and 1", "'test'"]),
        ({"semisupervised": True, "task": "complete"}, ["sums over the classes", "task=complete"]),
        ({"groups": 3, "latent_dim": 2}, ["groups", "3", "at most latent_dim=2"]),
        ({"objective": "iwae", "beta": 2.0}, ["iwae", "beta", "elbo"]),
        ({"objective": "dreg", "warmup": 0.1}, ["dreg", "warmup", "elbo"]),
        ({"binarize": "dynamic", "likelihood": "gaussian"}, ["binarize", "gaussian", "bernoulli"]),
    ],
)
def test_bad_settings_are_named(settings, words):
    with pytest.raises(ConfigError) as error:
        validated(settings)
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"reach": 4}, "reach: received 4, which does nothing with likelihood=bernoulli; expected"),
        (
            {"prior_units": (9,), "prior": "standard"},
            r"prior_units: received \(9,\), which does nothing with prior=standard",
        ),
        ({"sigma": 0.2}, "sigma: received 0.2, which does nothing with variance=optimal"),
        ({"sigma": 0.2, "variance": "fixed"}, "nothing with likelihood=bernoulli"),
        ({"alpha": 0.2}, "expected objective=hybrid, or no alpha"),
        (
            {"preset": "strong", "prior": "standard"},
            "expected backbone=mlp or residual or conv, or no prior",
        ),
    ],
)
def test_settings_that_do_nothing_are_named(settings, words):
    with pytest.raises(ConfigError, match=words):
        load_config(**settings)


def test_what_a_preset_sets_may_do_nothing():
    load_config("strong", likelihood="bernoulli")  # brings a reach
    load_config(likelihood="gaussian", variance="fixed", sigma=0.2)


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError, match=r"(?s)latent_dim.*beta"):
        validated({"latent_dim": 0, "beta": -1})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.toml", "epochs = ", ["a.toml", "Expected TOML"]),
        ("a.json", "{", ["a.json", "JSON"]),
        ("a.json", "[1]", ["a.json", "no settings"]),
        ("a.toml", "batchsize = 3", ["batchsize", "a.toml", "Did you mean 'batch_size'?"]),
        ("a.toml", "preset = 'notbook'", ["notbook", "Did you mean 'notebook'?"]),
        ("a.toml", "preset = ['notebook']", ["Unknown preset"]),
    ],
)
def test_bad_files_are_named(tmp_path, name, text, words):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(file=file)
    assert all(word in str(error.value) for word in words), error.value


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.toml"):
        load_config(file="nowhere.toml")


@pytest.mark.parametrize(
    ("y", "conditional", "kind"),
    [
        ("class", True, Categorical),
        ("number", True, Continuous),
        (None, True, Unconditional),
        ("class", False, Unconditional),
    ],
)
def test_the_condition_follows_the_data(rng, y, conditional, kind):
    labels = {"class": rng.integers(0, 3, 20), "number": rng.random(20), None: None}[y]
    data = from_arrays(rng.random((20, 6)), labels)
    config = RunConfig(conditional=conditional, units=(4,), latent_dim=3)
    assert isinstance(build_model(config, data).condition, kind)


def test_every_part_of_the_model_follows_the_configuration(rng):
    data = from_arrays(rng.random((20, 8, 8)), rng.integers(0, 3, 20))
    settings = {"latent_dim": 3, "backbone": "conv", "filters": (4,), "units": (5,), "beta": 2.0}
    settings |= {"prior": "standard", "likelihood": "gaussian", "sigma": 0.3}
    config = validated(settings | {"weight_decay": 0.05, "clip": 7.0})
    model = build_model(config, data)
    written = json.dumps(model.get_config())
    assert model.latent_dim == 3
    for name in ("Conv", "StandardNormal", "Gaussian", "Warmup"):
        assert f'"class_name": "{name}"' in written, name
    assert model.optimizer.learning_rate is not None
    assert model.optimizer.weight_decay == 0.05
    assert model.optimizer.global_clipnorm == 7.0
