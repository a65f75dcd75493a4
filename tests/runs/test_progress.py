"""What is said of a training that has ended."""

import numpy as np

from keras_cvae.runs.progress import progress


def test_falling_level_and_rising_losses_are_told_apart():
    epochs = np.arange(1.0, 51.0)
    noise = np.random.default_rng(0).normal(0, 0.01, 50)
    falling = progress({"val_loss": 100 - epochs + noise}, 50, None)
    assert falling.improving
    assert "still improved" in falling.words
    level = progress({"val_loss": 10 + 90 * np.exp(-epochs) + noise}, 50, None)
    assert not level.improving
    assert "no longer improves" in level.words
    rising = progress({"val_loss": np.abs(epochs - 20) + noise}, 50, None)
    assert not rising.improving
    assert "best after epoch 20 of 50" in rising.words
    stopped = progress({"val_loss": np.abs(epochs - 20)}, 300, 20)
    assert "best after epoch 20, which was kept" in stopped.words
    assert "by heart" in stopped.words
    level = np.concatenate([np.arange(100.0, 0.0, -2.0), np.full(30, 0.1)])
    assert "by heart" not in progress({"val_loss": level}, 300, 50).words
    assert "nothing was held out" in progress({"loss": 100 - epochs}, 50, None).words
    assert progress({"val_loss": [1.0, 2.0]}, 2, None).improving


def test_a_loss_that_levels_off_because_the_rate_ends_is_not_called_done():
    rate = np.cos(np.linspace(0, np.pi / 2, 60)) ** 4
    ended = {"val_loss": 100 - np.cumsum(rate)}  # it learns as fast as it may
    said = progress(ended, 60, None, decays=True)
    assert said.improving
    assert "until the learning rate came to its end" in said.words
    assert not progress(ended, 60, None).improving
    level = {"val_loss": 10 + 90 * np.exp(-np.arange(60.0))}
    assert not progress(level, 60, None, decays=True).improving
