import multiprocessing
import operator
import os
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

import keras_cvae
from harness import answers, restarting, seldom_elsewhere
from keras_cvae import ELBO, IWAE, MLP, ConditionalVAE, Gaussian
from keras_cvae.models.serialization import precision
from keras_cvae.probability.objectives import Terms
from paths import ROOT

FIT = {"epochs": 2, "batch_size": 16, "shuffle": False, "verbose": 0}  # 40 rows: 16, 16, 8


def same_weights(a, b):
    for one, other in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def fresh(small, **kwargs):
    keras.utils.set_random_seed(0)
    return small(**kwargs)


# Training, as users of Keras drive it.


class Batched(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return self.x[16 * i : 16 * i + 16], self.y[16 * i : 16 * i + 16]


def as_tf(x, y):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(16)


def as_torch(x, y):
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return torch.utils.data.DataLoader(data, batch_size=16)


@pytest.mark.parametrize("stream", [Batched, as_tf, as_torch])
def test_a_data_set_trains_as_arrays_do(stream, data, small):
    x, y = data
    streamed = stream(x, y)
    a, b = fresh(small), fresh(small)
    a.fit(x, y, **FIT)
    b.fit(streamed, epochs=2, verbose=0, shuffle=False)
    same_weights(a, b)
    assert a.evaluate(x, y, batch_size=16, verbose=0) == b.evaluate(streamed, verbose=0)
    np.testing.assert_array_equal(
        a.predict(x, condition=y, batch_size=16, verbose=0), b.predict(streamed, verbose=0)
    )


@pytest.mark.further
def test_validation_leaves_the_training_untouched(data, small):
    (x, y), model = data, small()
    restart, found = restarting(model), []
    for given in (
        {"x": x[:30], "y": y[:30]},
        {"x": x[:30], "y": y[:30], "validation_data": (x[30:], y[30:])},
        {"x": x, "y": y, "validation_split": 0.25},
    ):
        restart()
        history = model.fit(**given, **FIT).history
        found.append(model.get_weights())
    assert set(history) == {
        f"{v}{n}" for v in ("", "val_") for n in ("loss", "reconstruction", "kl")
    }
    for plain, *others in zip(*found, strict=True):
        for other in others:
            np.testing.assert_array_equal(other, plain)


@pytest.mark.further
def test_callbacks_and_early_stopping(data, small):
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(logs["loss"])
    )
    stop = keras.callbacks.EarlyStopping("val_loss", patience=1, min_delta=1e9, start_from_epoch=0)
    history = small().fit(
        *data, validation_data=data, callbacks=[watch, stop], **FIT | {"epochs": 9}
    )
    assert history.history["loss"] == seen
    assert len(seen) == 2


@pytest.mark.further
def test_metrics_are_exact_means_with_a_partial_batch(data, small, rng):
    x, y = data
    model, weight = small(), rng.random(40).astype("float32")
    model.noise.rewind()

    def each_batch(inputs):
        batches = [{k: v[i : i + 16] for k, v in inputs.items()} for i in (0, 16, 32)]
        return [(p.reconstruction, p.total_kl) for p in map(model, batches)]

    each = answers(each_batch, {"x": x, "condition": y})
    rec, kl = (np.concatenate(parts) for parts in zip(*each, strict=True))
    for w, kwargs in ((np.ones(40), {}), (weight, {"sample_weight": weight})):
        logs = model.evaluate(x, y, batch_size=16, verbose=0, return_dict=True, **kwargs)
        for name, each in (("reconstruction", rec), ("kl", kl), ("loss", rec + kl)):
            np.testing.assert_allclose(logs[name], np.average(each, weights=w), rtol=1e-5)
    as_list = model.evaluate(x, y, batch_size=16, verbose=0)
    np.testing.assert_allclose(as_list, [rec.mean() + kl.mean(), rec.mean(), kl.mean()], rtol=1e-5)
    history = model.fit(x, y, **FIT).history
    total = np.add(history["reconstruction"], history["kl"])
    np.testing.assert_allclose(history["loss"], total, rtol=1e-5)


