"""How far something lies from what real pictures show, in several readings of a picture."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, UInt8

_BANDS = 10  # of the spectrum
_FLOOR = 1e-3  # of a spectrum's power, so that a flat picture has a logarithm
_NEIGHBOURS = 3


def spectra(pictures: UInt8[np.ndarray, "n h w 3"]) -> Float64[np.ndarray, "n bands"]:
    """Logarithms of each picture's power in rings of spatial frequency, low to high.

    The frequencies of natural pictures fall off smoothly (Field, 1987), as those of adversarial
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
        rows: features of pictures.
        real: features of real pictures.
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
    """What a reading of several numbers is in real pictures: a normal distribution.

    Attributes:
        mean: of the numbers.
        inverse: of their covariance.
        lengths: Mahalanobis distances of the real pictures themselves, sorted.
    """

    mean: Float64[np.ndarray, " k"]
    inverse: Float64[np.ndarray, "k k"]
    lengths: Float64[np.ndarray, " n"]

    def distances(self, readings: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, " n"]:
        """How far readings are from the real ones, over the distance that 95 % of these keep.

        1 is the limit of what is usual.
        """
        return _lengths(readings, self.mean, self.inverse) / np.quantile(self.lengths, 0.95)


def usual(readings: Float64[np.ndarray, "n k"]) -> Usual:
    """Learn what is usual from real pictures, more of them than a reading has numbers."""
    mean = readings.mean(axis=0)
    covariance = np.atleast_2d(np.cov(readings, rowvar=False))
    # a little of its mean spread in every direction, for directions that hardly vary
    spread = np.trace(covariance) / len(covariance)
    inverse = np.linalg.inv(covariance + 0.01 * spread * np.eye(len(covariance)))
    return Usual(mean, inverse, np.sort(_lengths(readings, mean, inverse)))


def _lengths(
    readings: Float64[np.ndarray, "n k"],
    mean: Float64[np.ndarray, " k"],
    inverse: Float64[np.ndarray, "k k"],
) -> Float64[np.ndarray, " n"]:
    apart = readings - mean
    return np.sqrt(np.maximum(np.einsum("nk,kl,nl->n", apart, inverse, apart), 0))
