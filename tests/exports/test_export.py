"""Files that run without Keras: compared with it for every likelihood, condition and backbone."""

import json
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_cvae
from harness import CASES
from keras_cvae import MLP, ConditionalVAE, KnownPart, Optional
from keras_cvae.exports import SUMMARIES, TOLERANCE, ExportError, exporting
from keras_cvae.exports.graphs import answers, difference, examples, graphs

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="other backends export in another process"
)


def small(seed=0, **arguments):
    """A model whose weights are nowhere as they began."""
    own = {"x_shape": (6,), "condition": 3, "latent_dim": 2, "backbone": MLP((8,)), "seed": seed}
    model = ConditionalVAE(**own | arguments)
    rng = np.random.default_rng(seed)
    for weight in model.trainable_variables:
        weight.assign(weight + 0.1 * rng.normal(size=weight.shape).astype("float32"))
    return model


@pytest.fixture(scope="module")
def model():
    return small(condition=["cat", "dog", "eel"], latent_dim=[2, 1], prior="conditional")


def session(path):
    return onnxruntime.InferenceSession(path)


# Those whose graphs have little in common; the others by night.
DAILY = (
    *("bernoulli", "causal_bernoulli", "columns", "gaussian", "negative_binomial"),
    *("categorical", "known_part", "optional", "joint", "image", "conv", "topdown"),
)
KINDS = [
    pytest.param(
        kind,
        name,
        i,
        marks=[] if name in DAILY and not i else [pytest.mark.nightly],
        id=f"{kind}-{name}{i}",
    )
    for kind in ("likelihood", "condition", "backbone", "prior")
    for name, cases in CASES[kind].items()
    for i in range(len(cases))
]


@pytest.mark.parametrize(("kind", "name", "case"), KINDS)
def test_every_kind_draws_as_keras_does(kind, name, case, tmp_path):
    made = keras_cvae.export(small(**CASES[kind][name][case]()), tmp_path / "model.onnx")
    assert made.graphs == ("generate",)
    assert made.difference <= TOLERANCE
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.nightly
@pytest.mark.parametrize(("kind", "name", "case"), KINDS)
def test_every_kind_has_every_graph(kind, name, case, tmp_path):
    made = keras_cvae.export(small(**CASES[kind][name][case]()), tmp_path / "model")
    assert made.graphs == tuple(SUMMARIES)


@pytest.mark.further
def test_the_graphs_of_a_model(model, tmp_path):
    made = keras_cvae.export(model, tmp_path / "model")
    assert sorted(made.files) == sorted(tmp_path.glob("model/*"))
    assert {path.stem for path in made.files} == set(SUMMARIES)
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((5, 3), "float32")
    condition = np.array([0, 1, 2, 0, 1], "int32")
    draw = session(tmp_path / "model" / "generate.onnx")
    (x,) = draw.run(["x"], {"noise": noise, "condition": condition})
    z = model.prior.predict({"noise": noise, "condition": condition}, verbose=0)["z"]
    np.testing.assert_allclose(x, model.decode(z, condition), atol=TOLERANCE)
    read = session(tmp_path / "model" / "encoder.onnx")
    mean, _ = read.run(["mean", "log_var"], {"x": x, "condition": condition})
    np.testing.assert_allclose(mean, model.encode(x, condition), atol=TOLERANCE)
    style = session(tmp_path / "model" / "style.onnx")
    (again,) = style.run(["noise"], {"z": z, "condition": condition})
    np.testing.assert_allclose(again, noise, atol=1e-4)
    shapes = [(one.name, one.type, one.shape) for one in draw.get_inputs()]
    assert shapes == [
        ("noise", "tensor(float)", ["batch", 3]),
        ("condition", "tensor(int32)", ["batch"]),
    ]


def test_a_seed_draws_what_the_model_draws(model, tmp_path):
    keras_cvae.export(model, tmp_path / "draw.onnx", graph="sample")
    noise = np.random.default_rng(7).standard_normal((4, 3)).astype("float32")
    uniforms = np.maximum(
        np.random.default_rng([7, 1]).random((4, 6), "float32"), np.float32(2.0**-25)
    )
    given = {"noise": noise, "uniforms": uniforms, "condition": np.full(4, 2, "int32")}
    (x,) = session(tmp_path / "draw.onnx").run(None, given)
    np.testing.assert_array_equal(x, model.generate("eel", 4, seed=7, output="sample"))


