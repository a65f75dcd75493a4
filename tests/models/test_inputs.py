"""Tables, dictionaries, numbers far away: what a model says of what it is given."""

import copy
import pickle
import zipfile

import keras
import numpy as np
import pytest

import keras_cvae
from keras_cvae import MLP, ConditionalVAE, Continuous, Gaussian, KnownPart

pd = pytest.importorskip("pandas")

NAMES = ["height", "weight", "age"]


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    return pd.DataFrame(rng.normal([170, 70, 40], [10, 15, 12], (40, 3)), columns=NAMES)


@pytest.fixture(scope="module")
def fitted(table):
    """A model of x and of numbers, both tables, fitted."""
    arguments = {"likelihood": Gaussian, "backbone": MLP((8,)), "seed": 0}
    model = ConditionalVAE((3,), Continuous(2), **arguments)
    model.compile(keras.optimizers.Adam(0.01))
    model.fit(table, table[["age", "weight"]], batch_size=40, verbose=0)
    return model


@pytest.fixture
def asked(fitted, table):
    """Encode rows of x; frames and arrays alike."""
    return lambda x, y=table[["age", "weight"]]: fitted.encode(x, y[: len(x)])


def test_columns_are_put_in_the_order_of_training(asked, table, fitted, tmp_path):
    right = asked(table.to_numpy(), table[["age", "weight"]].to_numpy())
    np.testing.assert_array_equal(asked(table), right)
    np.testing.assert_array_equal(asked(table[NAMES[::-1]], table[["weight", "age"]]), right)
    np.testing.assert_array_equal(asked(table.astype("Float64")[NAMES[::-1]]), right)
    fitted.save(tmp_path / "model.keras")
    for again in (
        keras_cvae.load(tmp_path / "model.keras"),
        copy.deepcopy(fitted),
        pickle.loads(pickle.dumps(fitted)),
    ):
        given = again.encode(table[NAMES[::-1]], table[["weight", "age"]])
        np.testing.assert_array_equal(given, right)
    empty = keras.models.clone_model(fitted)  # with weights of its own, as Keras does it
    assert not int(empty.step)
    assert empty.encode(table, table[["age", "weight"]]).shape == right.shape


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": {"age": "years"}}, "x lacks 'age' and has 'years', which training had not. Expec"),
        ({"y": {"age": "height"}}, "The condition lacks 'age' and has 'height'"),
    ],
)
def test_other_columns_are_refused(change, words, asked, table):
    x, y = table.rename(columns=change.get("x", {})), table[["age", "weight"]]
    with pytest.raises(ValueError, match=words):
        asked(x, y.rename(columns=change.get("y", {})))


def test_a_hole_in_a_table_is_named(asked, table):
    holes = table.astype("Float64")
    holes.loc[7, "weight"] = pd.NA
    with pytest.raises(ValueError, match="first in row 7, column 'weight'"):
        asked(holes)
    with pytest.raises(ValueError, match="'age' of x holds"):
        asked(table.assign(age="old"))


def test_what_training_had_before_is_forgotten_where_nothing_was_learned(small, data):
    x, y = data
    frame, model = pd.DataFrame(x, columns=list("abcdef")), small()
    with pytest.raises(ValueError, match="Unknown class"):
        model.fit(frame, y + 3, verbose=0)
    model.fit(frame.rename(columns={"a": "z"}), y, batch_size=40, verbose=0)
    with pytest.raises(ValueError, match="lacks 'z' and has 'a'"):
        model.fit(frame, y, verbose=0)


def test_dummies_are_read_by_the_names_of_their_columns(small):
    labels = np.array(["cat", "eel", "dog", "cat"])
    spec = small(condition=["dog", "cat", "eel"]).condition.spec
    dummies = pd.get_dummies(pd.Series(labels))
    assert list(dummies) == ["cat", "dog", "eel"]
    np.testing.assert_array_equal(spec.prepare(dummies).argmax(axis=1), [1, 2, 0, 1])
    with pytest.raises(ValueError, match=r"columns is_cat, .* Expected those of its labels, dog"):
        spec.prepare(dummies.add_prefix("is_"))
    tags = keras_cvae.Tags(["a", "b"]).spec
    np.testing.assert_array_equal(tags.prepare(pd.DataFrame({"b": [1], "a": [0]})), [[0, 1]])


