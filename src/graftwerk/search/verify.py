"""Checks of an index, repair from its own content, and comparison with files on disk."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from ..data import raw
from ..data.documents.formats import is_image_path, is_table_path, needs_sandbox, size_and_hash
from ..data.documents.sandbox import Reader
from ..errors import BadFile, Damaged, LimitExceeded
from ..text_safety import counted
from ..types import Encoder, Monitor, Vectors
from . import database
from .chunking import cut
from .index import Index, Load, load_own_encoder, open_index
from .ingest import embed
from .results import Damage, IndexCheck, SourceCheck, SourceDifference
from .rows import CheckedRow, View, check_row, decode_vectors, is_unit, sha256, storable
from .vectors import Snapshot, Space, pack_bits, read_snapshot

_CHUNK = 2_048
_SAMPLE = 100  # queries that recall is measured with
_NOISE = 0.5  # length of what is added to a stored vector to make a query of it


@dataclass(slots=True)
class Findings:
    """Defects that were found.

    Attributes:
        damages: for people.
        bad_rows: keys of passages whose text or place does not match its hash, with their files.
        bad_vectors: keys of passages whose vector alone is wrong.
        recall: share of the exact ten nearest that a search finds; None in an empty index.
    """

    damages: list[Damage] = field(default_factory=list)
    passages: int = 0
    bad_rows: dict[int, str] = field(default_factory=dict)
    bad_vectors: list[int] = field(default_factory=list)
    recall: float | None = None

    def report(self, where: str, what: str) -> None:
        """Record one defect."""
        self.damages.append(Damage(where=where, what=what, repaired=False))


def examine(index: Index, monitor: Monitor) -> Findings:
    """Check the database, its rows, the full text and the snapshot."""
    findings = Findings()
    try:
        for problem in _structural_problems(index):
            findings.report(database.DATABASE, problem)
        snapshot = read_snapshot(index.folder)
        if snapshot is None and (index.folder / database.SNAPSHOT).exists():
            findings.report(database.SNAPSHOT, "cannot be read; searches go without it")
        with index.view() as view:
            monitor.start("checking passages", view.count_passages())
            _check_rows(view, snapshot, findings, monitor)
            findings.recall = measure_recall(index.space(view))
    except Damaged as error:
        findings.report(database.DATABASE, error.message)
    return findings


def _structural_problems(index: Index) -> list[str]:
    """Return SQLite's own findings about pages, references and the full text."""
    with database.storage_errors(index.folder):
        rows = index.connection.execute("PRAGMA integrity_check(20)").fetchall()
        problems = [text for (text,) in rows if text != "ok"]
        lost = len(index.connection.execute("PRAGMA foreign_key_check").fetchall())
        if lost:
            problems.append(f"{counted(lost, 'passage belongs', 'passages belong')} to no file")
        if not _words_agree(index):
            problems.append("the full text does not agree with the stored passages")
    return problems


def _words_agree(index: Index) -> bool:
    with database.write_lock(index.folder):
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
                findings.bad_rows[row.key] = row.path
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
                findings.report(
                    database.SNAPSHOT, f"differs from the database after row {position:,}"
                )
        position += len(chunk)
        findings.passages = position
        monitor.advance(len(chunk))
    if compare is not None and len(compare.ids) != position:
        findings.report(
            database.SNAPSHOT, f"has {len(compare.ids):,} rows, the database {position:,}"
        )


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
    """Return the search's recall at 10 against exact search, on stored vectors plus noise."""
    if len(space) == 0:
        return None
    generator = np.random.default_rng(0)
    chosen = generator.choice(len(space.ids) + len(space.new_ids), size=_SAMPLE)
    _, vectors = space.take(np.unique(np.concatenate([space.ids, space.new_ids])[chosen]))
    noise = generator.standard_normal(vectors.shape).astype(np.float32)
    queries = vectors + noise * np.float32(_NOISE / np.sqrt(vectors.shape[1]))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    found = requested = 0
    for query in queries:
        exact = {key for key, _ in space.nearest(query, 10, exact=True)}
        found += len(exact & {key for key, _ in space.nearest(query, 10)})
        requested += len(exact)
    return found / requested if requested else None


_COPY = """
INSERT INTO passages(file_id, kind, start, "end", line, page, heading, text,
                     input_hash, row_hash, vector_hash, vector, heading_words, text_words)
SELECT file_id, kind, start, "end", line, page, heading, text, input_hash, row_hash, ?, ?,
       heading_words, text_words
FROM passages WHERE id = ?
"""
_FORGET = """
UPDATE files SET content_hash = '' WHERE id = (SELECT file_id FROM passages WHERE id = ?)
"""
_DROP_EMPTY = """
DELETE FROM files WHERE content_hash = '' AND id NOT IN (SELECT file_id FROM passages)
"""


