"""Backtests (forecasts from earlier origins, compared with the values after them), and plots.

Prediction intervals are calibrated in the same way, by the model's own errors in the history. A
model trained on other series may be overconfident. It therefore also forecasts from a few earlier
origins of the history, and its intervals are scaled to reach their nominal coverage there (as in
split conformal prediction); with few origins they change little.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ..errors import BadInput
from ..metrics.calibration import coverage, crps
from ..metrics.plots import COLOURS, INK, SOFT, Curve, Panel, plot_panels
from ..text_safety import counted
from .candidates import seasonal_naive, seasonal_scale
from .forecasters import Drift, Forecaster, History, Naive, Quantiles
from .results import BacktestRow

_MOMENTS = 8  # maximum number of earlier origins
_LEAST_BEFORE = 12  # values before an origin
_DOUBT = 2.0  # weight of a scale of 1, in origins
# errors from one origin resemble each other; counted as so many independent ones, the intervals
# reach their nominal coverage on generated series (bench/forecast.py --generated)
_INDEPENDENT = 4
_NARROWEST, _WIDEST = 0.5, 3.0
_SHARE, _LOW, _HIGH = 0.8, 0.1, 0.9


class Calibrated:
    """A forecaster whose intervals are scaled by its own earlier errors.

    Args:
        forecaster: the forecaster to calibrate; one without intervals is left unchanged.
    """

    def __init__(self, forecaster: Forecaster) -> None:
        self._forecaster = forecaster
        self.name, self.levels = forecaster.name, forecaster.levels

    def forecast(self, histories: Sequence[History], leads: int) -> Quantiles:
        """See `Forecaster`."""
        found = self._forecaster.forecast(histories, leads)
        if _LOW not in self.levels or _HIGH not in self.levels:
            return found
        places = [_moments(len(one.values), leads) for one in histories]
        earlier = [
            History(one.values[:place], one.season, one.second)
            for one, some in zip(histories, places, strict=True)
            for place in some
        ]
        if not earlier:
            return found
        before = iter(self._forecaster.forecast(earlier, leads))
        middle = self.levels.index(0.5)
        for number, (one, some) in enumerate(zip(histories, places, strict=True)):
            ratios = [
                self._ratios(next(before), one.values[place : place + leads]) for place in some
            ]
            center = found[number, :, middle, None]
            found[number] = center + (found[number] - center) * _factor(ratios)
        return found

    def _ratios(
        self, quantiles: NDArray[np.float64], actual: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return errors relative to the half of the interval on their side of the median."""
        low, middle, high = (quantiles[:, self.levels.index(q)] for q in (_LOW, 0.5, _HIGH))
        half = np.where(actual >= middle, high - middle, middle - low)
        return np.abs(actual - middle) / np.maximum(half, 1e-12)


def _moments(count: int, leads: int) -> list[int]:
    """Return earlier origins, one horizon apart, in the last half of the history."""
    least = max(_LEAST_BEFORE, count // 2)
    return [p for n in range(1, _MOMENTS + 1) if (p := count - n * leads) >= least]


def _factor(ratios: Sequence[NDArray[np.float64]]) -> float:
    if not ratios:
        return 1.0
    share = _SHARE * (1 + 1 / (_INDEPENDENT * len(ratios)))  # of a finite sample
    scale = float(np.quantile(np.concatenate(ratios), min(share, 1.0)))
    weight = len(ratios) / (len(ratios) + _DOUBT)
    return float(np.clip(max(scale, 1e-6) ** weight, _NARROWEST, _WIDEST))


_RIDGE = 1.0  # of standardized changes: regularizes if there are few values
_MOST_REGRESSED = 4_096  # values used in the regression


def without_effect(
    values: Float[np.ndarray, " n"], columns: Sequence[Float[np.ndarray, " _"]]
) -> Float[np.ndarray, " n"]:
    """Return a series without the linear effect of covariates, in which its season shows."""
    beside = np.stack([column[: len(values)] for column in columns])
    rest: Float[np.ndarray, " n"] = values - _weights(History(values), beside) @ beside
    return rest


class Nonnegative:
    """A forecaster of counts: a history that touches 0, never below, is not forecast below it.

    Args:
        forecaster: its quantiles are clipped.
    """

    def __init__(self, forecaster: Forecaster) -> None:
        self._forecaster = forecaster
        self.name, self.levels = forecaster.name, forecaster.levels

    def forecast(self, histories: Sequence[History], leads: int) -> Quantiles:
        """See `Forecaster`."""
        found = self._forecaster.forecast(histories, leads)
        least = np.array([0.0 if one.values.min() == 0 else -np.inf for one in histories])
        clipped: Quantiles = np.maximum(found, least[:, None, None])
        return clipped


class WithCovariates:
    """A forecaster that first removes the linear effect of covariates that are known ahead.

    Seasonal changes of the series are regressed on those of the covariates, so that shared trends
    and seasons explain nothing; the effect on the values ahead is added to the forecast.

    Args:
        forecaster: for the remainder.
        covariates: by column: values from the first of the series on, including those ahead.
    """

    def __init__(
        self, forecaster: Forecaster, covariates: Mapping[str, Float[np.ndarray, " n"]]
    ) -> None:
        self._forecaster = forecaster
        self._covariates = covariates
        self.name = f"{forecaster.name} + {', '.join(covariates)}"
        self.levels = forecaster.levels

    def forecast(self, histories: Sequence[History], leads: int) -> Quantiles:
        """See `Forecaster`; histories must start with the series."""
        rest, added = [], []
        for one in histories:
            count = len(one.values)
            for name, column in self._covariates.items():
                if len(column) < count + leads:
                    raise BadInput(
                        f"the covariate {name} is known for {max(len(column) - count, 0):,} of the "
                        f"{counted(leads, 'value')} ahead.",
                        "Add rows with its coming values and an empty target, or leave it out.",
                    )
            beside = np.stack([column[: count + leads] for column in self._covariates.values()])
            part = _weights(one, beside[:, :count]) @ beside
            rest.append(History(one.values - part[:count], one.season, one.second))
            added.append(part[count:, None])
        found: Quantiles = self._forecaster.forecast(rest, leads) + np.stack(added)
        return found


def _weights(history: History, beside: Float[np.ndarray, "c n"]) -> Float[np.ndarray, " c"]:
    lag = history.season if len(history.values) > 2 * history.season else 1
    target = history.values[-_MOST_REGRESSED:]
    change = target[lag:] - target[:-lag]
    columns = beside[:, -_MOST_REGRESSED:]
    changes = columns[:, lag:] - columns[:, :-lag]
    sizes = changes.std(axis=1)
    sizes[sizes == 0] = np.inf  # a constant covariate explains nothing
    scaled = changes / sizes[:, None]
    square = scaled @ scaled.T + _RIDGE * np.eye(len(scaled))
    weights: Float[np.ndarray, " c"] = np.linalg.solve(square, scaled @ change) / sizes
    return weights


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
