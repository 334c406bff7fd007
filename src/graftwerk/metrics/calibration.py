"""Calibrated probabilities: temperature scaling and calibration error.

Guo et al., "On Calibration of Modern Neural Networks", 2017. Calibrated means that of all
predictions made with probability p, a share p is correct.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

Logits = Float64[np.ndarray, "n l"]
Right = Int64[np.ndarray, " n"]

BINS = 15  # of the calibration error, as in the paper
_COLDEST, _HOTTEST = 1e-3, 1e3
_FOLDS = 5


def softmax(logits: Logits) -> Float64[np.ndarray, "n l"]:
    """Return the softmax of each row."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Float64[np.ndarray, "n l"] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def fit_temperature(logits: Logits, right: Right) -> float:
    """Return the temperature T that minimizes the negative log-likelihood of `softmax(logits / T)`.

    Above 1 it lowers confidence, below 1 it raises confidence. A few images that are all correct
    do not prove that there will never be an error, so the target probability of the right label is
    (n + 1) / (n + 2) instead of 1, as in Platt (1999); T therefore never reaches 0.

    Args:
        logits: of n images for l labels, at least two of each.
        right: index of each image's label.

    Returns:
        A temperature from 0.001 to 1000; at 1000 the logits carry no information about the labels.
    """
    count, labels = logits.shape
    own = logits[np.arange(count), right]
    temperature = _coolest(logits, own)
    if temperature >= 1:
        return temperature
    others = (logits.sum(axis=1) - own) / (labels - 1)
    doubt = 1 / (count + 2)
    return min(1.0, _coolest(logits, (1 - doubt) * own + doubt * others))


def _coolest(logits: Logits, requested: Float64[np.ndarray, " n"]) -> float:
    """Return the temperature with the least loss, given the target for the mean logit.

    The loss is convex in 1/T; its slope is the mean logit minus the target.
    """
    from scipy.optimize import brentq

    def slope(log_temperature: float) -> float:
        probabilities = softmax(logits / math.exp(log_temperature))
        return float(np.mean((probabilities * logits).sum(axis=1) - requested))

    low, high = math.log(_COLDEST), math.log(_HOTTEST)
    if slope(low) <= 0:
        return _COLDEST
    if slope(high) >= 0:
        return _HOTTEST
    return math.exp(brentq(slope, low, high, xtol=1e-6))


def cross_fitted(logits: Logits, right: Right, seed: int) -> Float64[np.ndarray, "n l"]:
    """Return the probabilities of each image at a temperature that was fitted without it.

    Args:
        logits: of n images for l labels.
        right: index of each image's label.
        seed: of the split into folds.
    """
    order = np.random.default_rng(seed).permutation(len(logits))
    probabilities = np.empty_like(logits)
    for held_out in np.array_split(order, _FOLDS):
        others = np.setdiff1d(order, held_out)
        temperature = fit_temperature(logits[others], right[others])
        probabilities[held_out] = softmax(logits[held_out] / temperature)
    return probabilities


def negative_log_likelihood(probabilities: Float64[np.ndarray, "n l"], right: Right) -> float:
    """Return the mean negative log-probability of the right label, in nats."""
    own = probabilities[np.arange(len(right)), right]
    return float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean())


def calibration_error(
    confidence: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"]
) -> float:
    """Return the expected calibration error, 0 to 1: the gap between confidence and accuracy.

    It is the weighted mean over 15 equal-width bins of the confidence. With few images, chance
    alone makes it a few hundredths.
    """
    locations = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    total = sum(
        abs(correct[inside].sum() - confidence[inside].sum())
        for inside in (locations == location for location in range(BINS))
    )
    return float(total / len(confidence))


def crps(
    quantiles: Float[np.ndarray, "h q"], actual: Float[np.ndarray, " h"], levels: Sequence[float]
) -> float:
    """Return twice the mean quantile loss, which approximates the CRPS; of a median alone the MAE.

    >>> crps(np.array([[1.0], [2.0]]), np.array([2.0, 2.0]), [0.5])
    0.5
    """
    error = actual[:, None] - quantiles
    at = np.asarray(levels)
    return float(2 * np.maximum(at * error, (at - 1) * error).mean())


def coverage(
    quantiles: Float[np.ndarray, "h q"], actual: Float[np.ndarray, " h"], levels: Sequence[float]
) -> float | None:
    """Return the share of values from the quantile .1 to .9; None where these are not known."""
    if 0.1 not in levels or 0.9 not in levels:
        return None
    low, high = (quantiles[:, list(levels).index(level)] for level in (0.1, 0.9))
    return float(((actual >= low) & (actual <= high)).mean())
