"""Pictures of runs of every kind of condition and x."""

import numpy as np
import pytest
from PIL import Image

from keras_cvae.data.arrays import from_arrays
from keras_cvae.figures.kinds import KINDS
from keras_cvae.figures.of_models import (
    _colours,
    manifold,
    plane,
    samples,
    shown_conditions,
    transition,
)
from keras_cvae.figures.of_runs import NotAPictureError, draw
from keras_cvae.figures.of_values import signals
from keras_cvae.runs.build import build_model
from keras_cvae.runs.config import RunConfig
from keras_cvae.runs.train import train

SMALL = {"latent_dim": 3, "units": (8,), "epochs": 1}


def trained(folder, x, y=None, **settings):
    data = from_arrays(x, y)
    return train(data, RunConfig(**SMALL | settings), folder), data


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    rng = np.random.default_rng(0)
    y = np.repeat(["a/b", "c d"], 20)
    return trained(tmp_path_factory.mktemp("run") / "classes", rng.random((40, 6, 6)), y)


@pytest.mark.further
def test_all_pictures_of_classes(classes):
    run, data = classes
    written = draw(run, "all", data=data)
    assert {path.parent for path in written} == {run.folder / "pictures"}
    assert sorted(path.name for path in written) == [
        "defaults.png",
        "history.png",
        "latent.png",
        "manifold-a_b.png",
        "manifold-c_d.png",
        "reconstructions.png",
        "samples.png",
        "transition.gif",
        "transition.png",
    ]
    for path in written:
        with Image.open(path) as image:
            assert min(image.size) > (5 if path.suffix == ".gif" else 100), path.name
            # From a to b in eight steps, both ends included.
            assert getattr(image, "n_frames", 1) >= (9 if path.suffix == ".gif" else 1)


@pytest.mark.further
def test_pictures_are_the_same_again(classes, tmp_path):
    run, data = classes
    for name in "ab":
        draw(run, "samples", data=data, out=tmp_path / name, seed=3)
    one, other = ((tmp_path / name / "samples.png").read_bytes() for name in "ab")
    assert one == other


@pytest.mark.parametrize(
    ("y", "settings"),
    [
        ("numbers", {}),
        pytest.param("many numbers", {"latent_dim": 2}, marks=pytest.mark.nightly),
        pytest.param(None, {"latent_dim": 1}, marks=pytest.mark.nightly),
        ("one class", {"likelihood": "gaussian", "prior": "standard"}),
    ],
    ids=lambda value: str(value),
)
def test_all_pictures_of_other_conditions(rng, tmp_path, y, settings):
    labels = {
        "numbers": rng.random(40),
        "many numbers": rng.random((40, 3)),
        "one class": np.zeros(40, int),
        None: None,
    }[y]
    run, data = trained(tmp_path / "run", rng.random((40, 6, 6, 3)), labels, **settings)
    written = draw(run, "all", data=data, out=tmp_path / "pictures")
    others = {"completions", "marginals", "correlations"}
    assert {path.stem.split("-")[0] for path in written} == {*KINDS} - others
    assert len({path.name for path in written}) == len(written)
    assert all(path.stat().st_size > 100 for path in written)


def test_vectors_are_shown_value_by_value_beside_real_ones(rng, tmp_path):
    x = rng.random((40, 5))
    x[:, 4] = 1.0
    run, data = trained(tmp_path / "run", x, np.arange(40) % 2)
    written = draw(run, "all", data=data, suffix=".pdf")
    kinds = ("marginals", "correlations", "latent", "history")
    assert [path.name for path in written] == [f"{kind}.pdf" for kind in kinds]
    with pytest.raises(
        NotAPictureError, match=r"'samples' cannot be drawn where x has the shape \(5,\)"
    ):
        draw(run, "samples", data=data)


def test_a_bad_wish_is_named_and_leaves_nothing(classes, tmp_path):
    run, data = classes
    with pytest.raises(ValueError, match=r"'histry'.*Did you mean 'history'\?"):
        draw(run, "histry", data=data, out=tmp_path / "x")
    with pytest.raises(ValueError, match=r"Unknown class 'x'.*a/b, c d"):
        draw(run, "manifold", data=data, out=tmp_path / "x", condition="x")
    with pytest.raises(ValueError, match="bmp"):
        draw(run, "history", data=data, out=tmp_path / "x", suffix=".bmp")
    assert not list(tmp_path.glob("x/*"))


