"""Confidence intervals of proportions, means and paired differences, and by bootstrap.

All are two-sided 95 % intervals unless noted. A margin is half the width of an interval.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float64, Int64

_Z = 1.959964  # of the normal distribution
_Z_OF_MARGINS = 1.96  # rounded, as in all margins reported so far: reruns compare to the last digit
CONFIDENCE = 0.95

Rows = Int64[np.ndarray, " m"]
Resampled = Float64[np.ndarray, "n *k"]
Ends = Float64[np.ndarray, "2 *k"]
T = TypeVar("T")


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return Wilson's interval of a proportion.

    >>> [round(end, 3) for end in wilson(9, 10)]
    [0.596, 0.982]
    """
    if count == 0:
        return 0.0, 1.0
    share = hits / count
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _half_of_wilson(share, count, _Z)
    return max(0.0, middle - half), min(1.0, middle + half)


def wilson_margin(share: float, count: int) -> float:
    """Return half the width of Wilson's interval of a proportion."""
    return _half_of_wilson(share, count, _Z_OF_MARGINS)


def _half_of_wilson(share: float, count: int, z: float) -> float:
    error = math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return z * error / (1 + z**2 / count)


def clopper_pearson_upper(hits: int, count: int) -> float:
    """Return the upper end of the exact interval of a proportion."""
    from scipy.stats import beta

    if hits == count:
        return 1.0
    return float(beta.ppf(1 - (1 - CONFIDENCE) / 2, hits + 1, count - hits))


def normal_margin(values: Float64[np.ndarray, " n"]) -> float:
    """Return the margin of a mean; infinite with fewer than two values."""
    if len(values) < 2:
        return math.inf
    return _Z_OF_MARGINS * float(values.std(ddof=1)) / math.sqrt(len(values))


def paired(
    before: Float64[np.ndarray, " n"], after: Float64[np.ndarray, " n"]
) -> tuple[float, float]:
    """Return the mean decrease of paired values and its margin."""
    gains = before - after
    return float(gains.mean()), normal_margin(gains)


def student(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean of a few values and its margin by Student's t; no margin of one value."""
    from scipy.stats import t

    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return mean, None
    error = float(np.std(values, ddof=1)) / count**0.5
    return mean, float(t.ppf(0.975, count - 1)) * error


def resample(
    measure: Callable[[Rows], T], count: int, generator: np.random.Generator, times: int
) -> list[T]:
    """Evaluate `count` rows sampled with replacement, repeatedly."""
    return [measure(generator.integers(0, count, count)) for _ in range(times)]


def bootstrap(
    measure: Callable[[Rows], float],
    count: int,
    generator: np.random.Generator,
    times: int = 1_000,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Return the interval of a measure of `count` rows (Efron's percentile bootstrap).

    Args:
        measure: called with row indices.
        count: number of rows.
        generator: of the random samples.
        times: number of samples.
        confidence: of the interval, 0 to 1.
    """
    resampled = resample(measure, count, generator, times)
    low, high = percentile_interval(np.array(resampled, dtype=np.float64), confidence)
    return float(low), float(high)


def percentile_interval(resampled: Resampled, confidence: float = CONFIDENCE) -> Ends:
    """Return the ends of the middle share of resampled values, column by column."""
    tail = 100 * (1 - confidence) / 2
    ends = [round(tail, 9), round(100 - tail, 9)]
    found: Ends = np.percentile(resampled, ends, axis=0)
    return found


def bootstrap_margin(
    measure: Callable[[Rows], float], count: int, generator: np.random.Generator, times: int
) -> float:
    """Return the margin from the standard deviation of a resampled measure.

    For biased measures such as a Frechet distance, whose bootstrap percentiles are not centered on
    its value.
    """
    return _Z_OF_MARGINS * float(np.std(resample(measure, count, generator, times)))
