"""A table that is learned: rows under conditions, likelihoods, imputations, files; by its truth."""

import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest

import keras_cvae
from keras_cvae import TableCVAE
from keras_cvae.data.tables.schema import Schema
from keras_cvae.errors import DataError
from keras_cvae.models.card import read_card

P_A = np.array([0.5, 0.3, 0.2])  # p(a)
P_B = np.array([[0.9, 0.1], [0.5, 0.5], [0.05, 0.95]])  # p(b | a)


def _rows(n, seed=0):
    """a, b given a, a number with a point mass given b, a whole number given both; d is missing
    in a quarter of the rows with b = no."""
    rng = np.random.default_rng(seed)
    a = rng.choice(3, n, p=P_A)
    b = (rng.random(n) < P_B[a, 1]).astype(int)
    x = np.where(rng.random(n) < 0.3, 0.0, rng.normal(3.0 * b, 1.0).round(4))
    k = rng.binomial(4, 0.2 + 0.5 * b) + a
    d = pd.Series(rng.choice(["u", "v"], n)).where((rng.random(n) > 0.25) | (b == 1))
    return pd.DataFrame(
        {
            "a": np.array(["low", "mid", "top"])[a],
            "x": x,
            "k": k.astype("int16"),
            "b": np.array([False, True])[b],
            "d": d,
        }
    )


@pytest.fixture(scope="module")
def rows():
    return _rows(6000)


@pytest.fixture(scope="module")
def table(rows):
    return TableCVAE(hidden=48, layers=1, dropout=0.0, epochs=25, seed=0).fit(rows, verbose=0)


@pytest.mark.further
def test_rows_look_like_the_table(table, rows):
    drawn = table.sample(6000, seed=1)
    assert drawn.columns.tolist() == rows.columns.tolist()
    assert (drawn.dtypes == rows.dtypes).all()
    assert (drawn["x"] == 0).mean() == pytest.approx((rows["x"] == 0).mean(), abs=0.02)
    assert drawn["d"].isna().mean() == pytest.approx(rows["d"].isna().mean(), abs=0.02)
    assert drawn.loc[drawn["b"], "d"].isna().mean() < 0.03
    both = pd.crosstab(drawn["a"], drawn["b"], normalize="index").to_numpy()
    np.testing.assert_allclose(both, P_B, atol=0.04)
    assert drawn.equals(table.sample(6000, seed=1))
    assert len(table.sample()) == 1


@pytest.mark.further
def test_conditions_hold_in_every_row_and_the_rest_follows(table):
    drawn = table.sample(2000, b=True, seed=0)
    assert drawn["b"].all()
    p = P_A * P_B[:, 1]
    shares = drawn["a"].value_counts(normalize=True)[["low", "mid", "top"]]
    np.testing.assert_allclose(shares, p / p.sum(), atol=0.04)
    assert drawn.attrs["probability"] == pytest.approx(p.sum(), abs=0.03)
    assert drawn.attrs["effective_sample_size"] >= 2000
    plain = table.sample(500, {"b": True, "a": "top"}, resample=False, seed=0)
    assert (plain["a"] == "top").all()


def test_sets_and_ranges_and_missing_cells_as_conditions(table, rows):
    wanted = {"a": {"low", "top"}, "x": (1.0, 2.5)}
    drawn = table.sample(2000, wanted, seed=0)
    assert set(drawn["a"]) == {"low", "top"}
    assert drawn["x"].between(1.0, 2.5).all()
    real = rows[rows["a"].isin(["low", "top"]) & rows["x"].between(1.0, 2.5)]
    assert drawn.attrs["probability"] == pytest.approx(len(real) / len(rows), rel=0.15)
    assert drawn["b"].mean() == pytest.approx(real["b"].mean(), abs=0.05)
    assert drawn["x"].mean() == pytest.approx(real["x"].mean(), abs=0.05)
    missing = table.sample(300, d=None, seed=0)
    assert missing["d"].isna().all()
    assert missing["b"].mean() < 0.05
    assert set(table.sample(200, k={1, 3}, seed=0)["k"]) == {1, 3}
    exact = table.sample(3, x=0.1234, seed=0)["x"]
    assert (exact == 0.1234).all()


def test_known_cells_are_kept(table):
    known = pd.DataFrame({"b": [True, False, None], "k": [2, None, 5]}, index=[7, 8, 9])
    drawn = table.sample(known=known, seed=0)
    assert drawn.index.tolist() == [7, 8, 9]
    assert drawn["b"].tolist()[:2] == [True, False]
    assert drawn["k"].tolist()[::2] == [2, 5]
    assert table.sample(4, known=known, seed=0).index.tolist() == np.repeat([7, 8, 9], 4).tolist()
    with pytest.raises(ValueError, match=r"received known=\.\.\. and conditions \(b\)"):
        table.sample(known=known, b=True)


