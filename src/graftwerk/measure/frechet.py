"""The distance of two sets of pictures in a network's features."""

import numpy as np
from jaxtyping import Float32


def frechet_distance(a: Float32[np.ndarray, "n d"], b: Float32[np.ndarray, "m d"]) -> float:
    """Frechet distance of the normal distributions with the means and covariances of two sets.

    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
    Equilibrium", 2017. It shrinks with the size of the sets, so compare sets of one size.

    Raises:
        ValueError: a set has fewer than two rows.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"sets of {len(a)} and {len(b)} rows have no covariance")
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # the trace of the root of their product, whose eigenvalues are real and not negative
    values = np.linalg.eigvals(np.atleast_2d(first) @ np.atleast_2d(second))
    root = np.sqrt(np.maximum(values.real, 0)).sum()
    apart = np.sum((a.mean(axis=0, dtype=np.float64) - b.mean(axis=0, dtype=np.float64)) ** 2)
    return float(max(apart + np.trace(np.atleast_2d(first + second)) - 2 * root, 0.0))
