"""Canny edges at all thresholds at once: an edge strength from colour at two scales."""

import numpy as np
from jaxtyping import Float64, UInt8

from .kinds.canny import CannySettings, canny, follow, thin

_SCALES = (2.0, 4.0)  # sigmas of the Gaussians in pixels
_USUAL = 8.0  # slope in units of CIELAB at which an edge is half as strong as can be
_RELATIVE = 0.5  # how much of that depends on the image
_SHARE = 90  # percent of ridges below the image's own such slope
_LOW = 0.7  # of the high threshold, in hysteresis
_LEVELS = 99
_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def edge_strength(image: UInt8[np.ndarray, "h w 3"]) -> Float64[np.ndarray, "h w"]:
    """Return the highest of 99 high thresholds (0.01 to 0.99) at which a pixel is an edge, else 0.

    Gradients are those of CIELAB colours (the main axis of Di Zenzo's tensor, 1986), averaged over
    two scales; thinning and hysteresis are as in `canny`. A gradient s counts as s / (s + k),
    where k is half a typical one and half the image's own.
    """
    tensor = _tensor(lab_of(image))
    across_across, across_down, down_down = tensor
    deviation = np.hypot(across_across - down_down, 2 * across_down)
    slope = np.sqrt((across_across + down_down + deviation) / 2)
    angle = np.arctan2(2 * across_down, across_across - down_down) / 2
    thinned = thin(np.round(slope, 6)[None], np.cos(angle)[None], np.sin(angle)[None])
    ridges = thinned[thinned > 0]
    if len(ridges) == 0:
        nothing: np.ndarray = thinned[0]
        return nothing
    half = (1 - _RELATIVE) * _USUAL + _RELATIVE * float(np.percentile(ridges, _SHARE))
    return followed(thinned / (thinned + half), _LOW)


def plain_strength(image: UInt8[np.ndarray, "h w 3"]) -> Float64[np.ndarray, "h w"]:
    """Return the same for the grey image at one scale, as in the defaults of `canny`."""
    thinned = canny(image[None], CannySettings()).thinned
    return followed(thinned / max(float(thinned.max()), 1e-12), 1 / 3)


def followed(ridges: Float64[np.ndarray, "1 h w"], low: float) -> Float64[np.ndarray, "h w"]:
    """Return the highest threshold at which a pixel is an edge, by hysteresis."""
    strength = np.zeros(ridges.shape[1:])
    for level in range(1, _LEVELS + 1):
        high = level / 100
        strength[follow(ridges >= low * high, ridges >= high)[0]] = high
    return strength


def _tensor(channels: Float64[np.ndarray, "h w 3"]) -> Float64[np.ndarray, "3 h w"]:
    from scipy.ndimage import gaussian_filter

    tensor = np.zeros((3, *channels.shape[:2]))
    for sigma in _SCALES:
        for location in range(3):
            channel = channels[..., location]
            across = sigma * gaussian_filter(channel, sigma, order=(0, 1), mode="nearest")
            down = sigma * gaussian_filter(channel, sigma, order=(1, 0), mode="nearest")
            tensor += np.stack([across * across, across * down, down * down])
    return tensor / len(_SCALES)


def lab_of(image: UInt8[np.ndarray, "h w 3"]) -> Float64[np.ndarray, "h w 3"]:
    """Convert sRGB to CIELAB, white point D65."""
    light = image / 255
    light = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    xyz = light @ _TO_XYZ.T / _WHITE
    cube = (6 / 29) ** 3
    bent = np.where(xyz > cube, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = bent[..., 0], bent[..., 1], bent[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
