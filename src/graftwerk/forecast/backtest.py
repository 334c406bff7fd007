"""Backtests (forecasts from earlier origins, compared with the values after them), and plots."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ..metrics.calibration import coverage, crps
from ..metrics.plots import COLOURS, INK, SOFT, Curve, Panel, plot_panels
from .candidates import seasonal_naive, seasonal_scale
from .forecasters import Drift, Forecaster, History, Naive
from .results import BacktestRow

FloatArray = NDArray[np.float64]

_LEAST = 8  # values before an origin


@dataclass(frozen=True, slots=True)
class Origins:
    """Forecast origins, each as the number of values before it, and the horizon."""

    starts: tuple[int, ...]
    horizon: int


def choose_origins(count: int, horizon: int, most: int, season: int) -> Origins:
    """Choose the latest origins whose whole horizon is known, at most one horizon apart.

    At most the last half of the history is forecast; there may be no origin.
    """
    least = max(_LEAST, min(2 * season + 1, count // 2), count // 2)
    last = count - horizon
    if last < least or most < 1:
        return Origins((), horizon)
    step = min(horizon, max(1, (last - least) // max(most - 1, 1)))
    starts = [last - number * step for number in range(most) if last - number * step >= least]
    return Origins(tuple(sorted(starts)), horizon)


def backtest(
    values: FloatArray,
    seasons: tuple[int, int],
    origins: Origins,
    forecasters: Sequence[Forecaster],
) -> list[BacktestRow]:
    """Evaluate each forecaster, and then the baselines, from the same origins.

    MASE is relative to the errors of the seasonal naive forecast in the history before each origin.
    """
    histories = [History(values[:place], *seasons) for place in origins.starts]
    actual = [values[place : place + origins.horizon] for place in origins.starts]
    units = [seasonal_scale(one.values, one.season) for one in histories]
    rows = []
    for forecaster in (*forecasters, Naive(), Drift()):
        found = forecaster.forecast(histories, origins.horizon)
        rows.append(_row(forecaster, found, actual, units))
    return rows


def _row(
    forecaster: Forecaster,
    found: Float[np.ndarray, "b h q"],
    actual: Sequence[FloatArray],
    units: Sequence[float],
) -> BacktestRow:
    levels = forecaster.levels
    middle = levels.index(0.5)
    errors = [
        float(np.abs(one[:, middle] - after).mean())
        for one, after in zip(found, actual, strict=True)
    ]
    scores = [crps(one, after, levels) for one, after in zip(found, actual, strict=True)]
    inside = [coverage(one, after, levels) for one, after in zip(found, actual, strict=True)]
    shares = [share for share in inside if share is not None]
    scaled = [error / unit for error, unit in zip(errors, units, strict=True) if unit > 0]
    return BacktestRow(
        name=forecaster.name,
        mase=float(np.mean(scaled)) if scaled else None,
        mae=float(np.mean(errors)),
        crps=float(np.mean(scores)),
        coverage=float(np.mean(shares)) if shares else None,
    )


_BEFORE = 4  # horizons of history that are shown, or
_SEASONS = 4  # as many seasons, whichever is more
_MOST = 1_000  # values shown, at most
_TICKS, _LAST_TICK = 6, 0.93  # times named below the axis, up to this share, where they fit


def plot_forecast(
    values: FloatArray,
    quantiles: Float[np.ndarray, "h q"],
    tested: Float[np.ndarray, "h q"] | None,
    levels: Sequence[float],
    season: int,
    title: str,
    times_at: Callable[[Sequence[int]], Sequence[str]] | None,
) -> bytes:
    """Return a PNG of a forecast next to the history and the seasonal naive forecast.

    With `tested`, the quantiles of the last known values forecast without them, these are shown
    too.
    """
    horizon = len(quantiles)
    shown = max(min(max(_BEFORE * horizon, _SEASONS * season), _MOST), 24)
    start = max(len(values) - shown, 0)
    panels = []
    if tested is not None:
        known = values[:-horizon]
        naive = seasonal_naive(known, season, horizon)
        curves = _curves(known, tested, levels, start, naive, values[-horizon:])
        panels.append(Panel(f"backtest: the last {horizon} values, forecast without them", curves))
    naive = seasonal_naive(values, season, horizon)
    panels.append(Panel("forecast", _curves(values, quantiles, levels, start, naive)))
    marks = [len(values) - start - 1]
    if tested is not None:
        marks.append(len(values) - start - 1 - horizon)
    if times_at is None:
        return plot_panels(panels, title, marks, f"rows after value {start + 1:,}", height=260)
    end = len(values) + horizon - start - 1
    ticks = np.unique(np.linspace(0, _LAST_TICK * end, _TICKS).astype(int)).tolist()
    names = times_at([start + tick for tick in ticks])
    for zeros in (":00", "-01"):  # seconds, or the first days of months
        if all(name.endswith(zeros) for name in names):
            names = [name.removesuffix(zeros) for name in names]
    labels = [(float(tick), name) for tick, name in zip(ticks, names, strict=True)]
    return plot_panels(panels, title, marks, "", height=260, labels=labels)


def _curves(
    history: FloatArray,
    quantiles: Float[np.ndarray, "h q"],
    levels: Sequence[float],
    start: int,
    naive: FloatArray,
    after: FloatArray | None = None,
) -> list[Curve]:
    ahead = [len(history) - start + n for n in range(len(quantiles))]
    ends = [list(levels).index(level) for level in (0.1, 0.9) if level in levels]
    low, high = (quantiles[:, end].tolist() for end in ends) if len(ends) == 2 else ((), ())
    middle = quantiles[:, list(levels).index(0.5)].tolist()
    name = "median and 80 % interval" if len(ends) == 2 else "forecast"
    before = history[start:].tolist()
    curves = [
        Curve("seasonal naive", ahead, naive.tolist(), colour=COLOURS[1], width=1),
        Curve(name, ahead, middle, low, high, colour=COLOURS[0]),
        Curve("known", list(range(len(before))), before, colour=INK, width=1),
    ]
    if after is not None:
        curves.append(Curve("actual", ahead, after.tolist(), colour=SOFT, width=1))
    return curves
