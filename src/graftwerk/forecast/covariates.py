"""Covariates that are known ahead: their linear effect is removed before forecasting.

Seasonal changes of the series are regressed on those of the covariates, so that shared trends and
seasons explain nothing. The remainder is forecast, and the effect on the values ahead is added
back.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from ..errors import BadInput
from ..text_safety import counted
from .forecasters import Forecaster, History, Quantiles

_RIDGE = 1.0  # of standardized changes: regularizes if there are few values
_MOST = 4_096  # values used in the regression


class WithCovariates:
    """A forecaster that first removes the effect of covariates.

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
