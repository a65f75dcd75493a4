"""A file must not command: what a saved model names is checked before anything is built."""

import re
import zipfile

import h5py
import keras
import numpy as np
import pytest

from hostile import calls, dense, function, rewritten, sequential
from keras_cvae import ELBO, MLP, Bounded, ConditionalVAE, TopDown, Warmup, load


def small(**arguments):
    own = {"x_shape": (6,), "condition": 3, "latent_dim": 2, "backbone": MLP((8,)), "seed": 0}
    model = ConditionalVAE(**own | arguments)
    model.compile(keras.optimizers.Adam(0.01))
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    small().save(path)
    return path


def nested(depth):
    inner: dict = {}
    for _ in range(depth):
        inner = {"a": inner}
    return inner


INDEX = {
    "module": "keras.src.layers.preprocessing.index_lookup",
    "class_name": "IndexLookup",
    "config": {"vocabulary": "/etc/passwd"},
}
LEVELS = {
    "module": "keras_cvae.networks.topdown",
    "class_name": "TopDown",
    "config": {"units": 4, "levels": 10**9},
    "registered_name": "keras_cvae>TopDown",
}


NOWHERE = {"module": "keras.layers.nowhere", "class_name": "Dense", "config": {}}


@keras.saving.register_keras_serializable(package="mine")
def doubled(x):
    return 2.0 * x


def within(name, value):
    return lambda config: config | {"config": config["config"] | {name: value}}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (within("encoder", calls("keras.config", "set_floatx")), "Lambda"),
        (within("encoder", calls("keras.utils", "set_random_seed")), "Lambda"),
        (within("encoder", dense(function("keras.config", "set_floatx"))), "keras.config.set_flo"),
        (within("encoder", dense(function("keras.utils", "get_file"))), "keras.utils.get_file"),
        (within("encoder", dense(function("builtins", "eval"))), "builtins.eval"),
        (within("objective", {"module": "os", "class_name": "system", "config": {}}), "os.system"),
        (
            within(
                "objective",
                {"module": "keras.src.utils.file_utils", "class_name": "get_file", "config": {}},
            ),
            "get_file",
        ),
        (lambda config: calls("keras.config", "set_floatx"), "holds a Sequential"),
        (lambda config: [config], "holds a list"),
        (within("likelihood", nested(300)), "nests more than 100"),
        (within("encoder", dense(function("keras.activations", "deserialize"))), "deserialize"),
        (within("encoder", dense("mine>doubled")), "mine>doubled"),
        (within("encoder", sequential(INDEX)), "IndexLookup"),
        (within("x_shape", [10**12]), "x_shape = [1000000000000]"),
        (within("latent_dim", [10**9]), "weights and holds"),
        (within("condition", 10**9), "weights and holds"),
        (within("backbone", LEVELS), "levels = 1000000000"),
        (within("encoder", sequential(NOWHERE)), "keras.layers.nowhere.Dense"),
    ],
)
def test_a_file_that_names_more_than_a_model_is_refused(saved, tmp_path, edit, message):
    path = rewritten(saved, tmp_path / "evil.keras", edit)
    with pytest.raises(ValueError, match=re.escape(message)):
        load(path)
    assert keras.config.floatx() == "float32"


def test_the_file_of_which_all_were_made_loads(saved):
    assert np.isfinite(load(saved).generate(1)).all()


@keras.saving.register_keras_serializable(package="mine")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2.0 * x


def test_classes_of_ones_own_are_loaded_where_the_file_is_trusted(tmp_path):
    x, features = keras.Input((6,)), keras.Input((3,))
    h = Doubled()(keras.layers.Concatenate()([x, features]))
    encoder = keras.Model([x, features], [keras.layers.Dense(2)(h), keras.layers.Dense(2)(h)])
    model = small(encoder=encoder)
    model.save(tmp_path / "own.keras")
    with pytest.raises(ValueError, match=r"mine>Doubled.*trusted=True"):
        load(tmp_path / "own.keras")
    again = load(tmp_path / "own.keras", trusted=True)
    x = np.ones((4, 6))
    np.testing.assert_array_equal(again.encode(x, 1), model.encode(x, 1))


