"""Rows under conditions against brute force: a small table whose every row can be enumerated."""

import itertools

import numpy as np
import pandas as pd
import pytest

from keras_cvae import TableCVAE
from keras_cvae.evaluation.tables import meets

SIZES = {"a": "uvw", "b": ["no", "yes"], "k": [0, 1, 2, 3], "c": "xyz"}
ALL = pd.DataFrame(list(itertools.product(*SIZES.values())), columns=list(SIZES))


def _rows(n):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(len(ALL), 0.3))
    return ALL.iloc[rng.choice(len(ALL), n, p=p)].reset_index(drop=True)


@pytest.fixture(scope="module")
def table():
    model = TableCVAE(hidden=32, layers=1, dropout=0.0, epochs=10, batch_size=128, seed=0)
    return model.fit(_rows(3000), verbose=0)


@pytest.fixture(scope="module")
def joint(table):
    """p of every row."""
    return np.exp(table.log_prob(ALL))


@pytest.mark.further
@pytest.mark.parametrize(
    "asked",
    [
        {"b": "yes"},  # the first of the code: nothing to weigh
        {"k": 2},  # the last
        {"c": "x", "k": 0},
        {"a": {"u", "w"}},
        {"k": (1, 2)},
        {"k": (None, 1), "c": {"y", "z"}, "b": "no"},
        {"k": {0, 3}, "a": "v"},
    ],
    ids=",".join,  # of columns; sets print in another order in each process
)
def test_rows_under_a_condition_follow_the_joint(table, joint, asked):
    met = meets(ALL, asked)
    p = np.where(met, joint, 0.0)
    n = 4000
    drawn = table.sample(n, asked, seed=1)
    assert meets(drawn, asked).all()
    assert drawn.attrs["probability"] == pytest.approx(p.sum(), rel=0.06)
    place = {row: i for i, row in enumerate(ALL.itertuples(index=False, name=None))}
    rows = [place[row] for row in drawn.itertuples(index=False, name=None)]
    found = np.bincount(rows, minlength=len(ALL)) / n
    p /= p.sum()
    noise = np.sqrt(p * (1 - p) / n).sum() / 2  # of the distance, between the same two laws
    assert np.abs(found - p).sum() / 2 < 2 * noise


@pytest.mark.further
def test_everything_sums_to_one_and_the_chain_rule_holds(table, joint):
    """p(a, b) = p(a) p(b | a) for what `log_prob` says is given, whatever the order."""
    assert joint.sum() == pytest.approx(1.0, abs=1e-4)
    for given in (["a"], ["k", "b"], ["c"]):
        p = np.exp(table.log_prob(ALL, given=given))
        sums = pd.Series(p).groupby([ALL[name] for name in given]).sum()
        np.testing.assert_allclose(sums, 1.0, atol=1e-4)


def test_rare_conditions_that_proposals_do_not_meet_are_said(table, monkeypatch):
    monkeypatch.setattr("keras_cvae.models.tables.asking.AT_MOST", 1)
    monkeypatch.setattr("keras_cvae.models.tables.asking._effective", lambda log_w: 7.0)
    with pytest.warns(UserWarning, match="on k are rare together: .* worth 7 draws, fewer than"):
        drawn = table.sample(600, k=2, seed=0)
    assert (drawn["k"] == 2).all()
