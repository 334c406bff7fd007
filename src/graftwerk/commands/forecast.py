"""`graft forecast`: the next values of a time series, with quantiles and a backtest."""

import csv
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

from .. import files, folders
from ..adapters.manifest import holds
from ..adapters.tuned import require_free
from ..data.tables import reading_of
from ..data.tables.numbers import rounded
from ..errors import BadInput, UnknownName
from ..forecast.backtest import plot_forecast
from ..forecast.forecasters import KIND
from ..forecast.results import BacktestRow, ForecastResult
from ..forecast.series import Series, read_series
from ..library.forecaster import Forecaster, ForecastValues
from ..requests.finetune import Forecast
from ..types import Monitor, note_unused, report_reading

_UNUSED = {"zero-shot": ("steps", "rank"), "linear": ("rank",), "full": ("rank",)}


def run_forecast(request: Forecast, monitor: Monitor) -> ForecastResult:
    """Read the series, fit if requested, backtest on its end, and forecast.

    The model fitted for the backtest has not seen the values that the backtest forecasts; the
    forecast itself comes from the same model.
    """
    began = time.perf_counter()
    write = _writer(request)
    if request.save is not None:
        folders.note_replaced(Path(request.save).absolute(), monitor.note)
    note_unused(request.model_fields_set, _UNUSED, request.how, monitor)
    if holds(request.model, KIND) and request.origins:
        monitor.note(
            f"{request.model} is already fitted; if it was trained on these values, the backtest "
            "is too optimistic"
        )
    series = _read(request)
    forecaster = Forecaster(
        request.model,
        request.how,
        request.season,
        request.calibrate,
        request.steps,
        request.rank,
        request.seed,
        request.device,
        series.step.seasons() if series.step is not None else (),
    )
    values, ahead = series.values, request.horizon
    origins = forecaster.origins(values, ahead, request.origins)
    covariates = dict(series.covariates) or None
    season, _ = forecaster.seasons(values, covariates)
    notes = _notes(series, request, bool(origins), season)
    report_reading([series.table], notes, monitor)
    if request.how != "zero-shot":
        forecaster.fit(values[: origins[0]] if origins else values, ahead, monitor=monitor)
    monitor.start("forecasting")
    found = forecaster.predict(values, ahead, covariates=covariates)
    rows: list[BacktestRow] = []
    if origins:
        rows = forecaster.backtest(values, ahead, origins=request.origins, covariates=covariates)
    if request.save is not None:
        forecaster.save(request.save)
    if request.plot is not None:
        files.write_bytes(request.plot, _plot(series, forecaster, found, request))
    spent = time.perf_counter() - began
    result = _report(request, series, forecaster, found, rows, len(origins), notes, spent)
    if request.out is not None and write is not None:
        files.write_text(request.out, write(result))
    return result


def _report(
    request: Forecast,
    series: Series,
    forecaster: Forecaster,
    found: ForecastValues,
    rows: list[BacktestRow],
    origins: int,
    notes: list[str],
    seconds: float,
) -> ForecastResult:
    return ForecastResult(
        target=series.name,
        model=request.model,
        how=forecaster.method,
        history=len(series.values),
        step=series.step.words if series.step is not None else "1 row",
        season=found.season,
        second_season=found.second_season,
        times=series.times_at(range(len(series.values), len(series.values) + request.horizon)),
        median=found.median.tolist(),
        quantiles={f"{q:g}": found.quantile(q).tolist() for q in found.levels},
        backtest=rows,
        origins=origins,
        covariates=list(series.covariates),
        fitted=forecaster.fitted,
        out=None if request.out is None else str(request.out),
        plot=None if request.plot is None else str(request.plot),
        saved=None if request.save is None else str(request.save),
        tables=[series.table],
        notes=notes,
        seconds=seconds,
    )


def _read(request: Forecast) -> Series:
    how = reading_of(request)
    columns = (request.target, request.covariates, request.time)
    return read_series(request.table, *columns, request.gaps, how)


def _notes(series: Series, request: Forecast, tested: bool, season: int) -> list[str]:
    notes, count = list(series.notes), len(series.values)
    usual = (series.step.seasons() if series.step is not None else ())[:1]
    if season == 1 and request.season is None and usual and usual[0] <= count < 3 * usual[0]:
        notes.append(
            f"a season of {usual[0]:,} steps cannot be tested on {count:,} values; --season "
            f"{usual[0]} assumes one"
        )
    if float(series.values.min()) == float(series.values.max()):
        notes.append("all values are the same, and so is the forecast")
    elif request.origins and not tested:
        notes.append(
            f"{len(series.values):,} values are too few to test forecasts of {request.horizon:,}"
        )
    return notes


def _plot(
    series: Series, forecaster: Forecaster, found: ForecastValues, request: Forecast
) -> bytes:
    values, horizon = series.values, request.horizon
    tested = None
    if request.origins and len(values) >= 2 * horizon + 3:
        tested = forecaster.predict(values[:-horizon], horizon).quantiles
    return plot_forecast(
        values,
        found.quantiles,
        tested,
        found.levels,
        found.season,
        f"{series.name} of {request.table.name}, {forecaster.model}, {forecaster.method}",
        None if series.step is None else series.times_at,
    )


def _writer(request: Forecast) -> Callable[[ForecastResult], str] | None:
    if request.plot is not None and request.plot.suffix.lower() != ".png":
        raise UnknownName("ending of the plot", request.plot.suffix, [".png"])
    if request.save is not None:
        if request.how == "zero-shot":
            raise BadInput(
                "nothing is fitted that --save could write.", "Say how: --how linear, lora or full."
            )
        folders.require_outside([request.table, request.model], Path(request.save).absolute())
        require_free(Path(request.save).absolute(), KIND, "forecaster")
    if request.out is None:
        return None
    known = {".csv": _as_csv, ".json": _as_json}
    if request.out.suffix not in known:
        raise UnknownName("ending of the output file", request.out.suffix, known)
    return known[request.out.suffix]


def _as_csv(result: ForecastResult) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    others = {level: values for level, values in result.quantiles.items() if level != "0.5"}
    writer.writerow(["time", result.target, *(f"quantile {level}" for level in others)])
    numbers = [map(rounded, values) for values in (result.median, *others.values())]
    writer.writerows(zip(result.times, *numbers, strict=True))
    return buffer.getvalue()


def _as_json(result: ForecastResult) -> str:
    return json.dumps(result.model_dump(), indent=1) + "\n"
