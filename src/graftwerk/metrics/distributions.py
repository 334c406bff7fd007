"""Distances between sets of images, and from one image to a set of real ones.

Frechet distance, precision and recall by nearest-neighbour manifolds, spectra, PSNR.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8


def frechet_distance(a: Float32[np.ndarray, "n d"], b: Float32[np.ndarray, "m d"]) -> float:
    """Return the Frechet distance of two normal distributions fitted to two sets.

    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
    Equilibrium", 2017. It decreases with the size of the sets, so only compare sets of equal size.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"sets of {len(a)} and {len(b)} rows have no covariance")
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # the trace of the root of their product, whose eigenvalues are real and not negative
    values = np.linalg.eigvals(np.atleast_2d(first) @ np.atleast_2d(second))
    root = np.sqrt(np.maximum(values.real, 0)).sum()
    apart = np.sum((a.mean(axis=0, dtype=np.float64) - b.mean(axis=0, dtype=np.float64)) ** 2)
    return float(max(apart + np.trace(np.atleast_2d(first + second)) - 2 * root, 0.0))


_NEIGHBOURS = 3  # as in the paper


def inside(
    rows: Float[np.ndarray, "n d"], manifold: Float[np.ndarray, "m d"]
) -> Bool[np.ndarray, " n"]:
    """Whether each row is closer to some row of the manifold than that row's third neighbor.

    Kynkäänniemi, Karras, Laine, Lehtinen, Aila, "Improved Precision and Recall Metric for
    Assessing Generative Models", 2019, equation 1. The share of generated images inside the
    manifold of the real ones is the precision; the share of real ones inside that of the generated
    ones is the recall.
    """
    if len(manifold) <= _NEIGHBOURS:
        raise ValueError(f"a manifold of {len(manifold)} rows; more than {_NEIGHBOURS} are needed")
    own = np.sort(_apart(manifold, manifold), axis=1)[:, _NEIGHBOURS]  # the nearest is itself
    found: Bool[np.ndarray, " n"] = np.any(_apart(rows, manifold) <= own, axis=1)
    return found


def _apart(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> Float64[np.ndarray, "n m"]:
    """Return squared distances; 0 between equal rows."""
    first, second = a.astype(np.float64), b.astype(np.float64)
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    found: Float64[np.ndarray, "n m"] = np.maximum(squares, 0)
    return found


_BANDS = 10  # of the spectrum
_FLOOR = 1e-3  # of a spectrum's power, so that a flat image has a logarithm


def spectra(images: UInt8[np.ndarray, "n h w 3"]) -> Float64[np.ndarray, "n bands"]:
    """Return the log power of each image in rings of spatial frequency, low to high.

    The frequencies of natural images fall off smoothly (Field, 1987). Those of adversarial
    patterns, and of a decoder far from its training latents, do not.
    """
    grey = images.astype(np.float64) @ (np.array([0.299, 0.587, 0.114]) / 255)
    height, width = grey.shape[1:]
    window = np.hanning(height)[:, None] * np.hanning(width)  # else the edges are frequencies
    power = np.abs(np.fft.fft2((grey - grey.mean(axis=(1, 2), keepdims=True)) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    rings = np.minimum((radius / 0.5 * _BANDS).astype(int), _BANDS - 1)
    means = [power[:, rings == ring].mean(axis=1) for ring in range(_BANDS)]
    return np.log(np.stack(means, axis=1) + _FLOOR)


def neighbour_distances(
    rows: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"], *, among: bool = False
) -> Float64[np.ndarray, " n"]:
    """Return the mean distance of each row to its nearest real rows.

    Args:
        rows: features of images.
        real: features of real images.
        among: whether the rows are those real images, so that each is its own nearest neighbor.
    """
    nearest = np.sort(np.sqrt(_apart(rows, real)), axis=1)[:, int(among) : _NEIGHBOURS + int(among)]
    means: Float64[np.ndarray, " n"] = nearest.mean(axis=1)
    return means


@dataclass(frozen=True, slots=True, eq=False)
class Usual:
    """Normal distribution of a multivariate measurement over real images.

    Attributes:
        mean: of the measurement.
        inverse: of its covariance.
        lengths: Mahalanobis distances of the real images themselves, sorted.
    """

    mean: Float64[np.ndarray, " k"]
    inverse: Float64[np.ndarray, "k k"]
    lengths: Float64[np.ndarray, " n"]

    def distances(self, readings: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, " n"]:
        """Return Mahalanobis distances, divided by the 95th percentile of those of real images.

        Values above 1 are unusual.
        """
        limit = float(np.quantile(self.lengths, 0.95))
        return _lengths(readings, self.mean, self.inverse) / limit


def usual(readings: Float64[np.ndarray, "n k"]) -> Usual:
    """Fit the distribution to real images; needs more images than dimensions."""
    mean = readings.mean(axis=0)
    covariance = np.atleast_2d(np.cov(readings, rowvar=False))
    # a little of its mean spread in every direction, for directions that hardly vary
    deviation = np.trace(covariance) / len(covariance)
    inverse = np.linalg.inv(covariance + 0.01 * deviation * np.eye(len(covariance)))
    return Usual(mean, inverse, np.sort(_lengths(readings, mean, inverse)))


def _lengths(
    readings: Float64[np.ndarray, "n k"],
    mean: Float64[np.ndarray, " k"],
    inverse: Float64[np.ndarray, "k k"],
) -> Float64[np.ndarray, " n"]:
    apart = readings - mean
    squares = np.einsum("nk,kl,nl->n", apart, inverse, apart)
    lengths: Float64[np.ndarray, " n"] = np.sqrt(np.maximum(squares, 0))
    return lengths


def psnr(
    found: UInt8[np.ndarray, "n h w 3"], requested: UInt8[np.ndarray, "n h w 3"]
) -> Float64[np.ndarray, " n"]:
    """Return the peak signal-to-noise ratio of each image in decibels; 120 for equal images."""
    apart = (found.astype(np.float64) - requested.astype(np.float64)) / 255
    errors = np.maximum((apart**2).mean(axis=(1, 2, 3)), 1e-12)
    decibels: Float64[np.ndarray, " n"] = -10 * np.log10(errors)
    return decibels
