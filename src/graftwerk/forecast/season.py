"""Detection of seasons: suggested by the time step of a series, confirmed by its values."""

import numpy as np
from numpy.typing import NDArray

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

    A suggested season needs a significant autocorrelation; any other one a strong peak.
    """
    values = values[-_READ:]
    correlation = _autocorrelation(values)
    found = [lag for lag in suggested if _holds(correlation, lag, len(values))]
    if found:
        main = max(found, key=lambda lag: correlation[lag] + 0.1 * (lag == found[0]))
        longer = [lag for lag in found if lag > main and lag % main == 0]
        shorter = [lag for lag in found if lag < main and main % lag == 0]
        if shorter and correlation[shorter[0]] > 0.5 * correlation[main]:
            return shorter[0], main
        return main, (longer[0] if longer else 1)
    if suggested:
        return 1, 1
    most = min(len(values) // 3, _LONGEST, len(correlation) - 2)
    peaks = [
        lag
        for lag in range(2, most + 1)
        if correlation[lag] > max(correlation[lag - 1], correlation[lag + 1], _SURE)
    ]
    return (max(peaks, key=lambda lag: correlation[lag] - 1e-3 * lag) if peaks else 1), 1


def _holds(correlation: FloatArray, lag: int, count: int) -> bool:
    """Whether a season of this length is significant by the test of M4, at 90 %."""
    if lag < 2 or count < 2 * lag + 1 or lag >= len(correlation):
        return False
    limit = 1.645 * np.sqrt((1 + 2 * (correlation[1:lag] ** 2).sum()) / count)
    return bool(correlation[lag] > min(limit, 0.6))


def _autocorrelation(values: FloatArray) -> FloatArray:
    time = np.arange(len(values))
    rest = values - np.polyval(np.polyfit(time, values, 1), time) if len(values) > 2 else values * 0
    size = 2 ** int(np.ceil(np.log2(2 * len(rest))))
    spectrum = np.fft.rfft(rest, size)
    found: FloatArray = np.fft.irfft(spectrum * spectrum.conj(), size)[: len(rest)]
    return found / found[0] if found[0] > 0 else np.zeros_like(found)
