"""Zero-shot forecasts beside the seasonal naive one, drift, and statsforecast's AutoETS and Theta.

Classic series come with statsmodels and statsforecast (extra `bench`); with --data also the seven
columns of ETTh1, 48 hours ahead, without the peers unless --all says so (they then read the last
1,008 values, and take minutes a column). With --how instead: the model fitted to each column of
ETTh1 before the first origin, beside the frozen one. With --generated instead: coverage on so many
generated series, on which the calibration of the intervals was chosen. Every forecaster sees the
same histories; MASE is in units of the seasonal naive errors inside each. AutoETS and the model
find out by themselves whether a history has the season. The model was trained on made-up series
alone.
"""

import argparse
import csv
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graftwerk.forecast.backtest import Origins, backtest, choose_origins
from graftwerk.forecast.calibrated import Calibrated
from graftwerk.forecast.candidates import find_seasons
from graftwerk.forecast.forecasters import History, Quantiles, open_forecaster
from graftwerk.forecast.network import QUANTILES
from graftwerk.forecast.results import BacktestRow
from graftwerk.forecast.synthetic import synthetic_series
from graftwerk.library.forecaster import Forecaster
from graftwerk.metrics.calibration import coverage, crps

AHEAD = {12: 18, 4: 8, 1: 6, 11: 11, 24: 48}  # values, by season; as in the M4 competition
ORIGINS, WINDOWS, READ = 5, 20, 1_008


@dataclass
class Peer:
    """A model of statsforecast, fitted to every history anew."""

    name: str
    make: Any
    levels: tuple[float, ...] = QUANTILES

    def forecast(self, histories: Sequence[History], leads: int) -> np.ndarray:
        found = []
        for one in histories:
            values, season = one.values[-READ:], one.season
            fitted = self.make(season if len(values) > 2 * season else 1).fit(values)
            said = fitted.predict(leads, level=[20, 40, 60, 80])
            names = [*(f"lo-{n}" for n in (80, 60, 40, 20)), "mean"]
            names += [f"hi-{n}" for n in (20, 40, 60, 80)]
            found.append(np.stack([said[name] for name in names], axis=1))
        return np.stack(found)


class SeasonsFound(Calibrated):
    """The model as `graft forecast` uses it: a season counts only where a history shows it."""

    def forecast(self, histories: Sequence[History], leads: int) -> Quantiles:
        """See `Forecaster`."""
        found = [(one, find_seasons(one.values, (one.season, one.second))) for one in histories]
        return super().forecast([History(one.values, *seasons) for one, seasons in found], leads)


def peers() -> list[Peer]:
    try:
        from statsforecast.models import AutoETS, AutoTheta
    except ImportError:
        print("statsforecast is not installed: pip install graftwerk[bench]")
        return []
    return [
        Peer("AutoETS", lambda season: AutoETS(season_length=season)),
        Peer("AutoTheta", lambda season: AutoTheta(season_length=season)),
    ]


def classic() -> Iterator[tuple[str, int, np.ndarray]]:
    """Name, season and values of the series that packages carry."""
    try:
        from statsforecast.utils import AirPassengers
        from statsmodels import datasets
    except ImportError:
        print("statsmodels is not installed: pip install graftwerk[bench]")
        return
    yield "air passengers", 12, np.asarray(AirPassengers, dtype=float)
    yield "Nile", 1, datasets.nile.load_pandas().data["volume"].to_numpy(float)
    yield "sunspots", 11, datasets.sunspots.load_pandas().data["SUNACTIVITY"].to_numpy(float)
    co2 = datasets.co2.load_pandas().data["co2"].resample("MS").mean().interpolate()
    yield "CO2, monthly", 12, co2.to_numpy(float)
    yield "El Nino", 12, datasets.elnino.load_pandas().data.iloc[:, 1:].to_numpy(float).ravel()
    for name, column in datasets.macrodata.load_pandas().data.iloc[:, 2:].items():
        yield f"US {name}", 4, column.to_numpy(float)
    rates = datasets.interest_inflation.load_pandas().data
    yield "German interest", 4, rates["R"].to_numpy(float)
    yield "German inflation", 4, rates["Dp"].to_numpy(float)
    danish = datasets.danish_data.load_pandas().data
    yield "Danish money", 4, danish["lrm"].to_numpy(float)
    yield "Danish income", 4, danish["lry"].to_numpy(float)


def ett(data: Path | None) -> Iterator[tuple[str, int, np.ndarray]]:
    path = data / "ett" / "ETTh1.csv" if data is not None else None
    if path is None or not path.is_file():
        return
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for name in list(rows[0])[1:]:
        yield f"ETTh1 {name}", 24, np.array([float(row[name]) for row in rows])


