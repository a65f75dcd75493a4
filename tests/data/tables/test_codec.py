"""Every kind of column comes back as it was, and its levels are probabilities that sum to one."""

import datetime as dt
import math
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_cvae.data.tables.codec import UNKNOWN, TableCodec
from keras_cvae.data.tables.coding import (
    Among,
    Calendar,
    Digits,
    Intervals,
    Levels,
    Range,
    from_dict,
)
from keras_cvae.data.tables.frames import to_pandas
from keras_cvae.data.tables.schema import Schema, UnknownColumnError
from keras_cvae.errors import DataError

N = 60
RNG = np.random.default_rng(0)


def _some(values, dtype=None):
    """N rows of these values, each at least twice, in no order."""
    rows = [values[i] for i in np.random.default_rng(1).permutation(np.arange(N) % len(values))]
    return pd.Series(rows, dtype=dtype)


COLUMNS = {
    "whole": _some([3, 5, -2], "int64"),
    "small": _some([3, 5, 100], "int8"),
    "unsigned": _some([2**64 - 1, 2**63, 0, 7], "uint64"),
    "big": _some([2**62 + 1, -(2**62) - 1, 2**53 + 1], "int64"),
    "nullable": _some([3, 5, None], "Int64"),
    "decimal": _some([0.1, 0.25, 7.0]),
    "single": _some([0.1, 0.25, 7.3], "float32"),
    "gaps": _some([1.0, np.nan, 3.0]),
    "nullable_float": _some([0.5, None, 1.5], "Float64"),
    "continuous": pd.Series(np.random.default_rng(2).normal(size=N)),
    "integers_as_objects": _some([1, 2, None], object),
    "floats_as_objects": _some([1.5, 2.5], object),
    "text": _some(["a", "b", "ü"]),
    "text_gaps": _some(["a", None, "b"]),
    "objects": _some(["a", "b", None], object),
    "python_text": _some(["a", "b", None], "string[python]"),
    "category": _some(["x", "y", None], pd.CategoricalDtype(["y", "x", "unused"])),
    "numbers_as_category": _some([3, 1], pd.CategoricalDtype([3, 1, 2])),
    "ordered": _some(["low", "high", "mid"], pd.CategoricalDtype(["low", "mid", "high"], True)),
    "boolean": _some([True, False]),
    "nullable_boolean": _some([True, None, False], "boolean"),
    "booleans_as_objects": _some([True, None, False], object),
    "day": _some([f"2024-02-{d:02}" for d in range(1, 30)], "datetime64[ns]"),
    "moment": _some(list(pd.date_range("1999-12-31 23:30", periods=20, freq="37h")), "M8[us]"),
    "zone": _some(list(pd.date_range("2024-03-30", periods=9, freq="7h", tz="Europe/Berlin"))),
    "far": _some(["9999-12-31", "2024-01-01"], "datetime64[s]"),
    "dates": _some([dt.date(2024, 1, 31), None, dt.date(1900, 1, 1)], object),
    "times": _some([dt.time(23, 59), dt.time(0, 0, 1)], object),
    "written": _some(["31.12.2024", "01.02.2023", None]),
    "written_with_time": _some(["2024-01-31T23:59", "2024-01-30T00:00"]),
    "clock": _some(["09:05", "23:59", None]),
    "american": _some(["1/5/2024 9:05", "12/31/2023 13:00"]),
    "milliseconds": _some(["2024-01-31T23:59:00.125Z", "2024-02-01T00:00:00.000Z"]),
    "offset": _some(["2024-01-31 23:59:00+01:00", "2024-02-01 00:00:00+01:00"]),
    "aware": _some([dt.datetime(2024, 1, 31, 5, tzinfo=dt.UTC), None], object),
    "money": _some([Decimal("0.10"), Decimal("12.50"), None], object),
    "duration": _some([pd.Timedelta("1h"), pd.Timedelta("-30min"), None]),
    "constant": _some(["always"]),
}


@pytest.fixture(scope="module")
def table():
    return pd.DataFrame(COLUMNS)


@pytest.fixture(scope="module")
def codec(table):
    return TableCodec.fit(table)


@pytest.mark.parametrize("name", COLUMNS)
def test_values_and_dtypes_come_back(name, table, codec):
    column = codec.schema[name]
    again = column.write(column.read(table[name]))
    pd.testing.assert_series_equal(again, table[name])
    assert type(again.dtype) is type(table[name].dtype)