@pytest.mark.further
def test_rows_of_weight_zero_have_no_influence(data, small):
    (x, y), model = data, small()
    weight = np.tile(np.float32([1, 0]), 20)
    restart, found = restarting(model), []
    for each in (x, np.where(weight[:, None] > 0, x, 1 - x)):
        restart()
        model.fit(each, y, sample_weight=weight, **FIT)
        found.append(model.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.further
def test_the_seed_repeats_training_which_evaluations_do_not_disturb(data, small):
    a, b, c = fresh(small), fresh(small), fresh(small, seed=2)
    assert a.evaluate(*data, verbose=0) == a.evaluate(*data, verbose=0)
    for model in (a, b, c):
        model.fit(*data, **FIT)
    same_weights(a, b)
    assert not np.array_equal(a.decode([0, 0], 1), c.decode([0, 0], 1))


def test_training_improves_the_bound(data, small):
    losses = small().fit(*data, **FIT | {"epochs": 15}).history["loss"]
    assert losses[-1] < losses[0] - 0.3


@pytest.mark.further
@pytest.mark.parametrize(
    "name", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.nightly)]
)
@seldom_elsewhere
def test_mixed_precision_trains_as_well_and_is_saved(name, data, small, tmp_path):
    def trained(policy):
        keras.utils.set_random_seed(0)
        with precision(policy):
            model = small(prior="conditional", seed=0)
        adam = keras.optimizers.Adam(1e-2)
        scaled = policy == "mixed_float16"
        model.compile(keras.optimizers.LossScaleOptimizer(adam) if scaled else adam)
        return model, model.fit(*data, **FIT | {"epochs": 15}).history["loss"][-1]

    model, loss = trained(name)
    assert loss == pytest.approx(trained("float32")[1], abs=0.1)  # nats
    assert all(str(w.dtype) in ("float32", "int32", "uint32", "int64") for w in model.variables)
    model.save(tmp_path / "mixed.keras")
    again = keras_cvae.load(tmp_path / "mixed.keras")
    assert again.dtype_policy.name == again.encoder.dtype_policy.name == name
    assert np.isfinite(again.reconstruct(*data)).all()
    np.testing.assert_array_equal(again.encode(*data), model.encode(*data))
    model.encoder.save(tmp_path / "encoder.keras")
    assert keras.saving.load_model(tmp_path / "encoder.keras").dtype_policy.name == name


def test_summary_counts_the_weights(small):
    lines = []
    small().summary(print_fn=lambda line, **_: lines.append(line))
    assert "Trainable params" in "\n".join(lines)
    assert small().count_params() > 0


# The verbs.


@pytest.fixture(scope="module")
def model():
    """A model that no test changes."""
    model = ConditionalVAE((6,), 3, 2, backbone=MLP((8,), "tanh"), seed=1)
    model.compile("adam")
    return model


def test_encode_decode_reconstruct_and_predict_agree(data, model):
    x, y = data
    z = model.encode(x, y)
    assert z.shape == (40, 2)
    again = model.reconstruct(x, y)
    np.testing.assert_allclose(model.decode(z, y), again, rtol=1e-6)
    np.testing.assert_allclose(
        model.predict(x, condition=y, verbose=0), again, rtol=1e-5, atol=1e-6
    )
    q = model.encoder.predict({"x": x, "condition": y}, verbose=0)
    np.testing.assert_allclose(q["mean"], z, rtol=1e-5, atol=1e-6)
    draws = np.stack([model.encode(x, y, sample=True, seed=s) for s in range(100)])
    error = np.exp(0.5 * q["log_var"]) / 10
    assert np.all(np.abs(draws.mean(axis=0) - z) < 5 * error)
    np.testing.assert_array_equal(draws[3], model.encode(x, y, sample=True, seed=3))


