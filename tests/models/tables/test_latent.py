"""A table with a latent: it carries what columns that do not see each other have in common."""

import itertools

import numpy as np
import pandas as pd
import pytest

from keras_cvae import TableCVAE
from keras_cvae.errors import DataError
from keras_cvae.models.tables.walks import walk


def _rows(n, seed=0):
    """Three columns that say, with errors, which of two kinds a row is; a fourth says nothing."""
    rng = np.random.default_rng(seed)
    kind = rng.random(n) < 0.4
    noisy = [np.where(rng.random(n) < 0.1, ~kind, kind) for _ in range(3)]
    colour = rng.choice(["red", "blue"], n)
    names = {f"c{i}": np.array(["no", "yes"])[column.astype(int)] for i, column in enumerate(noisy)}
    return pd.DataFrame(names | {"colour": colour})


def _truth(frame):
    """log p of each row."""
    yes = (frame[["c0", "c1", "c2"]] == "yes").to_numpy()
    given = [np.where(yes == kind, 0.9, 0.1).prod(axis=1) for kind in (True, False)]
    return np.log(0.5 * (0.4 * given[0] + 0.6 * given[1]))


def _table(rows, **options):
    small = {"latent_dim": 2, "hidden": 32, "layers": 1, "dropout": 0.0, "seed": 0}
    return TableCVAE(**small | options).fit(rows, verbose=0)


@pytest.fixture(scope="module")
def table():
    """A table that was trained for long."""
    return _table(_rows(4000), epochs=100, batch_size=256, learning_rate=5e-3)


@pytest.fixture(scope="module")
def hasty():
    """One that has hardly been trained, of which much must be true all the same."""
    return _table(_rows(400), epochs=2, learning_rate=5e-3)


@pytest.mark.slow
def test_the_latent_carries_what_columns_share(table):
    history = table.model.evaluate(
        table._encode(_rows(1000, 1)), np.full((1000, 4), -1.0), verbose=0, return_dict=True
    )
    assert history["kl"] > 0.2
    new = _rows(2000, 2)
    drawn = table.sample(4000, seed=0)
    for a, b in (("c0", "c1"), ("c1", "c2")):
        agree = [(frame[a] == frame[b]).mean() for frame in (new, drawn)]
        assert agree[1] == pytest.approx(agree[0], abs=0.1)  # .51 if they were independent


@pytest.mark.slow
def test_log_p_is_near_the_truth(table):
    new = _rows(1000, 3)
    found = table.log_prob(new, num_samples=200)
    assert found.mean() == pytest.approx(_truth(new).mean(), abs=0.08)
    more = table.log_prob(new, given=["c0"], num_samples=200)
    share = np.where(new["c0"] == "yes", 0.4 * 0.9 + 0.6 * 0.1, 0.4 * 0.1 + 0.6 * 0.9)
    assert (found - more).mean() == pytest.approx(np.log(share).mean(), abs=0.08)


@pytest.mark.slow
def test_conditions_reach_the_others_through_z(table):
    yes = table.sample(2000, c0="yes", seed=0)
    assert (yes["c0"] == "yes").all()
    kind = 0.4 * 0.9 / (0.4 * 0.9 + 0.6 * 0.1)
    expected = kind * 0.9 + (1 - kind) * 0.1
    assert (yes["c1"] == "yes").mean() == pytest.approx(expected, abs=0.1)  # .42 if not
    assert yes.attrs["probability"] == pytest.approx(0.42, abs=0.06)
    p = table.predict_proba(pd.DataFrame({"c0": ["yes"], "c2": ["yes"]}), "c1")
    assert p.loc[0, "yes"] > 0.7


@pytest.mark.slow
def test_rows_are_encoded_restyled_and_interpolated(table):
    rows = _rows(300, 4)
    z = table.encode(rows)
    assert z.shape == (300, 2)
    restyled = table.restyle(rows, {"colour": "red"}, seed=0)
    assert (restyled["colour"] == "red").all()
    assert (restyled["c0"] == rows["c0"]).mean() > 0.6
    yes = rows[(rows[["c0", "c1", "c2"]] == "yes").all(axis=1)][:1]
    no = rows[(rows[["c0", "c1", "c2"]] == "no").all(axis=1)][:1]
    ways = pd.concat([table.interpolate(no, yes, 2, seed=seed) for seed in range(40)])
    share = (ways[["c0", "c1", "c2"]] == "yes").mean(axis=1)
    assert share[0].mean() < 0.3 < 0.7 < share[1].mean()


def test_it_comes_back_and_says_what_it_is(hasty, tmp_path):
    hasty.save(tmp_path / "t.cvae")
    again = TableCVAE.load(tmp_path / "t.cvae")
    rows = _rows(20, 5)
    np.testing.assert_allclose(again.encode(rows), hasty.encode(rows), atol=1e-5)
    assert "z of 2 dimensions, columns drawn in 1 steps" in again.summary()


def test_what_was_changed_is_in_every_restyled_row(hasty):
    rows = _rows(50, 4)
    restyled = hasty.restyle(rows, {"colour": "red"}, seed=0)
    assert (restyled["colour"] == "red").all()
    assert restyled.index.equals(rows.index)
    assert len(hasty.interpolate(rows[:1], rows[1:2], 5, seed=0)) == 5
    with pytest.raises(DataError, match="'colour': received a set or range"):
        hasty.restyle(rows, {"colour": {"red", "blue"}})


def test_without_a_latent_there_is_nothing_to_encode():
    table = _table(_rows(100), latent_dim=0, epochs=1, seed=None)
    with pytest.raises(ValueError, match="this TableCVAE has no latent"):
        table.encode(_rows(2))


def test_log_p_is_the_integral_over_z(hasty):
    """A grid of z, and importance sampling, agree for every row there is."""
    names = ["c0", "c1", "c2", "colour"]
    values = itertools.product(*[["no", "yes"]] * 3, ["blue", "red"])
    rows = pd.DataFrame(list(values), columns=names)
    line = np.linspace(-7.0, 7.0, 57)
    z = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    x = hasty.codec.encode(hasty.codec.read(rows), len(rows)).repeat(len(z), axis=0)
    walked = walk(hasty.model, x, np.zeros(x.shape, bool), z=np.tile(z, (len(rows), 1)))
    log_p = np.logaddexp.reduce(walked.log_p.reshape(len(rows), -1), axis=1)
    log_p += 2 * np.log(line[1] - line[0])
    assert np.exp(log_p).sum() == pytest.approx(1.0, abs=0.01)
    sampled = hasty.log_prob(rows, num_samples=2000)
    np.testing.assert_allclose(sampled, log_p, atol=0.05)
    p = hasty.predict_proba(rows.drop(columns="c1"), "c1")
    joint = pd.Series(np.exp(log_p), pd.MultiIndex.from_frame(rows))
    given = joint.groupby(["c0", "c2", "colour"]).transform("sum")
    found = [p.loc[i, value] for i, value in enumerate(rows["c1"])]
    np.testing.assert_allclose(found, joint / given, atol=0.1)