def test_named_conditions_come_as_any_table():
    pa = pytest.importorskip("pyarrow")
    spec = keras_cvae.Joint({"kind": ["a", "b"], "age": "continuous"}).spec
    frame = pd.DataFrame({"age": [1.0, 2.0], "other": "x", "kind": ["b", "a"]})
    for table in (frame, pa.Table.from_pandas(frame), pa.RecordBatch.from_pandas(frame)):
        found = spec.prepare(table)
        np.testing.assert_array_equal(found["kind"], [1, 0])
        np.testing.assert_array_equal(found["age"], [[1], [2]])


@pytest.mark.further
def test_completing_reads_tables_too(table):
    model = ConditionalVAE((3,), KnownPart((3,)), likelihood="gaussian", backbone=MLP((8,)), seed=0)
    model.compile("adam")
    model.fit(table, table.mask(table > table.median()), batch_size=40, verbose=0)
    holes = table[:2].astype("Float64")
    holes.loc[:, "age"] = pd.NA
    full = model.complete(holes[NAMES[::-1]], seed=0)
    np.testing.assert_allclose(full[:, :2], table[:2][NAMES[:2]], rtol=1e-6)
    np.testing.assert_array_equal(full, model.complete(holes, seed=0))


def test_numbers_far_from_training_are_warned_of_once(fitted, table):
    x, y = table[:1], table[["age", "weight"]][:1]
    for ask, words in (
        (lambda: fitted.encode(x * 1e6, y), r"x holds .*e\+0. in place .; in training it was"),
        (lambda: fitted.generate(y * 1e6), r"The condition holds .*e\+0"),
    ):
        fitted.headers.warned.clear()
        with pytest.warns(UserWarning, match=words) as met:
            ask(), ask()
        assert len([one for one in met if "in training" in str(one.message)]) == 1
    fitted.headers.warned.add("x")
    found = fitted.log_prob(x * 1e6, y, num_samples=3).log_prob
    assert -np.inf < found < -1e6  # an outlier, and no NaN


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (
            lambda m, x, y: m({"x": x[:, :2], "condition": y}),
            r"shape \(2, 2\) for x. Exp.*\(n, 3\)",
        ),
        (lambda m, x, y: m({"x": x}), "received x. Expected x and condition"),
        (lambda m, x, y: m.encoder({"z": x, "condition": y}), "The encoder received z, condition"),
        (lambda m, x, y: m({"x": x, "condition": y[:1]}), "received 2 of x, 1 of condition"),
        (lambda m, x, y: m.decoder({"z": x, "condition": y}), r"\(2, 3\) for z. Expected .*\(n, 2"),
        (lambda m, x, y: m({"x": x.tolist(), "condition": y}), "received a list for x"),
        (lambda m, x, y: m.encoder.predict({"x": x}), "received x. Expected x and condition"),
        (lambda m, x, y: m.prior.predict({"noise": x, "condition": y}), r"\(2, 3\) for noise"),
        (lambda m, x, y: m.decoder.predict({"z": y * np.nan, "condition": y}), "z holds NaN"),
        (lambda m, x, y: m.predict({"x": x, "cond": y}), "Received a dict with x, cond"),
        (lambda m, x, y: m.predict({}), "Received a dict with nothing"),
        (lambda m, x, y: m.predict({"x": x * np.nan, "condition": y}), "x holds NaN"),
        (lambda m, x, y: m.predict({"x": x, "condition": y}, condition=y), "beside it"),
        (lambda m, x, y: m.predict_on_batch([x, y]), "list of 2 that differ in shape"),
        (lambda m, x, y: m.decode(y * np.nan, y), "decode: z holds NaN"),
        (lambda m, x, y: m.decode(y * np.inf, y), "decode: z holds NaN, infinity"),
        (lambda m, x, y: m.decode(x, y), r"decode: z has the shape \(2, 3\). Expected \(n, 2\)"),
        (lambda m, x, y: m.decode("z", y), r"decode: z is 'z'. Expected an array \(n, 2\)"),
        (lambda m, x, y: m.style(y * np.nan, y), "style: z holds NaN"),
        (lambda m, x, y: m.interpolate(y, condition=y[0]), "received 2 z. Expected one"),
        (lambda m, x, y: m.generate(y[0], temperature=1e300), "temperature: received 1e"),
        (lambda m, x, y: m.encode(x[0], y), r"Expected \(n, 3\): x\[None\] for one example"),
        (lambda m, x, y: m.encode(np.ma.masked_array(x, x > 0), y), "A mask hides some of x"),
        (lambda m, x, y: m.predict(x, y), "a second array in the place of batch_size"),
        (lambda m, x, y: m.decode(y[:0], y[0]), "decode: z is empty. Expected at least one"),
        (lambda m, x, y: m.generate(y[:0]), "Received no condition at all. Expected at least one"),
        (lambda m, x, y: m.interpolate(condition=y, to_condition=y), "interpolate: received 2 con"),
        (lambda m, x, y: m.fit("x"), "x: received str. Expected an array"),
        (lambda m, x, y: m.fit(x, y, callbacks=["csv"]), "callbacks: received 'csv'. Expected"),
        (lambda m, x, y: m.compile(None), "optimizer=None. Expected a Keras optimizer"),
        (lambda m, x, y: m.compile(keras.optimizers.Adam), "Expected a Keras optimizer"),
        (lambda m, x, y: m.save_weights("none/w.weights.h5"), "The folder 'none' of"),
        (lambda m, x, y: m.save_weights("w.h5"), r"Expected one that ends in '.weights.h5'"),
    ],
)
def test_refused_in_words(ask, words, fitted, table):
    x = table.to_numpy("float32")[:2]
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        ask(fitted, x, x[:, 2:0:-1])


