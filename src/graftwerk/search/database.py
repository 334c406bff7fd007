"""The database of an index: tables, opening and creating it, checksums, the one writer."""

import hashlib
import json
import os
import secrets
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from .. import files, folders, limits
from ..errors import BadFile, Busy, Damaged, GraftError, LimitExceeded, NoRoom
from ..folders import hint_for
from .results import Damage
from .words import SPELLING, make_words, statements

DATABASE = "graft.sqlite"
SNAPSHOT = "vectors.safetensors"
CHECKSUM = "seal.json"
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
    """Return the error for an unreadable index; the user's files are the source of truth."""
    return Damaged(
        f"the index {folder} is damaged: {what}.",
        f"Try: graft index verify --repair --index {folder}. If that fails, delete the folder and "
        f"run: graft index add PATH... --index {folder}",
    )


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Translate SQLite's errors by their code into the package's own.

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
        uri, uri=True, timeout=limits.LOCK_SECONDS, isolation_level=None, check_same_thread=False
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
    """Create the tables of an index in an empty database, in one transaction."""
    connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode=WAL")
    meta = {**meta, "spelling": SPELLING}
    values = {**meta, "digest": digest_of(meta), "generation": "0"}
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements(_TABLES):
            connection.execute(statement)
        make_words(connection)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", values.items())
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={FORMAT_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def renew_words(connection: sqlite3.Connection, meta: Mapping[str, str]) -> None:
    """Rebuild the full-text index from the passages, also for an index with an older one."""
    make_words(connection)
    entries = {**meta, "spelling": SPELLING}
    for key, value in (("spelling", SPELLING), ("digest", digest_of(entries))):
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def is_zero_initialized(connection: sqlite3.Connection) -> bool:
    """Whether the database holds nothing yet because its creation was interrupted."""
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
            "Pass another folder.",
        )
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != FORMAT_VERSION:
        raise BadFile(
            f"the index {folder} has format {version}; this version of graftwerk reads format "
            f"{FORMAT_VERSION}.",
            "Install the version of graftwerk that made it, or make the index again in another "
            "folder.",
        )


def digest_of(meta: Mapping[str, str]) -> str:
    """Return the hash of the entries of `meta` that describe how the index was made."""
    fixed = {key: meta[key] for key in meta if key not in {"digest", "generation"}}
    return files.sha256_of_json(fixed)


def read_meta(connection: sqlite3.Connection, folder: Path) -> dict[str, str]:
    """Read how the index was made.

    Raises:
        Damaged: it does not match its hash.
    """
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    if meta.get("digest") != digest_of(meta):
        raise damaged(folder, "its description in table meta does not match its hash")
    return meta


@contextmanager
def write_lock(folder: Path, seconds: float = limits.LOCK_SECONDS) -> Iterator[None]:
    """Hold the index's only write lock; the kernel frees it when its holder dies.

    Raises:
        Busy: another process held it for `seconds`; says who and since when.
        NoRoom: the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK, timeout=seconds, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise Busy(
            f"the index {folder} is busy: {_describe_owner(folder)} is writing to it; waited "
            f"{seconds:.0f} s.",
            "Wait until it has finished, or stop it.",
        ) from error
    except OSError as error:
        files.raise_write_error(error, folder / LOCK)
    try:
        _sign(folder)
        yield
    finally:
        lock.release()


_signed: dict[tuple[int, Path], dict[str, object]] = {}  # by process, since a fork has a copy


def _sign(folder: Path) -> None:
    """Say who writes; one write to disk a process, unless writers take turns.

    The number of the process alone does not tell: in every container there is a process 1.
    """
    key = os.getpid(), folder
    if key in _signed and _read_owner(folder) == _signed[key]:
        return
    owner: dict[str, object] = {
        "pid": os.getpid(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200],
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    files.write_json(folder / OWNER, owner)
    _signed[key] = owner


def _read_owner(folder: Path) -> dict[str, object]:
    with suppress(BadFile, OSError):
        owner = files.read_json(folder / OWNER, limit=limits.MIB)
        if isinstance(owner, dict):
            return owner
    return {}


def _describe_owner(folder: Path) -> str:
    owner = _read_owner(folder)
    if not owner:
        return "another process"
    return f"process {owner.get('pid')} ({owner.get('command')}), since {owner.get('since')},"


_UNWRITABLE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


def open_database(folder: Path) -> tuple[sqlite3.Connection, dict[str, str]]:
    """Open the database of an existing index; return it with the content of table `meta`.

    Raises:
        BadFile: there is none, it is another program's, or of a newer format.
        Damaged: it cannot be read.
    """
    path = folder / DATABASE
    if folder.exists() and not folder.is_dir():
        raise BadFile(f"{folder} is a file, not the folder of an index.", "Name a folder.")
    if not path.is_file():
        hint = hint_for(folder, f"Make one: graft index add PATH... --index {folder}")
        raise BadFile(f"there is no index in {folder}.", hint)
    with storage_errors(folder):
        try:
            return _open(folder)
        except sqlite3.OperationalError as error:
            # a database with a write-ahead log cannot be opened where its helper files cannot be
            # made; it can be read as it is where that log is empty
            log = path.with_name(f"{DATABASE}-wal")
            unwritable = error.sqlite_errorcode & 0xFF in _UNWRITABLE
            if not unwritable or (log.is_file() and log.stat().st_size > 0):
                raise
            return _open(folder, immutable=True)


def _open(folder: Path, *, immutable: bool = False) -> tuple[sqlite3.Connection, dict[str, str]]:
    connection = connect(folder / DATABASE, immutable=immutable)
    try:
        return connection, _read_description(connection, folder)
    except BaseException:
        connection.close()
        raise


def _read_description(connection: sqlite3.Connection, folder: Path) -> dict[str, str]:
    if is_zero_initialized(connection):
        raise BadFile(
            f"the database of the index {folder} is empty, as after an interrupted write.",
            f"Run graft index add PATH... --index {folder} again; if it fails, delete the folder.",
        )
    require_index(connection, folder)
    return read_meta(connection, folder)


def is_whole(folder: Path) -> bool:
    """Whether the folder holds a database whose creation was not interrupted."""
    if not (folder / DATABASE).is_file():
        return False
    with storage_errors(folder):
        connection = connect(folder / DATABASE)
        try:
            return not is_zero_initialized(connection)
        finally:
            connection.close()


def require_free(folder: Path) -> None:
    """Check that an index can be created here.

    Raises:
        BadFile: the folder is a file or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise BadFile(f"{folder} is a file, not a folder.", "Name a folder for the index.")
    others = [name for name in _listing(folder) if not _is_ours(name)]
    if others:
        raise BadFile(
            f"{folder} holds other files, for example {others[0]!r}.",
            "Name an empty or a new folder for the index.",
        )


