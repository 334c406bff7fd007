"""Reading an index: one consistent state, and passages as rows."""

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Int64

from ..errors import BadInput, Damaged, UnknownName
from ..results import Modality, Passage
from ..types import Vectors
from .vectors import Snapshot, Space
from .words import SPELLING, marks_in, new_mark, spell

_TEXT_FIELDS = {
    "path": "CAST(files.path AS TEXT)",
    "name": "CAST(file_name(files.path) AS TEXT)",
    "kind": "passages.kind",
    "heading": "passages.heading",
}
_NUMBER_FIELDS = {"page": "passages.page", "line": "passages.line"}
_FIELDS = {**_TEXT_FIELDS, **_NUMBER_FIELDS}
_TEXT_OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "like", "not like", "glob")
_NUMBER_OPERATORS = _TEXT_OPERATORS[:6]
_CONDITION = re.compile(
    r"\s*(?P<field>\w+)(?P<operator>\s+(?:not\s+like|like|glob)\b|\s*(?:!=|<=|>=|=|<|>))(?P<value>.*)",
    re.IGNORECASE | re.DOTALL,
)
_NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)
_EXAMPLE = "Write for example 'path like %.md' or 'page >= 3'."


@dataclass(frozen=True, slots=True)
class Filter:
    """SQL conditions over `passages` joined with `files`, and the values of their parameters."""

    sql: str
    values: tuple[bytes | int, ...]


def file_name(path: bytes) -> bytes:
    """Last part of a stored path; the SQL function of the same name."""
    return path.rpartition(os.fsencode(os.sep))[2]


def parse_where(conditions: Sequence[str]) -> Filter | None:
    """Turn conditions `field op value`, which all must hold, into SQL; None when there are none.

    For example `path like %.md`, `name = notes.txt`, `kind = image`, `page >= 3`. `like` knows %
    and _ and takes no heed of case (ASCII letters); `glob` knows * ? [...] and does. `path` is the
    absolute path, `name` its last part.
    """
    if not conditions:
        return None
    parsed = [_parse(condition) for condition in conditions]
    return Filter(" AND ".join(sql for sql, _ in parsed), tuple(value for _, value in parsed))


def _parse(condition: str) -> tuple[str, bytes | int]:
    match = _CONDITION.fullmatch(condition)
    if match is None or not (match["value"].strip() or match["field"].lower() == "heading"):
        raise BadInput(
            f"condition {condition!r} is not of the form: field operator value.",
            f"Fields: {', '.join(_FIELDS)}. Operators: {', '.join(_TEXT_OPERATORS)}. {_EXAMPLE}",
        )
    field = match["field"].lower()
    operator = " ".join(match["operator"].lower().split())
    value = _unquote(match["value"].strip())
    if field not in _FIELDS:
        raise UnknownName("field", match["field"], _FIELDS)
    if field in _NUMBER_FIELDS:
        return _number_condition(field, operator, value)
    # bytes, because a path may hold what is not UTF-8
    return f"{_TEXT_FIELDS[field]} {operator} CAST(? AS TEXT)", _to_bytes(value)


def _number_condition(field: str, operator: str, value: str) -> tuple[str, int]:
    if operator not in _NUMBER_OPERATORS:
        raise UnknownName(f"operator for {field}", operator, _NUMBER_OPERATORS)
    if _NUMBER.fullmatch(value) is None:
        raise BadInput(f"{field} {operator} {value!r}: the value is not a whole number.", _EXAMPLE)
    return f"{_NUMBER_FIELDS[field]} {operator} ?", int(value)


def _unquote(value: str) -> str:
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value


def _to_bytes(value: str) -> bytes:
    try:
        return os.fsencode(value)
    except UnicodeEncodeError as error:
        raise BadInput(f"condition value {value!r} is not text.", _EXAMPLE) from error


HEADING_WEIGHT = 2.0  # of 0.5 to 4 best or as good on a handbook with fifty questions
BODY_WEIGHT = 1.0
COLUMNS = (
    'passages.id, files.path, passages.kind, passages.start, passages."end", passages.line, '
    "passages.page, passages.heading, passages.text"
)
_INSERT = """
INSERT INTO passages(file_id, kind, start, "end", line, page, heading, text,
                     input_hash, row_hash, vector_hash, vector, heading_words, text_words)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
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
        again: replace what is stored even where the content is the same: it is read otherwise.
    """

    path: str
    content_hash: str
    passages: Sequence[Passage]
    vectors: Vectors
    again: bool = False


def sha256(content: bytes) -> bytes:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(content).digest()


def storable(passage: Passage) -> Passage:
    """Replace each lone surrogate in the passage by U+FFFD, so that spans stay as they are."""
    return replace(
        passage,
        text=_LONE_SURROGATES.sub("\ufffd", passage.text),
        heading=_LONE_SURROGATES.sub("\ufffd", passage.heading),
    )


