"""Intervals as wide as the model's own errors in the same history were.

A model trained on other series is surer of some than it should be. So it forecasts a few earlier
moments of the history too, and its intervals are scaled to hold the share there that they claim
(as split conformal prediction does); few moments move them little.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .forecasters import Forecaster, History, Quantiles

_MOMENTS = 8  # at most
_LEAST = 12  # values before one
_DOUBT = 2.0  # moments that a scale of 1 weighs as much as
_NARROWEST, _WIDEST = 0.5, 3.0
_SHARE, _LOW, _HIGH = 0.8, 0.1, 0.9


class Calibrated:
    """A forecaster whose intervals are scaled by its own errors before.

    Args:
        forecaster: what forecasts; one that gives no intervals is left as it is.
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
        """Errors in units of the half of the interval that they lie on."""
        low, middle, high = (quantiles[:, self.levels.index(q)] for q in (_LOW, 0.5, _HIGH))
        half = np.where(actual >= middle, high - middle, middle - low)
        return np.abs(actual - middle) / np.maximum(half, 1e-12)


def _moments(count: int, leads: int) -> list[int]:
    """Values before each earlier moment: a horizon apart, in the last half of the history."""
    least = max(_LEAST, count // 2)
    return [p for n in range(1, _MOMENTS + 1) if (p := count - n * leads) >= least]


def _factor(ratios: Sequence[NDArray[np.float64]]) -> float:
    if not ratios:
        return 1.0
    scale = float(np.quantile(np.concatenate(ratios), _SHARE))
    weight = len(ratios) / (len(ratios) + _DOUBT)
    return float(np.clip(max(scale, 1e-6) ** weight, _NARROWEST, _WIDEST))
