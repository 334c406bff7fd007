"""Series out of tables: times in many forms, gaps, duplicates, and what is no series."""

from datetime import datetime, timedelta

import numpy as np
import pytest
from tests.unit.forecast.conftest import hours

from graftwerk.errors import BadInput
from graftwerk.forecast.candidates import find_seasons
from graftwerk.forecast.series import read_series

DAYS = ["2026-03-02", "2026-03-03", "2026-03-04", "2026-03-05", "2026-03-06", "2026-03-09"]


@pytest.mark.parametrize(
    ("times", "step", "after"),
    [
        (hours(6), "1 hour", "2026-01-01 06:00:00"),
        (["2026-01", "2026-02", "2026-03", "2026-04"], "1 month", "2026-05-01"),
        (["2025-10-31", "2025-11-30", "2025-12-31", "2026-01-31"], "1 month", "2026-02-28"),
        (["2025Q1", "2025Q2", "2025Q3", "2025Q4"], "1 quarter", "2026-01-01"),
        (["1990", "1991", "1992", "1993"], "1 year", "1994-01-01"),
        (DAYS, "1 working day", "2026-03-10"),
        (["01.02.2026", "02.02.2026", "03.02.2026", "04.02.2026"], "1 day", "2026-02-05"),
        (["02/01/2026", "02/02/2026", "02/03/2026", "02/04/2026"], "1 day", "2026-02-05"),
        (["1767225600", "1767229200", "1767232800", "1767236400"], "1 hour", "2026-01-01 04:00:00"),
        (["20260101", "20260108", "20260115", "20260122"], "1 week", "2026-01-29"),
        (["1/30/26", "1/31/26", "2/1/26", "2/2/26"], "1 day", "2026-02-03"),
        (["31.01.26", "01.02.26", "02.02.26", "03.02.26"], "1 day", "2026-02-04"),
        (
            ["2/1/2026 11:00 AM", "2/1/2026 12:00 PM", "2/1/2026 1:00 PM"],
            "1 hour",
            "2026-02-01 14:00:00",
        ),
        (["Nov-67", "Dec-67", "Jan-68", "Feb-68"], "1 month", "1968-03-01"),
        (
            ["2026-02-01 22:00 UTC", "2026-02-01 23:00 UTC", "2026-02-02 00:00 UTC"],
            "1 hour",
            "2026-02-02 01:00:00",
        ),
        (["Q3 2025", "Q4 2025", "Q1 2026"], "1 quarter", "2026-04-01"),
        (["2025M11", "2025M12", "2026M01"], "1 month", "2026-02-01"),
        (["11/2025", "12/2025", "01/2026"], "1 month", "2026-02-01"),
        ([f"01/{n % 12 + 1:02}/{2018 + n // 12}" for n in range(24)], "1 month", "2020-01-01"),
        (["202311", "202312", "202401"], "1 month", "2024-02-01"),
    ],
)
def test_times_in_the_forms_that_people_write(write_table, times, step, after):
    path = write_table(["date", "load"], [[t, n + 0.5] for n, t in enumerate(times)])
    series = read_series(path, None)
    assert series.name == "load"
    assert series.step.words == step
    assert series.times_at([len(series.values)]) == [after]
    assert series.values.tolist() == [n + 0.5 for n in range(len(times))]


def test_years_of_two_digits_and_rows_ahead_are_said(write_table):
    rows = [[f"1/{n + 1}/26", n if n < 20 else ""] for n in range(25)]
    series = read_series(write_table(["date", "x"], rows), "x")
    assert len(series.values) == 20
    assert "years have two digits; 1/1/26 is read as 2026-01-01" in series.notes
    assert "5 rows at the end without x: the forecast begins there" in series.notes


