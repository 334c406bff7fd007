"""How near pictures are to others, pixel by pixel."""

import numpy as np
from jaxtyping import Float64, UInt8


def psnr(
    found: UInt8[np.ndarray, "n h w 3"], wanted: UInt8[np.ndarray, "n h w 3"]
) -> Float64[np.ndarray, " n"]:
    """Peak signal over noise of each picture, in decibels; 120 for equal ones."""
    apart = (found.astype(np.float64) - wanted.astype(np.float64)) / 255
    errors = np.maximum((apart**2).mean(axis=(1, 2, 3)), 1e-12)
    decibels: Float64[np.ndarray, " n"] = -10 * np.log10(errors)
    return decibels
