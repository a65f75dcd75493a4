"""Trained weights cannot be lost, and answers cannot be torn: interrupts, mistakes, threads."""

import signal
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import h5py
import keras
import numpy as np
import pytest

from keras_cvae import MLP, ConditionalVAE, Continuous, Optional

pytestmark = [
    # An interrupt may fall into a callback of the garbage collector, which prints it.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
needs_jax = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="the other backends train in place"
)


RNG = np.random.default_rng(0)
Y = (np.arange(40) % 3).astype("int32")
X = (RNG.random((40, 6)) < 0.2 + 0.3 * Y[:, None]).astype("float32")


def build():
    """A trained model that has all verbs of one with classes."""
    model = ConditionalVAE(
        (6,), Optional(3, dropout=0.3), [1, 1], prior="conditional", backbone=MLP((8,)), seed=1
    )
    model.compile(keras.optimizers.Adam(0.01))
    model.fit(X, Y, epochs=1, batch_size=16, verbose=0)
    return model


@pytest.fixture(scope="module")
def model():
    return build()


VERBS = {
    "encode": lambda m: m.encode(X, Y),
    "encode, a draw": lambda m: m.encode(X, Y, sample=True, seed=0),
    "decode": lambda m: m.decode(np.ones((4, 2)), 1),
    "reconstruct": lambda m: m.reconstruct(X, Y),
    "sample_prior": lambda m: m.sample_prior(1, 5, seed=0),
    "generate": lambda m: m.generate(1, 100, seed=0),
    "generate, a draw": lambda m: m.generate([0, 2], 3, seed=0, output="sample"),
    "generate, guided": lambda m: m.generate(2, 3, seed=0, guidance=2.0),
    "style": lambda m: m.style(np.ones((4, 2)), 1),
    "restyle": lambda m: m.restyle(X, Y, 2),
    "interpolate": lambda m: m.interpolate([0, 0], [1, 1], condition=0, to_condition=2),
    "log_prob": lambda m: m.log_prob(X, Y, 20).log_prob,
    "log_marginal": lambda m: m.log_marginal(X[:4], 20, candidates=[0, 1]).log_prob,
    "classify": lambda m: m.classify(X[:4], 20),
    "predict": lambda m: m.predict(X, condition=Y, verbose=0),
    "predict_on_batch": lambda m: m.predict_on_batch({"x": X, "condition": Y}),
    "encoder.predict": lambda m: m.encoder.predict({"x": X, "condition": Y}, verbose=0)["mean"],
    "decoder.predict": lambda m: m.decoder.predict({"z": X[:, :2], "condition": Y}, verbose=0),
}
# What goes the ways of others, and is interrupted by `make test-all`.
ALIKE = ("encode, a draw", "sample_prior", "generate, a draw", "style", "restyle", "log_marginal")
ALIKE += ("predict_on_batch", "decoder.predict")
CHANGES = {
    "evaluate": lambda m: m.evaluate(X, Y, verbose=0),
    "fit": lambda m: m.fit(
        X, Y, epochs=2, batch_size=16, validation_data=(X[:8], Y[:8]), verbose=0
    ),
    "fit, step by step": lambda m: m.fit(
        X, Y, epochs=2, batch_size=16, verbose=0, callbacks=EachBatch()
    ),
    "train_on_batch": lambda m: m.train_on_batch(X[:16], Y[:16]),
    "test_on_batch": lambda m: m.test_on_batch(X[:16], Y[:16]),
}


