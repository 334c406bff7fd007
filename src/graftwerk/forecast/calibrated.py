"""Forecasters around others: intervals are calibrated, the effect of covariates is removed.

Prediction intervals are calibrated by the model's own errors in the same history.

A model trained on other series may be overconfident. It therefore also forecasts from a few
earlier origins of the history, and its intervals are scaled to reach their nominal coverage there
(as in split conformal prediction); with few origins they change little.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ..errors import BadInput
from ..text_safety import counted
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


_RIDGE = 1.0  # of standardized changes: regularizes if there are few values
_MOST = 4_096  # values used in the regression


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
    target = history.values[-_MOST:]
    change = target[lag:] - target[:-lag]
    columns = beside[:, -_MOST:]
    changes = columns[:, lag:] - columns[:, :-lag]
    sizes = changes.std(axis=1)
    sizes[sizes == 0] = np.inf  # a constant covariate explains nothing
    scaled = changes / sizes[:, None]
    square = scaled @ scaled.T + _RIDGE * np.eye(len(scaled))
    weights: Float[np.ndarray, " c"] = np.linalg.solve(square, scaled @ change) / sizes
    return weights