def input_text(passage: Passage) -> str:
    """Return the encoder's input for a text passage: its headings, then its text."""
    return f"{passage.heading}\n{passage.text}" if passage.heading else passage.text


def input_hash(passage: Passage, content_hash: str) -> bytes:
    """Return the hash of the encoder's input: equal hashes mean equal vectors."""
    given = content_hash if passage.kind == "image" else input_text(passage)
    return sha256(f"{passage.kind}\n{given}".encode())


def row_hash(path: bytes, passage: Passage, input_digest: bytes) -> bytes:
    """Return the hash of everything that a row stores about a passage except its vector."""
    return sha256(json.dumps(_stored(passage)).encode() + b"\n" + input_digest + path)


def _stored(passage: Passage) -> list[object]:
    names = ("kind", "start", "end", "line", "page", "heading", "text")
    return [getattr(passage, name) for name in names]


def decode_vectors(blobs: Sequence[bytes], dimension: int) -> Vectors:
    """Decode vectors from bytes; rows of the wrong length become zeros, which match nothing."""
    size = 4 * dimension
    whole = b"".join(blob if len(blob) == size else bytes(size) for blob in blobs)
    return np.frombuffer(whole, dtype="<f4").astype(np.float32, copy=False).reshape(-1, dimension)


def is_unit(vectors: Vectors) -> np.ndarray:
    """Return a mask of the vectors that are finite and of length 1."""
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        return np.asarray(np.abs(lengths - 1) < _UNIT_TOLERANCE)


def to_passage(row: Row) -> tuple[int, Passage]:
    """Return key and passage from a row of `COLUMNS`."""
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
    """Store a file, replacing its former version, unless the same content is there already."""
    path = os.fsencode(entry.path)
    stored = connection.execute("SELECT content_hash FROM files WHERE path = ?", (path,)).fetchone()
    if stored is not None and stored[0] == entry.content_hash and not entry.again:
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
    """Remove a file and its passages; return whether it was there."""
    row = connection.execute("SELECT id FROM files WHERE path = ?", (path,)).fetchone()
    if row is None:
        return False
    connection.execute("DELETE FROM passages WHERE file_id = ?", row)
    connection.execute("DELETE FROM files WHERE id = ?", row)
    return True


def _to_values(
    entry: Entry, passage: Passage, vector: Float32[np.ndarray, " d"]
) -> tuple[object, ...]:
    path = os.fsencode(entry.path)
    digest = input_hash(passage, entry.content_hash)
    blob = vector.astype("<f4", copy=False).tobytes()
    return (
        *_stored(passage),
        digest,
        row_hash(path, passage, digest),
        sha256(blob),
        blob,
        spell(passage.heading),
        spell(passage.text),
    )


_AMONG = "IN (SELECT value FROM json_each(?))"
_JOINED = "passages JOIN files ON files.id = passages.file_id"