def test_weights_that_are_there_are_not_written_over(fitted, tmp_path):
    path = tmp_path / "w.weights.h5"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"exists. Choose another name, or overwrite=True"):
        fitted.save_weights(path, overwrite=False)
    assert path.read_text() == "mine"


def test_what_yields_single_examples_is_told_to_batch(data, small):
    with pytest.raises(ValueError, match=r"batch 0: It yields single examples. Expected batches"):
        small().fit(zip(*data, strict=True), verbose=0)


def test_iterators_may_yield_lists_and_dictionaries(data, small):
    x, y = data
    model, plain = small(), small()
    for kind in ([x.tolist(), y.tolist()], {"x": x, "condition": y}, (x, y, None)):
        plain.fit(((x, y) for _ in range(1)), steps_per_epoch=1, verbose=0)
        model.fit(iter([kind]), steps_per_epoch=1, verbose=0)
    for one, two in zip(plain.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    given = model.predict(iter([[x, y]]), steps=1, verbose=0)
    np.testing.assert_allclose(given, model.predict({"x": x, "condition": y}, verbose=0), atol=1e-6)


class Mine(ConditionalVAE):
    pass


class Own(Gaussian):
    pass


def test_a_class_that_is_not_known_is_named(tmp_path):
    about = {"x_shape": (3,), "latent_dim": 0, "backbone": MLP((4,)), "seed": 0}
    path, inner = tmp_path / "mine.keras", tmp_path / "own.keras"
    Mine(likelihood=Own(), **about).save(path)
    ConditionalVAE(likelihood=Own(), **about).save(inner)
    with zipfile.ZipFile(path) as file:
        assert "Mine" in file.read("config.json").decode()
    for at, how, words in (
        (path, {}, "holds a Mine, .*register_keras_serializable"),
        (path, {"trusted": True}, "names .*test_inputs.Mine, which is not known here"),
        (path, {"custom_objects": {"Mine": Mine}}, "names .*test_inputs.Own .Own., which"),
        (inner, {}, "names .*test_inputs.Own .*custom_objects"),
    ):
        with pytest.raises(ValueError, match=words):
            keras_cvae.load(at, **how)
    again = keras_cvae.load(path, custom_objects={"Mine": Mine, "Own": Own})
    assert type(again) is Mine
    assert type(again.likelihood) is Own
