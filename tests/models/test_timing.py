"""How long a training takes is told before it begins, and leaves no trace."""

import itertools

import keras
import numpy as np
import pytest

from keras_cvae.data.batches import Batches
from keras_cvae.data.containers import Split


class Asks(keras.callbacks.Callback):
    async_safe = True
    seconds = None

    def before_training(self, measure):
        self.seconds = measure()


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
