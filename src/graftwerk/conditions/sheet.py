"""Labelled contact sheets."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from ..metrics.plots import image_sheet

if TYPE_CHECKING:
    from PIL import Image


_SMALLEST, _LARGEST = 192, 512  # longer side of a tile in pixels

Tile = UInt8[np.ndarray, "h w 3"]


def sheet_of(tiles: Mapping[str, Tile], columns: int) -> "Image.Image":
    """Arrange images of one size in rows, each above its label."""
    from PIL import Image

    height, width = next(iter(tiles.values())).shape[:2]
    longer = max(height, width)
    scale = float(max(1, _SMALLEST // longer)) if longer <= _LARGEST else _LARGEST / longer
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    images = [Image.fromarray(tile).resize(size, method) for tile in tiles.values()]
    return image_sheet(images, columns, below=list(tiles))
