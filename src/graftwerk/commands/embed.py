"""`graft embed`: texts and images to vectors."""

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import files
from ..data.columns import ColumnChoice
from ..data.dataset import Item, Kind, Picture
from ..data.documents.formats import is_image_path
from ..data.images import ImageNotes, read_image
from ..data.load import Rows, read_items
from ..data.tables import is_table_file, reading_of
from ..errors import BadFile, BadInput, UnknownName
from ..library.encoder import load_encoder
from ..requests.search import Embed
from ..search.results import Embedding
from ..types import Monitor, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image


_READ: frozenset[Kind] = frozenset({"text", "image"})


def run_embed(request: Embed, monitor: Monitor) -> Embedding:
    """Embed the inputs in their order.

    Raises:
        BadInput: an input the encoder does not read, or an ending that cannot be written.
        NoRoom: the vectors cannot be written.
    """
    write = _writer(request.out) if request.out is not None else None
    encoder = load_encoder(request.encoder, layer=request.layer, device=request.device)
    read = [_expand(value, request, frozenset(encoder.reads)) for value in request.inputs]
    inputs = [name for rows in read for name in rows.names]
    notes = [note for rows in read for note in rows.notes]
    if not inputs:
        raise BadInput("standard input holds no line.", "Give one text per line.")
    for note in [*(words for rows in read for words in rows.tables), *notes]:
        monitor.note(note)
    monitor.start("embedding", len(inputs))
    converted = ImageNotes()
    items = (_open(item, converted) for rows in read for item in rows.items)
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
        tables=[words for rows in read for words in rows.tables],
        notes=notes,
        vectors=vectors.tolist() if request.out is None else None,
    )


def _expand(value: str, request: Embed, reads: frozenset[Kind]) -> Rows:
    """What an input stands for: itself, the lines of standard input, or the rows of a table."""
    if value != "-":
        if not is_table_file(value):
            return Rows([value], [value], (), ())
        requested = ColumnChoice(reads & _READ, None, tuple(request.content), reading_of(request))
        found = read_items(value, requested, None)
        names = [f"{value}, {location}" for location in found.names]
        return Rows(found.items, names, found.tables, found.notes)
    try:
        lines = sys.stdin.buffer.read().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadInput(
            f"standard input is not UTF-8 at byte {error.start:,}.", "Convert it to UTF-8."
        ) from error
    return Rows(list(lines), lines, (), ())


def _is_image(value: str) -> bool:
    """Whether an input names an image; a sentence that ends like one does not."""
    if not is_image_path(value):
        return False
    there = Path(value).is_file()
    if not there and not any(letter.isspace() for letter in value):
        raise BadFile(f"image {value!r} does not exist.", "Check the path.")
    return there


def _open(item: Item, converted: ImageNotes) -> "str | Image":
    if isinstance(item, str):
        return read_image(item, converted) if _is_image(item) else item
    assert isinstance(item, Picture)  # noqa: S101  series are not asked for
    opened = item.decode()
    converted.add(opened.notes)
    return opened.image


def _writer(path: Path) -> Callable[[Sequence[str], Vectors], bytes]:
    """How to write for the ending of `path`.

    Raises:
        UnknownName: it is none of those known.
    """
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

    # Arrow takes no lone surrogates, which odd file names bring.
    names = [value.encode("utf-8", "replace").decode() for value in inputs]
    flat = pyarrow.array(np.ascontiguousarray(vectors).reshape(-1))
    columns = {
        "input": pyarrow.array(names, pyarrow.string()),
        "vector": pyarrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
    }
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()
