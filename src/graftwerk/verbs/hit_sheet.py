"""The pictures among the hits of a search, side by side, with the numbers of their hits."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import files
from ..contracts import Hit
from ..errors import BadFile, LimitExceeded
from ..search.readers import read_image

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDE, _LINE, _GAP = 192, 20, 8  # pixels: of a picture, of what stands below it, between two
_MOST = 100  # pictures on a sheet
_INK, _PAPER, _GONE = (40, 40, 40), (255, 255, 255), (224, 224, 224)


def write_sheet(path: Path, hits: Sequence[Hit]) -> None:
    """Write a PNG file; below each picture stand the number of its hit and its cosine.

    A picture that cannot be read any more is a grey square.

    Raises:
        NoRoom: the file cannot be written.
    """
    from PIL import Image, ImageDraw

    shown = [(n, hit) for n, hit in enumerate(hits, 1) if hit.passage.kind == "image"][:_MOST]
    columns = math.ceil(math.sqrt(len(shown)))
    rows = math.ceil(len(shown) / columns)
    across, down = _SIDE + _GAP, _SIDE + _LINE + _GAP
    sheet = Image.new("RGB", (columns * across + _GAP, rows * down + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (number, hit) in enumerate(shown):
        row, column = divmod(place, columns)
        left, top = _GAP + column * across, _GAP + row * down
        tile = _tile(hit.passage.path)
        sheet.paste(tile, (left + (_SIDE - tile.width) // 2, top + (_SIDE - tile.height) // 2))
        cosine = "" if hit.similarity is None else f"   {hit.similarity:.3f}"
        draw.text((left, top + _SIDE + 4), f"{number}{cosine}", fill=_INK)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    files.write_bytes(path, buffer.getvalue())


def _tile(path: str) -> "Image":
    """A picture that fits into the square; a small one is enlarged without blur."""
    from PIL import Image

    try:
        picture = read_image(path)
    except (BadFile, LimitExceeded):
        return Image.new("RGB", (_SIDE, _SIDE), _GONE)
    scale = _SIDE / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    how = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    return picture.resize((width, height), how)