def test_parts_predict_on_their_own(small):
    model, y = small(latent_dim=[1, 1], prior="conditional"), np.array([0, 1, 2])
    drawn = model.prior.predict({"noise": np.zeros((3, 2)), "condition": y}, verbose=0)
    np.testing.assert_array_equal(drawn["z"], drawn["mean"])
    x = model.decoder.predict({"z": drawn["z"], "condition": y}, verbose=0)
    np.testing.assert_allclose(x, model.decode(drawn["z"], y), rtol=1e-6)


@pytest.mark.further
@pytest.mark.parametrize(
    ("condition", "count"),
    [(2, 1), (np.array([0, 2]), 2), ("2", 1), (["0", "2"], 2), ({0: 0.5, "2": 0.5}, 1)],
    ids=["number", "array", "name", "names", "mixture"],
)
@pytest.mark.parametrize("output", ["mean", "sample"])
def test_generate(condition, count, output, model):
    x = model.generate(condition, 3, seed=5, output=output)
    assert x.shape == (3 * count, 6)
    np.testing.assert_array_equal(x, model.generate(condition, 3, seed=5, output=output))
    assert output == "mean" or set(np.unique(x)) <= {0.0, 1.0}
    if count == 1 and output == "mean":
        cold = model.generate(condition, 2, temperature=0.0)
        np.testing.assert_allclose(cold, model.decode(np.zeros((2, 2)), condition), rtol=1e-6)


def test_generate_keeps_the_order_of_conditions(model):
    x = model.generate([2, 0], 2, temperature=0.0)
    for i, y in enumerate((2, 2, 0, 0)):
        np.testing.assert_allclose(x[i], model.decode([0, 0], y)[0], rtol=1e-6)


