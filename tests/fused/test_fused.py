"""The fast path gives the numbers of the plain one, where it applies, and is not in the way."""

import signal

import keras
import numpy as np
import pytest

from keras_cvae import MLP, ConditionalVAE, Conv, KnownPart
from keras_cvae.backend import layers_of, within_fit
from keras_cvae.data.batches import Batches, CompletionBatches
from keras_cvae.data.containers import Split
from keras_cvae.data.hashed import binarized, moved, unit
from keras_cvae.errors import DataError
from keras_cvae.fused import applies, program
from keras_cvae.probability.likelihoods.gaussian import Gaussian

ON_JAX = keras.backend.backend() == "jax"
needs_jax = pytest.mark.skipif(not ON_JAX, reason="the fast path is JAX's")

N, SHAPE = 70, (4, 5, 1)
PIXELS = np.random.default_rng(0).integers(0, 256, (N, *SHAPE), np.uint8)
X = (PIXELS / np.float32(255)).astype("float32")
Y = np.arange(N, dtype=np.int32) % 3


def model(**kwargs):
    keras.utils.set_random_seed(3)
    built = ConditionalVAE(SHAPE, 3, [1, 1], **{"backbone": MLP((8,)), "seed": 1} | kwargs)
    built.compile(keras.optimizers.Adam(1e-2))
    return built


def batches(n=N, **kwargs):
    return Batches(Split(np.resize(PIXELS, (n, *SHAPE)), np.resize(Y, n)), 16, **kwargs)


def ways(monkeypatch, run):
    """What `run` gives on the fast path and on the plain one, and whether each was taken."""
    found = []
    for switch in ("1", "0"):
        monkeypatch.setenv("KERAS_CVAE_FASTPATH", switch)
        result, trained = run()
        found.append((result, trained))
    assert found[0][1]._fused._programs
    assert not found[1][1]._fused._programs
    return found


def state(trained):
    variables = [*trained.variables, *trained.optimizer.variables]
    return {v.path: keras.ops.convert_to_numpy(v) for v in variables}


def assert_same_fit(monkeypatch, run):
    (fast, ours), (plain, theirs) = ways(monkeypatch, run)
    assert fast.history.keys() == plain.history.keys()
    for name, values in fast.history.items():  # XLA may sum what is only logged in another order
        np.testing.assert_allclose(values, plain.history[name], rtol=1e-6)
    for (path, a), b in zip(state(ours).items(), state(theirs).values(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=path)


# The same numbers --------------------------------------------------------------------------------


@needs_jax
@pytest.mark.optimized
def test_arrays_train_to_the_same_bits(monkeypatch):
    def run():
        trained = model(likelihood=Gaussian("optimal"))  # depends on the batch as a whole
        trained.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-2)))
        history = trained.fit(
            X,
            Y,
            batch_size=16,  # the last batch is smaller
            sample_weight=np.linspace(0, 2, N),
            validation_data=(X[:40], Y[:40], np.ones(40)),
            epochs=3,
            verbose=0,
        )
        return history, trained

    assert_same_fit(monkeypatch, run)


@needs_jax
@pytest.mark.optimized
def test_batches_train_to_the_same_bits(monkeypatch):
    def run():
        trained = model(prior="conditional")
        history = trained.fit(
            batches(shuffle=True, seed=5, epoch=2, binarize="dynamic", shift=1, shift_epochs=4),
            validation_data=batches(40, binarize="dynamic"),
            initial_epoch=2,
            epochs=5,
            shuffle=False,
            verbose=0,
        )
        return history, trained

    assert_same_fit(monkeypatch, run)


@pytest.mark.further
@needs_jax
@pytest.mark.parametrize("steps", [2, pytest.param(128, marks=pytest.mark.nightly)])
def test_an_accelerator_trains_to_the_same_bits(monkeypatch, steps):
    """There a call has as many steps as it was compiled for."""
    monkeypatch.setattr(program, "accelerated", lambda: True)
    monkeypatch.setattr(program, "STEPS", steps)
    order = {"shuffle": True, "seed": 5, "binarize": "dynamic"}

    def run():
        trained = model(prior="conditional")
        data = {"validation_data": batches(40), "epochs": 3, "shuffle": False, "verbose": 0}
        return trained.fit(batches(86, **order), **data), trained  # 5 steps, and a smaller one

    assert_same_fit(monkeypatch, run)