def create(folder: Path, base: Mapping[str, str]) -> None:
    """Make an empty index; when another process makes it at the same time, one of them does.

    Raises:
        BadFile: the folder is a file or holds something else.
        NoRoom: it cannot be made; nothing is left behind.
    """
    require_free(folder)
    made = not folder.exists()
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BadFile(
                f"the folder {folder} cannot be made: {error.strerror}.", "Pass another folder."
            ) from error
        except OSError as error:
            files.raise_write_error(error, folder)
        with storage_errors(folder), write_lock(folder):
            if not is_whole(folder):
                _fill(folder, base)
    except GraftError as error:
        if made and not isinstance(error, Busy):
            _take_back(folder)
        raise


def _fill(folder: Path, base: Mapping[str, str]) -> None:
    (folder / DATABASE).touch()  # SQLite alone would let nobody but the owner write, ever
    connection = sqlite3.connect(folder / DATABASE, isolation_level=None)
    try:
        create_tables(connection, {**base, "identity": secrets.token_hex(16)})
    finally:
        connection.close()
    files.sync_folder(folder)


def _take_back(folder: Path) -> None:
    """Remove the files of an index that could not be made, and its folder if that is all."""
    for name in filter(_is_ours, _listing(folder)):
        with suppress(OSError):
            (folder / name).unlink()
    folders.remove_empty(folder)


def _listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _is_ours(name: str) -> bool:
    return name.startswith((DATABASE, LOCK, OWNER, f".{OWNER}"))


BLOCK_BYTES = 64 * 1024
_SEALED = (DATABASE, SNAPSHOT)


def is_sealed(folder: Path) -> bool:
    """Whether the checksums exist."""
    return (folder / CHECKSUM).is_file()


def remove_checksum(folder: Path) -> None:
    """Remove the checksums before the first write, so that none outlives its data."""
    try:
        (folder / CHECKSUM).unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        files.raise_write_error(error, folder / CHECKSUM)
    files.sync_folder(folder)


def write_checksum(folder: Path) -> None:
    """Write the checksums of all blocks; the caller holds the lock and has emptied the WAL."""
    body = {name: _hash_blocks(folder / name) for name in _SEALED}
    files.write_bytes(folder / CHECKSUM, _serialise(body))


def require_checksum(folder: Path) -> list[Damage]:
    """Compare every block with its checksum; empty if all match or there are none."""
    if not is_sealed(folder):
        return []
    try:
        content = files.read_json(folder / CHECKSUM, limit=8 * limits.JSON_FILE)
        body = {name: list(content[name]) for name in _SEALED}
        whole = _serialise(body) == (folder / CHECKSUM).read_bytes()
    except (BadFile, LimitExceeded, KeyError, TypeError, ValueError):
        whole, body = False, {}
    if not whole:
        return [_damage(CHECKSUM, "does not match its own checksum")]
    damages = []
    for name, expected in body.items():
        found = _hash_blocks(folder / name)
        if len(found) != len(expected):
            damages.append(
                _damage(name, f"has {len(found)} blocks of 64 KiB, {len(expected)} were sealed")
            )
        for number, (now, then) in enumerate(zip(found, expected, strict=False)):
            if now != then:
                start = number * BLOCK_BYTES
                damages.append(
                    _damage(
                        f"{name}, block {number} (bytes {start:,} to {start + BLOCK_BYTES - 1:,})",
                        "does not match its checksum",
                    )
                )
    return damages


def _damage(where: str, what: str) -> Damage:
    return Damage(where=where, what=what, repaired=False)


def _hash_blocks(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with path.open("rb") as file:
        return [
            hashlib.sha256(block).hexdigest() for block in iter(lambda: file.read(BLOCK_BYTES), b"")
        ]


def _serialise(body: dict[str, list[str]]) -> bytes:
    digest = files.sha256_of_json(body)
    return (json.dumps({**body, "digest": digest}, sort_keys=True, indent=0) + "\n").encode()