def test_zones_are_read_in_utc_and_said(write_table):
    times = ["2026-10-25T01:00+02:00", "2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]
    series = read_series(write_table(["time", "x"], [[t, n] for n, t in enumerate(times)]), "x")
    assert series.step.words == "1 hour"
    assert "2 different offsets" in " ".join(series.notes)
    mixed = write_table(["time", "x"], [[times[0], 1], ["2026-10-25T01:00", 2], [times[2], 3]])
    with pytest.raises(BadInput, match="name a time zone and some do not"):
        read_series(mixed, "x")


def test_a_gap_is_named_and_filled_only_when_asked(write_table):
    rows = [[t, n] for n, t in enumerate(hours(12)) if n not in (4, 5)]
    path = write_table(["date", "x"], rows)
    with pytest.raises(BadInput, match=r"2 times of 12 are missing \(2026-01-01 04:00:00, "):
        read_series(path, "x")
    series = read_series(path, "x", gaps="fill")
    assert series.values.tolist() == list(range(12))
    filled = [note for note in series.notes if "straight lines fill them" in note]
    assert [note[:7] for note in filled] == ["2 times"]  # each gap once
    rows[8][1] = ""
    series = read_series(write_table(["date", "x"], rows), "x", gaps="fill")
    assert series.values.tolist() == list(range(12))
    filled = [note for note in series.notes if "straight lines fill them" in note]
    assert ["2 times" in filled[0], "x is empty in 1 of" in filled[1]] == [True, True]


def test_text_among_numbers_is_named_with_its_row(write_table):
    rows = [[t, "n/a?" if n == 3 else n] for n, t in enumerate(hours(8))]
    with pytest.raises(BadInput, match=r"line 5, which is not a number.*Correct or empty"):
        read_series(write_table(["date", "x"], rows), None)


def test_an_empty_cell_is_named_and_filled_only_when_asked(write_table):
    path = write_table(["date", "x"], [[t, "" if n == 3 else n] for n, t in enumerate(hours(8))])
    with pytest.raises(BadInput, match=r"x is empty in 1 of 8 rows of .*, first in line 5"):
        read_series(path, "x")
    assert read_series(path, "x", gaps="fill").values.tolist() == list(range(8))


def test_times_that_stand_twice(write_table):
    rows = [[t, n] for n, t in enumerate(hours(6))]
    series = read_series(write_table(["date", "x"], [*rows, rows[2]]), "x")
    assert len(series.values) == 6
    assert "1 row that repeats a time" in " ".join(series.notes)
    with pytest.raises(BadInput, match=r"1 repeated time .* line 4 and line 8"):
        read_series(write_table(["date", "x"], [*rows, [rows[2][0], 9]]), "x")


def test_rows_out_of_order_are_sorted_and_said(write_table):
    rows = [[t, n] for n, t in enumerate(hours(6))]
    series = read_series(write_table(["date", "x"], rows[::-1]), "x")
    assert series.values.tolist() == list(range(6))
    assert "order of date" in " ".join(series.notes)


def test_rows_before_the_first_value_are_left_out_with_their_times(write_table):
    rows = [[t, n if n > 1 else ""] for n, t in enumerate(hours(8))]
    series = read_series(write_table(["date", "x"], rows), "x")
    assert series.values.tolist() == list(range(2, 8))
    assert series.times[0].hour == 2
    assert series.times_at([len(series.values)]) == ["2026-01-01 08:00:00"]


def test_what_is_known_ahead(write_table):
    rows = [[t, n if n < 6 else "", 2 * n] for n, t in enumerate(hours(9))]
    path = write_table(["date", "x", "beside"], rows)
    series = read_series(path, "x", ["beside"])
    assert len(series.values) == len(series.times) == 6
    assert series.covariates["beside"].tolist() == [2.0 * n for n in range(9)]
    with pytest.raises(BadInput, match="no column 'other'"):
        read_series(path, "x", ["other"])
    with pytest.raises(BadInput, match="is the target"):
        read_series(path, "x", ["x"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[t, "many" if n == 2 else n] for n, t in enumerate(hours(6))], "line 4 of t.csv: x is 'many'"),
        ([[t, "inf" if n == 2 else n] for n, t in enumerate(hours(6))], "not a finite number"),
        ([["2026-01-01", 1]], "one value only"),
        ([["2026-01-01", 1], ["2026-01-05", 2], ["2026-01-06", 2], ["2026-02-11", 3]], "not evenly"),
        ([[t, n] for n, t in enumerate([*hours(8), "2026-01-01 08:20"])], "does not lie on the steps"),
        ([[t, n] for n, t in enumerate([*hours(3), "soon", *hours(2, "2026-01-02")])], "'soon'"),
    ],
)  # fmt: skip
def test_what_is_no_series(write_table, rows, message):
    with pytest.raises(BadInput, match=message):
        read_series(write_table(["date", "x"], rows), "x", time="date")


def test_rows_without_times_are_said_to_be_even(write_table):
    series = read_series(write_table(["a", "b"], [[n, "word"] for n in range(6)]), "a")
    assert series.step is None
    assert series.times_at([len(series.values), len(series.values) + 1]) == ["7", "8"]
    assert "no column of times" in " ".join(series.notes)


def test_times_as_the_target_name_the_columns_of_numbers(write_table):
    table = write_table(["date", "a", "b"], [[t, 1, 2] for t in hours(4)])
    with pytest.raises(BadInput, match=r"date of t\.csv holds times\. .*there are: a, b"):
        read_series(table, "date")


def test_what_is_no_table_is_told_which_there_are(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"")
    for path in (tmp_path, tmp_path / "photo.jpg"):
        with pytest.raises(BadInput, match=r"is not a table\. Give one: \.csv"):
            read_series(path, None)


def test_several_columns_of_numbers_need_a_target(write_table):
    with pytest.raises(
        BadInput,
        match=r"several columns of numbers: a, b\. Name .* there are: date, a, b",
    ):
        read_series(write_table(["date", "a", "b"], [[t, 1, 2] for t in hours(4)]), None)