def test_calls_of_an_accelerator_leave_no_rest_where_they_can():
    parts = [program._even_part(n, 128) for n in (1, 100, 240, 245, 294, 293)]
    assert parts == [1, 100, 120, 49, 98, 128]


@needs_jax
def test_pictures_to_be_completed_train_to_the_same_bits(monkeypatch):
    def run():
        keras.utils.set_random_seed(3)
        trained = ConditionalVAE(SHAPE, KnownPart(SHAPE, "left"), 2, backbone=MLP((8,)), seed=1)
        trained.compile(keras.optimizers.Adam(1e-2))
        train, held = (
            CompletionBatches(Split(PIXELS[:n]), 16, "left", binarize="dynamic", **order)
            for n, order in ((N, {"shuffle": True}), (40, {}))
        )
        options = {"validation_data": held, "epochs": 3, "shuffle": False, "verbose": 0}
        return trained.fit(train, **options), trained

    assert_same_fit(monkeypatch, run)


@pytest.mark.further
@needs_jax
def test_evaluation_is_the_same(monkeypatch):
    def run():
        trained = model()
        data = batches(binarize="none")
        return [trained.evaluate(data, verbose=0) for _ in range(2)], trained

    (fast, _), (plain, _) = ways(monkeypatch, run)
    np.testing.assert_allclose(fast, plain, rtol=1e-6)
    assert fast[0] == fast[1]


@needs_jax
def test_a_second_fit_compiles_nothing_and_many_steps_run_at_once(monkeypatch):
    monkeypatch.setattr(program, "SECONDS", 1e9)
    trained, heard, calls = model(), Steps(), []
    run = program.FusedFunction._advance
    monkeypatch.setattr(
        program.FusedFunction, "_advance", lambda self, s: calls.append(self.done) or run(self, s)
    )
    for epochs in (3, 1):
        data = batches(64, shuffle=True)
        trained.fit(data, epochs=epochs, shuffle=False, verbose=0, callbacks=[heard])
        assert trained._fused.program("train")._cache_size() == 1
    # One to compile, one to measure, the rest; then whole epochs.
    assert calls == [0, 1, 2, 0, 0, 0]
    assert sorted(heard.steps) == sorted(4 * [0, 1, 2, 3])
    assert np.isfinite(heard.losses).all()
    assert trained.step == 16


@pytest.mark.further
@needs_jax
def test_what_was_checked_before_is_not_looked_at_in_the_step(monkeypatch):
    trained = model()
    for switch, looked_at in (("1", False), ("0", True)):
        monkeypatch.setenv("KERAS_CVAE_FASTPATH", switch)
        trained.fit(batches(), shuffle=False, verbose=0)
        assert (trained.watch.found() is not None) == looked_at


@pytest.mark.further
@needs_jax
def test_a_batch_may_be_larger_than_the_data():
    trained = model()
    trained.fit(X, Y, batch_size=2**31 - 1, verbose=0)
    assert trained.step == 1


# Pictures that are moved ------------------------------------------------------------------------


@pytest.mark.further
def test_pictures_move_by_whole_pixels_as_far_and_as_often_as_they_should(rng):
    n, shape = 6_000, (5, 4, 2)
    x = rng.integers(1, 256, (n, *shape), np.uint8)
    found = moved(x, np.arange(n), np.array([7, 11, 2, 2**15], np.uint32))
    places = [(i, j) for i in range(-2, 3) for j in range(-2, 3)]
    counts = dict.fromkeys(places, 0)
    for before, after in zip(x, found, strict=True):
        wide = np.zeros((9, 8, 2), np.uint8)
        wide[2:7, 2:6] = before
        cuts = {(i, j): wide[2 - i : 7 - i, 2 - j : 6 - j] for i, j in places}
        fits = [place for place, cut in cuts.items() if np.array_equal(after, cut)]
        assert len(fits) == 1
        counts[fits[0]] += 1
    expected = dict.fromkeys(places, n / 50) | {(0, 0): n / 2 + n / 50}
    for place, count in counts.items():  # within five standard errors
        assert abs(count - expected[place]) < 5 * np.sqrt(expected[place]), place


