"""Checking an index: every stored text and vector, and how well the first pass finds."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from jaxtyping import Int64

from ..contracts import Monitor, Vectors
from ..errors import Damaged
from ..reports import Damage
from .index import Index
from .lock import write_lock
from .rows import CheckedRow, check_row, decode_vectors, is_unit
from .schema import DATABASE, SNAPSHOT, storage_errors
from .snapshot import Snapshot, pack_bits, read_snapshot
from .vectors import Space
from .view import View

_CHUNK = 2_048
_SAMPLE = 100  # queries that recall is measured with
_NOISE = 0.5  # length of what is added to a stored vector to make a query of it


@dataclass(slots=True)
class Findings:
    """What was found wrong.

    Attributes:
        damages: for people.
        passages: rows checked.
        bad_rows: keys of passages whose text or place does not match its hash.
        bad_vectors: keys of passages whose vector alone is wrong.
        recall: share of the exact ten nearest that a search finds; None in an empty index.
    """

    damages: list[Damage] = field(default_factory=list)
    passages: int = 0
    bad_rows: list[int] = field(default_factory=list)
    bad_vectors: list[int] = field(default_factory=list)
    recall: float | None = None

    def report(self, where: str, what: str) -> None:
        """Note one damage."""
        self.damages.append(Damage(where=where, what=what, repaired=False))


def examine(index: Index, monitor: Monitor) -> Findings:
    """Check the database, its rows, the full text and the snapshot."""
    findings = Findings()
    try:
        for problem in _structural_problems(index):
            findings.report(DATABASE, problem)
        snapshot = read_snapshot(index.folder)
        if snapshot is None and (index.folder / SNAPSHOT).exists():
            findings.report(SNAPSHOT, "cannot be read; searches go without it")
        with index.view() as view:
            monitor.start("checking passages", view.count_passages())
            _check_rows(view, snapshot, findings, monitor)
            findings.recall = measure_recall(index.space(view))
    except Damaged as error:
        findings.report(DATABASE, error.message)
    return findings


def _structural_problems(index: Index) -> list[str]:
    """What SQLite itself finds wrong with the pages, the references and the full text."""
    with storage_errors(index.folder):
        rows = index.connection.execute("PRAGMA integrity_check(20)").fetchall()
        problems = [text for (text,) in rows if text != "ok"]
        lost = len(index.connection.execute("PRAGMA foreign_key_check").fetchall())
        if lost:
            problems.append(f"{lost} passages belong to no file")
        if not _words_agree(index):
            problems.append("the full text does not agree with the stored passages")
    return problems


def _words_agree(index: Index) -> bool:
    with write_lock(index.folder):
        index.connection.execute("BEGIN IMMEDIATE")
        try:  # 1: compared with the passages too, not only within itself
            index.connection.execute("INSERT INTO words(words, rank) VALUES ('integrity-check', 1)")
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
                raise
            return False
        finally:
            index.connection.execute("ROLLBACK")
    return True


def _check_rows(
    view: View, snapshot: Snapshot | None, findings: Findings, monitor: Monitor
) -> None:
    compare = snapshot if snapshot is not None and snapshot.stamp == view.stamp else None
    position = 0
    rows = (check_row(row) for row in view.rows())
    for chunk in _chunks(rows):
        vectors = decode_vectors([row.vector for row in chunk], view.dimension)
        sound = is_unit(vectors)
        for row, unit in zip(chunk, sound, strict=True):
            where = f"passage {row.key} of {row.path}"
            if not row.row_matches:
                findings.bad_rows.append(row.key)
                findings.report(where, "its text or place does not match its hash")
            if not row.vector_matches:
                findings.report(where, "its vector does not match its hash")
            elif not unit:
                findings.report(where, "its vector is not finite or not of length 1")
            if row.row_matches and not (row.vector_matches and unit):
                findings.bad_vectors.append(row.key)
        if compare is not None:
            keys = np.array([row.key for row in chunk], dtype=np.int64)
            if not _agrees(compare, position, keys, vectors):
                findings.report(SNAPSHOT, f"differs from the database after row {position:,}")
        position += len(chunk)
        findings.passages = position
        monitor.advance(len(chunk))
    if compare is not None and len(compare.ids) != position:
        findings.report(SNAPSHOT, f"has {len(compare.ids):,} rows, the database {position:,}")


def _chunks(rows: Iterator[CheckedRow]) -> Iterator[list[CheckedRow]]:
    while chunk := list(islice(rows, _CHUNK)):
        yield chunk


def _agrees(
    snapshot: Snapshot, position: int, keys: Int64[np.ndarray, " c"], vectors: Vectors
) -> bool:
    part = slice(position, position + len(keys))
    return (
        np.array_equal(snapshot.ids[part], keys)
        and snapshot.vectors[part].tobytes() == vectors.tobytes()
        and np.array_equal(snapshot.bits[:, part], pack_bits(vectors))
    )


@np.errstate(all="ignore")  # damaged vectors may overflow
def measure_recall(space: Space) -> float | None:
    """Recall at 10 of the search against the exact one, on stored vectors with noise added."""
    if len(space) == 0:
        return None
    generator = np.random.default_rng(0)
    chosen = generator.choice(len(space.ids) + len(space.new_ids), size=_SAMPLE)
    _, vectors = space.take(np.unique(np.concatenate([space.ids, space.new_ids])[chosen]))
    noise = generator.standard_normal(vectors.shape).astype(np.float32)
    queries = vectors + noise * np.float32(_NOISE / np.sqrt(vectors.shape[1]))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    found = wanted = 0
    for query in queries:
        exact = {key for key, _ in space.nearest(query, 10, exact=True)}
        found += len(exact & {key for key, _ in space.nearest(query, 10)})
        wanted += len(exact)
    return found / wanted if wanted else None
