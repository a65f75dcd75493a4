"""Each figure on tables whose answer is known, and its invariances."""

import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cvae.data.tables.schema import Schema
from keras_cvae.errors import DataError
from keras_cvae.evaluation.tables import (
    detection,
    impossible,
    imputation,
    meets,
    privacy,
    shapes,
    trends,
    utility,
)
from keras_cvae.evaluation.tables.evaluate import Conditional
from keras_cvae.report.tables import condition_text, pictures


def _rows(n, seed=0, shift=0.0):
    """Numbers, categories and a target that depends on both; some cells are missing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    c = np.where(rng.random(n) < 1 / (1 + np.exp(-2 * x - shift)), "b", "a")
    t = rng.random(n) < 1 / (1 + np.exp(-2 * x - 2 * (c == "b") + 1))
    return pd.DataFrame(
        {
            "x": np.where(rng.random(n) < 0.1, np.nan, x),
            "c": pd.Series(c).where(rng.random(n) > 0.2),
            "d": rng.choice(list("uvw"), n),
            "t": t,
        }
    )


def test_a_table_against_itself_is_alike_in_everything():
    table = _rows(400)
    again = table.sample(frac=1, random_state=1)
    assert shapes(table, again).score == 1
    found = trends(table, again)
    np.testing.assert_allclose(found.matrix, 1.0)
    np.testing.assert_allclose(found.real, found.synthetic)
    assert detection(table, _rows(400, 5), by="logistic").auc == pytest.approx(0.5, abs=0.06)
    assert impossible(table, again).share == 0


def test_shapes_are_known_distances():
    real = pd.DataFrame({"n": [0, 1, 2, 3], "c": list("aabb"), "m": [1.0, 2.0, np.nan, np.nan]})
    other = pd.DataFrame({"n": [1, 2, 3, 4], "c": list("aaac"), "m": [1.0, 2.0, 1.0, 2.0]})
    assert shapes(real, other).columns == {"n": 0.75, "c": 0.5, "m": 0.5}
    assert shapes(real, other).score == pytest.approx(1.75 / 3)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(2, 40))
def test_shapes_are_symmetric_distances_that_a_monotone_scale_leaves(seed, n, m):
    rng = np.random.default_rng(seed)
    a, b = (
        pd.DataFrame({"x": rng.integers(0, 9, k) * 1.0, "c": rng.choice(["u", "v"], k)})
        for k in (n, m)
    )
    there, back = shapes(a, b).columns, shapes(b, a).columns
    assert there == pytest.approx(back)
    bent = shapes(a.assign(x=np.exp(a["x"])), b.assign(x=np.exp(b["x"])))
    assert bent.columns["x"] == pytest.approx(there["x"])
    assert 0 <= there["c"] <= 1


def test_trends_are_known_distances():
    real = pd.DataFrame(
        {"a": [0, 1] * 4, "b": [0, 1] * 4, "c": list("uv") * 4, "d": list("wx") * 4}
    )
    other = real.assign(b=[1, 0] * 4, d=list("wxxw") * 2)
    found = trends(real, other, bins=2)
    at = {name: i for i, name in enumerate(found.names)}
    of = {pair: found.matrix[at[pair[0]], at[pair[1]]] for pair in ("ab", "ac", "bc", "cd")}
    assert of == pytest.approx({"ab": 0.0, "ac": 1.0, "bc": 0.0, "cd": 0.5}, abs=1e-9)
    assert found.real[at["c"], at["d"]] == pytest.approx(1.0)
    assert found.synthetic[at["c"], at["d"]] == pytest.approx(0.0)
    assert found.worst(2)[0][2] == 0
    assert found.score == pytest.approx(found.matrix[np.triu_indices(4, 1)].mean())


def test_one_odd_value_moves_no_bins():
    table = pd.DataFrame({"n": np.arange(100) % 10, "c": np.array(list("ab"))[np.arange(100) % 2]})
    odd = table.copy()
    odd.loc[0, "n"] = 10_000
    assert trends(table, odd).score > 0.98


def test_dates_and_integers_that_are_categories():
    days = pd.date_range("2024-01-01", periods=40)
    table = pd.DataFrame(
        {"day": days, "zip": np.arange(40) % 4, "d": pd.to_timedelta(range(40), "h")}
    )
    later = table.assign(day=days + pd.Timedelta("10D"), zip=(table["zip"] + 1) % 4)
    found = shapes(table, later)
    assert found.columns["day"] == pytest.approx(0.75)
    assert found.columns["d"] == 1
    text = Schema.infer(table).to_toml()
    columns = text.split("\n\n")
    columns[1] = (
        '[[columns]]\nname = "zip"\nkind = "category"\ndtype = "int64"\nlevels = [0, 1, 2, 3]'
    )
    schema = Schema.from_toml("\n\n".join(columns))
    assert trends(table, later, schema).names == ["day", "zip", "d"]
    assert trends(table, later, schema).matrix[1, 2] != trends(table, later).matrix[1, 2]


@pytest.mark.parametrize("by", ["trees", "logistic"])
def test_detection_finds_what_is_there_to_find(by):
    real, shifted = _rows(600), _rows(600, seed=3)
    shifted["x"] += 3.0
    found = detection(real, shifted, by=by)
    assert found.auc > 0.9
    assert found.score == pytest.approx(2 * (1 - found.auc))
    assert found.rows == 600


@pytest.mark.further
def test_trees_see_a_dependence_that_a_logistic_regression_does_not():
    real = _rows(600)
    broken = real.assign(x=real["x"].sample(frac=1, random_state=0).to_numpy())
    assert detection(real, broken, by="trees").auc > 0.58
    assert detection(real, broken, by="logistic").auc < 0.56


def test_utility_of_a_copy_and_of_noise():
    train, test = _rows(500), _rows(400, seed=2)
    copy = utility(train, train, test, "t")
    assert copy.synthetic == copy.real
    assert copy.metric == "auc"
    assert copy.real > 0.75
    noise = train.assign(t=train["t"].sample(frac=1, random_state=0).to_numpy())
    assert utility(train, noise, test, "t").synthetic < 0.65
    number = utility(train, train, test, "x")
    assert number.metric == "r2"
    assert 0 < number.real < 1
    assert utility(train, train, test, "d").metric == "macro auc"
    with pytest.raises(DataError, match=r"'tt' is not there\. Did you mean 't'"):
        utility(train, train, test, "tt")


def test_privacy_is_neutral_for_new_rows_and_sees_copies():
    train, holdout, new = (_rows(n, seed) for n, seed in ((900, 0), (300, 1), (700, 2)))
    neutral = privacy(train, holdout, new)
    assert neutral.rows == 300
    assert abs(neutral.dcr_share - 0.5) < 4 * neutral.standard_error
    copied = privacy(train.iloc[:300], holdout, train.iloc[:300])
    assert copied.copies == 1
    assert copied.holdout_copies < 0.1
    assert copied.dcr_share > 0.95


def test_distances_are_gower():
    a = pd.DataFrame({"n": [0.0, 10.0], "c": ["u", "v"]})
    b = pd.DataFrame({"n": [4.0, 10.0], "c": ["u", "u"]})
    row = pd.DataFrame({"n": [1.0, 9.0], "c": ["u", "u"]})
    # To a: .1 and .1 + 1 or .9: .1, .9; to b: .3, .1.
    assert privacy(a, b, row).dcr_share == 0.5
    assert privacy(a, a, row).dcr_share == 0.5


def test_impossible_pairs_are_those_that_frequent_values_never_form():
    real = pd.DataFrame({"role": ["husband", "wife"] * 100, "sex": ["m", "f"] * 100})
    real["rare"] = ["once", *["often"] * 199]
    mixed = real.iloc[:10].assign(sex=["m", "m", *["m", "f"] * 4])
    mixed.loc[3, "rare"] = "once"  # never seen with "wife", but expected once only
    found = impossible(real, mixed)
    assert found.share == pytest.approx(0.1)
    assert found.pairs == [("role", "wife", "sex", "m", 1)]


def test_conditions_pick_the_rows_that_meet_them():
    table = _rows(50)
    assert meets(table, {"c": "a"}).tolist() == (table["c"] == "a").tolist()
    assert meets(table, {"c": None}).tolist() == table["c"].isna().tolist()
    assert meets(table, {"x": (0, None)}).tolist() == (table["x"] >= 0).tolist()
    both = meets(table, {"d": {"u", "v"}, "t": True})
    assert both.tolist() == (table["d"].isin(["u", "v"]) & table["t"]).tolist()
    with pytest.raises(DataError, match="'cc' is not there"):
        meets(table, {"cc": 1})


def _hidden(truth, share=0.5):
    return np.random.default_rng(9).random(truth.shape) < share


def test_imputations_of_the_truth_are_perfect():
    truth = _rows(200)[["x", "d"]]
    found = imputation(truth, [truth] * 5, _hidden(truth))
    assert (found.accuracy, found.brier) == (1, 0)
    assert (found.rmse, found.crps) == pytest.approx((0, 0), abs=1e-9)
    assert set(found.columns) == {"x", "d"}


def test_draws_from_the_right_law_are_calibrated():
    rng = np.random.default_rng(0)
    truth = pd.DataFrame(
        {"x": rng.normal(size=3000), "d": rng.choice(list("ab"), 3000, p=[0.8, 0.2])}
    )
    draws = [
        pd.DataFrame({"x": rng.normal(size=3000), "d": rng.choice(list("ab"), 3000, p=[0.8, 0.2])})
        for _ in range(39)
    ]
    found = imputation(truth, draws, _hidden(truth))
    for level, share in found.coverage.items():
        assert share == pytest.approx(float(level), abs=0.03)
    assert found.crps == pytest.approx(1 / np.sqrt(np.pi), abs=0.03)  # E|X - X'| / 2
    assert found.brier == pytest.approx(1 - 0.8**2 - 0.2**2, abs=0.03)
    assert found.accuracy == pytest.approx(0.8, abs=0.03)

    narrow = [table.assign(x=table["x"] / 3) for table in draws]
    assert imputation(truth, narrow, _hidden(truth)).coverage["0.8"] < 0.5


def test_coverage_of_discrete_numbers_is_exact_as_well():
    rng = np.random.default_rng(1)
    truth, *draws = (pd.DataFrame({"x": rng.integers(0, 3, 4000)}) for _ in range(20))
    found = imputation(truth, draws, _hidden(truth), levels=[0.5, 0.8])
    assert found.coverage["0.5"] == pytest.approx(0.5, abs=0.02)
    assert found.coverage["0.8"] == pytest.approx(0.8, abs=0.02)


def test_figures_are_json():
    truth = _rows(60)
    for figure in (
        shapes(truth, truth),
        trends(truth, truth),
        privacy(truth, truth, truth),
        impossible(truth, truth),
        imputation(truth[["d"]], [truth[["d"]]], _hidden(truth[["d"]])),
    ):
        assert json.loads(json.dumps(figure.to_dict())) == figure.to_dict()


def test_tables_with_other_columns_or_no_rows_are_refused():
    table = _rows(20)
    with pytest.raises(DataError, match="no column 'x'"):
        shapes(table, table.drop(columns="x"))
    with pytest.raises(DataError, match="no rows"):
        shapes(table, table.iloc[:0])
    with pytest.raises(DataError, match=r"Received 2 rows\. Expected at least 3"):
        detection(table, table.iloc[:2])
    with pytest.raises(ValueError, match="expected 'trees' or 'logistic'"):
        detection(table, table, by="xgboost")
    with pytest.raises(DataError, match="Expected those of the truth"):
        imputation(table, [table.iloc[:3]], _hidden(table))


def test_conditions_in_words():
    asked = {"age": (30, None), "pay": (None, 5), "d": (1, 2), "c": ["a", "b"], "k": None, "s": "x"}
    one = Conditional(asked, 9, 0, 0.5, None, 0.1, 0.1, 9.0)
    assert condition_text(one) == (
        "age is at least 30, pay is at most 5, d is 1 to 2, c is a or b, k is empty, s is x"
    )


def test_dates_in_text_and_decimals_are_numbers():
    days = pd.Series(pd.date_range("2024-01-01", periods=400))
    rows = pd.DataFrame({"day": days.dt.strftime("%d.%m.%Y"), "n": np.arange(400) % 7})
    rows["pay"] = [Decimal(i % 50) / 100 for i in range(400)]
    real, other = rows[::2], rows[1::2]
    schema = Schema.infer(rows)
    found = shapes(real, other, schema).columns
    assert found["day"] == pytest.approx(1.0 - 1 / 200)
    assert found["pay"] > 0.9
    assert utility(real, other, real, "day", schema).metric == "r2"
    assert set(pictures(schema, real, other)) == {"marginals", "dependence"}
