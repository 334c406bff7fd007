"""A passage as a row of the database, and the hashes that guard it."""

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from ..contracts import Modality, Passage, Vectors

COLUMNS = 'passages.id, files.path, kind, start, "end", line, page, heading, text'
_INSERT = """
INSERT INTO passages(file_id, kind, start, "end", line, page, heading, text,
                     input_hash, row_hash, vector_hash, vector)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
Outcome = Literal["added", "changed", "unchanged"]
Row = tuple[int, bytes, Modality, int, int, int | None, int | None, str, str]
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")
_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Entry:
    """A file to store: its passages and their vectors, in the same order.

    Attributes:
        path: absolute path; bytes that are not UTF-8 as surrogate escapes.
        content_hash: hexadecimal SHA-256 of the file's content.
        passages: what was cut from it; may be empty.
        vectors: one unit vector for each passage.
    """

    path: str
    content_hash: str
    passages: Sequence[Passage]
    vectors: Vectors


def sha256(content: bytes) -> bytes:
    """SHA-256 of bytes."""
    return hashlib.sha256(content).digest()


def storable(passage: Passage) -> Passage:
    """The passage with each lone surrogate replaced by U+FFFD, so that spans stay as they are."""
    return replace(
        passage,
        text=_LONE_SURROGATES.sub("\ufffd", passage.text),
        heading=_LONE_SURROGATES.sub("\ufffd", passage.heading),
    )


def input_text(passage: Passage) -> str:
    """What an encoder is given for a text passage: its headings, then its text."""
    return f"{passage.heading}\n{passage.text}" if passage.heading else passage.text


def input_hash(passage: Passage, content_hash: str) -> bytes:
    """Hash of what the encoder is given: equal hashes, equal vectors."""
    given = content_hash if passage.kind == "image" else input_text(passage)
    return sha256(f"{passage.kind}\n{given}".encode())


def row_hash(path: bytes, passage: Passage, input_digest: bytes) -> bytes:
    """Hash of everything that a row says about a passage but its vector."""
    fields = [
        passage.kind,
        passage.start,
        passage.end,
        passage.line,
        passage.page,
        passage.heading,
        passage.text,
    ]
    return sha256(json.dumps(fields).encode() + b"\n" + input_digest + path)


def encode_vector(vector: Float32[np.ndarray, " d"]) -> bytes:
    """Little-endian bytes of a vector."""
    return vector.astype("<f4", copy=False).tobytes()


def decode_vectors(blobs: Sequence[bytes], dimension: int) -> Vectors:
    """Vectors from their bytes; a row of the wrong length becomes zeros, which match nothing."""
    size = 4 * dimension
    whole = b"".join(blob if len(blob) == size else bytes(size) for blob in blobs)
    return np.frombuffer(whole, dtype="<f4").astype(np.float32, copy=False).reshape(-1, dimension)


def is_unit(vectors: Vectors) -> np.ndarray:
    """Which vectors are finite and of length 1."""
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        return np.asarray(np.abs(lengths - 1) < _UNIT_TOLERANCE)


def to_passage(row: Row) -> tuple[int, Passage]:
    """Key and passage from a row of `COLUMNS`."""
    key, path, kind, start, end, line, page, heading, text = row
    return key, Passage(os.fsdecode(path), kind, text, start, end, heading, line, page)


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """A row of `View.rows` compared with its hashes."""

    key: int
    path: str
    row_matches: bool
    vector_matches: bool
    vector: bytes


def check_row(row: tuple[Any, ...]) -> CheckedRow:
    """Compare a row with its hashes; damage may have given any value any type."""
    *columns, input_digest, row_digest, vector_digest, vector = row
    path = columns[1]
    try:
        key, passage = to_passage(tuple(columns))
        row_matches = row_digest == row_hash(path, passage, input_digest)
    except (TypeError, ValueError, AttributeError):
        key, row_matches = columns[0], False
    whole = vector if isinstance(vector, bytes) else b""
    return CheckedRow(
        key=key,
        path=os.fsdecode(path) if isinstance(path, bytes) else "a file that is not stored",
        row_matches=row_matches,
        vector_matches=vector_digest == sha256(whole),
        vector=whole,
    )


def put_file(connection: sqlite3.Connection, entry: Entry) -> Outcome:
    """Put a file in the place of its former self, unless just this content is there already."""
    path = os.fsencode(entry.path)
    stored = connection.execute("SELECT content_hash FROM files WHERE path = ?", (path,)).fetchone()
    if stored is not None and stored[0] == entry.content_hash:
        return "unchanged"
    delete_file(connection, path)
    key = connection.execute(
        "INSERT INTO files(path, content_hash) VALUES (?, ?)", (path, entry.content_hash)
    ).lastrowid
    connection.executemany(
        _INSERT,
        (
            (key, *_to_values(entry, storable(passage), vector))
            for passage, vector in zip(entry.passages, entry.vectors, strict=True)
        ),
    )
    return "added" if stored is None else "changed"


def delete_file(connection: sqlite3.Connection, path: bytes) -> bool:
    """Take a file and its passages out; tells whether it was there."""
    row = connection.execute("SELECT id FROM files WHERE path = ?", (path,)).fetchone()
    if row is None:
        return False
    connection.execute("DELETE FROM passages WHERE file_id = ?", row)
    connection.execute("DELETE FROM files WHERE id = ?", row)
    return True


def _to_values(
    entry: Entry, passage: Passage, vector: Float32[np.ndarray, " d"]
) -> tuple[object, ...]:
    """Values of a row, from `kind` to `vector`, in the order of the table."""
    path = os.fsencode(entry.path)
    digest = input_hash(passage, entry.content_hash)
    blob = encode_vector(vector)
    return (
        passage.kind,
        passage.start,
        passage.end,
        passage.line,
        passage.page,
        passage.heading,
        passage.text,
        digest,
        row_hash(path, passage, digest),
        sha256(blob),
        blob,
    )
