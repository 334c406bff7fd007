"""Precision and recall of a set of pictures, by manifolds of nearest neighbours."""

import numpy as np
from jaxtyping import Bool, Float, Float64

_NEIGHBOURS = 3  # as in the paper


def inside(
    rows: Float[np.ndarray, "n d"], manifold: Float[np.ndarray, "m d"]
) -> Bool[np.ndarray, " n"]:
    """Which rows lie nearer to some row of the manifold than that one's third neighbour does.

    Kynkäänniemi, Karras, Laine, Lehtinen, Aila, "Improved Precision and Recall Metric for Assessing
    Generative Models", 2019, equation 1. The share of drawn pictures inside the manifold of the
    real ones is the precision, the share of real ones inside that of the drawn ones the recall.

    Raises:
        ValueError: the manifold has too few rows.
    """
    if len(manifold) <= _NEIGHBOURS:
        raise ValueError(f"a manifold of {len(manifold)} rows; more than {_NEIGHBOURS} are needed")
    own = np.sort(_apart(manifold, manifold), axis=1)[:, _NEIGHBOURS]  # the nearest is itself
    found: Bool[np.ndarray, " n"] = np.any(_apart(rows, manifold) <= own, axis=1)
    return found


def _apart(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> Float64[np.ndarray, "n m"]:
    """Squared distances; 0 between equal rows."""
    first, second = a.astype(np.float64), b.astype(np.float64)
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    found: Float64[np.ndarray, "n m"] = np.maximum(squares, 0)
    return found