def test_restyle_decodes_with_another_condition(data, model):
    x, y = data
    expected = model.decode(model.encode(x, y), 2)
    for to in (2, [2], np.full(40, 2)):
        np.testing.assert_allclose(model.restyle(x, y, to), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.further
def test_restyle_moves_z_from_one_learned_prior_to_the_other(data, small, rng):
    (x, y), model = data, small(prior="conditional", latent_dim=[1, 1])
    for weight in model.prior.trainable_variables:
        weight.assign(rng.normal(size=weight.shape, scale=0.5))
    z, close = model.encode(x, y), {"rtol": 1e-4, "atol": 1e-5}
    style = model.style(z, y)
    assert np.abs(style - z).max() > 0.1
    to = {"noise": style, "condition": np.full(40, 2, "int32")}
    moved = model.prior.predict(to, verbose=0)["z"]
    np.testing.assert_allclose(model.restyle(x, y, 2), model.decode(moved, 2), **close)
    np.testing.assert_allclose(model.restyle(x, y, y), model.reconstruct(x, y), **close)
    ends = model.interpolate(z[0], z[1], condition=y[0], to_condition=y[1], steps=3)[::2]
    np.testing.assert_allclose(ends, model.decode(z[:2], y[:2]), **close)


def test_interpolate(model):
    a, b = [1.0, -1.0], [0.0, 2.0]
    close = {"rtol": 1e-5, "atol": 1e-6}
    way = model.interpolate(a, b, condition=0, to_condition=2, steps=5)
    assert way.shape == (5, 6)
    np.testing.assert_allclose(way[[0, 4]], model.decode([a, b], [0, 2]), **close)
    np.testing.assert_allclose(way[2:3], model.decode([0.5, 0.5], {0: 0.5, 2: 0.5}), **close)
    stay = model.interpolate(condition=0, to_condition=2, steps=3)
    np.testing.assert_allclose(stay[::2], model.decode(np.zeros((2, 2)), [0, 2]), **close)


def test_without_a_condition_there_are_all_verbs(data, small):
    x, model = data[0], small(condition=None)
    model.fit(x, **FIT)
    assert np.isfinite(model.evaluate(x, verbose=0)).all()
    assert model.encode(x).shape == (40, 2)
    np.testing.assert_allclose(model.predict(x, verbose=0), model.reconstruct(x), rtol=1e-5)
    assert model.generate(n=3, output="sample").shape == (3, 6)
    assert model.interpolate([0, 0], [1, 1], steps=4).shape == (4, 6)
    assert model.interpolate(steps=4).shape == (4, 6)
    with pytest.raises(ValueError, match="has no condition"):
        model.generate(3)


# Where the truth is known.


def linear_gaussian():
    """x = W z + b_y + noise, with orthogonal columns, so that the posterior is diagonal."""
    rng = np.random.default_rng(0)
    scale, sigma = np.array([1.5, 0.5]), 0.7
    w = np.linalg.qr(rng.normal(size=(4, 2)))[0] * scale  # (4, 2)
    b = rng.normal(size=(3, 4))
    variance = 1 / (1 + scale**2 / sigma**2)  # of z given x
    to_mean = variance[:, None] * w.T / sigma**2  # (2, 4)

    x, z, features = (keras.Input((n,)) for n in (4, 2, 3))
    mean, log_var = keras.layers.Dense(2), keras.layers.Dense(2)
    both = keras.layers.Concatenate()([x, features])
    encoder = keras.Model([x, features], [mean(both), log_var(both)])
    out = keras.layers.Dense(4)
    decoder = keras.Model([z, features], out(keras.layers.Concatenate()([z, features])))
    mean.set_weights([np.concatenate([to_mean.T, -(b @ to_mean.T)]), np.zeros(2)])
    log_var.set_weights([np.zeros((7, 2)), np.log(variance)])
    out.set_weights([np.concatenate([w.T, b]), np.zeros(4)])
    model = ConditionalVAE(
        (4,), 3, 2, likelihood=Gaussian(sigma=sigma), encoder=encoder, decoder=decoder
    )
    y = np.arange(30) % 3
    x = rng.normal(size=(30, 2)) @ w.T + b[y] + sigma * rng.normal(size=(30, 4))
    cov = w @ w.T + sigma**2 * np.eye(4)
    truth = np.array([stats.multivariate_normal.logpdf(x[i], b[y[i]], cov) for i in range(30)])
    return model, x.astype("float32"), y.astype("int32"), truth


@pytest.mark.further
def test_with_the_true_posterior_the_bounds_are_tight():
    model, x, y, truth = linear_gaussian()
    inputs = {"x": x, "condition": y}
    model.objective = ELBO(num_samples=4000)

    def bounds(inputs):
        terms = model(inputs)
        few = Terms(terms.log_likelihood[:3], terms.kl, terms.log_ratio[:3])
        return IWAE(3)(few), model.objective(terms), terms.log_likelihood

    iwae, elbo, log_likelihood = answers(bounds, inputs)
    # Every weight p(x, z | y) / q(z | x, y) is p(x | y), for any z.
    np.testing.assert_allclose(iwae, truth, atol=1e-4)
    error = log_likelihood.std(axis=0) / np.sqrt(4000)
    assert np.all(np.abs(elbo - truth) < 5 * error)


@pytest.mark.further
def test_with_another_posterior_the_elbo_is_below():
    model, x, y, truth = linear_gaussian()
    variance = model.encoder.body.layers[-1]
    variance.set_weights([variance.get_weights()[0], variance.get_weights()[1] + 1.0])
    model.objective = ELBO(num_samples=1000)
    elbo = answers(lambda inputs: model.objective(model(inputs)), {"x": x, "condition": y})
    # KL( N(m, e v) || N(m, v) ) = (e - 2) / 2 for each of two dimensions.
    np.testing.assert_allclose((truth - elbo).mean(), np.e - 2, atol=0.05)


# Networks of one's own.


def network(inputs, outputs, activation=None, reshape=None):
    """A Keras model from these input shapes to these output widths."""
    tensors = [keras.Input(shape) for shape in inputs]
    flat = [keras.layers.Flatten()(t) for t in tensors]
    h = keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
    outs = [keras.layers.Dense(n, activation)(h) for n in outputs]
    outs = [keras.layers.Reshape(reshape)(o) for o in outs] if reshape else outs
    return keras.Model(tensors, outs if len(outs) > 1 else outs[0])


@pytest.mark.further
@pytest.mark.parametrize("alone", [True], ids=["x and z alone"])  # with features: `LIVES`
def test_own_networks_train_and_are_saved(alone, data, small, tmp_path):
    features = [] if alone else [(3,)]
    model = small(
        encoder=network([(6,), *features], [2, 2]), decoder=network([(2,), *features], [6])
    )
    model.fit(*data, **FIT)
    model.save(tmp_path / "own.keras")
    again = keras_cvae.load(tmp_path / "own.keras")
    np.testing.assert_array_equal(model.reconstruct(*data), again.reconstruct(*data))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"encoder": network([(5,), (3,)], [2, 2])},
            r"Your encoder takes inputs of shapes \(batch, 5\) and \(batch, 3\). Expected x of "
            r"shape \(batch, 6\) and condition features of shape \(batch, 3\) \(or x alone\)",
        ),
        ({"encoder": network([(6,), (4,)], [2, 2])}, r"inputs of shapes .*\(batch, 4\)"),
        (
            {"encoder": network([(6,), (3,)], [2, 3])},
            r"Your encoder gives outputs of shapes \(batch, 2\) and \(batch, 3\). Expected "
            r"\[mean, log_var\]",
        ),
        ({"encoder": network([(6,), (3,)], [4])}, r"gives outputs of shapes \(batch, 4\)"),
        ({"decoder": network([(3,), (3,)], [6])}, r"Your decoder takes .* z of shape \(batch, 2\)"),
        (
            {"decoder": network([(2,), (3,)], [5])},
            r"gives .*\(batch, 5\). Expected the likelihood's parameters: \(batch, 6\)",
        ),
        (
            {"decoder": network([(2,), (3,)], [6]), "likelihood": Gaussian("predicted")},
            r"Expected the likelihood's parameters: \(batch, 12\)",
        ),
        (
            {"decoder": network([(2,)], [6], "sigmoid")},
            "ends in a sigmoid, but the Bernoulli .* takes logits and applies the sigmoid itself",
        ),
        ({"decoder": network([(2,)], [6], "sigmoid", (6,))}, "activation=None"),
        (
            {"decoder": network([(2,)], [6], "tanh"), "likelihood": "gaussian"},
            "ends in a tanh, but the Gaussian likelihood takes x as it scales it",
        ),
    ],
)
def test_own_networks_that_do_not_fit_are_refused(kwargs, message, small):
    with pytest.raises(ValueError, match=message):
        small(**kwargs)


