"""`graft embed`: texts and pictures to vectors."""

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import files
from ..data.documents.formats import is_image_path
from ..data.images import read_image
from ..errors import BadFile, BadInput, UnknownName
from ..library.encoder import load_encoder
from ..requests.search import Embed
from ..search.results import Embedding
from ..types import Monitor, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image


def run_embed(request: Embed, monitor: Monitor) -> Embedding:
    """Embed the inputs in their order.

    Raises:
        BadInput: an input the encoder does not read, or an ending that cannot be written.
        NoRoom: the vectors cannot be written.
    """
    write = _writer(request.out) if request.out is not None else None
    inputs = [text for value in request.inputs for text in _expand(value)]
    if not inputs:
        raise BadInput("standard input holds no line.", "Give one text per line.")
    encoder = load_encoder(request.encoder, layer=request.layer, device=request.device)
    monitor.start("embedding", len(inputs))
    vectors = encoder.encode(map(_read, inputs), role=request.role, monitor=monitor)
    if request.out is not None and write is not None:
        files.write_bytes(request.out, write(inputs, vectors))
    return Embedding(
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        dimension=encoder.dimension,
        count=len(inputs),
        out=None if request.out is None else str(request.out),
        vectors=vectors.tolist() if request.out is None else None,
    )


def _expand(value: str) -> list[str]:
    if value != "-":
        return [value]
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadInput(
            f"standard input is not UTF-8 at byte {error.start:,}.", "Convert it to UTF-8."
        ) from error


def _is_picture(value: str) -> bool:
    """Whether an input names a picture; a sentence that ends like one does not."""
    if not is_image_path(value):
        return False
    there = Path(value).is_file()
    if not there and not any(letter.isspace() for letter in value):
        raise BadFile(f"picture {value!r} does not exist.", "Check the path.")
    return there


def _read(value: str) -> "str | Image":
    return read_image(value) if _is_picture(value) else value


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
