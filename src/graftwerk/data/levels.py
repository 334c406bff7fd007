"""Scaling of images with more than 8 bits per channel to 8 bits, by the range in use."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

_BITS = (8, 10, 12, 14, 16)  # bit depths of cameras and scanners, in files of 16 or 32 bits
_MILLIMETERS = 20_000  # range of depth cameras; maps of nearness fill their 16 bits
_ROWS = 1 << 22  # pixels scaled at a time
_SAMPLES, _PHOTOMETRIC = 339, 262  # TIFF tags
_UNSIGNED, _WHITE_IS_ZERO = 1, 0


def to_8_bits(image: "Image", depth: bool, clear: int | None) -> "tuple[Image, list[str]]":
    """Scale a deep image to 8 bits.

    Args:
        image: gray with 16 or 32 bits, or floats.
        depth: whether small 16-bit values are millimeters.
        clear: the value of transparent pixels, which become white.

    Returns:
        The image in 8 bits, and notes on how it was scaled.
    """
    from PIL import Image as Images

    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if values.dtype == np.int32 and _first(tags.get(_SAMPLES)) == _UNSIGNED:
        values = values.view(np.uint32)  # Pillow has no such mode, and returns negative values
    finite = np.isfinite(values) if values.dtype.kind == "f" else None
    known = values if finite is None or finite.all() else values[finite]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    if depth and 0 <= low < high <= _MILLIMETERS and image.mode.startswith("I;16"):
        return Images.fromarray(_nearness(values)), ["millimeters to nearness, 0 as far"]
    black, white, note = _range(values, low, high)
    notes = [note]
    levels = np.empty(values.shape, dtype=np.uint8)
    rows = max(1, _ROWS // max(1, values.shape[1]))
    for start in range(0, len(values), rows):
        part = values[start : start + rows].astype(np.float64)
        if finite is not None:
            part[~finite[start : start + rows]] = black
        levels[start : start + rows] = np.rint((part - black) * (255 / (white - black)))
    if _first(tags.get(_PHOTOMETRIC)) == _WHITE_IS_ZERO:
        levels = 255 - levels
    if clear is not None:
        levels[values == clear] = 255
        notes += ["transparent, on white"] if (values == clear).any() else []
    return Images.fromarray(levels), notes


def _range(values: np.ndarray, low: float, high: float) -> tuple[float, float, str]:
    """Return the values that become black and white, and a description of the scaling."""
    floats = values.dtype.kind == "f"
    name = "floats" if floats else f"{values.dtype.itemsize * 8} bits"
    if floats and low >= 0 and high <= 1:
        return 0.0, 1.0, "floats scaled to 8 bits"
    if floats and low >= -1 and high <= 1:
        return -1.0, 1.0, "floats scaled to 8 bits"
    whole = not floats or (low.is_integer() and high.is_integer())
    if low >= 0 and whole and high < 1 << 16:
        widened = not floats and _is_widened(values)
        used = 16 if widened else next(bits for bits in _BITS if high < 1 << bits)
        of = "" if used == values.dtype.itemsize * 8 else f" ({used} used)"
        note = "floats scaled to 8 bits" if floats else f"{name}{of} scaled to 8"
        return 0.0, float((1 << used) - 1), note
    if not floats and low >= 0 and high >= 1 << 30:
        full = 32 if values.dtype.kind == "u" else 31
        return 0.0, float((1 << full) - 1), f"{name} scaled to 8"
    return low, max(high, low + 1e-12), f"{name} scaled to 8 by their range"


def _is_widened(values: np.ndarray) -> bool:
    return bool((values % 257 == 0).all())


def _nearness(millimeters: np.ndarray) -> np.ndarray:
    """Return inverse distances from 0 (far) to 255 (near); missing values count as far."""
    known = millimeters > 0
    nearness = np.zeros(millimeters.shape)
    nearness[known] = 1 / millimeters[known]
    low, high = nearness[known].min(), nearness[known].max()
    levels = np.rint(255 * (nearness - low) / max(high - low, 1e-12)).clip(0, 255)
    return np.asarray(levels, dtype=np.uint8)


def _first(tag: Any) -> Any:
    return tag[0] if isinstance(tag, tuple) and tag else tag