# Saving.


@pytest.mark.further
def test_loads_in_a_new_process(data, model, tmp_path):
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x=data[0], y=data[1])
    script = """
import sys
import numpy as np
import keras, keras_cvae
path, data, out = sys.argv[1:]
data = np.load(data)
models = keras.saving.load_model(path), keras_cvae.load(path)
np.save(out, [m.reconstruct(data["x"], data["y"]) for m in models])
"""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "KERAS_BACKEND": keras.backend.backend(),
    }
    paths = [str(tmp_path / name) for name in ("model.keras", "data.npz", "out.npy")]
    subprocess.run([sys.executable, "-c", script, *paths], check=True, env=environment)
    for found in np.load(tmp_path / "out.npy"):
        np.testing.assert_array_equal(found, model.reconstruct(*data))


def test_training_resumes_bit_for_bit(data, small, tmp_path):
    model = small(objective=ELBO(keras_cvae.Warmup(9)))
    restart = restarting(model)
    model.fit(*data, **FIT)
    model.save(tmp_path / "half.keras")
    resumed = keras_cvae.load(tmp_path / "half.keras")
    assert int(resumed.step) == 6
    resumed.fit(*data, **FIT)
    restart()
    model.fit(*data, **FIT | {"epochs": 4})
    same_weights(model, resumed)


@pytest.mark.further
def test_fit_goes_on_from_averaged_weights(data, small):
    model = small(compiled=False)
    model.compile(keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9))
    model.fit(*data, **FIT)
    averages = [np.array(ops.convert_to_numpy(w)) for w in model.trainable_variables]
    model.fit(*data, **FIT)
    for average, weight in zip(averages, model.trainable_variables, strict=True):
        assert not np.allclose(ops.convert_to_numpy(weight), average, atol=1e-5)


