"""Seasons of a history, simple forecasts of it, and the input of the built-in network.

The network weights these forecasts and corrects them, so seasons of any length need not be
learned: it starts from "as one season ago" and can only improve.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

FloatArray = NDArray[np.float64]

# seconds per step -> season lengths in steps, the most common first
_DAY = 86_400
_SUGGESTED: dict[float, tuple[int, ...]] = {
    1: (60, 3_600),
    60: (60, 1_440),
    300: (12, 288, 2_016),
    600: (6, 144, 1_008),
    900: (4, 96, 672),
    1_800: (48, 336),
    3_600: (24, 168),
    _DAY: (7, 365),
    7 * _DAY: (52, 4, 13),
}
_MONTHS: dict[int, tuple[int, ...]] = {1: (12,), 3: (4,), 12: ()}
_BUSINESS = (5, 21, 260)
_SURE = 0.3  # autocorrelation of a season that was not suggested
_DIFFERENCES = 2  # times that a smooth series is differenced before it is tested
_LONGEST = 400  # longest season that is searched for
_READ = 4_096  # last values that are used


def suggested_seasons(seconds: float | None, months: int | None, business: bool) -> tuple[int, ...]:
    """Return the seasons that a time step suggests."""
    if business:
        return _BUSINESS
    if months is not None:
        return _MONTHS.get(months, ())
    return _SUGGESTED.get(seconds or 0, ())


def find_seasons(values: FloatArray, suggested: tuple[int, ...] = ()) -> tuple[int, int]:
    """Return the main season and a second, longer one; 1 if there is none.

    A suggested season needs a significant autocorrelation; any other one a strong peak. Smooth
    series resemble themselves at every small lag: there, the changes must repeat.
    """
    rest = _without_trend(values[-_READ:])
    correlation = _autocorrelation(rest)

    def holds(lag: int) -> bool:
        if lag < 2 or len(rest) < 2 * lag + 1:
            return False
        left = rest
        for _ in range(_DIFFERENCES):
            if not _is_smooth(left, lag):
                break
            left = np.diff(left)
        return _significant(_autocorrelation(left), lag)

    found = [lag for lag in suggested if holds(lag)]
    if found:
        main = max(found, key=lambda lag: correlation[lag] + 0.1 * (lag == found[0]))
        longer = [lag for lag in found if lag > main and lag % main == 0]
        shorter = [lag for lag in found if lag < main and main % lag == 0]
        if shorter and correlation[shorter[0]] > 0.5 * correlation[main]:
            return shorter[0], main
        return main, (longer[0] if longer else 1)
    if suggested:
        return 1, 1
    most = min(len(rest) // 3, _LONGEST)
    peaks = [
        lag
        for lag in range(2, most + 1)
        if correlation[lag] > max(correlation[lag - 1], correlation[lag + 1], _SURE) and holds(lag)
    ]
    return (max(peaks, key=lambda lag: correlation[lag] - 1e-3 * lag) if peaks else 1), 1


def _significant(correlation: FloatArray, lag: int) -> bool:
    """Whether a season of this length is significant by the test of M4, at 90 %."""
    count = len(correlation)
    if count < 2 * lag + 1:
        return False
    limit = 1.645 * np.sqrt((1 + 2 * (correlation[1:lag] ** 2).sum()) / count)
    return bool(correlation[lag] > min(limit, 0.6))


def _is_smooth(rest: FloatArray, lag: int) -> bool:
    """Whether the values follow each other closely, apart from a season of this length."""
    phase = np.arange(len(rest)) % lag
    season = np.bincount(phase, rest, lag) / np.maximum(np.bincount(phase, minlength=lag), 1)
    irregular = rest - season[phase]
    return bool(np.diff(irregular).var() < irregular.var())


def _without_trend(values: FloatArray) -> FloatArray:
    time = np.arange(len(values))
    if len(values) < 3:
        return np.zeros(len(values))
    return np.asarray(values - np.polyval(np.polyfit(time, values, 1), time))


def _autocorrelation(values: FloatArray) -> FloatArray:
    size = 2 ** int(np.ceil(np.log2(2 * len(values))))
    spectrum = np.fft.rfft(values - values.mean(), size)
    found: FloatArray = np.fft.irfft(spectrum * spectrum.conj(), size)[: len(values)]
    return found / found[0] if found[0] > 0 else np.zeros_like(found)


CONTEXT, PATCH, LEADS = 512, 16, 128  # values that the network reads, per token, leads per pass
LONGEST = 4096  # values of a history that are used
NAMES = (
    "last",
    "season",
    "season before",
    "mean of seasons",
    "drift",
    "second season",
    "mean",
    *(f"{space} {kind}" for space in ("sum", "product") for kind in
      ("growth", "slow", "medium", "fast", "trend")),
)  # fmt: skip
_SMOOTHING = (0.1, 0.3, 0.7)
_DAMPING = 0.9
_SEASONS = 4  # whole seasons over which a pattern is averaged
_ROOM = 3.0  # forecasts are clipped to this many ranges beyond the history's minimum and maximum
FACTS = 8 + 2 * len(NAMES)


@dataclass(frozen=True, slots=True)
class Example:
    """A history as input of the network; all values in units of `scale` around `level`.

    Attributes:
        past: [channels, CONTEXT]: value, change over a season, and where each is known.
        ahead: [forecasts, leads]: the simple forecasts.
        facts: of the whole history: its size and season, and each forecast's errors at its end.
        level: mean of the last season.
        scale: mean change over a season, the scale of MASE.
    """

    past: FloatArray
    ahead: FloatArray
    facts: FloatArray
    level: float
    scale: float


def seasonal_scale(history: FloatArray, season: int) -> float:
    """Return the mean absolute change over one season; over one step if history is too short."""
    lag = season if len(history) > season else 1
    return float(np.abs(history[lag:] - history[:-lag]).mean()) if len(history) > lag else 0.0


def seasonal_naive(history: FloatArray, season: int, leads: int) -> FloatArray:
    """Return the last season, repeated; the last value if there is no whole season."""
    season = season if len(history) >= season else 1
    return history[len(history) - season + np.arange(leads) % season]


def drift(history: FloatArray, leads: int) -> FloatArray:
    """Extrapolate the straight line through the first and the last value."""
    slope = (history[-1] - history[0]) / max(len(history) - 1, 1)
    return np.asarray(history[-1] + slope * np.arange(1, leads + 1))


def example(history: FloatArray, season: int, second: int = 1, leads: int = LEADS) -> Example:
    """Return the network's input for a history of two or more values that are not all equal."""
    history = np.asarray(history, dtype=np.float64)[-LONGEST:]
    lag = season if len(history) > season else 1
    spread = float(history.std())
    scale = max(seasonal_scale(history, season), 1e-3 * spread, 1e-9 * float(np.abs(history).max()))
    scale = scale or 1.0
    level = float(history[-lag:].mean())
    recent = history[-CONTEXT:]
    change = np.zeros_like(history)
    change[lag:] = history[lag:] - history[:-lag]
    known = (np.arange(len(history)) >= lag)[-CONTEXT:]
    past = np.zeros((4, CONTEXT))
    past[:, CONTEXT - len(recent) :] = np.stack(
        [
            np.arcsinh((recent - level) / scale),
            np.arcsinh(change[-CONTEXT:] / scale),
            np.ones(len(recent)),
            known,
        ]
    )
    ahead = (simple_forecasts(history, season, second, leads) - level) / scale
    return Example(past, ahead, _facts(history, season, second, scale, spread), level, scale)