def test_where_a_picture_moves_depends_on_its_row_and_the_key_alone(rng):
    x, rows = rng.integers(0, 256, (50, 4, 4, 1), np.uint8), np.arange(50)
    how = np.array([1, 2, 1, 2**16], np.uint32)
    order = rng.permutation(50)
    np.testing.assert_array_equal(moved(x, rows, how)[order], moved(x[order], order, how))
    other = moved(x, rows, how + np.array([1, 0, 0, 0], np.uint32))
    assert (other != moved(x, rows, how)).any()


@needs_jax
def test_jax_moves_pictures_as_numpy_does(rng):
    import jax

    x, rows = rng.integers(0, 256, (50, 6, 5, 3), np.uint8), rng.permutation(50)
    how = np.array([2**32 - 1, 2, 2, 40_000], np.uint32)
    run = jax.jit(lambda *given: moved(*given, jax.numpy))
    np.testing.assert_array_equal(run(x, rows, how), moved(x, rows, how))


def test_ever_fewer_pictures_move():
    x = np.random.default_rng(0).integers(1, 256, (4000, 4, 5, 1), np.uint8)
    held = Batches(Split(x), 4000, shuffle=True, shift=1, shift_epochs=4)
    shares = []
    for held.epoch in range(6):
        same = held[0][0] == unit(x[held._permutation(held.epoch)])
        shares.append(float(1 - same.all(axis=(1, 2, 3)).mean()))
    np.testing.assert_allclose(shares, np.array([1, 0.75, 0.5, 0.25, 0, 0]) * 8 / 9, atol=0.04)
    assert shares[4:] == [0, 0]


def test_what_cannot_be_moved_is_refused():
    with pytest.raises(DataError, match=r"shift moves pictures .* received x of shape \(6,\)"):
        Batches(Split(np.zeros((4, 6))), 2, shuffle=True, shift=1)
    with pytest.raises(ValueError, match="shift is for training"):
        batches(shift=1)
    with pytest.raises(ValueError, match="shift: received -1"):
        batches(shuffle=True, shift=-1)


# Ordinary callbacks ------------------------------------------------------------------------------


class Steps(keras.callbacks.Callback):
    """Hears of every step, and does not look at the model."""

    async_safe = True

    def __init__(self):
        super().__init__()
        self.steps, self.losses = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(batch)
        self.losses.append(logs["loss"])


def decided(trained, x=X, y=Y, **given):
    return applies.decide(trained, x, y, **{"training": True, "shuffle": True} | given)


@needs_jax
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"callbacks": [keras.callbacks.LambdaCallback(on_train_batch_end=print)]}, "CALLBACK"),
        ({"steps": 2}, "STEPS"),
        ({"shuffle": "batch"}, "SHUFFLE"),
        ({"x": batches(shuffle=True), "y": None}, "SHUFFLE"),  # the batches, once more
        ({"x": batches(workers=2), "y": None, "shuffle": False}, "WORKERS"),
        ({"x": iter([]), "y": None, "shuffle": False}, "STREAM"),
        ({"compile": {"run_eagerly": True}}, "UNCOMPILED"),
        ({"compile": {"jit_compile": False}}, "UNCOMPILED"),
        ({"memory": 0}, "MEMORY"),
        ({"switch": "0"}, "SWITCHED_OFF"),
        ({"model": {"backbone": Conv((2,), 4)}}, "CONVOLUTIONS"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_otherwise_steps_run_one_by_one_for_a_reason(given, reason, monkeypatch):
    given = dict(given)
    trained = model(**given.pop("model", {}))
    trained.compile(**given.pop("compile", {}))
    monkeypatch.setattr(applies, "MEMORY", given.pop("memory", 0.5))
    monkeypatch.setenv("KERAS_CVAE_FASTPATH", given.pop("switch", "1"))
    assert decided(trained, **given) is applies.StepByStep[reason]


@pytest.mark.further
@needs_jax
def test_the_reason_is_logged(caplog):
    with caplog.at_level("DEBUG", "keras_cvae"):
        model().fit(X, Y, steps_per_epoch=2, verbose=0)
    assert "train: steps run one by one, because the number of steps is given" in caplog.text


@needs_jax
def test_usual_callbacks_are_no_reason_for_single_steps(tmp_path):
    callbacks = [
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True),
        keras.callbacks.EarlyStopping(patience=1),
        keras.callbacks.ReduceLROnPlateau(),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        Steps(),
    ]
    stored = decided(model(), callbacks=callbacks)
    np.testing.assert_array_equal(stored.x, X)
    np.testing.assert_array_equal(stored.y, Y)


