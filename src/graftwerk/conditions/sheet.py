"""Pictures side by side with labels: the steps of Canny, or all conditions of one picture."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, UInt8

from ..metrics.plots import image_sheet
from .canny import CannyStages

if TYPE_CHECKING:
    from PIL import Image


_SMALLEST, _LARGEST = 192, 512  # longer side of a tile in pixels
_PI = np.pi

Tile = UInt8[np.ndarray, "h w 3"]


def sheet_of(tiles: Mapping[str, Tile], columns: int) -> "Image.Image":
    """Pictures of one size in rows, each above its label."""
    from PIL import Image

    height, width = next(iter(tiles.values())).shape[:2]
    longer = max(height, width)
    scale = float(max(1, _SMALLEST // longer)) if longer <= _LARGEST else _LARGEST / longer
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    images = [Image.fromarray(tile).resize(size, method) for tile in tiles.values()]
    return image_sheet(images, columns, below=list(tiles))


def stage_tiles(picture: Tile, stages: CannyStages) -> dict[str, Tile]:
    """The picture, then the seven steps of Canny's method on the first picture of a batch."""
    slope, thinned = stages.slope[0], stages.thinned[0]
    largest = max(float(slope.max()), 1e-12)
    levels = np.array([0, 110, 255], dtype=np.uint8)[stages.levels[0]]
    return {
        "picture": picture,
        "1 grey": _grey(stages.grey[0]),
        "2 blurred": _grey(stages.blurred[0]),
        "3 slope": _grey(255 * np.sqrt(slope / largest)),
        "4 direction": _directions(stages.direction[0], slope / largest),
        "5 thinned": _grey(255 * np.sqrt(thinned / largest)),
        "6 weak and strong": _grey(levels.astype(np.float64)),
        "7 edges": _grey(255.0 * stages.edges[0]),
    }


def _grey(values: Float64[np.ndarray, "h w"]) -> Tile:
    grey = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def _directions(angles: Float64[np.ndarray, "h w"], strength: Float64[np.ndarray, "h w"]) -> Tile:
    """Direction as hue, brighter where the slope is larger."""
    from PIL import Image

    hue = np.rint((angles / (2 * _PI) % 1) * 255)
    value = np.rint(255 * np.sqrt(np.clip(strength, 0, 1)))
    bands = np.stack([hue, np.full_like(hue, 255), value], axis=-1).astype(np.uint8)
    return np.asarray(Image.fromarray(bands, mode="HSV").convert("RGB"))