def test_levels_come_back_as_the_rows_they_were(table, codec):
    codes = codec.encode(codec.read(table), N)
    drawn = codec.write(codec.decode(codes, np.random.default_rng(0)))
    assert drawn.columns.tolist() == table.columns.tolist()
    assert (drawn.dtypes == table.dtypes).all()
    exact = table.columns.drop("continuous")
    pd.testing.assert_frame_equal(drawn[exact], table[exact])
    assert (codec.encode(codec.read(drawn), N) == codes).all()
    assert not table["continuous"].equals(drawn["continuous"])


def test_a_schema_survives_toml_and_a_codec_json(table, codec):
    assert Schema.from_toml(codec.schema.to_toml()) == codec.schema
    again = TableCodec.from_dict(codec.to_dict())
    codes = codec.encode(codec.read(table), N)
    assert (again.encode(again.read(table), N) == codes).all()
    for mine, other in zip(codec.shares, again.shares, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_arrow_columns_and_tables_are_taken():
    pa = pytest.importorskip("pyarrow")
    rows = {
        "n": pa.array([1, 2, None] * 20),
        "s": pa.array(["a", "b", "b"] * 20),
        "d": pa.array([dt.date(2024, 1, 1), dt.date(2024, 1, 2), None] * 20),
        "t": pa.array([dt.datetime(2024, 1, 1, 3), dt.datetime(2024, 1, 2), None] * 20),
        "b": pa.array([True, False, None] * 20),
        "m": pa.array([Decimal("0.15"), Decimal("12.50"), None] * 20, pa.decimal128(6, 2)),
    }
    arrow = pa.table(rows).to_pandas(types_mapper=pd.ArrowDtype)
    codec = TableCodec.fit(arrow)
    kinds = ["number", "category", "datetime", "datetime", "boolean", "number"]
    assert [column.kind for column in codec.schema] == kinds
    pd.testing.assert_frame_equal(codec.write(codec.read(arrow)), arrow)
    assert codec.schema["m"].describe() == "2 decimals, 0.15 to 12.5"
    assert codec.schema["d"].describe() == "2024-01-01 to 2024-01-02, every day"
    assert to_pandas(pa.table(rows)).shape == (60, 6)
    big = [2**60 + 1, None, 2**60 + 3]
    gaps = to_pandas(pa.table({"n": pa.array(big, pa.int64()), "k": pa.array([1, 2, 3], "int8")}))
    assert gaps.dtypes.astype(str).tolist() == ["Int64", "int8"]
    assert gaps["n"][0] == 2**60 + 1
    with pytest.raises(TypeError, match=r"Received int\. Expected a table"):
        to_pandas(3)


# Codings: p sums or integrates to one.


@given(
    hnp.arrays(np.int64, st.integers(2, 300), elements=st.integers(-50, 50)),
    st.integers(2, 20),
)
def test_whole_numbers_have_probabilities_that_sum_to_one(values, most):
    intervals = Intervals.fit(values, most)
    (part,) = intervals.parts
    grid = np.arange(values.min(), values.max() + 1)
    grid = grid[~intervals.outside(grid)]
    codes = intervals.encode(grid)
    p = np.bincount(codes[:, 0], np.exp(intervals.log_density(grid, codes)), minlength=part.size)
    np.testing.assert_allclose(p, 1.0)
    assert not intervals.outside(values).any()
    assert part.size <= 2 * most + 1


@given(
    hnp.arrays(np.float64, st.integers(2, 300), elements=st.floats(-1e3, 1e3)),
    st.integers(2, 20),
)
def test_densities_integrate_to_one(values, most):
    intervals = Intervals.fit(values, most)
    width = np.where(intervals.low == intervals.high, 1.0, intervals.high - intervals.low)
    inside = intervals.low + (intervals.high - intervals.low) / 2
    density = np.exp(intervals.log_density(inside, intervals.encode(inside)))
    mass = np.bincount(intervals.encode(inside)[:, 0], density * width)
    np.testing.assert_allclose(mass, 1.0)
    assert not intervals.outside(values).any()


@given(hnp.arrays(np.int64, 200, elements=st.integers(-300, 300)), st.integers(0, 2**32 - 1))
def test_drawn_numbers_have_the_level_they_were_drawn_for(values, seed):
    intervals = Intervals.fit(values, 9)
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, intervals.parts[0].size, (500, 1))
    drawn = intervals.decode(codes, rng.random((500, 1)))
    assert (intervals.encode(drawn) == codes).all()
    assert drawn.min() >= values.min()
    assert drawn.max() <= values.max()


