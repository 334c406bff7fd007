"""`graft forecast` as it is called: tables in, tables and plots out, plain refusals."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image
from tests.unit.forecast.conftest import (  # noqa: F401  fixtures
    hours,
    series_folder,
    wave,
    write_table,
)

import graftwerk as gw
from graftwerk.cli.finetune import forecast_lines
from graftwerk.commands.fit import run_fit
from graftwerk.commands.forecast import run_forecast
from graftwerk.errors import BadInput, BadValue, UnknownName
from graftwerk.types import Silent


@pytest.fixture
def hourly(write_table):  # noqa: F811
    rows = [[t, round(v, 4)] for t, v in zip(hours(400), wave(400), strict=True)]
    return write_table(["date", "load"], rows)


def run(table, model, **options):
    options = {"horizon": 24, "device": "cpu"} | options
    return run_forecast(gw.Forecast(table=table, model=model, **options), Silent())


def test_a_forecast_beside_the_baselines(hourly, series_folder, tmp_path):  # noqa: F811
    out, plot = tmp_path / "f.csv", tmp_path / "f.png"
    result = run(hourly, series_folder, out=out, plot=plot)
    assert (result.target, result.history, result.step, result.season) == (
        "load",
        400,
        "1 hour",
        24,
    )
    assert result.times[0] == "2026-01-17 16:00:00"
    assert [row.name for row in result.backtest[1:]] == ["seasonal naive", "drift"]
    naive, line = result.backtest[1:]
    assert naive.mase < 1.2 < line.mase
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [float(row["load"]) for row in rows] == pytest.approx(result.median, rel=1e-5)
    assert all(len(cell.lstrip("-").replace(".", "")) <= 7 for cell in (r["load"] for r in rows))
    assert "quantile 0.1" in rows[0] and "quantile 0.5" not in rows[0]  # it is the median
    upper = [float(row["quantile 0.9"]) for row in rows]
    assert upper == pytest.approx(result.quantiles["0.9"], rel=1e-5)
    with Image.open(plot) as image:
        assert image.size[0] == 960
    shown = "\n".join(forecast_lines(result))
    assert "backtest: 5 forecasts of 24 values" in shown
    assert "and 12 more\n" in shown
    shown = "\n".join(forecast_lines(result.model_copy(update={"out": None})))
    assert "and 12 more; --out FILE.csv writes all" in shown


def test_json_says_the_same(hourly, series_folder, tmp_path):  # noqa: F811
    result = run(hourly, series_folder, out=tmp_path / "f.json")
    assert json.loads((tmp_path / "f.json").read_text()) == result.model_dump()


def test_python_and_the_command_line_forecast_the_same(hourly, series_folder):  # noqa: F811
    result = run(hourly, series_folder, season=24)
    values = [float(row["load"]) for row in csv.DictReader(io.StringIO(hourly.read_text()))]
    found = gw.Forecaster(str(series_folder), season=24, device="cpu").predict(values, 24)
    assert found.median.tolist() == result.median
    assert found.quantile(0.9).tolist() == result.quantiles["0.9"]


def test_what_is_fitted_has_not_seen_the_backtest(hourly, series_folder, tmp_path):  # noqa: F811
    fitted = run(hourly, series_folder, how="linear", steps=30, save=tmp_path / "fit", season=24)
    lines = hourly.read_text().splitlines()
    place = 400 - 5 * 24  # before the first origin
    spoiled = [
        *lines[: place + 1],
        *(f"{line.split(',')[0]},{n}" for n, line in enumerate(lines[place + 1 :])),
    ]
    hourly.write_text("\n".join(spoiled))
    again = run(hourly, series_folder, how="linear", steps=30, save=tmp_path / "again", season=24)
    assert again.fitted == fitted.fitted
    learned = [(tmp_path / name / "learned.safetensors").read_bytes() for name in ("fit", "again")]
    assert learned[0] == learned[1]
    names = [row.name.removeprefix(f"{series_folder}, ") for row in fitted.backtest]
    assert names == ["linear", "zero-shot", "seasonal naive", "drift"]
    assert fitted.fitted.startswith("linear: 7,072 numbers learned")


def test_covariates_stand_beside_a_forecast_without(write_table, series_folder):  # noqa: F811
    beside = np.random.default_rng(0).normal(size=320).cumsum()
    rows = [
        [t, round(v + 5 * b, 4), b] for t, v, b in zip(hours(320), wave(320), beside, strict=True)
    ]
    ahead = [[t, "", b] if n >= 300 else [t, v, b] for n, (t, v, b) in enumerate(rows)]
    path = write_table(["date", "load", "heat"], ahead)
    result = run(path, series_folder, target="load", covariates=["heat"], horizon=20)
    with_heat, without = result.backtest[:2]
    assert with_heat.name == f"{series_folder} + heat"
    assert with_heat.mae < 0.5 * without.mae
    after = np.array([row[1] for row in rows[300:]])
    assert np.abs(np.array(result.median) - after).mean() < 0.5 * without.mae
    with pytest.raises(BadInput, match="heat is known for 20 of the 24 values ahead"):
        run(path, series_folder, target="load", covariates=["heat"])


def test_constants_are_forecast_as_they_are(write_table, series_folder):  # noqa: F811
    path = write_table(["date", "x"], [[t, 7] for t in hours(50)])
    result = run(path, series_folder)
    assert set(result.median) | set(result.quantiles["0.9"]) == {7.0}
    assert result.backtest == []
    assert any("all values are the same" in note for note in result.notes)


@pytest.mark.parametrize(
    ("count", "horizon", "message"),
    [
        (1, 1, "1 value only"),
        (2, 1, "at least 3"),
        (20, 24, "horizon of 24 is longer than the history of 20 values"),
    ],
)
def test_too_short(write_table, series_folder, count, horizon, message):  # noqa: F811
    path = write_table(["n", "x"], [["a", n] for n in range(count)])
    with pytest.raises(BadInput, match=message):
        run(path, series_folder, target="x", horizon=horizon)


def test_a_short_series_is_forecast_without_a_backtest(write_table, series_folder):  # noqa: F811
    path = write_table(["year", "x"], [[2000 + n, n + n % 2] for n in range(9)])
    result = run(path, series_folder, horizon=6)
    assert result.times[0] == "2009-01-01"
    assert result.backtest == []
    assert any("too few to test" in note for note in result.notes)


def test_values_out_of_range_are_refused_alike(series_folder):  # noqa: F811
    with pytest.raises(BadValue, match="horizon 0 is not valid: it must be at least 1"):
        gw.Forecast(table="t.csv", horizon=0)
    with pytest.raises(BadValue, match="horizon 0 is not valid: it must be at least 1"):
        gw.Forecaster(str(series_folder)).predict([1, 2, 3, 4], 0)
    with pytest.raises(BadValue, match="method 'best' is not valid"):
        gw.Forecaster(str(series_folder), method="best")
    with pytest.raises(
        BadInput, match="1 value that is missing or not finite, the first is number 2"
    ):
        gw.Forecaster(str(series_folder)).predict([1, float("nan"), 3, 4], 2)
    with pytest.raises(BadInput, match="not a number"):
        gw.Forecaster(str(series_folder)).predict([1, "two", 3], 2)


def test_outputs_are_refused_before_any_work(hourly, series_folder, tmp_path):  # noqa: F811
    with pytest.raises(UnknownName, match=r"'.txt' is not known"):
        run(hourly, series_folder, out=tmp_path / "f.txt")
    with pytest.raises(UnknownName, match=r"'.jpg' is not known"):
        run(hourly, series_folder, plot=tmp_path / "f.jpg")
    with pytest.raises(BadInput, match="nothing is fitted that `save` could write"):
        run(hourly, series_folder, save=tmp_path / "f")


def test_fit_names_forecast_where_labels_are_a_series(hourly):
    words = f"graft forecast {hourly} --target load --horizon 48"
    with pytest.raises(BadInput, match=words):
        run_fit(gw.Fit(data=str(hourly), target="load", out=hourly.parent / "fit"), Silent())


def test_the_season_is_looked_for_beside_the_covariates(series_folder):  # noqa: F811
    time = np.arange(160)
    promo = (time % 5 == 0).astype(float)
    series = 20 + 2 * np.sin(2 * np.pi * time / 7) + 10 * promo
    forecaster = gw.Forecaster(str(series_folder), suggested=(7, 365))
    assert forecaster.seasons(series[:150]) == (1, 1)
    found = forecaster.predict(series[:150], 10, covariates={"promo": promo})
    assert found.season == 7
    assert np.abs(found.median - series[150:]).max() < 2


def test_counts_are_not_forecast_below_0(series_folder):  # noqa: F811
    values = np.array([*range(40, 0, -1), 0, 1, 0, 2, 0], dtype=float)
    forecaster = gw.Forecaster(str(series_folder))
    assert forecaster.predict(values, 12).quantiles.min() == 0
    assert forecaster.predict(values - 1, 12).quantiles.min() < -1


def test_two_years_are_too_short_to_find_a_season(write_table, series_folder):  # noqa: F811
    rows = [[f"{2020 + n // 12}-{n % 12 + 1:02}", n % 12 + n % 5] for n in range(24)]
    path = write_table(["month", "x"], rows)
    note = "a season of 12 steps cannot be tested on 24 values; --season 12 assumes one"
    assert note in run(path, series_folder, horizon=6).notes
    assert note not in run(path, series_folder, horizon=6, season=12).notes
