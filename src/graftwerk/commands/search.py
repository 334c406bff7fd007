"""The pictures among the hits of a search, side by side, with the numbers of their hits.

`graft search`: find passages and pictures.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import files
from ..data.images import read_image
from ..errors import BadFile, LimitExceeded, UnknownName
from ..library.index import Index
from ..requests.search import Search
from ..search.results import Hit, SearchResult
from ..types import Monitor

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

    shown = [(n, hit) for n, hit in enumerate(hits, 1) if hit.kind == "image"][:_MOST]
    columns = math.ceil(math.sqrt(len(shown)))
    rows = math.ceil(len(shown) / columns)
    across, down = _SIDE + _GAP, _SIDE + _LINE + _GAP
    sheet = Image.new("RGB", (columns * across + _GAP, rows * down + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (number, hit) in enumerate(shown):
        row, column = divmod(place, columns)
        left, top = _GAP + column * across, _GAP + row * down
        tile = _tile(hit.path)
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


def run_search(request: Search, monitor: Monitor) -> SearchResult:  # noqa: ARG001  too short to report on
    """Find what answers a query.

    Raises:
        BadInput: a malformed condition, or a query that the index's encoder cannot read.
        BadFile: there is no index, its encoder cannot be loaded, or a picture is not there.
        NoRoom: the sheet cannot be written.
        WrongBase: the encoder of that name is not the one that made the index.
    """
    if request.sheet is not None and request.sheet.suffix.lower() != ".png":
        raise UnknownName("ending of the sheet", request.sheet.suffix, [".png"])
    with Index(request.index, device=request.device) as index:
        found = index.search(
            request.query, k=request.k, mode=request.mode, exact=request.exact, where=request.where
        )
    if request.sheet is None or not any(hit.kind == "image" for hit in found):
        return found
    write_sheet(request.sheet, found.hits)
    return found.model_copy(update={"sheet": str(request.sheet)})
