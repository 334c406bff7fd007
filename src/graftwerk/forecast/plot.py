"""The plot of a forecast: the history, the median and its 80 % interval."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ..metrics.plots import COLOURS, INK, SOFT, Curve, Panel, plot_panels
from .candidates import seasonal_naive

FloatArray = NDArray[np.float64]

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
    """Return a PNG of a forecast next to the history.

    Args:
        values: the history.
        quantiles: of the values ahead.
        tested: of the last known values, forecast without them; None to omit them.
        levels: of the quantiles.
        season: for the seasonal naive forecast, which is also shown.
        title: of the plot.
        times_at: names locations in the series by their times; None if it has none.
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
