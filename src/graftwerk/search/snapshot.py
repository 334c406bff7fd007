"""The vectors of an index as one memory-mapped file, made from the database and disposable.

Tensors: `ids` int64 [n], ascending; `vectors` float32 [n d]; `bits` uint64 [w n], the signs of the
vectors, one row for each 64 dimensions so that a scan reads memory in order.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, UInt64

from .. import files
from ..contracts import Vectors
from .schema import SNAPSHOT

_HEADER_BYTES = 1 << 20
_TYPES = {"ids": "I64", "vectors": "F32", "bits": "U64"}
_NUMPY = {"ids": "<i8", "vectors": "<f4", "bits": "<u8"}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Vectors as they were at one state of the index.

    Attributes:
        stamp: names index and state; equal stamps, equal content.
        ids: keys of the passages, ascending.
        vectors: one row a passage.
        bits: their signs.
    """

    stamp: str
    ids: Int64[np.ndarray, " n"]
    vectors: Float32[np.ndarray, "n d"]
    bits: UInt64[np.ndarray, "w n"]


def pack_bits(vectors: Vectors) -> UInt64[np.ndarray, "w n"]:
    """Signs of vectors, 64 dimensions a word, the last word filled up with zeros."""
    count, dimension = vectors.shape
    words = -(-dimension // 64)
    packed = np.zeros((count, words * 8), dtype=np.uint8)
    for start in range(0, count, 65_536):  # keeps the boolean array small
        signs = np.packbits(vectors[start : start + 65_536] > 0, axis=1)
        packed[start : start + len(signs), : signs.shape[1]] = signs
    return np.ascontiguousarray(packed.view("<u8").reshape(count, words).T)


def write_snapshot(
    folder: Path, stamp: str, ids: Int64[np.ndarray, " n"], vectors: Vectors
) -> None:
    """Put a new snapshot in the place of the old one; open maps of the old one stay valid.

    Raises:
        NoRoom: the disk is full or the folder cannot be written.
    """
    from safetensors.numpy import save_file

    tensors = {"ids": ids, "vectors": np.ascontiguousarray(vectors), "bits": pack_bits(vectors)}
    files.write_atomically(
        folder / SNAPSHOT,
        lambda temporary: save_file(tensors, temporary, metadata={"stamp": stamp}),
    )


def read_snapshot(folder: Path) -> Snapshot | None:
    """Map the snapshot; None when it is missing, cut short or at odds with itself."""
    try:
        content = np.asarray(np.memmap(folder / SNAPSHOT, dtype=np.uint8, mode="r"))
        length = int.from_bytes(content[:8].tobytes(), "little")
        if not 0 < length <= _HEADER_BYTES:
            return None
        header = files.parse_json(content[8 : 8 + length].tobytes())
        data = content[8 + length :]
        parts = {name: _tensor(data, header[name], name) for name in _TYPES}
        stamp = header["__metadata__"]["stamp"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    ids, vectors, bits = parts["ids"], parts["vectors"], parts["bits"]
    whole = (
        isinstance(stamp, str)
        and ids.ndim == 1
        and vectors.ndim == 2
        and len(vectors) == len(ids)
        and bits.shape == (-(-vectors.shape[1] // 64), len(ids))
        and bool(np.all(ids[1:] > ids[:-1]))
    )
    return Snapshot(stamp, np.array(ids), vectors, bits) if whole else None


def _tensor(data: np.ndarray, entry: dict[str, Any], name: str) -> np.ndarray:
    start, end = entry["data_offsets"]
    if entry["dtype"] != _TYPES[name] or not 0 <= start <= end <= len(data):
        raise ValueError(name)
    return data[start:end].view(_NUMPY[name]).reshape(entry["shape"])
