"""What is known ahead beside the series: a linear part of it, taken off before a forecast.

Changes over a season of the series are regressed on those of the covariates, so that trends and
seasons that both have explain nothing. What remains is forecast, and the part for the values ahead
is added again.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from ..errors import BadInput
from .forecasters import Forecaster, History, Quantiles

_RIDGE = 1.0  # of standardized changes: holds back where values are few
_MOST = 4_096  # values that are regressed


class WithCovariates:
    """A forecaster that first takes off what the covariates explain.

    Args:
        forecaster: of what remains.
        covariates: by column: values from the first of the series on, and those ahead.
    """

    def __init__(
        self, forecaster: Forecaster, covariates: Mapping[str, Float[np.ndarray, " n"]]
    ) -> None:
        self._forecaster = forecaster
        self._covariates = covariates
        self.name = f"{forecaster.name} + {', '.join(covariates)}"
        self.levels = forecaster.levels

    def forecast(self, histories: Sequence[History], leads: int) -> Quantiles:
        """See `Forecaster`; histories must begin with the series."""
        rest, added = [], []
        for one in histories:
            count = len(one.values)
            for name, column in self._covariates.items():
                if len(column) < count + leads:
                    raise BadInput(
                        f"the covariate {name} is known for {max(len(column) - count, 0):,} of the "
                        f"{leads:,} values ahead.",
                        "Add rows with its coming values and an empty target, or leave it out.",
                    )
            beside = np.stack([column[: count + leads] for column in self._covariates.values()])
            part = _weights(one, beside[:, :count]) @ beside
            rest.append(History(one.values - part[:count], one.season, one.second))
            added.append(part[count:, None])
        found: Quantiles = self._forecaster.forecast(rest, leads) + np.stack(added)
        return found


def _weights(history: History, beside: Float[np.ndarray, "c n"]) -> Float[np.ndarray, " c"]:
    """Ridge regression of changes over a season, each covariate in units of its own changes."""
    lag = history.season if len(history.values) > 2 * history.season else 1
    target = history.values[-_MOST:]
    change = target[lag:] - target[:-lag]
    columns = beside[:, -_MOST:]
    changes = columns[:, lag:] - columns[:, :-lag]
    sizes = changes.std(axis=1)
    sizes[sizes == 0] = np.inf  # one that does not change explains nothing
    scaled = changes / sizes[:, None]
    square = scaled @ scaled.T + _RIDGE * np.eye(len(scaled))
    weights: Float[np.ndarray, " c"] = np.linalg.solve(square, scaled @ change) / sizes
    return weights