@pytest.mark.parametrize("wanted", [Range(-20, 31), Range(None, 4), Among(np.array([-7, 3, 8]))])
def test_shares_are_the_probabilities_of_what_is_wanted(wanted):
    values = np.random.default_rng(0).integers(-60, 60, 1000)
    intervals = Intervals.fit(values, 12)
    grid = np.arange(-60, 60)
    grid = grid[wanted.holds(grid)]
    codes = intervals.encode(grid)
    p = np.exp(intervals.log_density(grid, codes))
    (share,) = intervals.share(wanted)
    np.testing.assert_allclose(share, np.bincount(codes[:, 0], p, minlength=len(share)))

    level = codes[len(codes) // 2, 0]
    uniforms = (np.arange(4000) + 0.5)[:, None] / 4000
    drawn = intervals.decode(np.full((4000, 1), level), uniforms, wanted)
    some = grid[codes[:, 0] == level]
    assert set(drawn) == set(some)
    found = np.array([(drawn == value).mean() for value in some])
    expected = p[codes[:, 0] == level] / share[level]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_frequent_numbers_are_kept_among_bins():
    rng = np.random.default_rng(0)
    values = np.where(rng.random(4000) < 0.4, 0, rng.integers(1, 10**6, 4000))
    intervals = Intervals.fit(values)
    zero = intervals.encode(np.array([0]))[0, 0]
    assert (intervals.encode(values)[:, 0] == zero).sum() == (values == 0).sum()
    assert (intervals.decode(np.full((9, 1), zero), rng.random((9, 1))) == 0).all()


def test_many_categories_are_two_digits_and_the_rare_survive():
    rng = np.random.default_rng(0)
    names = [f"c{i:05}" for i in range(10_000)]
    draws = np.concatenate([np.arange(10_000), rng.zipf(1.5, 20_000) % 10_000])
    frame = pd.DataFrame({"name": np.array(names)[draws], "x": rng.integers(0, 3, len(draws))})
    codec = TableCodec.fit(frame)
    assert [part.size for part in codec.parts] == [3, 100, 100]  # few values first
    codes = codec.encode(codec.read(frame), len(frame))
    p = codec.shares[1][codes[:, 1]] * codec.shares[2][codes[:, 1], codes[:, 2]]
    counts = frame["name"].map(frame["name"].value_counts())
    np.testing.assert_allclose(p, counts / len(frame))
    assert codec.write(codec.decode(codes, rng))["name"].equals(frame["name"])


def test_a_moment_is_a_week_a_day_and_a_time():
    values = np.random.default_rng(0).integers(-50_000, 80_000, 3000)  # hours since 1970
    calendar = Calendar.fit(values, 24)
    codes = calendar.encode(values)
    assert [part.size for part in calendar.parts[1:]] == [7, 24]
    drawn = calendar.decode(codes, np.random.default_rng(1).random(codes.shape))
    assert (calendar.encode(drawn) == codes).all()
    assert (drawn % 168 == values % 168).all()  # weekday and hour are exact
    again = from_dict(calendar.to_dict())
    assert (again.encode(values) == codes).all()


def test_a_window_of_a_day_is_drawn_without_rejection():
    minutes = np.random.default_rng(0).integers(0, 400 * 1440, 5000)
    calendar = Calendar.fit(minutes, 1440)
    start = 54 * 1440 + 600
    for wanted in (Range(start, start + 10), Among(np.array([start + 3, start + 8]))):
        shares = calendar.share(wanted)
        levels = [np.flatnonzero(share) for share in shares]
        codes = np.stack(np.meshgrid(*levels), -1).reshape(-1, 3).repeat(200, axis=0)
        drawn = calendar.decode(codes, np.random.default_rng(1).random(codes.shape), wanted)
        assert wanted.holds(drawn).all()
        assert len(np.unique(drawn)) == (11 if isinstance(wanted, Range) else 2)


def test_longer_windows_leave_the_day_and_the_time_open():
    minutes = np.random.default_rng(0).integers(0, 400 * 1440, 5000)
    calendar = Calendar.fit(minutes, 1440)
    start = 54 * 1440 + 600
    for wanted in (Range(start, None), Range(start, start + 9 * 1440), Range(None, start)):
        _, days, times = (np.atleast_2d(share) for share in calendar.share(wanted))
        assert days.any(axis=0).all()
        assert times.any(axis=0).all()
        met = wanted.holds(minutes)
        drawn = calendar.decode(
            calendar.encode(minutes[met]), np.random.default_rng(1).random((met.sum(), 3)), wanted
        )
        assert (drawn // 1440 % 7 == minutes[met] // 1440 % 7).all()  # the day of the week
        assert wanted.holds(drawn).mean() > 0.9


def test_a_missing_cell_is_one_level_of_all_parts(codec, table):
    codes = codec.encode(codec.read(table), N)
    for name in table:
        parts = codec.slice(name)
        last = np.array([part.size - 1 for part in codec.parts[parts]])
        missing = table[name].isna().to_numpy()
        if missing.any():
            assert (codes[missing, parts] == last).all()
            assert (codes[~missing, parts] != last).all()
    gaps = codec.encode(codec.read(table), N, gaps=True)
    assert ((gaps == UNKNOWN).any(axis=0) == (codes != gaps).any(axis=0)).all()


def test_shares_given_a_parent_know_what_cannot_be():
    moments = pd.date_range("2020-01-01", periods=5000, freq="5h").to_series(index=range(5000))
    moments[::7] = pd.NaT
    frame = pd.DataFrame({"t": moments, "x": np.arange(5000) % 3})
    codec = TableCodec.fit(frame)
    week, day, hour = codec.shares[codec.slice("t")]
    assert week[-1] == pytest.approx(1 / 7, abs=1e-3)
    for share in (day, hour):
        assert (share[-1, :-1] == 0).all()
        assert share[-1, -1] == 1
        assert (share[:-1, -1] == 0).all()
        np.testing.assert_allclose(share.sum(1), 1.0)


def test_unknown_cells_have_no_level():
    frame = pd.DataFrame({"a": [1.0, np.nan, 2.0] * 9, "b": list("xyz") * 9})
    codec = TableCodec.fit(frame, Schema.infer(frame, missing="unknown"))
    assert [part.size for part in codec.parts] == [2, 3]
    codes = codec.encode(codec.read(frame), 27)
    assert (codes[1::3, 0] == UNKNOWN).all()
    np.testing.assert_allclose(codec.shares[0], [0.5, 0.5])


# What is asked for.


def test_conditions_are_values_sets_and_ranges(codec):
    assert codec.asked("text", "b").values.tolist() == [1]
    assert codec.asked("decimal", 0.25).values.tolist() == [25]
    assert codec.asked("decimal", (0.1, None)) == Range(10, None)
    assert codec.asked("whole", (2.5, 5)) == Range(3, 5)
    assert codec.asked("text", {"a", "ü"}).values.tolist() == [0, 2]
    assert codec.asked("ordered", ("mid", "high")) == Range(1, 2)
    assert codec.asked("gaps", None).missing.tolist() == [True]
    day = codec.asked("day", "2024-02-03").values[0]
    assert codec.asked("day", (pd.Timestamp("2024-02-03"), None)) == Range(day, None)
    assert codec.asked("boolean", True).values.tolist() == [1]
    assert codec.asked("whole", pd.Series([3, 5])).values.tolist() == [3, 5]
    assert codec.asked("whole", (3, float("inf"))) == Range(3, None)
    assert codec.asked("decimal", (0.1, 1e30)) == Range(10, 2**63 - 1)
    assert codec.asked("continuous", (-0.5, 0.25)) == Range(-0.5, 0.25)
    assert codec.schema["unsigned"].shown(codec.asked("unsigned", 7).values[0]) == "7"
    first, last = codec.asked("moment", ("2000-01-01 00:30:20", "2000-01-01 00:32:20"))
    assert last - first == 1  # 00:31 and 00:32
    declared = pd.DataFrame({"o": pd.Categorical(["lo", "hi"], ["lo", "hi", "max"]), "n": [1, 2]})
    declared = TableCodec.fit(declared)
    with pytest.raises(DataError, match="'o': received max, and nothing"):
        declared.asked("o", "max")
    with pytest.warns(UserWarning, match="'whole': 1 of 2 values .* 99; .* No row will have"):
        assert codec.asked("whole", {3, 99}).values.tolist() == [3]


def test_rows_that_meet_conditions_are_found_whatever_the_dtype(table, codec):
    for name, value in {
        "written": ("01.01.2023", "01.01.2024"),  # not by the order of the text
        "ordered": ("low", "mid"),
        "gaps": None,
        "money": {Decimal("0.10")},
        "clock": ("10:00", None),
    }.items():
        met = table[name][codec.meets(table, {name: value})]
        assert 0 < len(met) < N
        assert met.nunique(dropna=False) == (2 if name == "ordered" else 1)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("text", "bb", r"'text' has no category 'bb'.*Did you mean 'b'"),
        ("txt", "b", r"'txt' is not there. Did you mean 'text'"),
        ("whole", "three", r"'whole' holds 'three'. Expected numbers"),
        ("text", ("a", "b"), r"'text': received the range .* no order"),
        ("whole", (5, 3), r"'whole': nothing lies in the range"),
        ("whole", (1, 2, 3), r"Expected a range \(low, high\)"),
        ("text", set(), r"'text': received an empty set"),
        ("whole", None, r"'whole': received None, a missing cell, and there was none"),
        ("boolean", "yes", r"'boolean' holds 'yes'. Expected True or False"),
        ("day", "soon", r"'day' holds 'soon'. Expected dates"),
        ("gaps", {1.0, None}, r"'gaps': received a set with a missing value"),
        ("whole", 2.5, r"'whole' holds 2.5. Expected whole numbers"),
        ("decimal", 0.125, r"'decimal' holds 0.125. Expected at most 2 digits"),
        ("moment", pd.Timestamp("2000-01-01 00:30:20"), r"Expected times in steps of a minute"),
        ("clock", "9 h", r"'clock' holds '9 h'. Expected .* written as 23:59 is"),
        ("whole", 1e30, r"'whole' holds 1e\+30. Expected numbers of 64 bits"),
        ("whole", (math.nan, 5), r"'whole' holds nan as the end of a range. Expected a value, or"),
        ("unsigned", -1, r"'unsigned' holds -1. Expected whole numbers >= 0"),
        ("day", 5, r"'day' holds 5. Expected dates or times as in a datetime64"),
        ("whole", {99, 100}, r"'whole': received 99, 100, and nothing of it was seen"),
        ("category", "unused", r"'category': received unused, and nothing of it was seen"),
    ],
)
def test_a_condition_that_cannot_be_is_refused_by_name(codec, name, value, message):
    with pytest.raises(DataError, match=message):
        codec.asked(name, value)


