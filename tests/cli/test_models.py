"""The command on models that came in a file, without the run that trained them."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import keras_cvae
from keras_cvae import MLP, ConditionalVAE
from keras_cvae.cli import draw
from keras_cvae.exports.exporting import Exported
from keras_cvae.runs import typical


def model(path, dropped=False, **arguments):
    own = {"latent_dim": 2, "backbone": MLP((4,)), "seed": 0}
    made, rng = ConditionalVAE(**own | arguments), np.random.default_rng(0)
    for weight in made.trainable_variables:  # as if it had learned something
        weight.assign(weight + rng.normal(size=weight.shape).astype("float32"))
    for weight in made.memory.met if dropped else ():  # conditions were missing, as all else
        weight.assign(weight.value + 1)
    made.save(path)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models that learned nothing, each in a file of its name, and one in a folder."""
    folder = tmp_path_factory.mktemp("models")
    model(folder / "vectors.keras", x_shape=(6,), condition=["a", "b"], likelihood="gaussian")
    named = {"kind": ["cat", "dog"], "size": ["big", "small"]}
    model(folder / "pictures.keras", x_shape=(4, 4, 1), condition=named)
    model(folder / "plain.keras", x_shape=(4, 4, 1), condition=None)
    (folder / "shared").mkdir()
    model(folder / "shared" / "model.keras", x_shape=(3,), condition=keras_cvae.Periodic(24))
    return folder


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(np.eye(4, dtype="uint8") * 255).save(tmp_path / "p.png")
    return "p.png"


def words(said):
    return " ".join(said.replace("│", " ").split())


def test_vectors_are_printed_as_numbers_and_written_as_a_table(cvae, models):
    said = cvae("generate", models / "vectors.keras", "-n", 12)
    header, *rows = said.out.splitlines()
    assert header.split() == ["condition", "x1", "x2", "x3", "x4"]
    assert [row.split()[0] for row in rows[:20]] == ["a"] * 12 + ["b"] * 8
    assert rows[20:] == ["... 4 more draws and 2 more values: -o FILE.csv writes all."]
    assert "24 draws" in cvae("generate", models / "vectors.keras", "-n", 12, "-o", "x.csv").out
    with Path("x.csv").open(newline="") as file:
        names, *written = csv.reader(file)
    assert names == ["condition", *(f"x{i}" for i in range(1, 7))]
    assert len(written) == 24
    np.testing.assert_allclose(
        [float(value) for value in rows[0].split()[1:]], np.float32(written[0][1:5]), rtol=1e-3
    )
    way = cvae("interpolate", models / "vectors.keras", "--from", "a", "--to", "b", "-n", 3)
    assert [row.split()[0] for row in way.out.splitlines()[1:]][:3] == ["0%", "50%", "100%"]


def test_pictures_of_several_conditions_are_rows_of_a_sheet(cvae, models):
    cats, dogs = "kind=cat,size=big", "kind=dog,size=big"
    said = cvae("generate", models / "pictures.keras", "-c", cats, "-n", 3, "-o", "one.png")
    assert "3 draws" in said.out, said.err
    ask = ("-c", cats, "-c", dogs, "-n", 3)
    said = cvae("generate", models / "pictures.keras", *ask, "-o", "two.png")
    assert "6 draws" in said.out, said.err
    with Image.open("two.png") as two, Image.open("one.png") as one:
        assert two.size[1] > one.size[1]


def test_a_way_moves_in_a_gif(cvae, models, picture):
    Image.fromarray(255 - np.eye(4, dtype="uint8") * 255).save("q.png")
    out = ("--image", picture, "--image", "q.png", "-n", 5, "-o", "way.gif", "--json")
    said = cvae("interpolate", models / "plain.keras", *out)
    assert json.loads(said.out) == {"file": "way.gif", "steps": 5}, said.err
    with Image.open("way.gif") as way:
        assert way.n_frames >= 5


def test_restyle_changes_only_what_is_named(cvae, models, picture, monkeypatch):
    asked = []
    real = ConditionalVAE.restyle
    monkeypatch.setattr(
        ConditionalVAE,
        "restyle",
        lambda self, x, a, b: asked.append((a, b)) or real(self, x, a, b),
    )
    words = ("--from", "kind=cat,size=big", "--to", "kind=dog", "-o", "dog.png")
    said = cvae("restyle", models / "pictures.keras", picture, *words)
    assert "Written to dog.png" in said.out, said.err
    assert asked == [({"kind": "cat", "size": "big"}, {"kind": "dog", "size": "big"})]
    with Image.open("dog.png") as drawn:
        assert min(drawn.size) > 100


def test_what_guidance_makes_of_numbers_is_said_before_anything_is_written(cvae, tmp_path):
    spec = keras_cvae.Optional(keras_cvae.Categorical(["a", "b"]), dropout=0.5)
    path = tmp_path / "model.keras"
    about = {"x_shape": (4, 4, 3), "likelihood": "gaussian", "prior": "conditional"}
    model(path, dropped=True, condition=spec, **about)
    ask = ("generate", path, "-c", "a", "-n", 2, "--guidance", "1e38")
    for name in ("x.npz", "x.png", "x"):
        said = cvae(*ask, "-o", name)
        assert said.code == 1
        assert "goes far beyond what is of use, 1 to 5 as a rule" in said.err
        assert "With --guidance 1e+38 draws are no longer finite numbers" in words(said.err)
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    assert "far beyond" not in cvae(*ask[:-1], 3, "-o", "x.npz").err


