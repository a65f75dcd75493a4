"""What a person sees of a training while it runs."""

import io

import pytest
from rich.console import Console

from keras_cvae.cli import progress
from keras_cvae.cli.progress import EpochBar, in_time


class Clock:
    """A clock that goes on when it is told to."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def watched(clock, epochs, seconds, steps=2, terminal=False, from_epoch=0):
    """What is said of a training whose steps take so many seconds."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)
    bar = EpochBar(console)
    bar.set_params({"epochs": epochs, "steps": steps})
    for epoch in range(from_epoch, epochs):
        bar.on_epoch_begin(epoch)
        for batch in range(steps):
            clock.now += seconds
            bar.on_train_batch_end(batch)
        bar.on_epoch_end(epoch, {"loss": 9.0 - epoch, "val_loss": 0.5, "kl": 3.0})
    bar.stop()
    return console.file.getvalue()


def test_who_does_not_watch_gets_a_line_now_and_then(clock):
    first, *lines = watched(clock, 6, 1.0).splitlines()
    assert first.startswith("6 epochs of 2 steps. Stop at any moment with Ctrl-C")
    assert lines == ["epoch 1/6  loss 9.00  val_loss 0.50", "epoch 6/6  loss 4.00  val_loss 0.50"]


def test_a_training_that_cannot_go_on_is_not_told_to():
    console = Console(file=io.StringIO(), width=100)
    bar = EpochBar(console, resumes=False)
    bar.set_params({"epochs": 6, "steps": 2})
    bar.on_epoch_begin(0)
    said = "6 epochs of 2 steps. Stop at any moment with Ctrl-C: nothing is kept then.\n"
    assert console.file.getvalue() == said


@pytest.mark.parametrize(
    ("early", "takes"),
    [
        (False, "about 2 minutes"),
        (True, "at most about 2 minutes, less if validation no longer improves"),
    ],
)
def test_how_long_it_takes_is_said_before_it_begins(clock, early, takes):
    console = Console(file=io.StringIO(), width=100)
    bar = EpochBar(console, early=early)
    bar.before_training(lambda: 130.0)
    bar.set_params({"epochs": 9, "steps": 1})
    for epoch in range(3, 9):
        bar.on_epoch_begin(epoch)
        clock.now += 60.0
        bar.on_train_batch_end(0)
    first, *rest = console.file.getvalue().splitlines()
    assert first.startswith(f"6 more epochs of 1 step, {takes}. Stop at any moment")
    assert not rest


@pytest.mark.parametrize("said", [60.0, 6000.0])
def test_what_turns_out_to_take_another_time_is_said_in_the_line_of_an_epoch(clock, said):
    console = Console(file=io.StringIO(), width=100)
    bar = EpochBar(console)
    bar.before_training(lambda: said)
    bar.set_params({"epochs": 100, "steps": 1})
    for epoch in range(100):
        bar.on_epoch_begin(epoch)
        clock.now += 30.0 if epoch == 0 else 6.0  # the first compiles
        bar.on_train_batch_end(0)
        bar.on_epoch_end(epoch, {"loss": 1.0})
    lines = console.file.getvalue().splitlines()
    assert [line for line in lines if "now about" in line] == [
        "epoch 3/100  loss 1.00  now about 10 minutes to go"
    ]
    assert not any("from here on" in line for line in lines)


def test_how_long_it_takes_is_said_once_some_epochs_are_done(clock):
    said = watched(clock, 10, 60.0)
    assert said.count("at most, from here on") == 1
    assert "About 17 minutes at most" in said  # after three steps of 20
    quick = watched(clock, 500, 0.5)
    assert quick.count("About 8 minutes at most") == 1  # 496 epochs of a second
    assert "About" not in watched(clock, 6, 0.1)


def test_what_is_compiled_on_the_way_is_no_part_of_the_estimate(clock):
    console = Console(file=io.StringIO(), width=100)
    bar = EpochBar(console)
    bar.set_params({"epochs": 300, "steps": 10})
    for epoch in range(300):
        bar.on_epoch_begin(epoch)
        for batch in range(10):
            clock.now += {(0, 0): 20.0, (0, 1): 30.0}.get((epoch, batch), 0.1)
            bar.on_train_batch_end(batch)
        clock.now += 15.0 if epoch == 0 else 0.2  # the program of the validation
        bar.on_epoch_end(epoch, {"loss": 1.0})
    said = console.file.getvalue()
    assert said.count("About") == 1
    assert "About 6 minutes at most" in said  # 299 epochs of 1.2 seconds


def test_a_terminal_gets_a_bar_over_all_epochs(clock):
    said = watched(clock, 3, 0.1, terminal=True, from_epoch=1)
    assert said.startswith("2 more epochs of 2 steps")
    assert "epoch 2/3" in said
    assert said.rfind("epoch 3/3") > said.rfind("epoch 2/3")
    assert "loss 7.00  val_loss 0.50" in said[said.rfind("epoch 3/3") :]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (89, "89 seconds"),
        (90, "2 minutes"),
        (5399, "90 minutes"),
        (5400, "1.5 hours"),
        (86_400, "24.0 hours"),
    ],
)
def test_times_have_no_more_digits_than_they_deserve(seconds, words):
    assert in_time(seconds) == words
