"""Nearest vectors by cosine: exactly, or with a first pass over sign bits.

Up to `EXACT_UP_TO` vectors one matrix product is fast enough and loses nothing. Above, Hamming
distances of the signs choose `CANDIDATES` vectors that are then compared exactly. NumPy's
popcount does it in half a millisecond for 100,000 vectors, so there is no index to build.

The vectors of an index as one memory-mapped file, made from the database and disposable.

Tensors: `ids` int64 [n], ascending; `vectors` float32 [n d]; `bits` uint64 [w n], the signs of the
vectors, one row for each 64 dimensions so that a scan reads memory in order.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, UInt64

from .. import files
from ..types import Vectors
from .database import SNAPSHOT

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
    """Pack the signs of vectors, 64 dimensions per word, the last word padded with zeros."""
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
    """Replace the snapshot by a new one; open memory maps of the old one stay valid."""
    from safetensors.numpy import save_file

    tensors = {"ids": ids, "vectors": np.ascontiguousarray(vectors), "bits": pack_bits(vectors)}
    files.write_atomically(
        folder / SNAPSHOT,
        lambda temporary: save_file(tensors, temporary, metadata={"stamp": stamp}),
    )


def read_snapshot(folder: Path) -> Snapshot | None:
    """Map the snapshot; None if it is missing, truncated or inconsistent."""
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


EXACT_UP_TO = 20_000
CANDIDATES = 2_000
_BLOCK = 16_384  # columns whose distances stay in the processor's cache
_FAR = np.iinfo(np.uint16).max


@dataclass(frozen=True, slots=True)
class Space:
    """Vectors that can be searched now.

    Attributes:
        ids: keys of the rows of `vectors`, ascending.
        vectors: unit vectors, usually a memory map.
        bits: signs of `vectors`; None where only exact search is requested.
        gone: rows of `vectors` that are no longer in the index.
        new_ids: keys of the rows of `new_vectors`, ascending.
        new_vectors: what the index got since `vectors` was written.
    """

    ids: Int64[np.ndarray, " n"]
    vectors: Float32[np.ndarray, "n d"]
    bits: UInt64[np.ndarray, "w n"] | None
    gone: Int64[np.ndarray, " g"]
    new_ids: Int64[np.ndarray, " m"]
    new_vectors: Float32[np.ndarray, "m d"]

    def __len__(self) -> int:
        return len(self.ids) - len(self.gone) + len(self.new_ids)

    @np.errstate(all="ignore")  # a damaged vector may overflow; `verify` names it
    def nearest(
        self, query: Float32[np.ndarray, " d"], count: int, *, exact: bool = False
    ) -> list[tuple[int, float]]:
        """Return the `count` nearest keys with their cosines, best first."""
        if count <= 0:
            return []
        if exact or self.bits is None or len(self.ids) <= EXACT_UP_TO:
            rows = None
        else:
            rows = candidates(self.bits, query, max(CANDIDATES, 4 * count), self.gone)
        similarities = self.vectors @ query if rows is None else self.vectors[rows] @ query
        ids = self.ids if rows is None else self.ids[rows]
        if rows is None and len(self.gone):
            similarities[self.gone] = -np.inf
        return _best(
            np.concatenate([ids, self.new_ids]),
            np.concatenate([similarities, self.new_vectors @ query]),
            count,
        )

    @np.errstate(all="ignore")
    def nearest_among(
        self, allowed: Int64[np.ndarray, " a"], query: Float32[np.ndarray, " d"], count: int
    ) -> list[tuple[int, float]]:
        """Return the exact nearest keys, as `nearest`, among the keys of `allowed` (ascending)."""
        ids, vectors = self.take(allowed)
        return _best(ids, vectors @ query, count) if count > 0 else []

    def take(
        self, keys: Int64[np.ndarray, " a"]
    ) -> tuple[Int64[np.ndarray, " b"], Float32[np.ndarray, "b d"]]:
        """Return those of `keys` that are present, and their vectors."""
        live = np.ones(len(self.ids), dtype=bool)
        live[self.gone] = False
        old = _positions(self.ids, keys)
        old = old[live[old]]
        new = _positions(self.new_ids, keys)
        ids = np.concatenate([self.ids[old], self.new_ids[new]])
        return ids, np.concatenate([self.vectors[old], self.new_vectors[new]])


def candidates(
    bits: UInt64[np.ndarray, "w n"],
    query: Float32[np.ndarray, " d"],
    count: int,
    gone: Int64[np.ndarray, " g"],
) -> Int64[np.ndarray, " c"]:
    """Return the rows of the smallest Hamming distances: at least `count`, ties included."""
    signs = pack_bits(query[None, :])[:, 0]
    distances = np.zeros(bits.shape[1], dtype=np.uint16)
    for start in range(0, len(distances), _BLOCK):
        block = distances[start : start + _BLOCK]
        for word, sign in zip(bits, signs, strict=True):
            block += np.bitwise_count(word[start : start + _BLOCK] ^ sign)
    distances[gone] = _FAR
    most = 64 * len(signs)
    held = np.cumsum(np.bincount(distances, minlength=most + 1)[: most + 1])
    limit = int(np.searchsorted(held, min(count, int(held[-1]))))
    return np.flatnonzero(distances <= limit)


def _positions(ids: Int64[np.ndarray, " n"], keys: Int64[np.ndarray, " a"]) -> np.ndarray:
    """Return the positions of `keys` in `ids`; keys that are missing are left out."""
    if len(ids) == 0:
        return np.zeros(0, dtype=np.int64)
    locations = np.minimum(np.searchsorted(ids, keys), len(ids) - 1)
    return np.asarray(locations[ids[locations] == keys])


def _best(
    ids: Int64[np.ndarray, " n"], similarities: Float32[np.ndarray, " n"], count: int
) -> list[tuple[int, float]]:
    """Return the largest similarities, ties to the smaller key; NaN and -inf are not hits."""
    keep = np.flatnonzero(similarities > -np.inf)  # false for NaN too
    if len(keep) > count:
        limit = np.partition(similarities[keep], len(keep) - count)[len(keep) - count]
        keep = keep[similarities[keep] >= limit]
    order = np.lexsort((ids[keep], -similarities[keep]))[:count]
    return [(int(ids[i]), float(similarities[i])) for i in keep[order]]
