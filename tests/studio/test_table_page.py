"""The page of a table."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from keras_cvae.models.tables import TableCVAE
from keras_cvae.studio import UnplayableError, write_page
from keras_cvae.studio.tables import described_table, table_differences
from keras_cvae.studio.tape import Arrays
from pages import until


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    n = 600
    sex = rng.choice(["Female", "Male"], n)
    town = rng.choice([f"town {k}" for k in range(300)], n)  # many: coded in two digits
    height = np.round(165 + 12 * (sex == "Male") + rng.normal(0, 5, n), 1)
    income = np.where(rng.random(n) < 0.2, np.nan, rng.lognormal(10, 0.5, n))
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n), "D")
    return pd.DataFrame(
        {
            "sex": sex,
            "town": town,
            "height": height,
            "income": income,
            "day": day,
            "old": height > 170,
        }
    )


@pytest.fixture(scope="module")
def table(frame):
    return TableCVAE(hidden=24, layers=1, epochs=4, seed=0).fit(frame, verbose=0)


@pytest.fixture(scope="module")
def path(table, tmp_path_factory):
    return write_page(table, tmp_path_factory.mktemp("table") / "table.html", name="People")


@pytest.mark.further
def test_the_network_on_a_tape_is_that_of_the_table(table):
    arrays = Arrays()
    about, tape = described_table(table, arrays)
    assert table_differences(table, tape, arrays.arrays)["probability"] < 2e-6
    assert json.dumps(about, allow_nan=False)
    assert {column["name"] for column in about["table"]} == set(table.schema.names)


def test_a_table_with_a_latent_is_refused_in_words():
    table = SimpleNamespace(model=SimpleNamespace(latent_dim=2))
    with pytest.raises(UnplayableError, match="without a latent"):
        described_table(table, Arrays())


def test_fix_columns_and_draw_rows(path, table, frame, opened):
    page = opened(path)
    before = page.locator(".card:has-text('old') .share").all_inner_texts()
    page.click(".bar:has-text('Female')")
    page.wait_for_selector(".card.fixed")
    assert page.locator(".card:has-text('old') .share").all_inner_texts() != before
    found = page.evaluate(
        """() => {
            const known = new Array(studio.model.parts.length).fill(-1);
            const sex = studio.model.columns.find(column => column.name === 'sex');
            const old = studio.model.columns.find(column => column.name === 'old');
            known[sex.first] = 0;
            return studio.model.law(old.first, studio.model.logits([known]), 0, known);
        }"""
    )
    exact = table.predict_proba(pd.DataFrame({"sex": ["Female"]}), "old").to_numpy()[0]
    np.testing.assert_allclose(found, exact, atol=0.01)
    assert "in one of" in page.inner_text(".words")
    page.click("text=Draw rows")
    page.wait_for_selector(".rows tr:nth-child(20)")
    page.evaluate(
        "() => { navigator.clipboard.writeText = async text => { window.text = text; }; }"
    )
    page.click("text=Copy as CSV")
    until(page, "window.text")
    rows = pd.read_csv(io.StringIO(page.evaluate("() => window.text")))
    assert list(rows.columns) == list(frame.columns)
    assert len(rows) == 20
    assert set(rows.sex) == {"Female"}
    assert set(rows.town) <= set(frame.town)
    assert rows.height.between(frame.height.min(), frame.height.max()).all()
    week = pd.Timedelta(7, "D")  # whose days are drawn on their own
    assert pd.to_datetime(rows.day).between(frame.day.min() - week, frame.day.max() + week).all()
    assert rows.income.isna().any()
    table.log_prob(rows.astype({"old": bool}).assign(day=pd.to_datetime(rows.day)))  # all can be


def test_a_number_is_fixed_by_its_slider_and_a_link_keeps_it(path, opened):
    page = opened(path)
    page.get_by_label("height").fill("30")
    page.wait_for_selector(".card.fixed")
    assert page.inner_text(".card:has-text('height') .axis span:nth-child(2)")
    until(page, "location.hash.includes('rows')")
    again = opened(page.url)
    assert again.locator(".card.fixed h3 span").inner_text() == "height"
    again.click("text=Free all")
    again.wait_for_selector(".card.fixed", state="detached")


def test_rows_follow_the_joint_where_what_is_fixed_comes_late(path, table, opened):
    """By brute force: the town comes after sex and old, which a direct draw sees it fix."""
    page = opened(path)
    found = page.evaluate(
        """() => {
            const { model } = studio, known = new Array(model.parts.length).fill(-1);
            const town = model.columns.find(column => column.name === 'town');
            const [first, second] = town.about.parts.map(part => part.place);
            [known[first], known[second]] = [3, 4];
            const places = ['sex', 'old'].map(name =>
                model.columns.find(column => column.name === name).first);
            const joint = [0, 1, 2, 3].map(k => {
                const row = [...known];
                [row[places[0]], row[places[1]]] = [k >> 1, k & 1];
                return Math.exp(model.logProb(row));
            });
            const drawn = [0, 0, 0, 0];
            for (const row of model.draw(known, 2000, 5)) {
                drawn[2 * row[places[0]] + row[places[1]]] += 1 / 2000;
            }
            const sum = joint.reduce((a, b) => a + b);
            return [first > Math.max(...places), joint.map(p => p / sum), drawn];
        }"""
    )
    late, joint, drawn = found
    assert late
    np.testing.assert_allclose(drawn, joint, atol=0.06)


@pytest.mark.further
def test_in_the_mean_the_page_draws_what_the_table_does(path, table, opened):
    page = opened(path)
    drawn = page.evaluate(
        "() => studio.model.draw(new Array(studio.model.parts.length).fill(-1), 600, 1)"
        ".map(row => studio.model.columns.map(column => column.text("
        "column.about.parts.map(part => row[part.place]))))"
    )
    names = page.evaluate("() => studio.model.columns.map(column => column.name)")
    rows = pd.DataFrame(drawn, columns=names)
    exact = table.sample(2000, seed=0)
    assert abs((rows.sex == "Male").mean() - (exact.sex == "Male").mean()) < 0.1
    assert abs(pd.to_numeric(rows.height).mean() - exact.height.mean()) < 2
    assert abs((rows.income == "").mean() - exact.income.isna().mean()) < 0.1
