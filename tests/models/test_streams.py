"""Data sets that yield batches are checked as arrays are, and scaled by their first batches."""

import copy
import functools

import keras
import numpy as np
import pytest

import keras_cvae
from keras_cvae import (
    MLP,
    Bounded,
    Categorical,
    ConditionalVAE,
    Continuous,
    KnownPart,
    Optional,
    SemiSupervisedCVAE,
    Tags,
    masks,
    trees,
)
from keras_cvae.data.batches import Batches
from keras_cvae.data.containers import Split

N, SIZE = 60, 20
X = np.random.default_rng(0).integers(0, 2, (N, 6)).astype("float32")
Y = np.arange(N) % 3


def build(condition=3, cls=ConditionalVAE, **kwargs):
    keras.utils.set_random_seed(0)
    model = cls((6,), copy.deepcopy(condition), 2, **{"backbone": MLP((8,)), "seed": 0} | kwargs)
    model.compile("adam")
    return model


def generator(*arrays):
    for start in range(0, N, SIZE):
        yield trees.take(arrays, slice(start, start + SIZE))


class Chunks(keras.utils.PyDataset):
    def __init__(self, *arrays, **kwargs):
        super().__init__(**kwargs)
        self.batches = list(generator(*arrays))

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def with_(array, row, value):
    changed = np.array(array, "float32")
    changed[row] = value
    return changed


def fit(model, *arrays, kind=Chunks, **options):
    steps = N // SIZE if kind is generator else None  # else Keras warns at its end
    options |= {"steps_per_epoch": steps, "verbose": 0, "shuffle": False}
    return model.fit(kind(*arrays), **options).history


def numpy(weight):
    return keras.ops.convert_to_numpy(weight)


EARLY, LATE = 3, 55  # rows of the first batch, and of the last, which is looked at in the step

WRONG = {
    "bytes": (lambda row: (with_(X, row, 200), Y), r"from 0 to 200\. Divide by 255"),
    "negative": (lambda row: (with_(X, row, -1), Y), r"expects x in \[0, 1\].*from -1 to 1"),
    "x is NaN": (lambda row: (with_(X, row, np.nan), Y), "x holds NaN"),
    "x is infinite": (lambda row: (with_(X, row, np.inf), Y), "x holds (NaN, )?infinity"),
    "label": (lambda row: (X, with_(Y, row, 3)), "Unknown class 3.*positions from 0"),
    "no label": (lambda row: (X, with_(Y, row, -1)), "Unknown class -1"),
    "weight": (lambda row: (X, Y, with_(np.ones(N), row, -2)), "sample_weight holds .*-2"),
}


@functools.cache
def model_of(kind):
    """One model of each kind, for tests in which it is given what it refuses."""
    return build(KINDS[kind])


@pytest.mark.parametrize("row", [EARLY, LATE])
@pytest.mark.parametrize("what", WRONG)
def test_what_arrays_may_not_hold_data_sets_may_not_yield(what, row):
    make, message = WRONG[what]
    where = "batch 0" if row == EARLY else "Training, epoch 1, a batch"
    if keras.backend.backend() == "torch" and row == LATE:  # which may not go on to the end
        where = ""
    with pytest.raises(ValueError, match=f"{where}.*{message}"):
        fit(model_of("classes"), *make(row))


@pytest.mark.parametrize(
    "encoding", [pytest.param("onehot", marks=pytest.mark.nightly), "embedding"]
)
def test_labels_that_count_from_one_are_refused(encoding):
    with pytest.raises(ValueError, match="batch 0: Unknown class 3"):
        fit(build(Categorical(3, encoding)), X, Y + 1)
    with pytest.raises(ValueError, match=r"Unknown class 3.*positions"):  # not the labels of arrays
        fit(build(Categorical([1, 2, 3], encoding)), X, Y + 1)
    fit(build(Categorical([1, 2, 3], encoding)), X, Y)


def test_names_are_refused():
    with pytest.raises(ValueError, match=r"condition holds <U1 values.*classes as positions"):
        fit(build(["a", "b", "c"]), X, np.array(["a", "b", "c"])[Y])


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([(X[:, :5], Y)], r"x has the shape \(60, 5\). Expected \(n, 6\)"),
        ([(X, Y[:9])], "60 examples come with 9 conditions"),
        ([(X, np.eye(4)[np.arange(N) % 4])], r"mixtures|\(n, 3\)"),
        ([(X,)], "conditioned on one of 3 classes"),
        ([{"x": X, "label": Y}], "a dict with x, label. Expected {'x': ..., 'condition': ...}"),
        ([], "yields nothing"),
    ],
)
def test_batches_of_another_form_are_refused(batches, message):
    with pytest.raises(ValueError, match=message):
        model_of("classes").fit((batch for batch in batches), verbose=0)