def test_numbers_that_were_not_seen_are_taken_for_the_nearest_and_said(codec):
    with pytest.warns(UserWarning, match=r"'whole': 1 of 1 values .* such as 99; it saw -2 to 5"):
        assert codec.encode({"whole": codec.asked("whole", 99)}, 1).max() == 2


def test_frames_with_other_columns_are_refused(codec, table):
    with pytest.raises(
        UnknownColumnError, match=r"'wole' was not in training. Did you mean 'whole'"
    ):
        codec.read(table.rename(columns={"whole": "wole"}))
    with pytest.raises(UnknownColumnError, match="no column 'whole'"):
        codec.read(table.drop(columns="whole"))
    with pytest.raises(DataError, match="'text' has no category 'c'"):
        codec.read(table.assign(text="c"))
    for name, value, message in (
        ("decimal", [0.1, *[np.inf] * (N - 1)], r"'decimal' holds an infinite number \(row 1\)"),
        ("whole", True, "'whole' holds bool values. Expected numbers"),
        ("whole", [3, "three"] * (N // 2), "'whole' holds 'three'. Expected numbers"),
        ("dates", [dt.date(2024, 1, 1), "then"] * (N // 2), "'dates' holds 'then'. Expected dates"),
    ):
        with pytest.raises(DataError, match=message):
            codec.read(table.assign(**{name: value}))
    shuffled = table[table.columns[::-1]]
    assert (codec.encode(codec.read(shuffled), N) == codec.encode(codec.read(table), N)).all()


def test_levels_of_an_order_have_ranges():
    levels = Levels(5, ordered=True)
    np.testing.assert_array_equal(levels.share(Range(1, 3))[0], [0, 1, 1, 1, 0])
    digits = Digits.fit(np.arange(300) % 300, 300)
    first, both = digits.share(Among(np.array([7, 250])))
    assert both.sum() == 2
    np.testing.assert_array_equal(first, both.max(axis=1))
    assert (from_dict(digits.to_dict()).rank == digits.rank).all()


def test_nothing_is_said_about_what_was_seen(codec, table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        codec.read(table)