def show(title: str, rows: list[tuple[str, list[BacktestRow]]]) -> None:
    if not rows:
        return
    names = [row.name for row in rows[0][1]]
    width = max(map(len, names)) + 2
    print(f"\nMASE of {title}\n{'':18}" + "".join(f"{name:>{width}}" for name in names))
    for name, found in rows:
        print(f"{name:18}" + "".join(f"{row.mase:{width}.3f}" for row in found))
    scores = np.array([[row.mase for row in found] for _, found in rows])
    errors = np.array([[row.crps for row in found] for _, found in rows])
    inside = np.array([[row.coverage for row in found] for _, found in rows])
    naive = names.index("seasonal naive")
    summary = {
        "mean": scores.mean(axis=0),
        "over naive, geom.": np.exp(np.log(scores / scores[:, [naive]]).mean(axis=0)),
        "CRPS over naive": np.exp(np.log(errors / errors[:, [naive]]).mean(axis=0)),
        "in 80 % interval": inside.mean(axis=0),
    }
    for name, figures in summary.items():
        print(f"{name:18}" + "".join(f"{figure:{width}.3f}" for figure in figures))


def fitted(data: Path | None, model: str, how: str) -> None:
    """The model fitted to the values before the first origin, beside the frozen one."""
    rows = []
    for name, _, values in ett(data):
        forecaster = Forecaster(model, how, suggested=(24, 168))
        origins = forecaster.origins(values, 48, WINDOWS)
        forecaster.fit(values[: origins[0]], 48)
        rows.append((name, forecaster.backtest(values, 48, origins=WINDOWS)))
        print(f"{name}: {forecaster.fitted}", flush=True)
    show(f"ETTh1, fitted ({how}), 48 hours ahead, {WINDOWS} origins each", rows)


def generated(model: Calibrated, count: int) -> None:
    """Coverage and CRPS on generated series, by whether the intervals are calibrated."""
    generator, found = np.random.default_rng(987_654_321), []
    while len(found) < count:
        one = synthetic_series(generator, 48, 512)
        history, lead = one.values[:-48], AHEAD.get(one.season, min(max(6, one.season), 24))
        if one.season <= 24 and len(history) >= max(24, 2 * lead) and np.ptp(history) > 0:
            after = one.values[len(history) : len(history) + lead]
            found.append((History(history, one.season, one.second), lead, after))
    print(f"{count:,} generated series{'':8}in 80 % interval   CRPS over the uncalibrated")
    scores: dict[str, np.ndarray] = {}
    for name, one in (("not calibrated", model._forecaster), ("calibrated", model)):
        rows = []
        for history, lead, after in found:
            said = one.forecast([history], lead)[0]
            rows.append((coverage(said, after, QUANTILES), crps(said, after, QUANTILES)))
        scores[name] = np.array(rows, dtype=float)
        worse = scores[name][:, 1] / np.maximum(scores["not calibrated"][:, 1], 1e-12)
        more = np.exp(np.log(np.maximum(worse, 1e-6)).mean())
        print(f"{name:28}{scores[name][:, 0].mean():16.3f}{more:28.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", default="builtin/series")
    parser.add_argument("--how", choices=("linear", "lora", "full"))
    parser.add_argument("--generated", type=int, metavar="SERIES")
    parser.add_argument("--all", action="store_true", help="the peers on ETTh1 too")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    network = open_forecaster(options.model, "cpu")
    if options.how:
        fitted(options.data, options.model, options.how)
        return
    if options.generated:
        generated(Calibrated(network), options.generated)
        return
    model = SeasonsFound(network)
    others = peers()
    rows = []
    for name, season, values in classic():
        values = values[np.isfinite(values)]  # noqa: PLW2901
        origins = choose_origins(len(values), AHEAD[season], ORIGINS, season)
        if origins.starts:
            rows.append((name, backtest(values, (season, 1), origins, [model, *others])))
    show(f"{len(rows)} classic series, {ORIGINS} origins each", rows)
    rows = []
    measured = [model, *(others if options.all else ())]
    for name, season, values in ett(options.data):
        last = len(values) - AHEAD[season]
        places = tuple(range(last - (WINDOWS - 1) * 72, last + 1, 72))
        rows.append((name, backtest(values, (24, 168), Origins(places, 48), measured)))
    show(f"ETTh1, 48 hours ahead, {WINDOWS} origins each", rows)


if __name__ == "__main__":
    main()