def test_what_is_no_data_is_refused():
    model = model_of("classes")
    with pytest.raises(ValueError, match=r"x: received nothing. Expected an array"):
        model.fit()
    with pytest.raises(ValueError, match="x: received int"):
        model.fit(3)
    with pytest.raises(ValueError, match=r"y is given beside a data set .Chunks."):
        model.fit(Chunks(X, Y), Y)
    with pytest.raises(ValueError, match=r"differ in shape.*fit\(x, y\)"):
        model.fit([X, np.eye(3)[Y]], X)


def test_evaluation_and_validation_are_checked():
    model = build()
    for bad in (with_(X, EARLY, np.nan), with_(X, LATE, np.nan)):
        with pytest.raises(ValueError, match="x holds NaN"):
            model.evaluate(Chunks(bad, Y), verbose=0)
        with pytest.raises(ValueError, match="x holds NaN"):
            model.fit(X, Y, validation_data=Chunks(bad, Y), verbose=0)
        with pytest.raises(ValueError, match="x holds NaN"):
            model.fit(Chunks(bad, Y), validation_data=(X, Y), verbose=0, shuffle=False)
    assert np.isfinite(model.evaluate(Chunks(X, Y), verbose=0)).all()


def test_what_is_found_is_raised_before_a_checkpoint_is_written(tmp_path):
    save = keras.callbacks.ModelCheckpoint(tmp_path / "last.keras")
    with pytest.raises(ValueError, match=r"epoch 1.*NaN"):
        fit(build(), with_(X, LATE, np.nan), Y, callbacks=[save], epochs=3)
    assert not (tmp_path / "last.keras").exists()


def test_batches_by_hand_are_checked():
    model = build()
    with pytest.raises(ValueError, match="Divide by 255"):
        model.train_on_batch(200 * X, Y)
    with pytest.raises(ValueError, match="Unknown class 3"):
        model.test_on_batch(X, Y + 1)
    assert np.isfinite(model.train_on_batch(X, Y, return_dict=True)["loss"])
    assert np.isfinite(model.test_on_batch(X, Y))[0]


def named(**given):
    return {"class": Y, "age": np.arange(N) * 1.0, **given}


JOINT = {"class": Categorical(["u", "v", "w"]), "age": Continuous()}
KINDS = {
    "classes": 3,
    "optional classes": Optional(3),
    "joint": JOINT,
    "joint with optional age": JOINT | {"age": Optional(Continuous())},
    "joint with optional class": JOINT | {"class": Optional(3)},
    "tags": Tags(3),
    "known part": KnownPart((6,)),
}


@pytest.mark.parametrize(
    ("kind", "y", "message"),
    [
        ("joint", named(**{"class": with_(Y, LATE, 3)}), "Condition 'class': Unknown class 3"),
        ("joint", named(age=with_(Y, LATE, np.nan)), "Condition 'age': .*(NaN|missing)"),
        ("joint", named(age=with_(Y, LATE, np.inf)), "Condition 'age': .*infinity"),
        ("joint with optional age", named(age=with_(Y, LATE, np.nan)), None),
        ("joint with optional class", named(**{"class": with_(Y, LATE, -1)}), None),
        ("joint with optional class", named(**{"class": with_(Y, LATE, -2)}), "class -2"),
        ("optional classes", with_(Y, LATE, -1), None),
        ("classes", with_(np.eye(3)[Y], LATE, [0.5, 0.25, 0.25]), None),
        ("classes", with_(np.eye(3)[Y], LATE, [1.5, -0.5, 0]), "weights from -0.5 to 1.5"),
        ("tags", with_(np.eye(3)[Y], LATE, 2), "from .* to 2"),
        ("known part", masks.holes(X, np.arange(6) < 3), None),
        ("known part", masks.holes(with_(X, LATE, 7), np.arange(6) < 3), "from .* to 7"),
    ],
)
def test_every_kind_of_condition_is_checked_in_the_step(kind, y, message):
    model = model_of(kind)
    if message is None:
        assert np.isfinite(fit(model, X, y)["loss"]).all()
    else:
        with pytest.raises(ValueError, match=message):
            fit(model, X, y)


@pytest.mark.further
def test_unknown_labels_are_what_semi_supervised_models_learn_from():
    model = build(cls=SemiSupervisedCVAE, classifier="mlp")
    assert np.isfinite(fit(model, X, with_(Y, LATE, -1))["loss"]).all()
    with pytest.raises(ValueError, match="Unknown class 3"):
        fit(model, X, with_(Y, LATE, 3))


# Looking loses nothing ---------------------------------------------------------------------------


TWO_KINDS = [generator, pytest.param(Chunks, marks=pytest.mark.nightly)]


