"""Embed texts and images as vectors."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import files, folders
from ..data.columns import ColumnChoice
from ..data.dataset import ImageArray, Item, Kind
from ..data.images import ImageNotes
from ..data.inputs import list_inputs, read_inputs
from ..data.tables import reading_of
from ..errors import UnknownName
from ..library.encoder import load_encoder
from ..models.encoders import suited_encoder
from ..requests import search
from ..search.results import Embedding
from ..types import Monitor, Vectors, report_reading

if TYPE_CHECKING:
    from PIL.Image import Image


_FORMATS = (".npy", ".parquet")


def run_embed(request: search.Embed, monitor: Monitor) -> Embedding:
    """Embed the inputs in order."""
    if request.out is not None and request.out.suffix not in _FORMATS:
        raise UnknownName("ending of the output file", request.out.suffix, _FORMATS)
    folders.require_outside(request.inputs, *(() if request.out is None else (request.out,)))
    name = suited_encoder(request, list_inputs(request.inputs), monitor)
    encoder = load_encoder(name, layer=request.layer, device=request.device)
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
    if request.out is not None:
        files.write_bytes(request.out, _formatted(request.out, inputs, vectors))
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


def _formatted(path: Path, inputs: Sequence[str], vectors: Vectors) -> bytes:
    """Return the content of the file, in the format given by the extension of `path`."""
    buffer = io.BytesIO()
    if path.suffix == ".npy":
        np.save(buffer, vectors, allow_pickle=False)
        return buffer.getvalue()
    import pyarrow
    import pyarrow.parquet

    # Arrow does not accept lone surrogates, which occur in some file names.
    names = [value.encode("utf-8", "replace").decode() for value in inputs]
    flat = pyarrow.array(np.ascontiguousarray(vectors).reshape(-1))
    columns = {
        "input": pyarrow.array(names, pyarrow.string()),
        "vector": pyarrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()
