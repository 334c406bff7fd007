"""One consistent state of an index: everything that is read while a read transaction is open."""

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from ..contracts import Passage, Vectors
from .rows import COLUMNS, decode_vectors, sha256, to_passage
from .snapshot import Snapshot
from .vectors import Space
from .where import Filter
from .words import HEADING_WEIGHT, TEXT_WEIGHT, new_mark, read_marks

_AMONG = "IN (SELECT value FROM json_each(?))"
_JOINED = "passages JOIN files ON files.id = passages.file_id"


class View:
    """What readers ask of an index.

    Attributes:
        meta: how the index was made.
        stamp: names index and state; equal stamps, equal content.
        dimension: length of a vector.
    """

    def __init__(self, connection: sqlite3.Connection, meta: dict[str, str]) -> None:
        self._connection = connection
        self.meta = meta
        self.stamp = f"{meta['identity']}:{meta['generation']}"
        self.dimension = int(meta["dimension"])

    def _one(self, statement: str, *values: object) -> int:
        return int(self._connection.execute(statement, values).fetchone()[0])

    def count_files(self) -> int:
        """Files stored."""
        return self._one("SELECT count(*) FROM files")

    def count_passages(self) -> int:
        """Passages stored."""
        return self._one("SELECT count(*) FROM passages")

    def count_pictures(self) -> int:
        """Passages that are pictures."""
        return self._one("SELECT count(*) FROM passages WHERE kind = 'image'")

    def files(self) -> dict[str, str]:
        """Content hash of each stored file, by path."""
        rows = self._connection.execute("SELECT path, content_hash FROM files ORDER BY path")
        return {os.fsdecode(path): content_hash for path, content_hash in rows}

    def passages_of(self, path: str) -> list[Passage]:
        """The passages of a file, in the order they were stored."""
        rows = self._connection.execute(
            f"SELECT {COLUMNS} FROM {_JOINED} WHERE files.path = ? ORDER BY passages.id",  # noqa: S608
            (os.fsencode(path),),
        )
        return [to_passage(row)[1] for row in rows]

    def passages(self, keys: Sequence[int]) -> dict[int, Passage]:
        """The passages of some keys; those that are not stored are left out."""
        rows = self._connection.execute(
            f"SELECT {COLUMNS} FROM {_JOINED} WHERE passages.id {_AMONG}",  # noqa: S608
            (json.dumps(list(keys)),),
        )
        return dict(to_passage(row) for row in rows)

    def allowed(self, where: Filter) -> Int64[np.ndarray, " a"]:
        """Keys of the passages that a filter lets through, ascending."""
        rows = self._connection.execute(
            f"SELECT passages.id FROM {_JOINED} WHERE {where.sql} ORDER BY passages.id",  # noqa: S608
            where.values,
        )
        return _keys(rows)

    def match(self, expression: str, count: int, where: Filter | None) -> list[tuple[int, float]]:
        """The `count` best keys by words with their BM25 (higher is better), best first."""
        joined = ""
        values: tuple[bytes | int, ...] = ()
        if where is not None:
            joined = (
                "JOIN passages ON passages.id = words.rowid "
                "JOIN files ON files.id = passages.file_id "
            )
            values = where.values
        condition = f"AND {where.sql}" if where is not None else ""
        rows = self._connection.execute(
            f"SELECT words.rowid, -bm25(words, {HEADING_WEIGHT}, {TEXT_WEIGHT}) AS score "  # noqa: S608
            f"FROM words {joined}WHERE words MATCH ? {condition} "
            "ORDER BY score DESC, words.rowid LIMIT ?",
            (expression, *values, count),
        )
        return [(key, score) for key, score in rows]

    def marks(self, keys: Sequence[int], expression: str) -> dict[int, tuple[tuple[int, int], ...]]:
        """Spans of the texts of some keys that the full-text expression matches."""
        mark = new_mark()
        rows = self._connection.execute(
            f"SELECT rowid, highlight(words, 1, ?, ?) FROM words "  # noqa: S608
            f"WHERE words MATCH ? AND rowid {_AMONG}",
            (mark, mark, expression, json.dumps(list(keys))),
        )
        return {key: read_marks(text or "", mark) for key, text in rows}

    def known_vectors(self, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        """Stored vectors, as bytes, of what was embedded before, by the hash of its input."""
        known = {}
        for digest in digests:
            row = self._connection.execute(
                "SELECT vector, vector_hash FROM passages WHERE input_hash = ? LIMIT 1", (digest,)
            ).fetchone()
            if row is not None and sha256(row[0]) == row[1]:
                known[digest] = row[0]
        return known

    def all_vectors(self) -> tuple[Int64[np.ndarray, " n"], Vectors]:
        """Every key, ascending, and its vector."""
        return self._vectors("SELECT id, vector FROM passages ORDER BY id", ())

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Every row with its hashes, for `check_row`."""
        return self._connection.execute(
            f"SELECT {COLUMNS}, input_hash, row_hash, vector_hash, vector "  # noqa: S608
            "FROM passages LEFT JOIN files ON files.id = passages.file_id ORDER BY passages.id"
        )

    def space(self, snapshot: Snapshot | None) -> Space:
        """What can be found now: the snapshot's vectors, less what is gone, plus what is new."""
        if snapshot is None or not self._may_use(snapshot):
            ids, vectors = self.all_vectors()
            return Space(ids, vectors, None, _keys([]), ids[:0], vectors[:0])
        gone, new_ids, new_vectors = _keys([]), snapshot.ids[:0], snapshot.vectors[:0]
        if snapshot.stamp != self.stamp:
            live = _keys(self._connection.execute("SELECT id FROM passages ORDER BY id"))
            gone = np.flatnonzero(~np.isin(snapshot.ids, live))
            missing = np.setdiff1d(live, snapshot.ids)
            new_ids, new_vectors = self._vectors(
                f"SELECT id, vector FROM passages WHERE id {_AMONG} ORDER BY id",  # noqa: S608
                (json.dumps(missing.tolist()),),
            )
        return Space(snapshot.ids, snapshot.vectors, snapshot.bits, gone, new_ids, new_vectors)

    def _may_use(self, snapshot: Snapshot) -> bool:
        """Whether a snapshot is of this index, though maybe of another state."""
        identity, _, _ = snapshot.stamp.rpartition(":")
        return identity == self.meta["identity"] and snapshot.vectors.shape[1] == self.dimension

    def _vectors(
        self, statement: str, values: tuple[str, ...]
    ) -> tuple[Int64[np.ndarray, " n"], Vectors]:
        rows = self._connection.execute(statement, values).fetchall()
        vectors = decode_vectors([vector for _, vector in rows], self.dimension)
        return np.array([key for key, _ in rows], dtype=np.int64), vectors


def _keys(rows: Iterator[tuple[int]] | sqlite3.Cursor | list[tuple[int]]) -> np.ndarray:
    return np.fromiter((row[0] for row in rows), dtype=np.int64)
