"""Pictures of runs of every kind of condition and x."""

import numpy as np
import pytest
from PIL import Image

from keras_cvae.data.arrays import from_arrays
from keras_cvae.figures.kinds import KINDS
from keras_cvae.figures.of_models import plane, shown_conditions
from keras_cvae.figures.of_runs import NotAPictureError, draw
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
    assert {path.stem.split("-")[0] for path in written} == {*KINDS} - {"completions"}
    assert len({path.name for path in written}) == len(written)
    assert all(path.stat().st_size > 100 for path in written)


def test_vectors_have_the_latent_plane_and_the_history(rng, tmp_path):
    run, data = trained(tmp_path / "run", rng.random((40, 5)), np.arange(40) % 2)
    written = draw(run, "all", data=data, suffix=".pdf")
    assert [path.name for path in written] == ["latent.pdf", "history.pdf"]
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


def test_the_plane_is_of_the_dimensions_that_vary_most(classes):
    run, data = classes
    model = run.model()
    first, second, words = plane(model, data)
    assert "two of 3 latent dimensions" in words
    prior = model.prior.predict(
        {"noise": np.zeros((4, 3)), "condition": data.validation.y[:4]}, verbose=0
    )
    z = model.encode(data.validation.floats(), data.validation.y) - prior["mean"]
    variance = (z / np.exp(0.5 * prior["log_var"])).var(axis=0)
    assert [first, second] == sorted(np.argsort(variance)[-2:])


def test_many_classes_are_spread(rng, tmp_path):
    y = np.arange(60) % 20
    run, data = trained(tmp_path / "run", rng.random((60, 4, 4)), y)
    shown = [name for _, name in shown_conditions(run.model(), data)]
    assert len(shown) == 10
    assert shown[0] == "0"
    assert shown[-1] == "19"