@pytest.mark.further
def test_what_the_file_says_of_itself(model, tmp_path):
    made = keras_cvae.export(model, tmp_path / "draw.onnx")
    proto = onnx.load(tmp_path / "draw.onnx")
    onnx.checker.check_model(proto)
    said = {one.key: one.value for one in proto.metadata_props}
    assert json.loads(said["classes"]) == ["cat", "dog", "eel"]
    assert json.loads(said["x_shape"]) == [6]
    assert said["keras_cvae"] == keras_cvae.__version__
    assert float(said["greatest_difference"]) == made.difference
    assert float(said["tolerance"]) == TOLERANCE
    assert len(said["sha256"]) == 64
    assert proto.doc_string == SUMMARIES["generate"]
    other = small(1, condition=["cat", "dog", "eel"], latent_dim=[2, 1], prior="conditional")
    keras_cvae.export(other, tmp_path / "other.onnx")
    assert (
        said["sha256"]
        != {one.key: one.value for one in onnx.load(tmp_path / "other.onnx").metadata_props}[
            "sha256"
        ]
    )


def test_what_is_unknown_goes_in_as_the_model_has_it(tmp_path):
    model = small(condition=KnownPart((6,)))
    keras_cvae.export(model, tmp_path / "complete.onnx")
    x = np.array([[1, 0, 1, np.nan, np.nan, np.nan]], "float32")
    noise = np.random.default_rng(3).standard_normal((1, 2)).astype("float32")
    given = {"noise": noise, "condition": x}
    (drawn,) = session(tmp_path / "complete.onnx").run(None, given)
    np.testing.assert_allclose(drawn, model.complete(x, seed=3), atol=TOLERANCE)
    np.testing.assert_array_equal(drawn[0, :3], x[0, :3])


def test_mixed_precision_is_exported_in_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small(prior="conditional")
    finally:
        keras.config.set_dtype_policy("float32")
    assert keras_cvae.export(model, tmp_path / "draw.onnx").difference <= TOLERANCE


def test_without_a_latent_only_draws(tmp_path):
    made = keras_cvae.export(small(latent_dim=0), tmp_path / "model")
    assert made.graphs == ("generate", "sample")


def test_a_graph_that_differs_is_not_written(model, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting.onnx, "run", lambda content, inputs: [np.ones((7, 6))])
    with pytest.raises(ExportError, match=r"'generate' differs from Keras by .* Nothing was"):
        keras_cvae.export(model, tmp_path / "draw.onnx")
    assert not list(tmp_path.iterdir())


