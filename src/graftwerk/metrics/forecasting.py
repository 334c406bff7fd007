"""Figures of forecasts: scaled error, quantile loss, coverage."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

FloatArray = Float[np.ndarray, "..."]


def crps(quantiles: Float[np.ndarray, "h q"], actual: FloatArray, levels: Sequence[float]) -> float:
    """Return twice the mean quantile loss, which approximates the CRPS; of a median alone the MAE.

    >>> crps(np.array([[1.0], [2.0]]), np.array([2.0, 2.0]), [0.5])
    0.5
    """
    error = actual[:, None] - quantiles
    at = np.asarray(levels)
    return float(2 * np.maximum(at * error, (at - 1) * error).mean())


def coverage(
    quantiles: Float[np.ndarray, "h q"], actual: FloatArray, levels: Sequence[float]
) -> float | None:
    """Return the share of values from the quantile .1 to .9; None where these are not known."""
    if 0.1 not in levels or 0.9 not in levels:
        return None
    low, high = (quantiles[:, list(levels).index(level)] for level in (0.1, 0.9))
    return float(((actual >= low) & (actual <= high)).mean())
