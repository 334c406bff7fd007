"""`graft search` and `graft index`: find passages and images, and manage indexes.

Images among the hits can be written as a contact sheet.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import files, folders
from ..data.columns import ColumnChoice
from ..data.dataset import ImageArray, Item, Kind
from ..data.images import ImageNotes, open_image
from ..data.inputs import read_inputs
from ..data.tables import reading_of
from ..errors import BadFile, LimitExceeded, UnknownName
from ..library.encoder import load_encoder
from ..library.index import Index
from ..metrics.plots import image_sheet
from ..requests.search import (
    Embed,
    IndexAdd,
    IndexRebuild,
    IndexRemove,
    IndexStatus,
    IndexVerify,
    Search,
)
from ..search.index import open_index
from ..search.results import Embedding, Hit, IndexChange, IndexCheck, IndexState, SearchResult
from ..types import Monitor, Vectors, report_reading

if TYPE_CHECKING:
    from PIL.Image import Image


_SIDE, _GAP = 192, 8  # pixels: side of an image, gap between two
_MOST = 100  # maximum number of images on a contact sheet
_GONE = (224, 224, 224)


def write_sheet(path: Path, hits: Sequence[Hit], indexed: Mapping[str, str]) -> None:
    """Write a PNG contact sheet; each image is labelled with its hit number and its cosine.

    A file that is not, or no longer, the image that was indexed is shown as a grey square: an index
    of any origin may name every path.
    """
    shown = [(n, hit) for n, hit in enumerate(hits, 1) if hit.kind == "image"][:_MOST]
    labels = [
        f"{number}" if hit.similarity is None else f"{number}   {hit.similarity:.3f}"
        for number, hit in shown
    ]
    tiles = [_tile(hit.path, indexed.get(hit.path, "")) for _, hit in shown]
    sheet = image_sheet(tiles, math.ceil(math.sqrt(len(shown))), below=labels, gap=_GAP)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    files.write_bytes(path, buffer.getvalue())


def _tile(path: str, content_hash: str) -> "Image":
    """Fit an image into the square; small images are enlarged without interpolation blur."""
    from PIL import Image

    with suppress(BadFile, LimitExceeded):
        opened = open_image(path)
        if opened.sha256 == content_hash:
            return _fitted(opened.image)
    return Image.new("RGB", (_SIDE, _SIDE), _GONE)


def _fitted(image: "Image") -> "Image":
    from PIL import Image

    scale = _SIDE / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    how = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    return image.resize((width, height), how)


def run_search(request: Search, monitor: Monitor) -> SearchResult:
    """Return the passages and images that match a query."""
    if request.sheet is not None and request.sheet.suffix.lower() != ".png":
        raise UnknownName("ending of the sheet", request.sheet.suffix, [".png"])
    with Index(request.index, device=request.device) as index:
        found = index.search(**request.arguments("seed", "sheet"))
    for note in found.notes:
        monitor.note(note)
    if request.sheet is None or not any(hit.kind == "image" for hit in found):
        return found
    with closing(open_index(request.index)) as opened, opened.view() as view:
        indexed = view.files()
    write_sheet(request.sheet, found.hits, indexed)
    return found.model_copy(update={"sheet": str(request.sheet)})


def run_index_add(request: IndexAdd, monitor: Monitor) -> IndexChange:
    """Add files and folders to an index; see `Index.add`."""
    with Index(
        request.index, encoder=request.encoder, layer=request.layer, device=request.device
    ) as index:
        return index.add(**request.arguments("encoder", "layer", "seed"), monitor=monitor)


def run_index_rebuild(request: IndexRebuild, monitor: Monitor) -> IndexChange:
    """Rebuild an index in one step; see `Index.rebuild`."""
    with Index(request.index, device=request.device) as index:
        return index.rebuild(**request.arguments("seed"), monitor=monitor)


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


def run_embed(request: Embed, monitor: Monitor) -> Embedding:
    """Embed the inputs in order."""
    write = _writer(request.out) if request.out is not None else None
    folders.require_outside(request.inputs, *(() if request.out is None else (request.out,)))
    encoder = load_encoder(request.encoder, layer=request.layer, device=request.device)
    reads: frozenset[Kind] = frozenset(encoder.reads)
    requested = ColumnChoice(reads, None, tuple(request.content), reading_of(request))
    read = read_inputs(request.inputs, requested, f"encoder {encoder.name}", strict=True)
    inputs = read.names
    report_reading(read.tables, read.notes, monitor)
    monitor.start("embedding", len(inputs))
    converted = ImageNotes()
    items = (_open(item, converted) for item in read.items)
    vectors = encoder.encode(items, role=request.role, monitor=monitor)
    converted.report(monitor)
    if request.out is not None and write is not None:
        files.write_bytes(request.out, write(inputs, vectors))
    return Embedding(
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        dimension=encoder.dimension,
        count=len(inputs),
        out=None if request.out is None else str(request.out),
        tables=list(read.tables),
        notes=list(read.notes),
        vectors=vectors.tolist() if request.out is None else None,
    )


def _open(item: Item, converted: ImageNotes) -> "str | Image":
    if isinstance(item, str):
        return item
    assert isinstance(item, ImageArray)  # noqa: S101  series are not asked for
    opened = item.decode()
    converted.add(opened.notes)
    return opened.image


def _writer(path: Path) -> Callable[[Sequence[str], Vectors], bytes]:
    """Return the function that writes the format given by the extension of `path`."""
    known = {".npy": _as_npy, ".parquet": _as_parquet}
    if path.suffix not in known:
        raise UnknownName("ending of the output file", path.suffix, known)
    return known[path.suffix]


def _as_npy(inputs: Sequence[str], vectors: Vectors) -> bytes:  # noqa: ARG001
    buffer = io.BytesIO()
    np.save(buffer, vectors, allow_pickle=False)
    return buffer.getvalue()


def _as_parquet(inputs: Sequence[str], vectors: Vectors) -> bytes:
    import pyarrow
    import pyarrow.parquet

    # Arrow does not accept lone surrogates, which occur in some file names.
    names = [value.encode("utf-8", "replace").decode() for value in inputs]
    flat = pyarrow.array(np.ascontiguousarray(vectors).reshape(-1))
    columns = {
        "input": pyarrow.array(names, pyarrow.string()),
        "vector": pyarrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
    }
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()
