"""Synthetic training series: trends, seasons, cycles, smooth and rough noise, sudden changes.

Every series is a function of its seed. No real data is used.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

FloatArray = NDArray[np.float64]
Generator = np.random.Generator

_PERIODS = (4, 5, 6, 7, 12, 12, 12, 24, 24, 24, 30, 36, 48, 52, 60, 96, 144, 168, 288, 365)
_PAIRS = ((24, 168), (24, 168), (7, 364), (48, 336), (12, 144), (96, 672), (60, 1440), (4, 52))


@dataclass(frozen=True, slots=True)
class Synthetic:
    """A series and its periods; 1 for none."""

    values: FloatArray
    season: int
    second: int


def synthetic_series(generator: Generator, leads: int, longest: int) -> Synthetic:
    """Generate a history of random length and `leads` values after it."""
    season, second = _periods(generator)
    least, most = max(8, int(1.3 * season)), min(longest, max(12 * season, 200))
    if second > 1 and generator.random() < 0.7:
        least, most = min(int(2.2 * second), longest), longest
    count = int(np.exp(generator.uniform(np.log(least), np.log(max(most, least + 1))))) + leads
    if generator.random() < 0.3 and season < 120:
        values = _innovations(generator, count, season)
    else:
        values = _components(generator, count, season, second)
    values = _changed(generator, values)
    if not np.isfinite(values).all() or np.abs(values).max() > 1e12:
        values = generator.normal(size=count)
    return Synthetic(values, season, second)


def _periods(generator: Generator) -> tuple[int, int]:
    kind = generator.random()
    if kind < 0.2:
        return 1, 1
    if kind < 0.4:
        return _PAIRS[generator.integers(len(_PAIRS))]
    if kind < 0.85:
        return _PERIODS[generator.integers(len(_PERIODS))], 1
    return int(np.exp(generator.uniform(np.log(2), np.log(200)))), 1


def _size(generator: Generator, low: float | int = 0.05, high: float | int = 3.0) -> float:
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def _components(generator: Generator, count: int, season: int, second: int) -> FloatArray:
    values = np.zeros(count)
    if generator.random() < 0.7:
        values += _size(generator, 0.1, 6) * _trend(generator, count)
    if season > 1:
        values += _size(generator, 0.2, 3) * _season(generator, count, season)
    if second > 1:
        values += _size(generator, 0.1, 3) * _season(generator, count, second)
    for _ in range(generator.integers(0, 3)):
        values += _size(generator, 0.1, 3) * _smooth(generator, count)
    noise = _noise(generator, count)
    if generator.random() < 0.25:
        noise = noise * np.exp(_size(generator, 0.1, 1) * _smooth(generator, count))
    values += _size(generator, 0.02, 1.5) * noise
    if season > 1 and generator.random() < 0.2:  # the noise varies with the season
        values += _size(generator, 0.02, 1) * noise * (1 + _season(generator, count, season))
    if generator.random() < 0.35:
        return np.exp(_size(generator, 0.05, 0.8) * values)
    return values


def _trend(generator: Generator, count: int) -> FloatArray:
    time = np.linspace(0, 1, count)
    kind = generator.integers(5)
    sign = generator.choice([-1.0, 1.0])
    if kind == 0:
        return np.asarray(sign * time)
    if kind == 1:
        return np.asarray(sign * time ** generator.uniform(0.4, 3))
    if kind == 2:
        return np.asarray(
            sign / (1 + np.exp(-generator.uniform(4, 20) * (time - generator.uniform(0.2, 1.2))))
        )
    if kind == 3:  # piecewise linear
        knots = np.concatenate([[0, 1], generator.random(generator.integers(1, 6))])
        return np.asarray(
            np.interp(time, np.sort(knots), generator.normal(size=len(knots)).cumsum())
        )
    walk = generator.normal(size=count).cumsum()
    return walk / max(float(np.abs(walk).max()), 1e-9)


def _season(generator: Generator, count: int, period: int) -> FloatArray:
    pattern = _pattern(generator, period)
    place = (np.arange(count) + generator.integers(period)) % period
    values = pattern[place]
    kind = generator.random()
    if kind < 0.25:
        values = values * (1 + generator.uniform(0.1, 0.9) * _smooth(generator, count))
    elif kind < 0.45:
        share = np.linspace(0, 1, count) * generator.uniform(0.2, 1)
        values = values * (1 - share) + _pattern(generator, period)[place] * share
    return np.asarray(values)


def _pattern(generator: Generator, period: int) -> FloatArray:
    place = np.arange(period) / period
    kind = generator.random()
    if kind < 0.55:
        orders = np.arange(1, min(period // 2, int(generator.integers(1, 9))) + 1)
        sizes = generator.normal(size=len(orders)) * orders ** -generator.uniform(0, 2)
        angles = 2 * np.pi * (orders[:, None] * place + generator.random((len(orders), 1)))
        pattern = (sizes[:, None] * np.sin(angles)).sum(axis=0)
    elif kind < 0.7:
        pattern = generator.normal(size=period)
    elif kind < 0.85:  # open and closed
        start, width = generator.random(), generator.uniform(0.1, 0.7)
        pattern = (((place - start) % 1) < width).astype(float)
        pattern += generator.normal(size=period) * generator.uniform(0, 0.3)
    else:  # a bump
        away = (place - generator.random() + 0.5) % 1 - 0.5
        pattern = np.exp(-((away / generator.uniform(0.03, 0.25)) ** 2))
    pattern = pattern - pattern.mean()
    return np.asarray(pattern / max(float(pattern.std()), 1e-6))


def _smooth(generator: Generator, count: int) -> FloatArray:
    """Sample a Gaussian process by random Fourier features (RBF or Matern kernel)."""
    waves, length = 24, _size(generator, 3, max(count, 6))
    rates = generator.normal(size=waves) / length
    if generator.random() < 0.5:  # heavier tails: a rougher kernel
        rates /= np.sqrt(generator.chisquare(3, size=waves) / 3)
    angles = rates[:, None] * np.arange(count) + 2 * np.pi * generator.random((waves, 1))
    smooth: FloatArray = np.cos(angles).sum(axis=0) * np.sqrt(2 / waves)
    return smooth


def _noise(generator: Generator, count: int) -> FloatArray:
    kind = generator.random()
    rough = generator.normal(size=count + 50)
    if generator.random() < 0.2:
        rough = generator.standard_t(4, size=count + 50)
    if kind < 0.3:
        noise = rough
    elif kind < 0.6:  # autoregressive
        noise = lfilter([1], [1, -generator.uniform(0, 0.99)], rough)
    elif kind < 0.75:  # a cycle without a fixed period, such as sunspots or lynx populations
        radius, angle = generator.uniform(0.8, 0.995), 2 * np.pi / generator.uniform(5, 80)
        noise = lfilter([1], [1, -2 * radius * np.cos(angle), radius**2], rough)
    else:
        noise = lfilter([1, generator.uniform(-0.9, 0.9)], [1, -1], rough)
    noise = noise[50:] - noise[50:].mean()
    return np.asarray(noise / max(float(noise.std()), 1e-9))


def _innovations(generator: Generator, count: int, season: int) -> FloatArray:
    """Generate a series from a state-space model of exponential smoothing.

    Each innovation updates the level, the damped trend and the season.
    """
    level, slope = _size(generator, 1, 30), generator.normal() * _size(generator, 0.005, 0.3)
    pattern = _pattern(generator, season) * _size(generator, 0.2, 6) if season > 1 else np.zeros(1)
    follow = generator.choice([generator.uniform(0.02, 0.4), generator.uniform(0.4, 1.0)])
    bend = follow * generator.uniform(0, 0.3) * (generator.random() < 0.5)
    wander = generator.uniform(0, 0.4) * (1 - follow) * (season > 1)
    damping = generator.choice([1.0, generator.uniform(0.8, 0.99)])
    surprises = (generator.normal(size=count) * _size(generator, 0.1, 2)).tolist()
    season_now, values = pattern.tolist(), []
    for number, surprise in enumerate(surprises):
        place = number % len(season_now)
        values.append(level + damping * slope + season_now[place] + surprise)
        level, slope = (
            level + damping * slope + follow * surprise,
            damping * slope + bend * surprise,
        )
        season_now[place] += wander * surprise
    found = np.array(values)
    if generator.random() < 0.4:
        found = np.exp(_size(generator, 0.05, 0.6) * found / max(float(found.std()), 1e-6))
    return found


def _changed(generator: Generator, values: FloatArray) -> FloatArray:
    """Apply level shifts, outliers, floors or rounding, each rarely, and a random scale."""
    spread, count = float(values.std()), len(values)
    if generator.random() < 0.12:
        values = values.copy()
        values[generator.integers(count) :] += generator.normal() * 2 * spread
    if generator.random() < 0.1:
        values = values.copy()
        struck = generator.random(count) < 0.01
        values[struck] += generator.normal(size=int(struck.sum())) * 4 * spread
    if generator.random() < 0.05:
        values = np.maximum(values, np.quantile(values, generator.uniform(0.05, 0.4)))
    if generator.random() < 0.08:
        step = max(spread, 1e-9) * _size(generator, 0.05, 0.7)
        values = np.round(values / step) * step
    return values * _size(generator, 0.1, 100) + generator.normal() * spread * (
        generator.random() < 0.3
    )