def test_saving_is_atomic(small, tmp_path, monkeypatch):
    model, path = small(), tmp_path / "model.keras"
    model.save(path)
    before = path.read_bytes()

    def broken(self, filepath, **kwargs):
        filepath.write_bytes(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(keras.Model, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        model.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_holds_no_code(small, tmp_path):
    small().save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert set(archive.namelist()) == {"metadata.json", "config.json", "model.weights.h5"}
        config = archive.read("config.json").decode()
    assert "__lambda__" not in config
    assert "pickle" not in config


def test_an_existing_file_is_kept_on_request(small, tmp_path):
    small().save(tmp_path / "model.keras")
    with pytest.raises(FileExistsError, match="exists"):
        small().save(tmp_path / "model.keras", overwrite=False)
    with pytest.raises(ValueError, match=r"ends in '\.keras'"):
        small().save(tmp_path / "model.h5")


def test_files_that_cannot_be_loaded(small, tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no model at"):
        keras_cvae.load(tmp_path / "nothing.keras")
    small().save(tmp_path / "model.keras")
    cut = tmp_path / "cut.keras"
    cut.write_bytes((tmp_path / "model.keras").read_bytes()[:-100])
    with pytest.raises(ValueError, match="cut short"):
        keras_cvae.load(cut)
    middle = bytearray((tmp_path / "model.keras").read_bytes())
    middle[len(middle) // 2 : len(middle) // 2 + 2000] = bytes(2000)
    cut.write_bytes(middle)
    with pytest.raises(ValueError, match="damaged"):
        keras_cvae.load(cut)
    network([(2,)], [1]).save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match=r"holds a Functional, expected a ConditionalVAE"):
        keras_cvae.load(tmp_path / "other.keras")


# Bad input.

X, Y = np.zeros((4, 6), "float32"), np.array([0, 1, 2, 0])


def spoiled(value):
    x = X.copy()
    x[2, 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "kwargs", "message"),
    [
        (X, Y[:3], {}, "x has 4 examples, but y has 3"),
        (X, 1, {}, "x has 4 examples, but y has 1"),
        (X, Y, {"sample_weight": np.ones(3)}, r"sample_weight has the shape \(3,\)"),
        (X, Y, {"validation_data": (X, Y[:2])}, "validation x has 4 examples, but y has 2"),
        (spoiled(np.nan), Y, {}, "single precision in 1 of 4 examples, first in row 2"),
        (spoiled(np.inf), Y, {}, "NaN, infinity or"),
        (spoiled(255), Y, {}, "Divide by 255"),
        (spoiled(-1), Y, {}, r"in \[0, 1\]"),
        (X[:0], Y[:0], {}, "x is empty"),
        (X[:, :5], Y, {}, r"shape \(4, 5\). Expected \(n, 6\)"),
        (X.astype(str), Y, {}, "Expected numbers"),
        (X, Y + 5, {}, "Unknown class 5"),
        (X, None, {}, "no condition was given"),
        (X, np.full((4, 3), 0.5), {}, "sums to 1.5"),
        (X, Y, {"validation_split": 2.0}, "validation_split: received 2.0"),
        (X, Y, {"batch_size": 0}, "batch_size: received 0"),
        (X, Y, {"epochs": 1.5}, "epochs: received 1.5"),
    ],
)
def test_fit_refuses(x, y, kwargs, message, model):
    with pytest.raises(ValueError, match=message):
        model.fit(x, y, verbose=0, **kwargs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.decode(np.zeros((2, 3)), 0), r"z has the shape \(2, 3\). Expected \(n, 2\)"),
        (lambda m: m.decode(np.zeros((3, 2)), [0, 1]), "2 conditions for 3 examples"),
        (lambda m: m.encode(X, 3), "Unknown class 3"),
        (lambda m: m.encode(X[0], 0), r"shape \(6,\)"),
        (lambda m: m.generate("x"), "Unknown class 'x'"),
        (lambda m: m.generate(), "no condition was given"),
        (lambda m: m.generate(0, 0), "n: received 0, expected a whole number of at least 1"),
        (lambda m: m.generate(0, temperature=-1), "temperature: received -1"),
        (lambda m: m.generate(0, temperature=None), "temperature: received None"),
        (lambda m: m.generate(0, guidance="2"), "guidance: received '2'"),
        (lambda m: m.generate(0, seed=-1), "seed: received -1"),
        (lambda m: m.log_prob(X, 0, 5, seed=None), "seed: received None"),
        (lambda m: m.log_prob(X, 0, 5, batch_size=0), "batch_size: received 0"),
        (lambda m: m.log_prob(X, 0, np.nan), "num_samples: received nan"),
        (lambda m: m.classify(X, 5, candidates=[]), "candidates: received none"),
        (lambda m: m.generate(0, output="draw"), "received 'draw'"),
        (lambda m: m.interpolate(condition=0, steps=1), "steps: received 1,"),
        (lambda m: m.interpolate(None, [0, 0], condition=0), "to_z without z"),
        (lambda m: m.compile(loss="mse"), "received loss, but a ConditionalVAE has its own"),
        (lambda m: m.compile(metrics=["mse"]), "received metrics"),
        (lambda m: m.fit(Batched(X[:, :5], Y), verbose=0), r"shape \(4, 5\). Expected \(n, 6\)"),
    ],
)
def test_verbs_refuse(call, message, model):
    with pytest.raises(ValueError, match=message):
        call(model)


