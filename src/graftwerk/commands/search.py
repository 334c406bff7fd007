"""`graft search` and `graft index`: find passages and images, and manage indexes.

Images among the hits can be written as a contact sheet.
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
from ..metrics.plots import image_sheet
from ..requests.search import IndexAdd, IndexRebuild, IndexRemove, IndexStatus, IndexVerify, Search
from ..search.results import Hit, IndexChange, IndexCheck, IndexState, SearchResult
from ..types import Monitor

if TYPE_CHECKING:
    from PIL.Image import Image


_SIDE, _GAP = 192, 8  # pixels: side of an image, gap between two
_MOST = 100  # maximum number of images on a contact sheet
_GONE = (224, 224, 224)


def write_sheet(path: Path, hits: Sequence[Hit]) -> None:
    """Write a PNG contact sheet; each image is labelled with its hit number and its cosine.

    An image that can no longer be read is shown as a grey square.

    Raises:
        NoRoom: the file cannot be written.
    """
    shown = [(n, hit) for n, hit in enumerate(hits, 1) if hit.kind == "image"][:_MOST]
    labels = [
        f"{number}" if hit.similarity is None else f"{number}   {hit.similarity:.3f}"
        for number, hit in shown
    ]
    tiles = [_tile(hit.path) for _, hit in shown]
    sheet = image_sheet(tiles, math.ceil(math.sqrt(len(shown))), below=labels, gap=_GAP)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    files.write_bytes(path, buffer.getvalue())


def _tile(path: str) -> "Image":
    from PIL import Image

    try:
        image = read_image(path)
    except (BadFile, LimitExceeded):
        return Image.new("RGB", (_SIDE, _SIDE), _GONE)
    scale = _SIDE / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    how = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    return image.resize((width, height), how)


def run_search(request: Search, monitor: Monitor) -> SearchResult:
    """Return the passages and images that match a query.

    Raises:
        BadInput: a malformed condition, or a query that the index's encoder cannot read.
        BadFile: there is no index, its encoder cannot be loaded, or an image is not there.
        NoRoom: the sheet cannot be written.
        WrongBase: the encoder of that name is not the one that made the index.
    """
    if request.sheet is not None and request.sheet.suffix.lower() != ".png":
        raise UnknownName("ending of the sheet", request.sheet.suffix, [".png"])
    with Index(request.index, device=request.device) as index:
        found = index.search(
            request.query, k=request.k, mode=request.mode, exact=request.exact, where=request.where
        )
    for note in found.notes:
        monitor.note(note)
    if request.sheet is None or not any(hit.kind == "image" for hit in found):
        return found
    write_sheet(request.sheet, found.hits)
    return found.model_copy(update={"sheet": str(request.sheet)})


def run_index_add(request: IndexAdd, monitor: Monitor) -> IndexChange:
    """Add files and folders to an index; see `Index.add`."""
    with Index(
        request.index, encoder=request.encoder, layer=request.layer, device=request.device
    ) as index:
        return index.add(
            request.paths,
            header=request.header,
            separator=request.separator,
            decimal=request.decimal,
            encoding=request.encoding,
            monitor=monitor,
        )


def run_index_rebuild(request: IndexRebuild, monitor: Monitor) -> IndexChange:
    """Rebuild an index in one step; see `Index.rebuild`."""
    with Index(request.index, device=request.device) as index:
        return index.rebuild(encoder=request.encoder, layer=request.layer, monitor=monitor)


def run_index_remove(request: IndexRemove, monitor: Monitor) -> IndexChange:
    """Remove files or whole folders from an index; see `Index.remove`."""
    with Index(request.index, device=request.device) as index:
        return index.remove(request.paths, monitor=monitor)


def run_index_status(request: IndexStatus, monitor: Monitor) -> IndexState:  # noqa: ARG001  done at once
    """Return the contents of an index; see `Index.status`."""
    with Index(request.index, device=request.device) as index:
        return index.status()


def run_index_verify(request: IndexVerify, monitor: Monitor) -> IndexCheck:
    """Check an index; see `Index.verify`."""
    with Index(request.index, device=request.device) as index:
        return index.verify(sources=request.sources, repair=request.repair, monitor=monitor)