def test_a_graph_that_onnx_has_no_form_for(model, tmp_path, monkeypatch):
    def missing(*args, **kwargs):
        raise NotImplementedError("no plugin for sorting")

    monkeypatch.setattr("jax2onnx.to_onnx", missing)
    with pytest.raises(ExportError, match=r"'generate' .* no form in ONNX: no plugin for sorting"):
        keras_cvae.export(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_what_a_file_or_onnxruntime_cannot_take_is_said(model, tmp_path, monkeypatch):
    with pytest.raises(ExportError, match="onnxruntime does not run it"):
        exporting.onnx.run(b"no graph", {})
    monkeypatch.setattr("jax2onnx.to_onnx", lambda *args, **kwargs: onnx.ModelProto(ir_version=9))
    monkeypatch.setattr(exporting.onnx, "LARGEST", 1)
    with pytest.raises(ExportError, match=r"'generate' takes 0.0 GB, more than the 2 of a file"):
        keras_cvae.export(model, tmp_path / "draw.onnx")
    assert not list(tmp_path.iterdir())


def test_refusals(model, tmp_path):
    (tmp_path / "there.onnx").write_text("mine")
    for arguments, words in (
        (("model.onnx", "onxx"), "'onnx' or 'tf'. Did you mean 'onnx'"),
        (("model.pb",), "ends in '.onnx', or a folder"),
        (("model.onnx", "tf"), "A SavedModel is a folder"),
        (("nowhere/model.onnx",), "does not exist"),
        (("there.onnx",), "exists already"),
    ):
        path, *rest = arguments
        with pytest.raises((ValueError, OSError), match=words.replace(".", r"\.")):
            keras_cvae.export(model, tmp_path / path, *rest)
    with pytest.raises(ValueError, match="Did you mean 'encoder'"):
        keras_cvae.export(model, tmp_path / "model.onnx", graph="encode")
    with pytest.raises(ValueError, match="received a Sequential"):
        keras_cvae.export(keras.Sequential(), tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]
    assert (tmp_path / "there.onnx").read_text() == "mine"


def test_packages_that_are_missing_are_named(model, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"jax2onnx.*pip install 'keras-cvae\[export\]'"):
        keras_cvae.export(model, tmp_path / "model.onnx")


def test_what_is_compared_is_what_the_model_meets():
    model = small(
        condition={"kind": Optional(3), "age": "continuous"}, likelihood="gaussian", seed=2
    )
    x = 1e6 + np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    model.likelihood.view.settle(x)
    one = graphs(model)["encoder"]
    inputs = examples(model, one)
    assert list(inputs) == ["x", "condition.kind", "condition.age"]
    assert np.abs(inputs["x"] - 1e6).max() < 10
    assert (inputs["condition.kind"] == -1).any()
    assert difference(answers(model, one, inputs), answers(model, one, inputs)) == 0.0


# Another process, on another backend.


def test_another_process_is_asked_and_answers(model, tmp_path, monkeypatch):
    """Its work is done here, on what it would be given and with what it would answer."""
    asked = []

    def run(words, env, **_):
        asked.append((words[3:], env["KERAS_BACKEND"]))
        exporting.work(*words[3:])
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(exporting.subprocess, "run", run)
    monkeypatch.setitem(exporting.FORMATS, "onnx", ("numpy", exporting.FORMATS["onnx"][1]))
    made = keras_cvae.export(model, tmp_path / "decoder.onnx", graph="decoder")
    ((folder, form), backend) = asked[0]
    assert (form, backend) == ("onnx", "numpy")
    assert not Path(folder).exists()
    assert made.difference <= TOLERANCE
    z = np.random.default_rng(0).standard_normal((3, 3), "float32")
    inputs = {"z": z, "condition": np.array([0, 2, 1], "int32")}
    (x,) = session(tmp_path / "decoder.onnx").run(None, inputs)
    np.testing.assert_allclose(x, model.decoder.predict(inputs, verbose=0), atol=TOLERANCE)


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        ({"error": "Too odd."}, 0, "^Too odd.$"),
        ({}, 1, "The process that exports on numpy failed: Killed"),
        ({}, 0, "The process that exports on numpy failed: Killed"),
    ],
)
def test_what_ends_another_process_is_said(model, tmp_path, monkeypatch, answer, code, message):
    def run(words, **_):
        if answer:
            (Path(words[3]) / "task" / "answer.json").write_text(json.dumps(answer))
        return subprocess.CompletedProcess(words, code, "", "It ran.\nKilled\n")

    monkeypatch.setattr(exporting.subprocess, "run", run)
    monkeypatch.setitem(exporting.FORMATS, "onnx", ("numpy", exporting.FORMATS["onnx"][1]))
    with pytest.raises(ExportError, match=message):
        keras_cvae.export(model, tmp_path / "decoder.onnx", graph="decoder")
    assert not list(tmp_path.iterdir())


def test_what_a_process_cannot_export_it_says(model, tmp_path, monkeypatch):
    def refuse(one):
        raise ExportError(f"'{one.name}' has no form.")

    (tmp_path / "task").mkdir()
    model.save(tmp_path / "task" / "model.keras")
    np.savez(tmp_path / "task" / "decoder.npz", **{"input z": np.zeros(2), "output 0": np.ones(2)})
    monkeypatch.setattr(exporting.onnx, "convert", refuse)
    exporting.work(str(tmp_path), "onnx")
    said = json.loads((tmp_path / "task" / "answer.json").read_text())
    assert said == {"error": "'decoder' has no form."}