def test_a_grey_picture_is_named_where_the_model_knows_colours(cvae, models, picture, tmp_path):
    model(tmp_path / "colour.keras", x_shape=(4, 4, 3), condition=["a", "b"], likelihood="gaussian")
    said = cvae("restyle", tmp_path / "colour.keras", picture, "--to", "b")
    assert said.code == 0, said.err
    assert "the run's pictures 4x4: grey, where the model knows colours." in said.err
    Image.new("RGB", (4, 4), (200, 10, 10)).save("red.png")
    assert "grey" not in cvae("restyle", tmp_path / "colour.keras", "red.png", "--to", "b").err


@pytest.mark.parametrize(
    ("channels", "inverted", "named"),
    [(1, -40, True), (1, -60, False), (3, -40, False), (3, 9, True)],
)
def test_a_negative_is_named_where_it_is_the_likelier(
    capsys, monkeypatch, channels, inverted, named
):
    def log_probs(model, x, condition):
        assert condition == ["light" if x.max() else "dark"]  # each picture is read by itself
        return [-100.0 if x.max() else inverted]

    monkeypatch.setattr(typical, "typical", lambda *_: typical.Typical(0.0, 1.0, 50))
    monkeypatch.setattr(typical, "log_probs", log_probs)
    x, of = np.ones((1, 4, 4, channels)), SimpleNamespace(x_shape=(4, 4, channels))
    read = ["dark", "light"]
    assert draw._say_if_unlike(SimpleNamespace(), of, x, lambda x: [read[int(x.max())]])
    said = words(capsys.readouterr().err)
    assert "its log p is -100 nats, the least of 50 training pictures has 0." in said
    assert (f"Inverted it has {inverted}: try --invert." in said) == named


def test_a_folder_with_a_model_is_one(cvae, models):
    said = cvae("generate", models / "shared", "-c", 6, "-n", 2, "-o", "x.npz")
    assert said.code == 0, said.err
    assert np.load("x.npz")["x"].shape == (2, 3)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("generate vectors.keras -o x.png", "x has the shape (6,), which is no picture. Use -o"),
        ("generate shared", "Say which with --condition"),
        ("interpolate plain.keras --json", "--json says which file was written"),
        ("interpolate plain.keras" + " --image p.png" * 3, "Received 3 pictures. Expected one or"),
        ("interpolate plain.keras --image p.png", "One picture and one condition are one place"),
        ("plot vectors.keras history", "does not say which data and settings it was trained"),
        ("interpolate adult", "is a run on a table"),
        ("restyle plain.keras p.png --to a", "no condition, so there is nothing to restyle to"),
        ("restyle pictures.keras p.png --to kind=dog", "Say what the picture is with --from"),
        ("complete plain.keras p.png", "it completes nothing. Train one that does"),
        ("evaluate digits-run --target a", "--target and --condition are for runs on tables"),
        ("train digits --seeds 2 --resume", "--resume goes on with one run"),
    ],
)
def test_what_a_model_cannot_do_is_refused(cvae, models, picture, command, message):
    names = {path.name: path for path in models.iterdir()}
    said = cvae(*(names.get(word, word) for word in command.split()))
    assert said.code == 1
    assert message in words(said.err)


def test_export_says_what_was_written_and_how_near_it_is(cvae, models, monkeypatch):
    def export(model, path, form, **more):
        assert (model.x_shape, form, more) == ((6,), "onnx", {"graph": "prior", "overwrite": True})
        path.mkdir()
        (path / "prior.onnx").write_bytes(bytes(1_200_000))
        return Exported((path / "prior.onnx",), ("prior",), 3e-7)

    monkeypatch.setattr(keras_cvae, "export", export)
    asked = ("export", models / "vectors.keras", "--graph", "prior", "--overwrite", "-o")
    said = cvae(*asked, "a")
    assert words(said.out) == "prior: 1 file, 1.2 MB, written to a; at most 3.0e-07 from Keras."
    about = json.loads(cvae(*asked, "b", "--json").out)
    assert about == {"files": ["b/prior.onnx"], "graphs": ["prior"], "greatest_difference": 3e-7}


@pytest.mark.parametrize("name", ["vectors.keras", "shared"])
def test_serve_listens_where_it_is_told_and_has_a_page(cvae, models, monkeypatch, name):
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    from keras_cvae.serve import create_app, running

    heard = {}

    class Server:
        def __init__(self, app, host, port, limits):
            heard.update(app=app, at=(host, port), draws=limits.draws)

        def run(self):
            pass

    monkeypatch.setattr(running, "server", Server)
    monkeypatch.setattr(
        running, "create_app", lambda model, **more: create_app(model, warm=False, **more)
    )
    interval = running.sys.getswitchinterval()
    try:
        said = cvae("serve", models / name, "--port", 0, "--host", "0.0.0.0", "--draws", 7)
    finally:
        running.sys.setswitchinterval(interval)
    assert said.code == 0, said.err
    assert "http://0.0.0.0:0/openapi.json" in said.err
    assert (heard["at"], heard["draws"]) == (("0.0.0.0", 0), 7)
    with TestClient(heard["app"]) as client:
        assert client.get("/v1/model").json()["name"] == name.removesuffix(".keras")
        page = client.get("/")
        assert page.status_code == 200
        assert "<html" in page.text
