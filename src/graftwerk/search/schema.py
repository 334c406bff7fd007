"""The database of an index: its tables, how it is opened, and what its errors mean."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .. import limits
from ..errors import BadFile, Busy, Damaged, NoRoom

DATABASE = "graft.sqlite"
SNAPSHOT = "vectors.safetensors"
SEAL = "seal.json"
LOCK = "writer.lock"
OWNER = "writer.json"
FORMAT_VERSION = 1
APPLICATION_ID = 0x47524654  # "GRFT"
PAGE_BYTES = 16_384  # a passage with its vector takes about 2.5 KiB: six rows a page, little waste

_TABLES = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files(id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, content_hash TEXT NOT NULL);
CREATE TABLE passages(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    file_id INTEGER NOT NULL REFERENCES files(id),
    kind TEXT NOT NULL,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    line INTEGER,
    page INTEGER,
    heading TEXT NOT NULL,
    text TEXT NOT NULL,
    input_hash BLOB NOT NULL,
    row_hash BLOB NOT NULL,
    vector_hash BLOB NOT NULL,
    vector BLOB NOT NULL
);
CREATE INDEX passages_by_file ON passages(file_id);
CREATE INDEX passages_by_input ON passages(input_hash);
CREATE VIRTUAL TABLE words USING fts5(
    heading, text, content='passages', content_rowid='id',
    tokenize='porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER passages_in AFTER INSERT ON passages BEGIN
    INSERT INTO words(rowid, heading, text) VALUES (new.id, new.heading, new.text);
END;
CREATE TRIGGER passages_out AFTER DELETE ON passages BEGIN
    INSERT INTO words(words, rowid, heading, text)
    VALUES ('delete', old.id, old.heading, old.text);
END;
"""

_FULL = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
}
_DAMAGED = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    # our statements are fixed and fit our tables: where they do not, the schema is damaged
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
}
_DAMAGED_READS = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def damaged(folder: Path, what: str) -> Damaged:
    """The error for an index that cannot be read; the user's files are the truth."""
    return Damaged(
        f"the index {folder} is damaged: {what}.",
        f"Try: graft index verify --repair --index {folder}. If that fails, delete the folder and "
        f"run: graft index add PATH... --index {folder}",
    )


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Tell SQLite's errors apart by their code and raise ours.

    Raises:
        NoRoom: the disk is full or the folder cannot be written.
        Damaged: the database is malformed.
        Busy: another process holds the database.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)  # errors of the binding itself have none
        if code is None:
            raise
        if code in _DAMAGED_READS or code & 0xFF in _DAMAGED:
            raise damaged(folder, str(error)) from error
        if code & 0xFF in _FULL:
            raise NoRoom(
                f"cannot write {folder / DATABASE}: {error}.",
                "What was stored before is whole; make room or make the folder writable, then run "
                "it again.",
            ) from error
        if code & 0xFF in _BUSY:
            raise Busy(f"{folder / DATABASE} is locked: {error}.", "Try again.") from error
        raise


def connect(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """Open an existing database file; `immutable` reads one in a folder that cannot be written."""
    uri = path.absolute().as_uri() + ("?immutable=1" if immutable else "?mode=rw")
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=limits.LOCK_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    # a damaged byte must not keep the rest from being read; `verify` names it
    connection.text_factory = lambda content: content.decode("utf-8", "replace")
    try:
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def create_tables(connection: sqlite3.Connection, meta: Mapping[str, str]) -> None:
    """Make an empty database an index, in one transaction."""
    connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode=WAL")
    values = {**meta, "digest": digest_of(meta), "generation": "0"}
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _statements(_TABLES):
            connection.execute(statement)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", values.items())
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={FORMAT_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    """Statements of a script one by one: `executescript` would end the transaction."""
    statement = ""
    for line in script.strip().splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def is_unborn(connection: sqlite3.Connection) -> bool:
    """Whether the database holds nothing yet: its making was interrupted."""
    marked = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return not marked and tables == 0


def require_index(connection: sqlite3.Connection, folder: Path) -> None:
    """Check that a database is an index of a format that this version reads.

    Raises:
        BadFile: it is another program's database, or of a newer format.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        raise BadFile(
            f"{folder / DATABASE} is an SQLite database, but not an index of graftwerk "
            f"(application id {application:#x}, expected {APPLICATION_ID:#x}).",
            "Name another folder.",
        )
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != FORMAT_VERSION:
        raise BadFile(
            f"the index {folder} has format {version}; this version of graftwerk reads format "
            f"{FORMAT_VERSION}.",
            "Install the version of graftwerk that made it, or make the index anew in another "
            "folder.",
        )


def digest_of(meta: Mapping[str, str]) -> str:
    """Hash of the entries of `meta` that say how the index was made."""
    fixed = {key: meta[key] for key in meta if key not in {"digest", "generation"}}
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()


def read_meta(connection: sqlite3.Connection, folder: Path) -> dict[str, str]:
    """Read how the index was made.

    Raises:
        Damaged: it does not match its hash.
    """
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    if meta.get("digest") != digest_of(meta):
        raise damaged(folder, "its description in table meta does not match its hash")
    return meta