@pytest.mark.further
@needs_jax
def test_a_callback_may_evaluate_other_data():
    trained, found = model(), []
    other = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: found.append(trained.evaluate(X[:10], Y[:10], verbose=0))
    )
    history = trained.fit(
        X, Y, validation_data=(X[:40], Y[:40]), epochs=2, callbacks=[other], verbose=0
    ).history
    assert found[1] == trained.evaluate(X[:10], Y[:10], verbose=0)
    assert history["val_loss"][1] == trained.evaluate(X[:40], Y[:40], verbose=0)[0]


@needs_jax
def test_ctrl_c_ends_it_between_two_programs_with_the_model_whole(monkeypatch):
    monkeypatch.setattr(program, "SECONDS", 1e-9)  # one step a program
    trained, advance = model(), program.FusedFunction._advance

    def interrupted(self, state):
        if self.done == 2:
            signal.raise_signal(signal.SIGINT)
        return advance(self, state)

    monkeypatch.setattr(program.FusedFunction, "_advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained.fit(X, Y, batch_size=16, epochs=1, verbose=0)
    assert trained.step == 2
    assert np.isfinite(trained.get_weights()[0]).all()


@needs_jax
def test_errors_are_those_of_the_plain_path():
    with pytest.raises(ValueError, match=r"shape \(16, 20\).*Expected \(n, 4, 5, 1\)"):
        model().fit(Batches(Split(PIXELS.reshape(N, -1), Y), 16), shuffle=False, verbose=0)
    with pytest.raises(ValueError, match="no condition"):
        model().fit(Batches(Split(PIXELS), 16), shuffle=False, verbose=0)


# Private names of Keras ---------------------------------------------------------------------------


@pytest.mark.further
def test_keras_says_which_evaluation_is_within_fit():
    said = []

    class Model(ConditionalVAE):
        def evaluate(self, *args, **kwargs):
            said.append(within_fit(kwargs))
            return super().evaluate(*args, **kwargs)

    trained = Model(SHAPE, 3, 1, backbone=MLP((4,)))
    trained.compile("adam")
    trained.fit(X[:8], Y[:8], validation_data=(X[:8], Y[:8]), verbose=0)
    trained.evaluate(X[:8], Y[:8], verbose=0)
    assert said == [True, False]


def test_keras_lists_the_layers_of_a_model_at_any_depth():
    inner = keras.Sequential([keras.layers.Dense(2)])
    found = layers_of(keras.Sequential([keras.Input((3,)), inner]))
    assert any(layer is inner.layers[-1] for layer in found)


# Numbers -----------------------------------------------------------------------------------------


@needs_jax
def test_bytes_become_the_numbers_that_numpy_makes_of_them():
    import jax

    values = np.arange(256, dtype=np.uint8)
    expected = np.divide(values, np.float32(255), dtype=np.float32)
    np.testing.assert_array_equal(jax.jit(unit)(values), expected)
    np.testing.assert_array_equal(unit(values), expected)


@needs_jax
@pytest.mark.parametrize("x", [PIXELS, X, PIXELS[:, :3, :1]], ids=["bytes", "floats", "odd"])
def test_both_draw_the_same_pixels(x):
    import jax

    rows, key = np.arange(100, 100 + N), np.array([1, 2**32 - 1], np.uint32)
    drawn = jax.jit(lambda *a: binarized(*a, jax.numpy))(x, rows, key)
    np.testing.assert_array_equal(drawn, binarized(x, rows, key))


def test_draws_are_independent_of_each_other():
    half = np.full((2000, 65), 0.5, np.float32)  # bits; the words hold two pixels each
    drawn = [
        2 * binarized(half, np.arange(first, first + 2000), np.array([first, key], np.uint32)) - 1
        for first in (0, 2000)
        for key in (0, 1)
    ]
    z = np.concatenate(drawn, axis=1)  # (2000, 260) signs
    correlation = z.T @ z / len(z)
    np.fill_diagonal(correlation, 0.0)
    assert np.abs(correlation).max() < 5.5 / np.sqrt(len(z))  # pixels and keys
    rows = z @ z.T / z.shape[1]
    np.fill_diagonal(rows, 0.0)
    assert np.abs(rows).max() < 6.5 / np.sqrt(z.shape[1])
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