def _facts(
    history: FloatArray, season: int, second: int, scale: float, spread: float
) -> FloatArray:
    facts = np.zeros(FACTS)
    seasons = len(history) / season
    facts[:8] = (
        math.log(season) / 3,
        float(season == 1),
        math.log(len(history)) / 4,
        math.log(seasons) / 2,
        math.log(second) / 4,
        math.asinh(spread / scale),
        float(history.min() > 0),
        1.0,
    )
    held = min(max(season, 6), 48, len(history) // 3)
    if held >= 2:
        before, after = history[:-held], history[-held:]
        errors = (simple_forecasts(before, season, second, held) - after) / scale
        facts[8:] = np.arcsinh([*np.abs(errors).mean(axis=1), *errors.mean(axis=1)])
    else:
        facts[7] = 0.0
    return facts


def simple_forecasts(history: FloatArray, season: int, second: int, leads: int) -> FloatArray:
    """Return the forecasts of `NAMES`, [forecasts, leads]."""
    season = season if len(history) >= season else 1
    last = seasonal_naive(history, season, leads)
    earlier = history[:-season]
    before = seasonal_naive(earlier, season, leads) if len(earlier) >= season else last
    whole = min(len(history) // season, _SEASONS)
    blocks = history[len(history) - whole * season :].reshape(whole, season)
    phase = np.arange(leads) % season
    rows = [
        np.full(leads, history[-1]),
        last,
        before,
        blocks.mean(axis=0)[phase],
        drift(history, leads),
        seasonal_naive(history, second, leads) if len(history) >= second > 1 else last,
        np.full(leads, history[-4 * max(season, 8) :].mean()),
    ]
    sums = _smoothed(history, season, leads)
    rows += sums
    low, high = history.min(), history.max()
    rows += [np.exp(np.minimum(row, 700.0)) for row in _smoothed(np.log(history), season, leads)] \
        if low > 0 and high > 1.05 * low else sums  # fmt: skip
    room = _ROOM * (high - low)
    return np.asarray(np.clip(np.stack(rows), low - room, high + room))


def _smoothed(history: FloatArray, season: int, leads: int) -> list[FloatArray]:
    """Forecast by growth of the last seasons, and by exponential smoothing without season."""
    history = history[-max(8 * season, 256) :]
    whole = min(len(history) // season, _SEASONS)
    blocks = history[len(history) - whole * season :].reshape(whole, season)
    means = blocks.mean(axis=1)
    growth = (means[-1] - means[0]) / (whole - 1) if whole > 1 else 0.0
    phase, ahead = np.arange(leads) % season, np.arange(1, leads + 1)
    pattern = np.zeros(season)
    if season > 1 and whole > 1:
        slope = growth / season
        pattern = (blocks - means[:, None] - slope * (np.arange(season) - (season - 1) / 2)).mean(0)
    place = (np.arange(len(history)) - len(history)) % season
    flat = history - pattern[place]
    rows = [history[len(history) - season + phase] + growth * (1 + (ahead - 1) // season)]
    levels = [_smooth(flat, rate) for rate in _SMOOTHING]
    rows += [level[-1] + pattern[phase] for level in levels]
    rate = _SMOOTHING[1]
    twice = _smooth(levels[1], rate)
    trend = rate / (1 - rate) * (levels[1][-1] - twice[-1])
    damped = _DAMPING * (1 - _DAMPING**ahead) / (1 - _DAMPING)
    return [*rows, 2 * levels[1][-1] - twice[-1] + trend * damped + pattern[phase]]


def _smooth(values: FloatArray, rate: float) -> FloatArray:
    smooth: FloatArray = lfilter([rate], [1, rate - 1], values, zi=[(1 - rate) * values[0]])[0]
    return smooth