def test_likelihoods_are_the_truth_where_that_is_known(table):
    new = _rows(3000, seed=5)
    found = table.log_prob(new[["a", "x", "k", "b", "d"]], given=["x", "k", "d"])
    assert found.shape == (3000,)
    # p(b | a) is known; x, k and d are nothing but noise around b.
    marginal = table.log_prob(new.assign(x=0.0)) - table.log_prob(new.assign(x=0.0), ["a", "b"])
    a = new["a"].map({"low": 0, "mid": 1, "top": 2}).to_numpy()
    truth = np.log(P_A[a] * P_B[a, new["b"].astype(int)])
    assert np.mean(marginal) == pytest.approx(truth.mean(), abs=0.1)


def test_conditionals_agree_with_the_joint(table):
    """p(a, b) = p(a) p(b | a), though the network never sees just these columns in that order."""
    pairs = pd.DataFrame({"a": ["low", "mid", "top"], "x": 0.0, "k": 2, "d": "u"})
    p = table.predict_proba(pairs[["a"]], "b")
    assert p.columns.tolist() == [False, True]
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(p.to_numpy(), P_B, atol=0.06)


def test_probabilities_of_numbers_with_few_values(table):
    p = table.predict_proba(pd.DataFrame({"a": ["low"], "b": [False]}), "k")
    assert p.columns.tolist() == list(range(7))
    np.testing.assert_allclose(
        p.iloc[0, :3], [0.8**4, 4 * 0.2 * 0.8**3, 6 * 0.04 * 0.64], atol=0.06
    )
    with pytest.raises(DataError, match="'x' is a number whose values cannot be counted"):
        table.predict_proba(pd.DataFrame({"a": ["low"]}), "x")


def test_gaps_are_filled_and_nothing_else(table):
    new = _rows(400, seed=9)
    gaps = new.copy()
    gaps["b"] = gaps["b"].where(np.arange(400) % 3 > 0, None)
    gaps.loc[1::3, "x"] = np.nan
    filled = table.impute(gaps, seed=0)
    assert not filled.isna().any().any()
    there = gaps.notna()
    assert (
        (filled.where(there).astype(object) == new.where(there).astype(object))[there].all().all()
    )
    assert (filled["b"][::3] == new["b"][::3]).mean() > 0.75
    several = table.impute(gaps, n=3, seed=0)
    assert len(several) == 3
    assert not several[0]["x"].equals(several[1]["x"])


def test_an_odd_row_scores_low(table, rows):
    odd = rows.iloc[:1].assign(a="low", b=False, x=5.5, k=6)
    assert table.score(odd)[0] < np.quantile(table.score(rows[:500]), 0.01)
    assert table.score(odd, reference=rows[:500])[0] < 0.01


def test_marginals_are_calibrated(table, rows):
    """p(b), of which log p has nothing but the shares and the offsets, is the table's."""
    some = [rows[rows["b"] == b][:1] for b in (False, True)]
    p = [np.exp(table.log_prob(row) - table.log_prob(row, given=["b"]))[0] for row in some]
    share = rows["b"].mean()
    np.testing.assert_allclose(p, [1 - share, share], atol=1e-3)


def test_it_comes_back_from_a_file(table, rows, tmp_path):
    table.save(tmp_path / "rows.cvae")
    again = TableCVAE.load(tmp_path / "rows.cvae")
    np.testing.assert_allclose(again.log_prob(rows[:50]), table.log_prob(rows[:50]), rtol=1e-5)
    assert again.sample(20, b=True, seed=3).equals(table.sample(20, b=True, seed=3))
    assert again.schema == table.schema
    assert again.get_config() == table.get_config()
    with pytest.raises(FileNotFoundError):
        TableCVAE.load(tmp_path / "none.cvae")
    (tmp_path / "cut.cvae").write_bytes((tmp_path / "rows.cvae").read_bytes()[:1000])
    with pytest.raises(ValueError, match="was cut short"):
        TableCVAE.load(tmp_path / "cut.cvae")


def test_it_is_shared_with_its_card(table, rows, tmp_path):
    card = table.save_to(tmp_path / "rows.cvae", {"summary": "Rows.", "licence": "CC0-1.0"})
    again = keras_cvae.load(tmp_path / "rows.cvae")
    assert isinstance(again, TableCVAE)
    assert again.card == card == read_card(tmp_path / "rows.cvae")
    assert (card.name, card.x_shape, card.condition) == ("rows", (), "any columns")
    np.testing.assert_allclose(again.log_prob(rows[:50]), table.log_prob(rows[:50]), atol=0.1)
    table.save_to(tmp_path / "folder", card)
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {"table.cvae", "README.md"}
    assert (tmp_path / "folder" / "table.cvae").read_bytes() == (
        tmp_path / "rows.cvae"
    ).read_bytes()
    assert keras_cvae.load(tmp_path / "folder").sample(3, seed=1).equals(again.sample(3, seed=1))


