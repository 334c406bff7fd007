"""Probabilities that mean what they say: temperature scaling and calibration error.

Guo et al., "On Calibration of Modern Neural Networks", 2017. Calibrated means: of the images
whose first label is given with probability p, the share p is right.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

Logits = Float64[np.ndarray, "n l"]
Right = Int64[np.ndarray, " n"]

BINS = 15  # of the calibration error, as in the paper
_COLDEST, _HOTTEST = 1e-3, 1e3


def softmax(logits: Logits) -> Float64[np.ndarray, "n l"]:
    """Probabilities from logits, row by row."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Float64[np.ndarray, "n l"] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def fit_temperature(logits: Logits, right: Right) -> float:
    """The temperature T for which `softmax(logits / T)` has the least negative log-likelihood.

    Above 1 it makes less sure, below 1 surer. A few images that are all right do not prove that
    none will ever be wrong, so it goes below 1 only as far as it would with the right label at
    (n + 1) / (n + 2) instead of 1, as Platt (1999) does; so it never reaches 0.

    Args:
        logits: of n images for l labels, at least two of each.
        right: place of each image's own label.

    Returns:
        A temperature from 0.001 to 1000; at 1000 the logits say nothing about the labels.
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
    """The temperature of the least loss, where `requested` is the mean logit that should come out.

    The loss is convex in 1/T; its slope is the mean logit less the requested one.
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


def cross_fitted(
    logits: Logits, right: Right, seed: int, folds: int = 5
) -> Float64[np.ndarray, "n l"]:
    """Probabilities of each image at a temperature that was fitted without it.

    Args:
        logits: of n images for l labels.
        right: place of each image's own label.
        seed: of the division.
        folds: parts that the images are divided into.
    """
    order = np.random.default_rng(seed).permutation(len(logits))
    probabilities = np.empty_like(logits)
    for held_out in np.array_split(order, folds):
        others = np.setdiff1d(order, held_out)
        temperature = fit_temperature(logits[others], right[others])
        probabilities[held_out] = softmax(logits[held_out] / temperature)
    return probabilities


def negative_log_likelihood(probabilities: Float64[np.ndarray, "n l"], right: Right) -> float:
    """Mean of -log of the right label's probability, in nats."""
    own = probabilities[np.arange(len(right)), right]
    return float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean())


def calibration_error(
    confidence: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"], bins: int = BINS
) -> float:
    """Expected calibration error, 0 to 1: how far confidence and share of right answers differ.

    Weighted mean over `bins` equally wide bins of the confidence. With few images chance alone
    makes it some hundredths.
    """
    locations = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    total = sum(
        abs(correct[inside].sum() - confidence[inside].sum())
        for inside in (locations == location for location in range(bins))
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