def test_fit_needs_compile(small):
    with pytest.raises(ValueError, match="compile"):
        small(compiled=False).fit(X, Y, verbose=0)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"x_shape": (0,)}, r"x_shape: received \(0,\)"),
        ({"latent_dim": -1}, "latent_dim: received -1"),
        ({"latent_dim": [3, 2.5]}, "latent_dim: received 2.5"),
        ({"latent_dim": "two"}, "latent_dim: received 'two'"),
        ({"latent_dim": [2, 0]}, "latent_dim: received 0"),
        ({"likelihood": "bernouli"}, "Did you mean 'bernoulli'"),
        ({"prior": "standart"}, "Did you mean 'standard'"),
        ({"objective": "vae"}, "Unknown objective"),
        ({"backbone": "resnet"}, "Unknown backbone"),
        ({"seed": -1}, "seed: received -1"),
    ],
)
def test_the_constructor_refuses(kwargs, message, small):
    with pytest.raises(ValueError, match=message):
        small(**kwargs)


def test_classes_that_are_numbers_keep_their_names(small, data):
    """Labels 3, 5, 7 are not positions, wherever a verb hands them on."""
    x, y = data
    labels = np.array([3, 5, 7])[y]
    model, plain = small(condition=[3, 5, 7]), small()
    plain.set_weights(model.get_weights())
    drawn = model.generate([7, 3], 2, seed=0)
    np.testing.assert_array_equal(drawn, plain.generate([2, 0], 2, seed=0))
    np.testing.assert_array_equal(model.restyle(x, labels, 5), plain.restyle(x, y, 1))
    way = {"condition": 3, "to_condition": 7, "steps": 3}
    plainly = plain.interpolate(condition=0, to_condition=2, steps=3)
    np.testing.assert_array_equal(model.interpolate(**way), plainly)


def test_where_there_is_no_memory_smaller_models_are_built_as_before():
    with pytest.raises(MemoryError, match="no memory for this model"):
        ConditionalVAE((10**14,), 3, backbone=MLP((8,)))  # no machine has addresses for it
    assert ConditionalVAE((4,), 3, backbone=MLP((8,))).generate(1).shape == (1, 4)


@pytest.mark.slow
def test_a_model_goes_to_a_spawned_process_and_draws_the_same_there():
    model = ConditionalVAE((3,), 2, 2, backbone=MLP((4,)), seed=0)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map(operator.methodcaller("generate", 1, 3, seed=5), [model])
    np.testing.assert_array_equal(found[0], model.generate(1, 3, seed=5))
