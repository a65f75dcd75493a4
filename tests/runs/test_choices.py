"""What is chosen for which data, and that what was asked for wins."""

import numpy as np
import pytest
from PIL import Image

from keras_cvae.data.look import Facts, look
from keras_cvae.data.sources import load
from keras_cvae.figures.of_runs import draw
from keras_cvae.runs.build import build_model
from keras_cvae.runs.choices import choose, flags
from keras_cvae.runs.config import ConfigError, RunConfig, bounds_of, load_config
from keras_cvae.runs.train import train


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def pictures(rng, n=40, size=32, channels=3):
    """Smooth random pictures, as photographs have them."""
    steps = rng.normal(0, 8, (n, size, size, channels)).cumsum(1).cumsum(2)
    return (128 + steps / 4).clip(0, 255).astype("uint8")


def chosen(source, **asked):
    return choose(look(source), asked).settings


def test_the_choice_follows_what_the_arrays_are(rng, tmp_path):
    t = np.linspace(0, 1, 200)
    beats = np.exp(-((t - rng.normal(0.5, 0.02, (900, 1))) ** 2) / 2e-3)
    sensors = rng.normal(0, 1, (900, 5)) * [1e-6, 1, 1e5, 30, 0] + [0, 20, 1e6, 5, 7]
    many = rng.random((4000, 3))
    counts = rng.negative_binomial(2, 0.1, (900, 8))
    found = {
        name: chosen(saved(tmp_path / f"{name}.npz", x=x))
        for name, x in {
            "color": pictures(rng),
            "grey": pictures(rng, channels=1),
            "floats": pictures(rng) / np.float32(255),
            "kelvin": 280 + pictures(rng, channels=1) / 10,
            "beats": beats.astype("float32") + rng.normal(0, 0.02, (900, 200)),
            "leads": np.stack([beats, -beats], axis=2),
            "sensors": sensors,
            "many": many,
            "counts": counts,
            "poisson": rng.poisson(3.0, (900, 8)),
            "bits": rng.integers(0, 2, (4000, 50)),
            "flat": (255 * (rng.random((900, 784)) < 0.2)).astype("uint8"),
        }.items()
    }
    kinds = {name: (s.get("likelihood"), s.get("backbone")) for name, s in found.items()}
    assert kinds == {
        "color": ("gaussian", "conv"),
        "grey": ("discretized_logistic", "conv"),
        "floats": ("gaussian", "conv"),
        "kelvin": ("gaussian", "conv"),
        "beats": ("gaussian", "conv"),
        "leads": ("gaussian", "conv"),
        "sensors": ("gaussian", None),
        "many": ("gaussian", None),
        "counts": ("negative_binomial", None),
        "poisson": ("poisson", None),
        "bits": (None, None),
        "flat": (None, None),
    }
    assert found["beats"]["signals"]
    assert (found["beats"]["groups"], found["beats"]["prior_activation"]) == (8, "tanh")
    assert found["sensors"]["patience"] > 0
    assert "patience" not in found["many"]
    assert found["bits"] == {}


def test_what_may_be_signals_or_not_is_said_and_the_flag_decides(rng, tmp_path):
    noise, t = rng.normal(0, 1, (300, 128)), np.arange(128)
    spikes = np.exp(-(((t - rng.uniform(0, 128, (300, 1))) / 0.9) ** 2)) + noise / 50
    clear = np.sin(t / 9 + rng.uniform(0, 6, (300, 1)))
    walk = noise.copy()
    for i in range(1, 128):
        walk[:, i] += 0.7 * walk[:, i - 1]
    found = {}
    for name, x in (("noise", noise), ("spikes", spikes), ("clear", clear), ("walk", walk)):
        source = saved(tmp_path / f"{name}.npz", x=x.astype("float32"))
        facts = look(source)
        found[name] = (facts.kind, facts.perhaps)
        said = str(choose(facts, {}))
        assert ("If these are signals in time: --signals." in said) == (name == "spikes")
        assert ("order means nothing: --no-signals." in said) == (name == "walk")
        for signals, kind in ((True, "signals"), (False, "vectors")):
            facts = look(source, signals=signals)
            assert (facts.kind, facts.perhaps) == (kind, None)
            choice = choose(facts, {"signals": signals})
            assert choice.config.signals is signals
            assert (choice.config.backbone == "conv") is signals
            assert "--" not in choice.doubt
    assert found == {
        "noise": ("vectors", None),
        "spikes": ("vectors", "signals"),
        "clear": ("signals", None),
        "walk": ("signals", "vectors"),
    }
    short = saved(tmp_path / "short.npz", x=noise[:, :20])
    assert (look(short).perhaps, look(short, signals=True).shape) == (None, (20, 1))


