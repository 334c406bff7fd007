"""Forecasters around others: corrected by their own earlier errors, or for covariates.

A model trained on other series may be overconfident, or miss what a simple forecast would not: that
this series is a straight line. It therefore also forecasts from a few earlier origins of the
history. Its median is combined with the simple forecasts by their errors there, and its intervals
are scaled to reach their nominal coverage (as in split conformal prediction). With few origins,
both change little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ..errors import BadInput
from ..text_safety import counted
from .candidates import seasonal_scale
from .forecasters import FloatArray, Forecaster, History, Quantiles

_MOMENTS = 8  # maximum number of earlier origins
_FEWEST = 4  # values before an origin
_LEAST = 12  # the same, for the intervals
_DOUBT = 2.0  # origins that speak for the model as it is
# errors from one origin resemble each other; counted as so many independent ones, the intervals
# reach their nominal coverage on generated series (bench/forecast.py --generated)
_INDEPENDENT = 4
_NARROWEST, _WIDEST = 0.5, 3.0
_SHARE, _LOW, _HIGH = 0.8, 0.1, 0.9
# Each forecast's weight is its mean error, plus a little, to this negative power, or a smaller one
# with few origins; the model's own counts as that of so many. Chosen on the same generated series.
_POWER, _OWN, _LITTLE = 8.0, 8.0, 0.02


@runtime_checkable
class Simple(Protocol):
    """A forecaster that also knows simple forecasts."""

    def simple(self, history: History, leads: int) -> FloatArray:
        """Return them, [forecasts, leads]."""
        ...


def _simple_of(forecaster: Forecaster, history: History, leads: int) -> FloatArray:
    if isinstance(forecaster, Simple):
        return forecaster.simple(history, leads)
    return np.zeros((0, leads))


@dataclass(frozen=True, slots=True)
class _Earlier:
    """A forecast from an earlier origin, and what came.

    Attributes:
        quantiles: of the model, [leads, levels].
        medians: of the model, and the simple forecasts, [1 + forecasts, leads].
        long: whether there were values enough before it to measure intervals by.
    """

    quantiles: FloatArray
    medians: FloatArray
    actual: FloatArray
    long: bool


class Calibrated:
    """A forecaster whose median and intervals are corrected by its own earlier errors.

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
        before = zip(earlier, self._forecaster.forecast(earlier, leads), strict=True)
        for number, (one, some) in enumerate(zip(histories, places, strict=True)):
            made = [
                self._earlier(*next(before), one.values[place : place + leads]) for place in some
            ]
            found[number] = self._corrected(found[number], one, made)
        return found

    def _medians(self, quantiles: FloatArray, history: History) -> FloatArray:
        middle = quantiles[:, self.levels.index(0.5)]
        return np.vstack([middle, _simple_of(self._forecaster, history, len(quantiles))])

    def _earlier(self, history: History, quantiles: FloatArray, actual: FloatArray) -> _Earlier:
        long = len(history.values) >= _LEAST
        return _Earlier(quantiles, self._medians(quantiles, history), actual, long)

    def _corrected(
        self, quantiles: FloatArray, history: History, earlier: Sequence[_Earlier]
    ) -> FloatArray:
        unit = seasonal_scale(history.values, history.season) or 1.0
        ratios = []
        for number, one in enumerate(earlier):
            # by weights from the other origins, so that these are errors of new values
            center = (
                _weights([*earlier[:number], *earlier[number + 1 :]], unit, len(one.medians))
                @ one.medians
            )
            if one.long:
                ratios.append(self._ratios(one.quantiles, center, one.actual))
        medians = self._medians(quantiles, history)
        center = _weights(earlier, unit, len(medians)) @ medians
        away = quantiles - quantiles[:, self.levels.index(0.5), None]
        return np.asarray(center[:, None] + away * _factor(ratios))

    def _ratios(
        self, quantiles: FloatArray, center: FloatArray, actual: FloatArray
    ) -> NDArray[np.float64]:
        """Return errors relative to the half of the interval on their side of the median."""
        low, middle, high = (quantiles[:, self.levels.index(q)] for q in (_LOW, 0.5, _HIGH))
        half = np.where(actual >= center, high - middle, middle - low)
        return np.abs(actual - center) / np.maximum(half, 1e-12)


def _moments(count: int, leads: int) -> list[int]:
    """Return earlier origins, one horizon apart, in the last half of the history."""
    least = max(_FEWEST, count // 2)
    return [p for n in range(1, _MOMENTS + 1) if (p := count - n * leads) >= least]


def _weights(earlier: Sequence[_Earlier], unit: float, count: int) -> Float[np.ndarray, " n"]:
    """Return the weights of the model and of each simple forecast, whose sum is 1."""
    weights = np.zeros(count)
    weights[0] = 1.0
    if earlier and count > 1:
        errors = [np.abs(one.medians - one.actual).mean(axis=1) / unit for one in earlier]
        power = _POWER * len(earlier) / (len(earlier) + _DOUBT)
        weights = (np.mean(errors, axis=0) + _LITTLE) ** -power
        weights[0] *= _OWN
    return np.asarray(weights / weights.sum())


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
    rest: Float[np.ndarray, " n"] = values - _effects(History(values), beside) @ beside
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
        parts = [self._part(one, leads) for one in histories]
        rest = [rest for rest, _ in parts]
        added = np.stack([added[:, None] for _, added in parts])
        found: Quantiles = self._forecaster.forecast(rest, leads) + added
        return found

    def simple(self, history: History, leads: int) -> FloatArray:
        """See `Simple`."""
        rest, added = self._part(history, leads)
        return _simple_of(self._forecaster, rest, leads) + added

    def _part(self, one: History, leads: int) -> tuple[History, FloatArray]:
        """Return a history without the covariates' effect, and the effect ahead."""
        count = len(one.values)
        for name, column in self._covariates.items():
            if len(column) < count + leads:
                raise BadInput(
                    f"the covariate {name} is known for {max(len(column) - count, 0):,} of the "
                    f"{counted(leads, 'value')} ahead.",
                    "Add rows with its coming values and an empty target, or leave it out.",
                )
        beside = np.stack([column[: count + leads] for column in self._covariates.values()])
        part = _effects(one, beside[:, :count]) @ beside
        return History(one.values - part[:count], one.season, one.second), part[count:]


def _effects(history: History, beside: Float[np.ndarray, "c n"]) -> Float[np.ndarray, " c"]:
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
