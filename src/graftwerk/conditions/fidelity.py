"""Compare detected conditions with requested ones.

Each measure takes condition images of the same size and returns a value and a score (0 to 1) per
image, NaN if nothing was requested.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from .base import ImageBatch, Measured

_TOLERANCE = 0.0075  # of the diagonal: the one of the BSDS benchmark
_LEAST_TOLERANCE = 1.5  # pixels: a neighbor, also across a corner
_FARTHEST = 0.1  # of the diagonal: strokes this far away keep nothing of a drawing
_CLOSE_DEGREES = 11.25  # strictest of the usual three limits for normals
_CLOSE_DEPTH = 0.03  # of the range

Map = UInt8[np.ndarray, "h w 3"]
Compare = Callable[[ImageBatch, ImageBatch], Measured]


def is_drawn(images: UInt8[np.ndarray, "*rest 3"]) -> Bool[np.ndarray, "*rest"]:
    """Mark pixels of a line drawing that are brighter than a quarter of white."""
    drawn: Bool[np.ndarray, "*rest"] = images.max(axis=-1) >= 64
    return drawn


def each(compare: Callable[[Map, Map], tuple[float, float]]) -> Compare:
    """Turn a measure of one pair, which returns value and score, into a measure of batches."""

    def compare_all(requested: ImageBatch, seen: ImageBatch) -> Measured:
        pairs = [compare(one, other) for one, other in zip(requested, seen, strict=True)]
        table = np.array(pairs, dtype=np.float64).reshape(len(requested), 2)
        return Measured(table[:, 0].copy(), table[:, 1].copy())

    return compare_all


def edge_f1(requested: Map, seen: Map) -> tuple[float, float]:
    """F1 of line pixels, matched within 0.0075 of the diagonal, or 1.5 pixels if that is more.

    Unlike in `graft eval edges`, several pixels may match the same one: lines of both images have
    the same width, and there are many images to measure.
    """
    one, other = is_drawn(requested), is_drawn(seen)
    if not one.any():
        return float("nan"), float("nan")
    if not other.any():
        return 0.0, 0.0
    reach = max(_LEAST_TOLERANCE, _TOLERANCE * float(np.hypot(*one.shape)))
    recall = float((_distance_to(other)[one] <= reach).mean())
    precision = float((_distance_to(one)[other] <= reach).mean())
    f1 = 2 * precision * recall / max(precision + recall, 1e-12)
    return f1, f1


def chamfer(requested: Map, seen: Map) -> tuple[float, float]:
    """Symmetric chamfer distance between two line drawings, in percent of the diagonal.

    The score decreases linearly to 0 at 10 %.
    """
    one, other = is_drawn(requested), is_drawn(seen)
    if not one.any():
        return float("nan"), float("nan")
    if not other.any():
        return 100.0, 0.0
    both = (_distance_to(other)[one].mean() + _distance_to(one)[other].mean()) / 2
    share = float(both / np.hypot(*one.shape))
    return 100 * share, max(0.0, 1 - share / _FARTHEST)


def _distance_to(drawn: Bool[np.ndarray, "h w"]) -> Float64[np.ndarray, "h w"]:
    from scipy.ndimage import distance_transform_edt

    distances: Float64[np.ndarray, "h w"] = distance_transform_edt(~drawn)
    return distances


def mean_iou(requested: Map, seen: Map) -> tuple[float, float]:
    """Intersection over union, averaged over the requested colors."""
    one, other = _numbers(requested), _numbers(seen)
    ious = []
    for colour in np.unique(one):
        mine, theirs = one == colour, other == colour
        ious.append((mine & theirs).sum() / (mine | theirs).sum())
    mean = float(np.mean(ious))
    return mean, mean


def _numbers(colours: Map) -> np.ndarray:
    numbers: np.ndarray = colours.astype(np.int64) @ np.array([65_536, 256, 1])
    return numbers


def depth_error(requested: Map, seen: Map) -> tuple[float, float]:
    """RMSE of inverse depth, in percent of its range.

    Inverse depth is known up to scale and shift, so these are fitted first (least squares). The
    score is the share of pixels within 3 % of the range: the explained variance would flatter,
    since most of it comes from the ground, which is similar in every scene.
    """
    one = requested[..., 0].astype(np.float64).ravel()
    other = seen[..., 0].astype(np.float64).ravel()
    centred, seen_centred = one - one.mean(), other - other.mean()
    if not centred.any():
        return float("nan"), float("nan")
    deviation = float(np.mean(seen_centred**2))
    slope = max(0.0, float(np.mean(centred * seen_centred))) / deviation if deviation > 0 else 0.0
    errors = np.abs(centred - slope * seen_centred) / np.ptp(one)
    return float(100 * np.mean(errors**2) ** 0.5), float((errors <= _CLOSE_DEPTH).mean())


def normal_error(requested: Map, seen: Map) -> tuple[float, float]:
    """Mean angle between normals in degrees, where the requested map has a surface.

    The score is the share of those pixels within 11.25 degrees.
    """
    one, other = vectors_of(requested), vectors_of(seen)
    solid = np.linalg.norm(one, axis=-1) > 0.5
    if not solid.any():
        return float("nan"), float("nan")
    degrees = angles(one[solid], other[solid])
    return float(degrees.mean()), float((degrees <= _CLOSE_DEGREES).mean())


def vectors_of(normals: UInt8[np.ndarray, "*rest 3"]) -> Float64[np.ndarray, "*rest 3"]:
    """Decode a normal map: 0 to 255 as -1 to 1."""
    return normals.astype(np.float64) / 127.5 - 1


def angles(
    one: Float64[np.ndarray, "n 3"], other: Float64[np.ndarray, "n 3"]
) -> Float64[np.ndarray, " n"]:
    """Return angles between vectors in degrees; 90 if one has length 0."""
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    cosines = np.where(lengths > 0.1, np.sum(one * other, axis=-1) / np.maximum(lengths, 0.1), 0.0)
    degrees: Float64[np.ndarray, " n"] = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    return degrees


def drawing_problem(finished: Map) -> str | None:
    """Say why an image is not a drawing of white lines on black, or return None."""
    deviation = finished.max(axis=-1).astype(np.int64) - finished.min(axis=-1)
    if (deviation > 32).mean() > 0.01:
        return "it is in color, and lines are white on black"
    drawn = is_drawn(finished)
    if not drawn.any():
        return "it is empty, no pixel is drawn"
    if drawn.mean() > 0.5:
        return f"{drawn.mean():.0%} of it is bright, and lines are white on black"
    return None


def looks_finished(image: Map) -> bool:
    """Whether an image looks like a finished map: lines on black, with hardly any gray."""
    if drawing_problem(image) is not None:
        return False
    levels = image.max(axis=-1)
    sure = (levels < 16) | (levels > 239)
    lines = levels > 239
    inside = lines[1:-1, 1:-1] & lines[:-2, 1:-1] & lines[2:, 1:-1] & lines[1:-1, :-2]
    inside &= lines[1:-1, 2:]
    # of an area most pixels lie inside, of a line few
    return bool(sure.mean() > 0.95 and lines.any() and inside.sum() < 0.75 * lines.sum())


def white_on_black(drawn: np.ndarray) -> UInt8[np.ndarray, "*rest 3"]:
    """Convert gray levels or booleans to images with three equal channels."""
    grey = drawn.astype(np.uint8)
    if drawn.dtype == np.bool_:
        grey *= 255
    return np.repeat(grey[..., None], 3, axis=-1)
