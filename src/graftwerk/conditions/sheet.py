"""Images side by side with labels."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from PIL import Image


_SMALLEST, _LARGEST = 192, 512  # longer side of a tile in pixels
_GAP, _LABEL = 10, 20

Tile = UInt8[np.ndarray, "h w 3"]


def sheet_of(tiles: Mapping[str, Tile], columns: int) -> "Image.Image":
    """Pictures of one size in rows, each above its label."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = next(iter(tiles.values())).shape[:2]
    longer = max(height, width)
    scale = float(max(1, _SMALLEST // longer)) if longer <= _LARGEST else _LARGEST / longer
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    wide, high = size[0] + _GAP, size[1] + _GAP + _LABEL
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (min(columns, len(tiles)) * wide + _GAP, rows * high + _GAP), "white")
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, (label, tile) in enumerate(tiles.items()):
        row, column = divmod(number, columns)
        x, y = _GAP + column * wide, _GAP + row * high
        sheet.paste(Image.fromarray(tile).resize(size, method), (x, y))
        canvas.text((x, y + size[1] + 3), label, fill="#444444", font=font)
    return sheet
