"""Prediction intervals calibrated by the model's own errors in the same history.

A model trained on other series may be overconfident. It therefore also forecasts from a few
earlier origins of the history, and its intervals are scaled to reach their nominal coverage there
(as in split conformal prediction); with few origins they change little.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .forecasters import Forecaster, History, Quantiles

_MOMENTS = 8  # maximum number of earlier origins
_LEAST = 12  # values before an origin
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
    least = max(_LEAST, count // 2)
    return [p for n in range(1, _MOMENTS + 1) if (p := count - n * leads) >= least]


def _factor(ratios: Sequence[NDArray[np.float64]]) -> float:
    if not ratios:
        return 1.0
    share = _SHARE * (1 + 1 / (_INDEPENDENT * len(ratios)))  # of a finite sample
    scale = float(np.quantile(np.concatenate(ratios), min(share, 1.0)))
    weight = len(ratios) / (len(ratios) + _DOUBT)
    return float(np.clip(max(scale, 1e-6) ** weight, _NARROWEST, _WIDEST))
