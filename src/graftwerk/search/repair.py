"""Mending an index from what it holds itself; what cannot be mended is read again by an add."""

from collections.abc import Callable

from ..contracts import Encoder, Monitor
from .check import Findings
from .embed import embed
from .index import Index
from .lock import write_lock
from .rows import sha256
from .schema import storage_errors

_COPY = """
INSERT INTO passages(file_id, kind, start, "end", line, page, heading, text,
                     input_hash, row_hash, vector_hash, vector)
SELECT file_id, kind, start, "end", line, page, heading, text, input_hash, row_hash, ?, ?
FROM passages WHERE id = ?
"""
_FORGET = """
UPDATE files SET content_hash = '' WHERE id = (SELECT file_id FROM passages WHERE id = ?)
"""
_DROP_EMPTY = """
DELETE FROM files WHERE content_hash = '' AND id NOT IN (SELECT file_id FROM passages)
"""


def repair(index: Index, findings: Findings, load: Callable[[], Encoder], monitor: Monitor) -> None:
    """Mend what `findings` name.

    Wrong vectors are embedded again from their texts. Passages with wrong texts are taken out,
    and their files forgotten, so that the next `index add` reads those again; so are pictures
    with wrong vectors. Full text, database pages, snapshot and seal are written anew.

    Args:
        index: the index.
        findings: what `examine` found in it.
        load: gives the index's encoder; called when there is something to embed.
        monitor: may stop the work.
    """
    with index.view() as view:
        stored = view.passages(findings.bad_vectors)
    texts = {key: passage for key, passage in stored.items() if passage.kind == "text"}
    pictures = [key for key, passage in stored.items() if passage.kind == "image"]
    inputs = {str(key).encode(): passage for key, passage in texts.items()}
    monitor.start("embedding passages", len(inputs))
    vectors = embed(inputs, load(), monitor.advance).vectors if inputs else {}
    with index.writing() as connection:
        # the trigger would take the words of the damaged text out of the full text
        trigger = connection.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'passages_out'"
        ).fetchone()[0]
        connection.execute("DROP TRIGGER passages_out")
        for key in texts:
            vector = vectors[str(key).encode()]
            connection.execute(_COPY, (sha256(vector), vector, key))
            connection.execute("DELETE FROM passages WHERE id = ?", (key,))
        for key in (*findings.bad_rows, *pictures):
            connection.execute(_FORGET, (key,))
            connection.execute("DELETE FROM passages WHERE id = ?", (key,))
        connection.execute("DELETE FROM passages WHERE file_id NOT IN (SELECT id FROM files)")
        connection.execute(_DROP_EMPTY)
        connection.execute(trigger)
        connection.execute("INSERT INTO words(words) VALUES ('rebuild')")
        connection.execute("REINDEX")
    with storage_errors(index.folder), write_lock(index.folder):
        index.connection.execute("VACUUM")  # no damaged page stays in use
    index.refresh()
