"""How long a training takes is told before it begins, and leaves no trace."""

import itertools
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_cvae.data.batches import Batches
from keras_cvae.data.containers import Split
from keras_cvae.models import timing


class Asks(keras.callbacks.Callback):
    async_safe = True
    seconds = None

    def before_training(self, measure):
        self.seconds = measure()


@pytest.mark.further
@pytest.mark.parametrize("kind", ["batches", "arrays"])
def test_a_training_that_was_timed_gives_the_same_bits(small, data, kind):
    x, y = data
    histories, weights = [], []
    for callbacks in ([], [asks := Asks()]):
        model = small()
        keras.utils.set_random_seed(3)
        given = (x, y)
        if kind == "batches":
            given = (Batches(Split(x, y), 7, shuffle=True, seed=1, binarize="dynamic"),)
        how = {"shuffle": False} if kind == "batches" else {"batch_size": 7}
        history = model.fit(
            *given, epochs=3, validation_data=data, callbacks=callbacks, verbose=0, **how
        )
        histories.append(history.history)
        kept = [keras.ops.convert_to_numpy(one) for one in model.optimizer.variables]
        weights.append([*model.get_weights(), *kept])
    assert histories[0] == histories[1]
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    can = kind == "batches" or keras.backend.backend() == "jax"
    assert asks.seconds > 0 if can else asks.seconds is None


def test_what_can_be_read_once_is_not_read_to_time_it(small, data):
    asks, batches = Asks(), itertools.repeat((data[0][:8], data[1][:8]))
    small().fit(batches, steps_per_epoch=2, callbacks=[asks], verbose=0)
    assert asks.seconds is None


def measured(monkeypatch, steps, step, validation=0.0, overhead=0.0, held=0):
    """What an epoch is said to take on a machine where the i-th step takes step(i) seconds."""
    clock, model = SimpleNamespace(now=5.0), SimpleNamespace(step=7, jax_state_sync=lambda: None)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.now)
    watch = timing._Clock()
    watch.set_params({"steps": steps})
    watch.set_model(model)
    watch.on_train_begin()
    made = itertools.count()
    try:
        for epoch in range(timing.EPOCHS):
            watch.on_epoch_begin(epoch)
            for batch in range(steps):
                watch.on_train_batch_begin(batch)
                clock.now += step(next(made))
                model.step += 1
            clock.now += overhead + (validation if epoch else 9.0)  # the first compiles
    except timing._EnoughError:
        pass
    return watch.seconds(held), clock.now - 5.0


def test_short_epochs_count_with_their_validation_and_what_is_done_beside_steps(monkeypatch):
    seconds, _ = measured(monkeypatch, 18, lambda i: 0.001, validation=0.01, overhead=0.05)
    assert seconds == pytest.approx(0.078)


@pytest.mark.parametrize("stalls", [{}, {1: 60.0}, {2: 60.0}, {9: 60.0}, {14: 60.0}])
@pytest.mark.parametrize("step", [0.01, 0.3, 3.0])
def test_one_stall_does_not_count(monkeypatch, step, stalls):
    lasts = {0: 9.0} | stalls  # the first compiles
    seconds, _ = measured(monkeypatch, 5, lambda i: lasts.get(i, step), validation=step)
    assert seconds == pytest.approx(6 * step if 5 * step < 10 else 5 * step, rel=1e-6)


def test_of_long_epochs_some_steps_are_enough(monkeypatch):
    seconds, took = measured(monkeypatch, 1000, lambda i: 30.0 if i == 0 else 0.5, held=30)
    assert seconds == pytest.approx(505)
    assert took < 40