class EachBatch(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        pass


def interrupted(call, at):
    """Raise KeyboardInterrupt at the `at`-th moment of a call; how many moments there were.

    Python looks for a pressed Ctrl-C where a function begins and where one in C has returned.
    """
    seen = 0

    def count(frame, event, argument):
        nonlocal seen
        seen += event in ("call", "c_return")
        if seen == at:
            sys.setprofile(None)
            raise KeyboardInterrupt

    try:
        sys.setprofile(count)
        call()
    except (KeyboardInterrupt, RuntimeError, UserWarning):
        pass  # the others are what Python's locks and a bare `except` in Keras make of it
    finally:
        sys.setprofile(None)
    return seen


def moments(call, n):
    """`n` moments that lie evenly between the beginning and the end of a call."""
    events = interrupted(call, -1)
    return np.unique(np.linspace(1, events - 1, n).astype(int))


def assert_whole(model, tmp_path):
    """All that one does with a model still works."""
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    model.save(tmp_path / "whole.keras")
    weights = saved_weights(tmp_path / "whole.keras")
    for variable in model.trainable_variables:
        assert any(np.array_equal(variable, weight) for weight in weights), variable.path
    assert model.generate(1, 4, seed=0).shape == (4, 6)
    step = int(model.step)
    model.fit(X, Y, batch_size=16, verbose=0)
    assert int(model.step) == step + 3


def saved_weights(path):
    """All arrays of a file, without the model that `load` would build of it."""
    found = []
    with zipfile.ZipFile(path) as file, file.open("model.weights.h5") as weights:
        h5py.File(weights).visititems(
            lambda name, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None
        )
    return found


def assert_unchanged(before, model):
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def nightly(names, seldom):
    return [
        pytest.param(name, marks=pytest.mark.nightly) if name in seldom else name for name in names
    ]


@pytest.mark.parametrize("verb", nightly(VERBS, ALIKE))
def test_an_interrupt_at_any_moment_of_a_verb_changes_nothing(verb, model, tmp_path):
    def call():
        return VERBS[verb](model)

    before, answer = model.get_weights(), call()
    for at in moments(call, 50):
        interrupted(call, at)
        assert_unchanged(before, model)
    np.testing.assert_array_equal(call(), answer)
    assert_whole(model, tmp_path)


@needs_jax
@pytest.mark.parametrize("change", nightly(CHANGES, ["test_on_batch"]))
def test_an_interrupt_at_any_moment_of_training_leaves_a_completed_step(change, model, tmp_path):
    def call():
        CHANGES[change](model)

    call()
    for at in moments(call, 50):
        step, optimized = int(model.step), int(model.optimizer.iterations)
        interrupted(call, at)
        assert int(model.step) - step == int(model.optimizer.iterations) - optimized
        assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert_whole(model, tmp_path)


@needs_jax
def test_what_is_left_is_a_step_that_was_completed(model):
    """Bit for bit what the same training gives that ends there by itself."""
    variables = model.variables + model.optimizer.variables
    start = [keras.ops.convert_to_numpy(variable) for variable in variables]

    def reset():
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)

    def fit(n=48):
        """One step, two or three."""
        several = {"batch_size": 16, "shuffle": False, "verbose": 0, "callbacks": EachBatch()}
        model.fit(X[:n], Y[:n], **several)

    completed = [model.get_weights()]
    for n in (16, 32, 48):
        reset()
        fit(n)
        completed.append(model.get_weights())
    reset()
    for at in moments(fit, 20):
        reset()
        interrupted(fit, at)
        found = model.get_weights()
        same = [
            all(np.array_equal(a, b) for a, b in zip(found, one, strict=True)) for one in completed
        ]
        assert sum(same) == 1


@pytest.mark.parametrize(
    "verb", nightly(["generate", "log_prob", "predict", "fit"], ["log_prob", "predict"])
)
def test_ctrl_c_at_fifty_times(verb, model, tmp_path):
    """As a user presses it: at a time, not at a line."""

    def ctrl_c(*_):
        raise KeyboardInterrupt

    call = (VERBS | CHANGES)[verb]
    call(model)
    before, handler = model.get_weights(), signal.signal(signal.SIGALRM, ctrl_c)
    try:
        for i in range(50):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005 + 0.0005 * i)
                for _ in range(100):
                    call(model)
            except KeyboardInterrupt:
                pass
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            if verb in VERBS:
                assert_unchanged(before, model)
    finally:
        signal.signal(signal.SIGALRM, handler)
    assert_whole(model, tmp_path)


def test_mistakes_leave_the_model_whole(model, tmp_path):
    before = model.get_weights()

    def broken():
        yield X[:16], Y[:16]
        raise OSError("the disk is gone")

    class Broken(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            if i == 1:
                raise OSError("the disk is gone")
            return X[:16], Y[:16]

    for mistake in (
        lambda: model.predict((X[:2, :5], Y[:2]), verbose=0),
        lambda: model.predict(broken(), verbose=0),
        lambda: model.evaluate(Broken(), verbose=0),
        lambda: model.evaluate(broken(), verbose=0),
        lambda: model.decoder.predict({"z": np.zeros((2, 3)), "condition": Y[:2]}, verbose=0),
        lambda: model.encoder.predict({"x": X[:2]}, verbose=0),
        lambda: model.predict_on_batch(X[:2, :5]),
    ):
        with pytest.raises(Exception):  # noqa: B017, PT011 - what it says is tested elsewhere
            mistake()
        assert_unchanged(before, model)
    with pytest.raises(OSError, match="the disk is gone"):
        model.fit(broken(), shuffle=False, verbose=0)
    assert_whole(model, tmp_path)


def test_sixteen_threads_answer_as_one_does():
    """All verbs mixed; the model is new, so that they compile at once, and then it is warm."""
    model = build()
    names = 4 * list(VERBS)
    with ThreadPoolExecutor(16) as pool:
        cold = list(pool.map(lambda name: VERBS[name](model), names))
        warm = list(pool.map(lambda name: VERBS[name](model), names))
    serial = [VERBS[name](model) for name in names]
    for name, *answers in zip(names, cold, warm, serial, strict=True):
        for answer in answers:
            np.testing.assert_array_equal(answer, answers[-1], err_msg=name)


@needs_jax
def test_beside_a_fit_the_weights_of_some_epoch_answer(model):
    """Never those of two epochs at once, and never none."""
    epochs, asked = [], threading.Event()
    drawn = VERBS["generate"]

    def keep_and_wait(epoch, logs):
        epochs.append(model.get_weights())
        if epoch == 10:  # however fast it trains, some have been drawn meanwhile
            asked.wait(300)

    keep = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: epochs.append(model.get_weights()),
        on_epoch_end=keep_and_wait,
    )
    found, several = [], {"epochs": 30, "batch_size": 16, "verbose": 0, "callbacks": [keep]}
    with ThreadPoolExecutor(4) as pool:
        running = pool.submit(lambda: model.fit(X, Y, **several))
        while not running.done():
            found += [task.result() for task in [pool.submit(drawn, model) for _ in range(3)]]
            if len(found) > 3:
                asked.set()
        running.result()
    allowed = []
    for weights in epochs:
        model.set_weights(weights)
        allowed.append(drawn(model))
    assert len(found) > 3
    for one in found:
        assert any(np.array_equal(one, other) for other in allowed)