def test_signals_are_lines_over_real_ones(rng, tmp_path):
    x, y = rng.normal(size=(40, 32, 2)), np.repeat(["a", "b"], 20)
    data = from_arrays(x, y, signals=True)
    config = RunConfig(**SMALL, likelihood="gaussian", backbone="conv", filters=(4,), signals=True)
    run = train(data, config, tmp_path / "run")
    written = draw(run, "all", data=data, out=tmp_path, suffix=".svg")
    assert [path.stem for path in written] == ["samples", "latent", "history"]
    figure = signals(run.model(), data, n=3)
    axes = figure.axes
    assert [one.get_ylabel() for one in axes] == ["a", "", "b", ""]
    held = data.validation.floats()[data.validation.y == 1]
    np.testing.assert_allclose(axes[3].lines[0].get_ydata(), held[0, :, 1])
    assert len(axes[3].lines) == min(3, len(held)) + 3


def test_the_plane_is_that_of_the_most_variance(rng):
    z = rng.normal(size=(500, 4)) * [1, 0.1, 3, 0.1] @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
    codes, axes, words = plane(z)
    variance = np.linalg.eigvalsh(np.cov(z.T, bias=True))[::-1]
    np.testing.assert_allclose(codes.var(axis=0), variance[:2])
    assert axes[0] == f"component 1 ({100 * variance[0] / variance.sum():.0f} %)"
    assert "hold 100 % of their variance" in words
    np.testing.assert_array_equal(plane(z[:, :2])[0], z[:, :2])
    assert plane(z[:, :1])[0].shape == (500, 2)


@pytest.mark.further
def test_many_classes_are_spread(rng):
    y = np.arange(60) % 20
    data = from_arrays(rng.random((60, 4, 4)), y)
    model = build_model(RunConfig(**SMALL), data)
    shown = [name for _, name in shown_conditions(model, data)]
    assert len(shown) == 10
    assert shown[0] == "0"
    assert shown[-1] == "19"


def test_several_named_conditions_are_shown_by_examples_of_which_all_is_known():
    kind = np.array(["cat", "dog"])[np.arange(40) % 2]
    age = np.where(np.arange(40) < 20, np.nan, np.arange(40.0))
    data = from_arrays(np.zeros((40, 4)), {"kind": kind, "age": age})
    config = RunConfig(**SMALL, condition=("kind:categorical", "age:continuous"))
    shown = shown_conditions(build_model(config, data), data, most=5)
    assert len(shown) == 5
    assert all("?" not in name for _, name in shown)
    assert all(np.isfinite(condition["age"]) for condition, _ in shown)
    with pytest.raises(ValueError, match=r"is taken from data. Received none"):
        shown_conditions(build_model(config, data), None)


def test_points_are_coloured_by_the_first_condition_that_can():
    marks, kind = np.eye(3), np.array(["b", "a", "b"])
    index, names = _colours({"marks": marks, "kind": kind, "age": np.arange(3.0)}, None)
    assert (index.tolist(), names) == ([1, 0, 1], ["a", "b"])
    values, name = _colours({"marks": marks, "age": np.array([3, 4, 5])}, None)
    assert (values.tolist(), name) == ([3.0, 4.0, 5.0], "age")
    assert _colours({"marks": marks, "age": np.array([3, np.nan, 5])}, None) == (None, None)


def test_without_conditions_there_is_one_sheet_and_a_walk():
    data = from_arrays(np.random.default_rng(0).random((40, 4, 4)))
    model = build_model(RunConfig(**SMALL | {"latent_dim": 1}), data)
    (sheet,) = samples(model, data).axes
    said = " ".join(" ".join(text.get_text() for text in sheet.texts).split())
    assert "z ~ p(z) at temperature 1; shown is the mean of p(x|z)." in said
    frames, strip = transition(model, data, steps=3)
    assert len(frames) == 5 * 3 + 1
    said = [text.get_text() for axes in strip.axes for text in axes.texts]
    assert "A walk between draws from the prior." in said
    (swept,) = manifold(model, None, size=3).axes
    said = " ".join(" ".join(text.get_text() for text in swept.texts).split())
    assert "in standard deviations of p(z) from its mean, linear grid." in said