def test_a_file_that_unfolds_to_far_more_is_refused(saved, tmp_path):
    def with_part(name, content):
        path = tmp_path / "evil.keras"
        with zipfile.ZipFile(saved) as file:
            parts = {part: file.read(part) for part in file.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for part, old in parts.items():
                file.writestr(part, content if part == name else old)
        return path

    for name in ("config.json", "model.weights.h5"):
        with pytest.raises(ValueError, match=f"its {name} has .* that stand for 50000000"):
            load(with_part(name, b" " * 50_000_000))
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("vars", (10**9,), "float32", chunks=(1000,))
    with pytest.raises(ValueError, match="said to have 4000000000 bytes"):
        load(with_part("model.weights.h5", (tmp_path / "huge.h5").read_bytes()))


def test_a_damaged_file_is_refused_in_words_or_loads_the_same(saved, tmp_path):
    """Fifty bytes changed, and twenty files cut short."""
    whole, path = saved.read_bytes(), tmp_path / "damaged.keras"
    rng, weights = np.random.default_rng(0), load(saved).get_weights()
    damaged = []
    for at in rng.integers(0, len(whole), 50):
        damaged.append(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
    damaged += [whole[:at] for at in rng.integers(0, len(whole), 20)]
    refused = []
    for content in damaged:
        path.write_bytes(content)
        try:
            found = load(path).get_weights()
        except ValueError as error:
            refused.append(str(error))
        else:
            assert all(np.array_equal(a, b) for a, b in zip(weights, found, strict=True))
    assert len(refused) > 55
    assert all(str(path) in message for message in refused)


@pytest.mark.further
def test_numbers_that_are_no_sizes_may_be_large(tmp_path):
    objective = ELBO(beta=Warmup(10**9))
    model = small(
        condition=[20240101, 2**40], objective=objective, likelihood=Bounded([0] * 6, [10**9] * 6)
    )
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 10**9)))
    model.save(tmp_path / "large.keras")
    assert load(tmp_path / "large.keras").generate(2**40).shape == (1, 6)


def test_networks_of_keras_layers_need_no_trust(tmp_path):
    x, features = keras.Input((6,)), keras.Input((3,))
    h = keras.layers.Dense(5, keras.activations.gelu, kernel_regularizer="l2")(x) + 1.0
    h = keras.layers.Dropout(0.1)(keras.layers.Concatenate()([h[:, 1:], features]))
    h = keras.ops.einsum("bi,bj->bij", h, features)[..., 0] * np.ones(7, "float32")
    encoder = keras.Model([x, features], [keras.layers.Dense(2)(h), keras.layers.Dense(2)(h)])
    model = small(encoder=encoder)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 10)))
    model.save(tmp_path / "own.keras")
    assert load(tmp_path / "own.keras").generate(1).shape == (1, 6)


@pytest.mark.parametrize("part", [pytest.param("encoder", marks=pytest.mark.nightly), "decoder"])
def test_what_is_frozen_comes_back_frozen(tmp_path, part):
    model, x, y = small(), np.ones((4, 6)), [0, 1, 2, 0]
    getattr(model, part).trainable = False
    with pytest.raises(ValueError, match="compile\\(\\) again"):
        model.fit(x, y, verbose=0)
    model.compile("adam")
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "frozen.keras")
    again = load(tmp_path / "frozen.keras")
    assert len(again.trainable_variables) == len(model.trainable_variables)
    assert {v.path.split("/")[0] for v in again.trainable_variables}.isdisjoint({part})
    before = getattr(again, part).get_weights()
    again.fit(x, y, verbose=0)
    for one, other in zip(before, getattr(again, part).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "backbone", [MLP((8,)), pytest.param(TopDown(8), marks=pytest.mark.nightly)]
)
def test_a_seed_decides_the_initial_weights_and_nothing_else_does(backbone):
    def weights(seed):
        arguments = {"backbone": backbone, "latent_dim": [1, 1], "seed": seed}
        return small(**arguments).get_weights()

    keras.utils.set_random_seed(1)
    one, other = weights(0), weights(1)
    expected = np.random.rand(3)  # noqa: NPY002
    keras.utils.set_random_seed(2)
    again = weights(0)
    keras.utils.set_random_seed(1)
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    np.testing.assert_array_equal(np.random.rand(3), expected)  # noqa: NPY002


def test_the_parts_are_found_by_name_and_say_how_they_are_called():
    model = small()
    for name, takes in (("encoder", "x"), ("prior", "noise"), ("decoder", "z")):
        part = model.get_layer(name)
        assert part is getattr(model, name)
        with pytest.raises(ValueError, match=f"The {name} was called .*'{takes}': ..."):
            part(np.ones((2, 6)))
    with pytest.raises(ValueError, match=r"called with .*list"):
        model([np.ones((2, 6)), np.ones(2)])
    with pytest.raises(ValueError, match="batch_size: received 1000"):
        model.fit(np.ones((2, 6)), [0, 1], batch_size=10**20)