def _repair(
    index: Index, findings: Findings, load: Callable[[], Encoder], monitor: Monitor
) -> list[str]:
    """Fix what `findings` name.

    Wrong vectors are embedded again from their texts. Passages with wrong texts are taken out,
    and their files forgotten, so that the next `index add` reads those again; so are images
    with wrong vectors. Full text, database pages, snapshot and seal are written again.

    Returns:
        The files that have to be added again.
    """
    with index.view() as view:
        stored = view.passages(findings.bad_vectors)
    texts = {key: passage for key, passage in stored.items() if passage.kind == "text"}
    images = [key for key, passage in stored.items() if passage.kind == "image"]
    inputs = {str(key).encode(): passage for key, passage in texts.items()}
    monitor.start("embedding passages", len(inputs))
    vectors = embed(inputs, load(), monitor.advance).vectors if inputs else {}
    with index.writing() as connection:
        # the trigger would take the words of the damaged text out of the full text
        connection.execute("DROP TRIGGER IF EXISTS passages_out")
        for key in texts:
            vector = vectors[str(key).encode()]
            connection.execute(_COPY, (sha256(vector), vector, key))
            connection.execute("DELETE FROM passages WHERE id = ?", (key,))
        for key in (*findings.bad_rows, *images):
            connection.execute(_FORGET, (key,))
            connection.execute("DELETE FROM passages WHERE id = ?", (key,))
        connection.execute("DELETE FROM passages WHERE file_id NOT IN (SELECT id FROM files)")
        connection.execute(_DROP_EMPTY)
        database.renew_words(connection, database.read_meta(connection, index.folder))
        connection.execute("REINDEX")
    with database.storage_errors(index.folder), database.write_lock(index.folder):
        index.connection.execute("VACUUM")  # no damaged page stays in use
    index.refresh()
    return sorted({*findings.bad_rows.values(), *(stored[key].path for key in images)})


def compare_sources(view: View, chunker: int, monitor: Monitor) -> SourceCheck:
    """Hash every stored file as it is now, and compare the text of those that have their hash."""
    stored = view.files()
    monitor.start("comparing files", len(stored))
    differences = []
    with Reader() as reader:
        for path, content_hash in stored.items():
            difference = _compare(path, content_hash) or _compare_text(path, view, chunker, reader)
            if difference is not None:
                differences.append(difference)
            monitor.advance()
    states = [difference.state for difference in differences]
    return SourceCheck(
        unchanged=len(stored) - len(states),
        changed=states.count("changed"),
        missing=states.count("missing"),
        unreadable=states.count("unreadable"),
        differences=differences,
    )


def _compare(path: str, content_hash: str) -> SourceDifference | None:
    try:
        os.stat(path)  # noqa: PTH116  a name of any bytes
        _, now = size_and_hash(path)
    except (FileNotFoundError, NotADirectoryError):
        return SourceDifference(path=path, state="missing", reason="It is not there any more.")
    except OSError as error:
        reason = f"It cannot be read: {error.strerror}."
        return SourceDifference(path=path, state="unreadable", reason=reason)
    except (BadFile, LimitExceeded) as error:
        return SourceDifference(path=path, state="unreadable", reason=error.text)
    if now == content_hash:
        return None
    return SourceDifference(path=path, state="changed", reason="It is not what was stored.")


def _compare_text(path: str, view: View, chunker: int, reader: Reader) -> SourceDifference | None:
    """Whether the text under a file's hash is another: an index of old hashed before it read."""
    if is_image_path(path) or is_table_path(path):  # tables may be read as the user said
        return None
    try:
        document = reader.read(path)
        texts = sorted(storable(passage).text for passage in cut(document, chunker))
    except (BadFile, LimitExceeded) as error:
        if not needs_sandbox(path):  # the user may have named its encoding
            return None
        return SourceDifference(path=path, state="unreadable", reason=error.text)
    guessed = any(raw.NOT_UTF8 in note for note in document.notes)  # perhaps named when stored
    if guessed or texts == sorted(passage.text for passage in view.passages_of(path)):
        return None
    reason = (
        "It has the hash that was stored, and another text: take it out with `graft index remove` "
        "and add it again."
    )
    return SourceDifference(path=path, state="changed", reason=reason)


def verify_index(
    folder: Path, *, repair: bool, sources: bool, load: Load, monitor: Monitor
) -> IndexCheck:
    """Check an index, repair it with `repair`, compare it with its files with `sources`."""
    begin = time.perf_counter()
    sealed = database.is_sealed(folder)
    findings, broken = _check(folder, monitor)
    damages, again_to_add = findings.damages, list[str]()
    if repair and damages:
        if broken is not None:
            raise Damaged(
                f"the index {folder} cannot be repaired: {broken.message}",
                f"Your files are the truth: delete the folder and run: graft index add PATH... "
                f"--index {folder}",
            ) from broken
        with open_index(folder) as index:
            again_to_add = _repair(index, findings, lambda: load_own_encoder(index, load), monitor)
        again, _ = _check(folder, monitor)
        damages = _mark_repaired(damages, again.damages)
        findings = again
    compared = None
    if sources and broken is None:
        with open_index(folder) as index, index.view() as view:
            compared = compare_sources(view, index.chunker, monitor)
    return IndexCheck(
        passages=findings.passages,
        sound=all(damage.repaired for damage in damages),
        sealed=sealed,
        recall_at_10=findings.recall,
        damages=damages,
        add_again=again_to_add,
        sources=compared,
        seconds=time.perf_counter() - begin,
    )


def _check(folder: Path, monitor: Monitor) -> tuple[Findings, BadFile | Damaged | None]:
    """Return all defects, and the error if the database cannot be opened."""
    blocks = database.require_checksum(folder)
    try:
        index = open_index(folder)
    except (BadFile, Damaged) as error:
        if not blocks and isinstance(error, BadFile):
            raise
        blocks.append(Damage(where=str(folder), what=str(error), repaired=False))
        return Findings(damages=blocks), error
    with index:
        findings = examine(index, monitor)
    findings.damages[:0] = blocks
    return findings, None


def _mark_repaired(before: list[Damage], after: list[Damage]) -> list[Damage]:
    """What was wrong, marked as repaired where it is no longer; and what is wrong now besides."""
    left = {(damage.where, damage.what) for damage in after}
    known = {(damage.where, damage.what) for damage in before}
    return [
        damage.model_copy(update={"repaired": (damage.where, damage.what) not in left})
        for damage in before
    ] + [damage for damage in after if (damage.where, damage.what) not in known]
