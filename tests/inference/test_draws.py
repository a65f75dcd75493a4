"""Draws that are made part by part are those that are made at once."""

import numpy as np
import pytest

import keras_cvae
from keras_cvae import MLP, Categorical, ConditionalVAE, Joint, devices


@pytest.fixture(scope="module")
def model():
    return ConditionalVAE((3, 3, 1), Categorical(3), 2, backbone=MLP((8,)), seed=0)


def whole(drawn, rows, start=0):
    return np.concatenate([np.empty((0, 3, 3, 1)), *drawn.parts(rows, start)])


@pytest.mark.parametrize("output", ["mean", "sample"])
def test_parts_are_what_is_drawn_at_once(model, output):
    given = {"n": 101, "seed": 3, "output": output, "temperature": 0.7}
    expected = model.generate([2, 0, 1], **given)
    drawn = model.draws([2, 0, 1], **given)
    assert len(drawn) == len(expected) == 303
    for rows in (1, 64, 100, 1000):
        sizes = [len(part) for part in drawn.parts(rows)]
        assert set(sizes[:-1]) <= {rows}
        assert sum(sizes) == 303
        np.testing.assert_array_equal(whole(drawn, rows), expected)
    for start in (0, 1, 63, 64, 200, 303):  # wherever it goes on
        np.testing.assert_array_equal(whole(drawn, 50, start), expected[start:])


def test_draws_are_those_that_the_seed_has_always_given(model):
    """The noise of all rows in one call of NumPy's generator, row by row."""
    z = 0.7 * np.random.default_rng(3).standard_normal((202, 2))
    expected = model.decode(z.astype("float32"), np.repeat([2, 0], 101))
    drawn = model.generate([2, 0], 101, 0.7, 3)
    np.testing.assert_allclose(drawn, expected, atol=1e-6)


@pytest.mark.parametrize("n", [3, 100])
def test_alike_is_each_condition_for_itself(model, n, monkeypatch):
    monkeypatch.setattr("keras_cvae.inference.draws.HELD", 200)  # kept for 3, made again for 100
    drawn = model.draws([0, 2], n, seed=1, output="sample", alike=True)
    alone = [model.generate(y, n, seed=1, output="sample") for y in (0, 2)]
    np.testing.assert_array_equal(whole(drawn, 7), np.concatenate(alone))
    np.testing.assert_array_equal(whole(drawn, 7, n + 1), alone[1][1:])


def test_without_a_seed_parts_still_belong_together(model):
    drawn = model.draws(1, 70)
    np.testing.assert_array_equal(whole(drawn, 9), whole(drawn, 70))
    assert np.any(whole(drawn, 70) != whole(model.draws(1, 70), 70))


def test_named_conditions_and_none(model):
    both = Joint({"a": Categorical(2), "b": keras_cvae.Continuous()})
    joint = ConditionalVAE((4,), both, 2, backbone=MLP((8,)), seed=0)
    given = {"a": [0, 1], "b": [0.5, -1.0]}
    parts = list(joint.draws(given, 5, seed=0).parts(4))
    np.testing.assert_array_equal(np.concatenate(parts), joint.generate(given, 5, seed=0))
    plain = ConditionalVAE((4,), None, 2, backbone=MLP((8,)), seed=0)
    parts = list(plain.draws(n=70, seed=0).parts(40))
    np.testing.assert_array_equal(np.concatenate(parts), plain.generate(n=70, seed=0))


def test_what_cannot_be_is_said_at_once(model):
    for wrong in ({"n": 0}, {"temperature": float("nan")}, {"output": "x"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            model.draws(0, **wrong)
    with pytest.raises(ValueError, match="rows"):
        model.draws(0, 5).parts(0)
    with pytest.raises(ValueError, match="There are 5 draws"):
        model.draws(0, 5).parts(2, 6)
    with pytest.raises(ValueError, match="no condition"):
        model.draws([])


@pytest.mark.parametrize("start", [0, 70])
def test_processes_share_draws_and_get_the_same(model, start, monkeypatch):
    """Three of them, in turn; what the others would have sent is what one draws."""
    given = {"n": 101, "seed": 3, "output": "sample"}
    drawn = model.draws([2, 0, 1], **given)
    expected = model.generate([2, 0, 1], **given)
    rounds, size = [], drawn.size
    first = start - start % size

    def gathered(part):
        index, batch = devices.index(), 3 * len(rounds)
        rows = [expected[first + size * (batch + k) :][:size] for k in range(3)]
        np.testing.assert_array_equal(part[: len(rows[index])], rows[index])
        rounds.append(index)
        every = np.zeros((3, *part.shape), part.dtype)
        for one, row in zip(every, rows, strict=True):
            one[: len(row)] = row
        return every

    monkeypatch.setattr(devices, "gathered", gathered)
    for index in range(3):
        rounds.clear()
        monkeypatch.setattr(devices, "_place", (index, 3))
        with devices.dividing():
            np.testing.assert_array_equal(whole(drawn, 50, start), expected[start:])
        assert len(rounds) == -(-(303 - first) // (3 * size))  # as often in each process
