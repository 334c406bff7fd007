"""Vectors of the full encoder, kept beside an index until all of it is made with that encoder.

A search of a static index embeds its first hits with the full encoder, and a rebuild embeds all;
neither is done twice. The cache is disposable: each row has a checksum, a file that is damaged is
made again, and where it cannot be written nothing is kept.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from ..results import Passage
from ..types import Encoder, Vectors
from .rows import decode_vectors, input_hash, input_text, sha256

CACHE = "rescored.sqlite"
_TABLE = "CREATE TABLE IF NOT EXISTS vectors(key TEXT PRIMARY KEY, checksum BLOB, vector BLOB)"
_READ = "SELECT key, checksum, vector FROM vectors WHERE key IN (SELECT value FROM json_each(?))"
_BUSY_SECONDS = 1.0  # then the vectors are not kept
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class VectorCache:
    """Vectors of one encoder, by the hash of its input that `rows.input_hash` makes."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._path = folder / CACHE
        self._fingerprint = fingerprint.encode()

    def encode(self, encoder: Encoder, passages: Sequence[Passage]) -> Vectors:
        """Return the vectors of text passages; those that are not kept are computed, then kept."""
        digests = [input_hash(passage, "") for passage in passages]
        known = self.read(digests)
        fresh = {
            digest: input_text(passage)
            for digest, passage in zip(digests, passages, strict=True)
            if digest not in known
        }
        if fresh:
            encoded = encoder.encode_texts(list(fresh.values())).astype("<f4", copy=False)
            made = {digest: row.tobytes() for digest, row in zip(fresh, encoded, strict=True)}
            self.write(made)
            known |= made
        return decode_vectors([known[digest] for digest in digests], encoder.dimension)

    def read(self, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the vectors that are kept, as bytes."""
        keys = {self._key(digest): digest for digest in digests}
        rows: list[tuple[str, bytes, bytes]] = []
        self._run(lambda found: rows.extend(found.execute(_READ, (json.dumps([*keys]),))))
        return {
            keys[key]: vector
            for key, checksum, vector in rows
            if checksum == sha256(key.encode() + vector)
        }

    def write(self, vectors: Mapping[bytes, bytes]) -> None:
        """Keep vectors, where there is room and permission."""
        keyed = [(self._key(digest), vector) for digest, vector in vectors.items()]
        rows = [(key, sha256(key.encode() + vector), vector) for key, vector in keyed]

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute("PRAGMA synchronous=OFF")  # a torn write is found by its checksum
            with connection:
                connection.execute(_TABLE)
                connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)

        with suppress(OSError):
            self._path.touch()  # with the rights of the folder's other files
            self._run(insert)

    def count(self) -> int:
        """Return the number of vectors that are kept, of any encoder."""
        counts = [0]
        query = "SELECT count(*) FROM vectors"
        self._run(lambda found: counts.append(found.execute(query).fetchone()[0]))
        return counts[-1]

    def remove(self) -> None:
        """Delete the file."""
        with suppress(OSError):
            self._path.unlink()

    def _key(self, digest: bytes) -> str:
        return sha256(self._fingerprint + digest).hex()

    def _run(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Do some work on the file, or as much of it as is possible."""
        uri = f"{self._path.absolute().as_uri()}?mode=rw"  # rolls an unfinished write back
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as connection:
                work(connection)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
                self.remove()