def test_pictures_of_mixed_sizes_become_one(rng, tmp_path):
    for i in range(20):
        size = (70, 50) if i else (9, 9)  # one in twenty decides nothing
        Image.new("L", size, 90).save(tmp_path / f"{i}.png")
    assert chosen(tmp_path)["image_size"] == 48
    assert "image_size" not in chosen(tmp_path, image_size=20)


def test_what_looks_like_mnist_keeps_the_defaults():
    facts = Facts(kind="pictures", shape=(28, 28, 1), values="drawn", examples=60_000)
    choice = choose(facts, {})
    assert choice.config == RunConfig()
    assert str(choice).splitlines() == [
        "Chosen: the defaults, a dense network",
        "Because x are 60,000 drawn pictures of 28x28.",
    ]


def test_many_colour_pictures_take_the_preset_color():
    about = {"kind": "pictures", "shape": (32, 32, 3), "values": "shades", "examples": 50_000}
    facts = Facts(**about, classes={"cat": 20_000, "dog": 30_000})
    assert choose(facts, {}).config == load_config("color")
    plainly = {"label_dropout": 0.0, "guidance": 1.0}
    assert choose(Facts(**about), {}).config == load_config("color", label_dropout=0.0).model_copy(
        update=plainly
    )
    for own in ({"latent_dim": 4}, {"backbone": "topdown-conv"}, {"prior": "standard"}):
        assert choose(facts, own).config.likelihood == "gaussian"
    for plain in ({"conditional": False}, {"task": "complete"}, {"semisupervised": True}):
        expected = load_config("color", label_dropout=0.0, **plain)
        assert choose(facts, plain).config == expected.model_copy(update=plainly)
    assert choose(facts, {}, accelerated=True).config.precision == "mixed_bfloat16"


def test_draws_of_colour_pictures_with_classes_are_guided():
    about = {"kind": "pictures", "shape": (32, 32, 3), "values": "shades"}
    classes = {"cat": 1, "dog": 1}
    for count, guidance in ((50_000, 2.0), (2_000, 3.0)):
        facts = Facts(**about, examples=count, classes=classes)
        assert choose(facts, {}).config.drawing == {"temperature": 1.0, "guidance": guidance}
        assert f"draws with --guidance {guidance:g}" in str(choose(facts, {}))
        assert choose(facts, {"guidance": 5.0}).config.drawing["guidance"] == 5.0
        for own in ({"label_dropout": 0.0}, {"temperature": 0.5}, {"conditional": False}):
            assert choose(facts, own).config.drawing["guidance"] == 1.0
    assert choose(Facts(**about, examples=2_000), {}).config.drawing["guidance"] == 1.0
    with pytest.raises(ConfigError, match=r"guidance: received 2, .* expected label_dropout=0\.1"):
        load_config(guidance=2.0)
    assert load_config("color", label_dropout=0.0).drawing["guidance"] == 1.0  # the preset's


@pytest.mark.nightly
def test_the_preset_color_learns_and_draws_with_guidance(rng, tmp_path):
    x = saved(tmp_path / "x.npz", x=pictures(rng, 24, 8), y=[0, 1] * 12)
    small = {"filters": (4,), "units": (8,), "prior_units": (8,), "latent_dim": 16}
    config = load_config("color", **small, label_dropout=0.5, batch_size=11, epochs=1)
    run = train(x, config, tmp_path / "run")
    assert np.isfinite(run.history()["val_loss"]).all()
    model = run.model()
    assert model.hierarchy.prior.units == (8,)
    plain, guided = (model.generate(1, 3, seed=0, guidance=g) for g in (1.0, 2.0))
    assert plain.shape == guided.shape == (3, 8, 8, 3)
    assert np.abs(guided - plain).max() > 1e-6
    [sheet] = draw(run, "samples", model=model)
    drawn = sheet.read_bytes()
    for guidance, alike in ((2.0, True), (1.0, False)):
        [sheet] = draw(run, "samples", model=model, guidance=guidance)
        assert (sheet.read_bytes() == drawn) == alike


