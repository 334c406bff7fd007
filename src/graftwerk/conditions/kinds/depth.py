"""Inverse depth: near is bright, far is dark, each image normalized to 0 to 255."""

import numpy as np
from jaxtyping import Float32, UInt8

from ..base import Condition, ImageBatch, SceneMaps
from ..fidelity import depth_error, each, white_on_black
from ..perceived import PERCEPTION, perceive


def draw_nearness(nearness: Float32[np.ndarray, "n h w"]) -> ImageBatch:
    """Normalize inverse depth (any scale and shift) of each image to 0 to 255.

    Each image has its own range, since most depth models are only relative.
    """
    low = nearness.min(axis=(1, 2), keepdims=True)
    reach = np.maximum(nearness.max(axis=(1, 2), keepdims=True) - low, 1e-12)
    return white_on_black(np.rint(255 * (nearness - low) / reach))


def _draw(maps: SceneMaps) -> ImageBatch:
    return draw_nearness(maps.nearness)


def _read(images: ImageBatch) -> ImageBatch:
    return draw_nearness(perceive(images).nearness)


def _problem(finished: UInt8[np.ndarray, "h w 3"]) -> str | None:
    deviation = finished.max(axis=-1).astype(np.int64) - finished.min(axis=-1)
    if (deviation > 8).mean() > 0.01:
        return "it is in colour, and depth is grey"
    if np.ptp(finished[..., 0]) == 0:
        return f"all of it is {finished[0, 0, 0]}, and depth has a near and a far end"
    if np.isin(finished[..., 0], (0, 255)).all():
        return "it is black and white, as a drawing is, and depth has greys"
    return None


CONDITION = Condition(
    "depth",
    "depth, near is bright",
    PERCEPTION,
    "depth error in % of the range",
    higher_is_better=False,
    draw=_draw,
    read=_read,
    read_scenes=_read,
    compare=each(depth_error),
    problem=_problem,
)
