"""Run the built-in perception model on images of any size."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float32, UInt8

from ..blocks.perception import Perceived, Perception, load_perception
from ..models.hub import builtin_folder
from .base import ImageBatch

PERCEPTION = "builtin/blocks-perception"
_SIDE = 64  # the shorter side that the model is shown; it learned from such images
_STEP = 8  # its sides are multiples of this
_MOST = 8  # times the shorter side that the longer one may have


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Estimated maps of images of one size; see `blocks.perception.Perceived`."""

    nearness: Float32[np.ndarray, "n h w"]
    normals: Float32[np.ndarray, "n h w 3"]
    classes: UInt8[np.ndarray, "n h w"]
    joints: tuple[tuple[tuple[tuple[float, float, float], ...], ...], ...]


@cache
def _perception() -> Perception:
    return load_perception(builtin_folder(PERCEPTION))


def perceive(images: ImageBatch) -> Seen:
    """Run on images of one size; the model uses its own resolution."""
    height, width = images.shape[1:3]
    scale = _SIDE / min(height, width)
    own = [max(_STEP, _STEP * round(side * scale / _STEP)) for side in (height, width)]
    rows, columns = (min(side, _MOST * _SIDE) for side in own)
    if (rows, columns) == (height, width):
        return _joined(_perception().look(images.copy()))
    small = np.stack([_resized(one, rows, columns) for one in images])
    return _enlarged(_perception().look(small), height, width)


def _joined(found: list[Perceived]) -> Seen:
    return Seen(
        np.stack([one.depth for one in found]).astype(np.float32),
        np.stack([one.normals for one in found]),
        np.stack([one.classes for one in found]),
        tuple(one.joints for one in found),
    )


def _resized(image: UInt8[np.ndarray, "h w 3"], rows: int, columns: int) -> np.ndarray:
    from PIL import Image

    # averages over what becomes one pixel; enlarges smoothly
    method = Image.Resampling.BOX if rows < image.shape[0] else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image).resize((columns, rows), method))


def _enlarged(found: list[Perceived], height: int, width: int) -> Seen:
    seen = _joined(found)
    rows, columns = seen.nearness.shape[1:]
    down = np.arange(height) * rows // height
    across = np.arange(width) * columns // width
    normals = np.stack([smooth(one, height, width) for one in seen.normals])
    lengths = np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    ratio_x, ratio_y = width / columns, height / rows
    joints = tuple(
        tuple(
            tuple((x * ratio_x, y * ratio_y, score) for x, y, score in locations)
            for locations in person
        )
        for person in seen.joints
    )
    return Seen(
        np.stack([smooth(one[..., None], height, width)[..., 0] for one in seen.nearness]),
        (normals / lengths).astype(np.float32),
        seen.classes[:, down][:, :, across],
        joints,
    )


def smooth(
    values: Float32[np.ndarray, "r c k"], height: int, width: int
) -> Float32[np.ndarray, "h w k"]:
    """Resize values with linear interpolation."""
    from PIL import Image

    channels = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(values[..., location])).resize(
                (width, height), Image.Resampling.BILINEAR
            )
        )
        for location in range(values.shape[-1])
    ]
    return np.stack(channels, axis=-1)
