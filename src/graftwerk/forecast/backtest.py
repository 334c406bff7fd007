"""Backtests: forecasts from earlier origins in a history, compared with the values after them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ..metrics.calibration import coverage, crps
from .candidates import seasonal_scale
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
