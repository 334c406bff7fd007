"""Distances between sets of images, and of one image from a set of real ones.

Frechet distance, precision and recall by manifolds of nearest neighbours, nearest pixels.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8


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


_NEIGHBOURS = 3  # as in the paper


def inside(
    rows: Float[np.ndarray, "n d"], manifold: Float[np.ndarray, "m d"]
) -> Bool[np.ndarray, " n"]:
    """Which rows lie nearer to some row of the manifold than that one's third neighbour does.

    Kynkäänniemi, Karras, Laine, Lehtinen, Aila, "Improved Precision and Recall Metric for Assessing
    Generative Models", 2019, equation 1. The share of generated images inside the manifold of the
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


_BANDS = 10  # of the spectrum
_FLOOR = 1e-3  # of a spectrum's power, so that a flat image has a logarithm


def spectra(pictures: UInt8[np.ndarray, "n h w 3"]) -> Float64[np.ndarray, "n bands"]:
    """Logarithms of each image's power in rings of spatial frequency, low to high.

    The frequencies of natural images fall off smoothly (Field, 1987), as those of adversarial
    patterns and of a decoder that is driven off its latents do not.
    """
    grey = pictures.astype(np.float64) @ (np.array([0.299, 0.587, 0.114]) / 255)
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
    """Mean distance of each row to its nearest real rows.

    Args:
        rows: features of images.
        real: features of real images.
        among: whether the rows are those real ones, so that each is nearest to itself.
    """
    squares = (rows.astype(np.float64) ** 2).sum(axis=1)[:, None] + (
        real.astype(np.float64) ** 2
    ).sum(axis=1)
    apart = np.sqrt(np.maximum(squares - 2 * rows.astype(np.float64) @ real.T, 0))
    nearest = np.sort(apart, axis=1)[:, int(among) : _NEIGHBOURS + int(among)]
    means: Float64[np.ndarray, " n"] = nearest.mean(axis=1)
    return means


@dataclass(frozen=True, slots=True, eq=False)
class Usual:
    """What a reading of several numbers is in real images: a normal distribution.

    Attributes:
        mean: of the numbers.
        inverse: of their covariance.
        lengths: Mahalanobis distances of the real images themselves, sorted.
    """

    mean: Float64[np.ndarray, " k"]
    inverse: Float64[np.ndarray, "k k"]
    lengths: Float64[np.ndarray, " n"]

    def distances(self, readings: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, " n"]:
        """How far readings are from the real ones, over the distance that 95 % of these keep.

        1 is the limit of what is usual.
        """
        limit = float(np.quantile(self.lengths, 0.95))
        found: Float64[np.ndarray, " n"] = _lengths(readings, self.mean, self.inverse) / limit
        return found


def usual(readings: Float64[np.ndarray, "n k"]) -> Usual:
    """Learn what is usual from real images, more of them than a reading has numbers."""
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
    """Peak signal over noise of each image, in decibels; 120 for equal ones."""
    apart = (found.astype(np.float64) - requested.astype(np.float64)) / 255
    errors = np.maximum((apart**2).mean(axis=(1, 2, 3)), 1e-12)
    decibels: Float64[np.ndarray, " n"] = -10 * np.log10(errors)
    return decibels