def test_a_shared_table_that_was_changed_is_refused(table, tmp_path):
    path = tmp_path / "rows.cvae"
    table.save_to(path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    parts["table.json"] = parts["table.json"].replace(b'"dropout": 0.0', b'"dropout": 0.5')
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)
    with pytest.raises(ValueError, match="not what its card says"):
        keras_cvae.load(path)


def test_what_is_impossible_together_is_said(table):
    with pytest.raises(DataError, match=r"'a' has no category 'tip'.*Did you mean 'top'"):
        table.sample(5, a="tip")
    with pytest.warns(UserWarning, match="'k': 1 of 1 values were not in training, such as 99"):
        table.sample(5, k=99)
    with pytest.raises(DataError, match=r"'x': received 50.0..60.0, and nothing of it was seen"):
        table.sample(5, x=(50, 60))
    with pytest.raises(DataError, match="'c' is not there"):
        table.sample(5, c=1)
    with pytest.raises(ValueError, match="'a' was asked for twice"):
        table.sample(5, {"a": "low"}, a="top")
    with pytest.raises(ValueError, match="n: received 0"):
        table.sample(0)
    with pytest.raises(ValueError, match=r"Call fit\(table\) first"):
        TableCVAE().sample(3)
    with pytest.raises(TypeError, match=r"conditions: received DataFrame. Expected a mapping"):
        table.sample(5, pd.DataFrame({"a": ["low"]}))
    with pytest.raises(ValueError, match="missing: received 'drop', expected 'state' or 'unknown'"):
        TableCVAE(missing="drop")


def test_no_rows_have_no_probabilities(table, rows):
    assert table.log_prob(rows[:0]).shape == (0,)
    assert table.predict_proba(rows[:0], "b").shape == (0, 2)
    assert table.impute(rows[:0]).shape == (0, 5)


def test_a_table_that_was_refused_midway_is_not_trained(rows):
    table = TableCVAE(hidden=8, layers=0, epochs=1)
    with pytest.raises(DataError, match="no column 'a'"):
        table.fit(rows[:50], validation_data=rows[:9].drop(columns="a"), verbose=0)
    assert table.schema.names == ["a", "x", "k", "b", "d"]
    with pytest.raises(ValueError, match="has not been trained"):
        table.sample(3)


def test_conditions_that_contradict_each_other_are_said_to(table, monkeypatch):
    monkeypatch.setattr("keras_cvae.models.tables.asking.CONTRADICTION", 0.1)
    with pytest.warns(UserWarning, match="on a, b seem to contradict .* that one row in 2e"):
        table.sample(5, a="low", b=True, seed=0)


def test_summary_says_what_was_learned(table):
    text = table.summary()
    assert "5 columns" in text
    assert "no latent: log p is exact" in text
    assert "d: category, 2 levels: u, v; missing is state" in text


def test_notes_are_said_and_cells_may_be_unknown():
    rows = _rows(300).assign(row=np.arange(300), fixed="always")
    rows["code"] = [f"c{i % 270:03}" for i in range(300)]  # more than a part has levels
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        table = TableCVAE(hidden=8, layers=0, epochs=1, missing="unknown", seed=0).fit(
            rows, verbose=0
        )
    messages = sorted(str(each.message) for each in said)
    assert messages[0] == "Column 'fixed' is kept: always 'always'."
    assert messages[1] == "Column 'row' is left out: it counts the rows."
    drawn = table.sample(200, seed=0)
    assert not drawn["d"].isna().any()
    assert (drawn["fixed"] == "always").all()
    assert "row" not in drawn
    gap = rows.drop(columns="row")
    assert np.isfinite(table.log_prob(gap)).all()
    p = table.predict_proba(gap[:4], "code")
    assert p.columns.tolist() == [f"c{i:03}" for i in range(270)]
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-5)


def test_a_schema_that_was_edited_is_used(tmp_path):
    rows = _rows(300)
    schema = Schema.from_toml(
        Schema.infer(rows)
        .to_toml()
        .replace('name = "k"\nkind = "number"', 'name = "k"\nkind = "left out"\nnote = "by hand"')
        .replace("decimals = 0\nlow = 0\nhigh = 6\n", "")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        rows.to_csv(tmp_path / "rows.csv", index=False)
        (tmp_path / "schema.toml").write_text(schema.to_toml())
        table = TableCVAE(hidden=8, layers=0, epochs=1, seed=0).fit(
            tmp_path / "rows.csv", schema=tmp_path / "schema.toml", verbose=0
        )
    assert table.sample(3, seed=0).columns.tolist() == ["a", "x", "b", "d"]