@pytest.mark.parametrize(
    "asked",
    [
        {"backbone": "mlp"},
        {"likelihood": "bernoulli"},
        {"binarize": "dynamic"},
        {"latent_dim": 3, "groups": 3},
        {"epochs": 4},
        {"validation": 0},
        {"units": (7,), "image_size": 16},
        {"task": "complete"},
        {"objective": "iwae"},
        {"backbone": "topdown", "groups": 2},
    ],
)
def test_what_is_asked_for_is_never_changed(asked):
    for shape, values, n in (
        ((32, 32, 3), "shades", 50_000),
        ((100, 80, 1), "shades", 300),
        ((9,), "counts", 300),
        ((9,), "numbers", 300),
        ((256, 1), "numbers", 300),
    ):
        kind = {1: "vectors", 2: "signals", 3: "pictures"}[len(shape)]
        facts = Facts(kind=kind, shape=shape, values=values, examples=n)
        choice = choose(facts, asked)
        assert {name: getattr(choice.config, name) for name in asked} == asked
        assert not set(choice.settings) & set(asked)
        assert str(choice).count("\n") == 1


def test_what_a_named_array_may_be_is_seen(rng, tmp_path):
    x = rng.normal(size=(60, 3))
    tags, waves = rng.integers(0, 2, (60, 4)), rng.normal(size=(60, 40))
    facts = look(saved(tmp_path / "x.npz", x=x, tags=tags, waves=waves))
    assert facts.named["tags"] == ("tags", "4 tags")
    assert facts.named["waves"] == ("signal", "signals of length 40")
    facts = look(saved(tmp_path / "y.npz", x=x, y=np.arange(60) % 3, class_names=["a", "b"]))
    assert facts.classes == {"0": 20, "1": 20, "2": 20}  # of more classes than there are names
    ink = np.where(rng.random((60, 64)) < 0.9, 0, rng.integers(0, 256, (60, 64)))
    assert look(saved(tmp_path / "ink.npz", x=ink.astype("uint8"))).values == "drawn"
    bits = rng.integers(0, 2, (60, 9)).astype("float64")
    assert look(saved(tmp_path / "bits.npz", x=bits)).values == "binary"


def test_bounds_are_kept_by_what_is_drawn(rng, tmp_path):
    x = np.stack([rng.random(60) ** 4, rng.exponential(3.0, 60)], axis=1)
    facts = look(saved(tmp_path / "x.npz", x=x))
    choice = choose(facts, {"bounds": ("0..1", "0.."), "epochs": 1, "units": (4,)})
    assert choice.config.likelihood == "bounded"
    model = build_model(choice.config, load(tmp_path / "x.npz"))
    model.likelihood.adapt(x)
    drawn = model.generate(n=200, output="sample", seed=0)
    assert ((drawn > 0) & (drawn[:, :1] < 1)).all()
    for wrong, words in (("1..0", "the lower first"), ("5", "expected 0..1"), ("a..b", "a..b")):
        with pytest.raises(ConfigError, match=words):
            choose(facts, {"bounds": (wrong,)})
    with pytest.raises(ConfigError, match=r"expected --bounds 0\.\.1"):
        load_config(likelihood="bounded")


@pytest.mark.parametrize("names", [["a", "b"], [3, 7]])
def test_counts_that_a_class_explains_are_a_poissons(rng, tmp_path, names):
    y = np.array(names)[np.arange(900) % 2]
    x = rng.poisson(np.where(y == names[0], 1.0, 20.0)[:, None], (900, 5))
    facts = look(saved(tmp_path / "x.npz", x=x, y=y))
    assert 0.8 < facts.spread < 1.2
    assert "within a class" in str(choose(facts, {}))
    assert choose(facts, {}).config.likelihood == "poisson"
    assert look(saved(tmp_path / "alone.npz", x=x)).spread > 5
    assert chosen(saved(tmp_path / "alone.npz", x=x))["likelihood"] == "negative_binomial"