@pytest.mark.further
@pytest.mark.parametrize("kind", TWO_KINDS)
def test_the_batches_that_were_looked_at_are_trained_on(kind):
    """Each of them once and in their order, as if they were arrays."""
    streamed, whole = build(), build()
    for model in (streamed, whole):
        model.compile(keras.optimizers.SGD(0.1))
    fit(streamed, X, Y, kind=kind, epochs=1)
    whole.fit(X, Y, batch_size=SIZE, shuffle=False, verbose=0)
    for one, other in zip(streamed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


VALUES = np.random.default_rng(1).normal(50, 30, (N, 6)).astype("float32")


@pytest.mark.parametrize("kind", TWO_KINDS)
def test_scalings_are_taken_from_the_first_batches(kind):
    likelihood = Bounded([None] * 6, [None] * 6)
    model, age = build(Continuous(), likelihood=likelihood), VALUES[:, :1] * 100
    fit(model, VALUES, age, kind=kind)
    for layer, values in ((model.likelihood.view, VALUES), (model.condition, age)):
        np.testing.assert_allclose(numpy(layer.mean), values.mean(axis=0), rtol=1e-4)
        np.testing.assert_allclose(numpy(layer.scale), values.std(axis=0), rtol=1e-4)
    fit(model, VALUES + 9, age, kind=kind)  # they stay
    np.testing.assert_allclose(numpy(model.likelihood.view.mean), VALUES.mean(axis=0), rtol=1e-4)


def test_scalings_of_batches_of_arrays_are_those_of_all_of_them():
    model = build(Continuous(), likelihood=Bounded([None] * 6, [None] * 6))
    age = np.arange(N, dtype="float32")[:, None]
    model.fit(Batches(Split(VALUES, age), 4), shuffle=False, verbose=0)
    np.testing.assert_allclose(numpy(model.likelihood.view.mean), VALUES.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(numpy(model.condition.mean), age.mean(axis=0))


def test_batches_of_arrays_are_checked_as_a_whole():
    for x, y, message in (
        (with_(X, LATE, np.nan), Y, "NaN.*first in row 55"),
        (with_(X, LATE, 7), Y, "from 0 to 7"),
        (X, np.where(np.arange(N) == LATE, 3, Y), "Unknown class 3"),
    ):
        data = Batches(Split(x, y.astype("int32")), SIZE)
        with pytest.raises(ValueError, match=message):
            model_of("classes").fit(data, shuffle=False, verbose=0)


# tf.data and torch -------------------------------------------------------------------------------


def test_pictures_in_a_folder_are_refused_with_what_to_do(tmp_path):
    pytest.importorskip("tensorflow")
    for i in range(12):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        pixels = np.full((4, 4, 1), 20 * i, "uint8")
        keras.utils.save_img(tmp_path / "ab"[i % 2] / f"{i}.png", pixels, scale=False)
    pictures = keras.utils.image_dataset_from_directory(
        tmp_path, image_size=(4, 4), color_mode="grayscale", batch_size=4, verbose=False
    )
    model = keras_cvae.ConditionalVAE((4, 4, 1), 2, 2, backbone=MLP((8,)), seed=0)
    model.compile("adam", jit_compile=False)
    with pytest.raises(ValueError, match="Divide by 255 to scale 8-bit images"):
        model.fit(pictures, verbose=0)
    with pytest.raises(ValueError, match="Divide by 255 to scale 8-bit images"):
        model.evaluate(pictures, verbose=0)
    scaled = pictures.map(lambda x, y: (x / 255, y))
    model.fit(scaled, verbose=0)
    assert np.isfinite(model.evaluate(scaled, verbose=0)).all()


def test_a_torch_loader_is_checked():
    torch = pytest.importorskip("torch")
    tensors = torch.tensor(with_(X, LATE, np.nan)), torch.tensor(Y)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), SIZE)
    with pytest.raises(ValueError, match=r"Training, epoch 1.*x holds NaN"):
        build().fit(loader, verbose=0, shuffle=False)


def test_a_number_that_is_none_late_in_a_stream_costs_no_weights(rng):
    x = rng.normal(size=(32, 4)).astype("float32")
    y = rng.normal(size=32).astype("float32")
    model = keras_cvae.ConditionalVAE(
        (4,), keras_cvae.Continuous(), 2, likelihood="gaussian", backbone=MLP((4,)), seed=0
    )
    model.compile(keras.optimizers.Adam(0.01))
    model.fit(x, y, verbose=0)
    for wrong in (np.nan, np.inf):
        bad_x, bad_y = x.copy(), y.copy()
        bad_x[0, 0], bad_y[0] = wrong, wrong
        for last in ((bad_x, y), (x, bad_y)):
            batches = (batch for batch in ((x, y), (x, y), (x, y), last))
            with pytest.raises(ValueError, match=r"NaN|infinity"):
                model.fit(batches, steps_per_epoch=4, verbose=0)
            assert all(np.isfinite(weight).all() for weight in model.get_weights())
            assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()