@pytest.mark.parametrize(("period", "suggested"), [(24, (24, 168)), (12, (12,)), (10, ())])
def test_a_season_is_found(period, suggested):
    time = np.arange(20 * period)
    values = np.sin(2 * np.pi * time / period) + 0.002 * time
    noise = np.random.default_rng(0).normal(size=len(time))
    assert find_seasons(values + 0.2 * noise, suggested)[0] == period
    assert find_seasons(noise, suggested)[0] == 1


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_times_of_parquet_are_times(tmp_path, zone):
    import pyarrow
    from pyarrow import parquet

    times = [datetime(2024, 1, 1) + timedelta(hours=n) for n in range(30)]
    column = pyarrow.array(times, pyarrow.timestamp("us", tz=zone))
    table = pyarrow.table({"timestamp": column, "load": [float(n) for n in range(30)]})
    parquet.write_table(table, tmp_path / "a.parquet")
    series = read_series(tmp_path / "a.parquet", None)
    assert series.times_at([0, 30]) == ["2024-01-01 00:00:00", "2024-01-02 06:00:00"]


def test_a_longer_season_is_found_too():
    time = np.arange(168 * 6)
    week = np.where(time % 168 < 120, 1.0, 0.0)
    day = np.sin(2 * np.pi * time / 24)
    assert find_seasons(day + week, (24, 168)) == (24, 168)


@pytest.mark.parametrize("period", [4, 12, 24])
@pytest.mark.parametrize("order", [1, 2])
def test_a_smooth_series_has_no_season_for_being_smooth(period, order):
    """A random walk, and the sum of one, resemble themselves at every small lag."""
    random = np.random.default_rng(period + order)
    found = []
    for _ in range(40):
        walk = random.normal(size=240)
        for _ in range(order):
            walk = walk.cumsum()
        found.append(find_seasons(walk, (period,))[0] > 1)
    assert np.mean(found) < 0.15


@pytest.mark.parametrize("period", [4, 12, 24])
def test_a_season_on_a_random_walk_is_found(period):
    random = np.random.default_rng(period)
    season = 5 * np.sin(2 * np.pi * np.arange(240) / period)
    walks = [random.normal(size=240).cumsum() + season for _ in range(40)]
    assert np.mean([find_seasons(walk, (period,))[0] == period for walk in walks]) > 0.9


def test_the_plot_names_the_times(tmp_path, monkeypatch):
    from graftwerk.forecast import backtest as plot

    path = tmp_path / "a.csv"
    lines = [f"{2020 + n // 12}-{n % 12 + 1:02}-01,{n}" for n in range(40)]
    path.write_text("\n".join(["month,value", *lines]))
    series = read_series(path, "value")
    assert series.times_at([0, 39, 40]) == ["2020-01-01", "2023-04-01", "2023-05-01"]
    drawn = {}
    monkeypatch.setattr(plot, "plot_panels", lambda *_, **given: drawn.update(given) or b"")
    ahead = np.ones((6, 3))
    plot.plot_forecast(series.values, ahead, None, [0.1, 0.5, 0.9], 12, "x", series.times_at)
    assert drawn["labels"][0] == (0, "2020-01") and drawn["labels"][-1] == (41, "2023-06")
    drawn.clear()
    plot.plot_forecast(series.values, ahead, None, [0.1, 0.5, 0.9], 12, "x", None)
    assert "labels" not in drawn


@pytest.mark.parametrize(
    ("times", "step"),
    [(["Jan 2018", "Feb 2018", "Mar 2018"], "1 month"), (["2023-W01", "2023-W02"], "1 week")],
)
def test_texts_that_are_times_are_the_times_under_any_name(write_table, times, step):
    series = read_series(write_table(["when", "x"], list(zip(times, range(3), strict=False))), None)
    assert (series.name, series.step.words) == ("x", step)


def test_an_ambiguous_date_is_shown_by_one_that_differs(write_table):
    rows = [[f"01/{n + 1:02}/2018", n] for n in range(12)]
    series = read_series(write_table(["date", "x"], rows), None)
    assert series.step.words == "1 day"
    assert "day and month could be either; 01/02/2018 is read as 2018-01-02" in series.notes


@pytest.mark.parametrize("word", ["NA", "N/A", "null", "NaN", "-"])
def test_words_for_nothing_are_empty_cells(write_table, word):
    rows = [[t, word if n == 5 else n] for n, t in enumerate(hours(20))]
    path = write_table(["date", "x"], rows)
    with pytest.raises(BadInput, match="empty in 1 of 20 rows") as raised:
        read_series(path, None)
    assert "--gaps fill" in raised.value.hint
    assert read_series(path, None, gaps="fill").values.tolist() == list(range(20))