class View:
    """Read access to one consistent state of an index.

    Attributes:
        stamp: names index and state; equal stamps, equal content.
        spelled: whether its full text is of texts spelled as `words.spell` does.
    """

    def __init__(self, connection: sqlite3.Connection, meta: dict[str, str]) -> None:
        self._connection = connection
        self.meta = meta
        self.stamp = f"{meta['identity']}:{meta['generation']}"
        self.dimension = int(meta["dimension"])
        self.spelled = meta.get("spelling") == SPELLING

    def _one(self, statement: str, *values: object) -> int:
        return int(self._connection.execute(statement, values).fetchone()[0])

    def count_files(self) -> int:
        """Return the number of stored files."""
        return self._one("SELECT count(*) FROM files")

    def count_passages(self) -> int:
        """Return the number of stored passages."""
        return self._one("SELECT count(*) FROM passages")

    def count_images(self) -> int:
        """Return the number of passages that are images."""
        return self._one("SELECT count(*) FROM passages WHERE kind = 'image'")

    def files(self) -> dict[str, str]:
        """Return the content hash of each stored file, by path."""
        rows = self._connection.execute("SELECT path, content_hash FROM files ORDER BY path")
        return {os.fsdecode(path): content_hash for path, content_hash in rows}

    def passages_of(self, path: str) -> list[Passage]:
        """Return the passages of a file, in the order they were stored."""
        rows = self._connection.execute(
            f"SELECT {COLUMNS} FROM {_JOINED} WHERE files.path = ? ORDER BY passages.id",  # noqa: S608
            (os.fsencode(path),),
        )
        return [to_passage(row)[1] for row in rows]

    def passages(self, keys: Sequence[int]) -> dict[int, Passage]:
        """Return the passages of some keys; those that are not stored are left out."""
        rows = self._connection.execute(
            f"SELECT {COLUMNS} FROM {_JOINED} WHERE passages.id {_AMONG}",  # noqa: S608
            (json.dumps(list(keys)),),
        )
        return dict(to_passage(row) for row in rows)

    def allowed(self, where: Filter) -> Int64[np.ndarray, " a"]:
        """Return the keys of the passages that pass a filter, ascending."""
        rows = self._connection.execute(
            f"SELECT passages.id FROM {_JOINED} WHERE {where.sql} ORDER BY passages.id",  # noqa: S608
            where.values,
        )
        return _keys(rows)

    def match(self, expression: str, count: int, where: Filter | None) -> list[tuple[int, float]]:
        """Return the `count` best keys by BM25 (higher is better) with their scores, best first."""
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
            f"SELECT words.rowid, -bm25(words, {HEADING_WEIGHT}, {BODY_WEIGHT}) AS score "  # noqa: S608
            f"FROM words {joined}WHERE words MATCH ? {condition} "
            "ORDER BY score DESC, words.rowid LIMIT ?",
            (expression, *values, count),
        )
        return [(key, score) for key, score in rows]

    def marks(self, keys: Sequence[int], expression: str) -> dict[int, tuple[tuple[int, int], ...]]:
        """Return the spans in the texts of some keys that the full-text expression matches."""
        mark = new_mark()
        rows = self._connection.execute(
            "SELECT words.rowid, passages.text, highlight(words, 1, ?, ?) FROM words "  # noqa: S608
            "JOIN passages ON passages.id = words.rowid "
            f"WHERE words MATCH ? AND words.rowid {_AMONG}",
            (mark, mark, expression, json.dumps(list(keys))),
        )
        return {key: marks_in(text, marked or "", mark) for key, text, marked in rows}

    def image_contents(self, keys: Sequence[int]) -> dict[int, bytes]:
        """Return the content hashes of some images."""
        rows = self._connection.execute(
            f"SELECT id, input_hash FROM passages WHERE id {_AMONG}",  # noqa: S608
            (json.dumps(list(keys)),),
        )
        return dict(rows)

    def equal_inputs(
        self, keys: Sequence[int], where: Filter | None
    ) -> dict[int, dict[int, Passage]]:
        """Return, for each of some keys, the other passages with the same encoder input."""
        condition = f"AND {where.sql}" if where is not None else ""
        rows = self._connection.execute(
            f"SELECT own.id, {COLUMNS} FROM passages AS own "  # noqa: S608
            "JOIN passages ON passages.input_hash = own.input_hash AND passages.id != own.id "
            "JOIN files ON files.id = passages.file_id "
            f"WHERE own.id {_AMONG} {condition}",
            (json.dumps(list(keys)), *(where.values if where is not None else ())),
        )
        equal: dict[int, dict[int, Passage]] = {}
        for own, *row in rows:
            key, passage = to_passage(tuple(row))
            equal.setdefault(own, {})[key] = passage
        return equal

    def known_vectors(self, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return stored vectors, as bytes, of inputs embedded before, by the input's hash."""
        known = {}
        for digest in digests:
            row = self._connection.execute(
                "SELECT vector, vector_hash FROM passages WHERE input_hash = ? LIMIT 1", (digest,)
            ).fetchone()
            if row is not None and sha256(row[0]) == row[1]:
                known[digest] = row[0]
        return known

    def all_vectors(self) -> tuple[Int64[np.ndarray, " n"], Vectors]:
        """Return every key, ascending, and its vector."""
        return self._vectors("SELECT id, vector FROM passages ORDER BY id", ())

    def require_sound(self, keys: Sequence[int]) -> None:
        """Compare passages that are to be shown with their hashes.

        Raises:
            Damaged: one is not what was stored.
        """
        rows = self._connection.execute(
            f"SELECT {COLUMNS}, input_hash, row_hash, vector_hash, NULL "  # noqa: S608
            f"FROM {_JOINED} WHERE passages.id {_AMONG}",
            (json.dumps(list(keys)),),
        )
        for found in map(check_row, rows):
            if not found.row_matches:
                raise Damaged(
                    f"the index is damaged: a passage of {found.path} is not what was stored.",
                    "Run `graft index verify --repair`, which takes it out, and then "
                    f"`graft index add {found.path}`.",
                )

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield every row with its hashes, for `check_row`."""
        return self._connection.execute(
            f"SELECT {COLUMNS}, input_hash, row_hash, vector_hash, vector "  # noqa: S608
            "FROM passages LEFT JOIN files ON files.id = passages.file_id ORDER BY passages.id"
        )

    def space(self, snapshot: Snapshot | None) -> Space:
        """Return the searchable vectors: the snapshot's without removed ones, plus new ones."""
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
        """Whether a snapshot is of this index, though possibly of another state."""
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