@pytest.mark.further
def test_two_threads_fit_and_evaluate_one_after_the_other(model):
    step = int(model.step)
    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(CHANGES["fit"], model) for _ in range(3)]
        values = list(pool.map(lambda _: model.evaluate(X, Y, verbose=0)[0], range(4)))
        for task in tasks:
            task.result()
    assert int(model.step) == step + 3 * 6
    assert np.isfinite(values).all()


@pytest.mark.further
def test_callbacks_may_ask_the_model_anything(model, tmp_path):
    """In the middle of an epoch it answers with the weights of the step just made."""
    seen = []

    def look(batch, logs):
        model.evaluate(X, Y, verbose=0)
        model.predict(X, condition=Y, verbose=0)
        model.save(tmp_path / "middle.keras")
        seen.append((int(model.step), VERBS["generate"](model)))

    step = int(model.step)
    plain = keras.callbacks.LambdaCallback(on_train_batch_end=look)
    model.fit(X, Y, epochs=2, batch_size=16, verbose=0, callbacks=plain)
    assert [one for one, _ in seen] == list(range(step + 1, step + 7))
    np.testing.assert_array_equal(seen[-1][1], VERBS["generate"](model))
    assert not np.array_equal(seen[0][1], seen[1][1])


@pytest.mark.further
def test_an_interrupt_stays_one_wherever_weights_are_read(small, data, monkeypatch):
    """NumPy asks `Variable.__array__` for a keyword that it lacks, and that would be the error."""

    def lacking(variable, dtype=None):
        raise TypeError("__array__() got an unexpected keyword argument 'copy'")

    monkeypatch.setattr(keras.Variable, "__array__", lacking)
    x, y = data
    model = small(condition=Continuous(), likelihood="gaussian")
    model.fit(((x, y) for _ in range(2)), steps_per_epoch=1, verbose=0)
    model.encode(x, y)
    model.generate(0.5)
    assert all(np.isfinite(array).all() for array in model.get_weights())


def test_weights_are_replaced_whole_or_not_at_all(small, data, tmp_path):
    model, other = small(), small(condition=4)
    model.fit(*data, verbose=0)
    other.save_weights(tmp_path / "other.weights.h5")
    before = model.get_weights()
    wrong = [array + 1 for array in before]
    wrong[-1] = np.zeros((1, 1))
    for change, words in (
        (lambda: model.set_weights(wrong), r"an array of shape \(1, 1\) for"),
        (lambda: model.set_weights(before[1:]), r"Received \d+ arrays. Expected"),
        (lambda: model.load_weights(tmp_path / "other.weights.h5"), "do not fit this model"),
    ):
        with pytest.raises(ValueError, match=words):
            change()
        for one, two in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
    with pytest.raises(FileNotFoundError, match="There are no weights at"):
        model.load_weights(tmp_path / "none.weights.h5")
    model.save_weights(tmp_path / "own.weights.h5")
    again = small()
    again.load_weights(tmp_path / "own.weights.h5")
    for one, two in zip(before, again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_an_interrupt_while_weights_are_loaded_leaves_the_old_ones(small, tmp_path, monkeypatch):
    model, other = small(seed=1), small(seed=2)
    other.save_weights(tmp_path / "other.weights.h5")
    before, calls = model.get_weights(), iter(range(100))
    assign = keras.Variable.assign

    def interrupted(variable, value):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return assign(variable, value)

    monkeypatch.setattr(keras.Variable, "assign", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.load_weights(tmp_path / "other.weights.h5")
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_predict_refuses_in_words_what_is_no_input(small, data):
    x, y = data
    model = small()
    np.testing.assert_array_equal(
        model.predict_on_batch((x, y)), model.predict_on_batch({"x": x, "condition": y})
    )
    for ask, words in (
        (lambda: model.predict({"x": x[:2], "condition": np.array([5, 1])}, verbose=0), "class 5"),
        (lambda: model.predict_on_batch((x[:2], np.array([0, 3]))), "class 3"),
        (lambda: model.decoder.predict(np.zeros((2, 2)), verbose=0), "Expected {'z': "),
        (lambda: model.encoder.predict_on_batch(x[:2]), "Expected {'x': "),
    ):
        with pytest.raises(ValueError, match=words):
            ask()