def test_values_that_differ_by_factors_are_learned_by_their_logarithm(rng, tmp_path):
    x = np.stack([rng.lognormal(-20, 1, 300), rng.normal(5, 1, 300), rng.exponential(1, 300)], 1)
    choice = choose(look(saved(tmp_path / "x.npz", x=x)), {"variance": "learned"})
    assert choice.config.likelihood == "bounded"
    assert choice.config.bounds == ("1,3=0..",)
    assert "values 1, 3 are above 0" in str(choice)
    assert flags({"bounds": choice.config.bounds}) == ["--bounds", "1,3=0.."]
    assert bounds_of(choice.config.bounds, 3) == bounds_of(("0..", "..", "0.."), 3)
    assert bounds_of(("0..",), 2) == [(0.0, None)] * 2
    for wrong in (("4=0..",), ("a=0..",), ("0=..1",), ("0..", "0..")):
        with pytest.raises(ValueError, match="bounds: received"):
            bounds_of(wrong, 3)
    x[7, 0] = 0.0
    assert chosen(saved(tmp_path / "zero.npz", x=x))["bounds"] == ("3=0..",)
    spread = {"x_train": x, "x_test": x - 9}  # what is measured has to have a likelihood too
    assert chosen(saved(tmp_path / "test.npz", **spread))["likelihood"] == "gaussian"


def test_a_density_of_two_values_is_named(rng, tmp_path):
    x = rng.normal(size=(60, 4))
    x[:, 1], x[:, 3] = np.arange(60) % 2, 7.0  # one that never varies is no pair
    facts = look(saved(tmp_path / "x.npz", x=x))
    assert facts.pairs == (False, True, False, False)
    assert "value 2 has two values only, but is drawn in between" in str(choose(facts, {}))
    assert ".csv or .parquet" in str(choose(facts, {"likelihood": "gaussian"}))
    assert "two values" not in str(choose(facts, {"likelihood": "bernoulli"}))
    x[7, 1] = 0.5
    assert look(saved(tmp_path / "half.npz", x=x)).pairs == ()
    x[:, 0], x[:, 1] = rng.choice([2.0, 9.0], 60), rng.choice([-1.0, 0.0], 60)
    words = "values 1, 2 have two values only, but are drawn in between"
    assert words in str(choose(look(saved(tmp_path / "both.npz", x=x)), {}))


def test_no_reason_is_given_for_what_was_not_chosen():
    facts = Facts(kind="vectors", shape=(9,), values="counts", examples=300)
    assert "an end where held-out ones" in str(choose(facts, {}))
    assert "an end" not in str(choose(facts, {"epochs": 5}))


def test_a_contradiction_is_the_users(tmp_path):
    facts = Facts(kind="vectors", shape=(4,), values="numbers", examples=90)
    with pytest.raises(ConfigError, match="sigma: received"):
        choose(facts, {"sigma": 0.3})


def test_conditions_that_are_there_are_not_silently_left_out(rng, tmp_path):
    x, age = rng.normal(size=(60, 3)), rng.uniform(20, 80, 60)
    kind = np.array(["cat", "dog"])[np.arange(60) % 2]
    ids = np.array([f"id{i}" for i in range(60)])
    free = saved(tmp_path / "free.npz", x=x, age=age, kind=kind, ids=ids, extra=np.ones(3))
    assert chosen(free)["condition"] == ("age:continuous", "kind:categorical")
    assert "condition" not in chosen(free, conditional=False)
    facts = look(saved(tmp_path / "y.npz", x=x, y=kind, age=age))
    assert facts.classes == {"cat": 30, "dog": 30}
    assert facts.named == {"age": ("continuous", facts.named["age"][1])}
    assert "condition" not in choose(facts, {}).settings
    split = saved(tmp_path / "s.npz", x_train=x, x_test=x[:9], age_train=age, age_test=age[:9])
    assert chosen(split)["condition"] == ("age:continuous",)


def test_settings_are_written_as_they_are_typed():
    settings = {"units": (3, 4), "signals": True, "conditional": False, "condition": ("a:tags",)}
    assert flags(settings) == [
        *("--units", "3,4"),
        "--signals",
        "--no-conditional",
        *("--condition", "a:tags"),
    ]
