"""Opening the database of an index, and making the one of a new index."""

import secrets
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from .. import files, folders
from ..errors import BadFile, Busy, GraftError
from .lock import write_lock
from .schema import (
    DATABASE,
    LOCK,
    OWNER,
    connect,
    create_tables,
    is_unborn,
    read_meta,
    require_index,
    storage_errors,
)

_UNWRITABLE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


def open_database(folder: Path) -> tuple[sqlite3.Connection, dict[str, str]]:
    """Open the database of an existing index; also gives what table `meta` holds.

    Raises:
        BadFile: there is none, it is another program's, or of a newer format.
        Damaged: it cannot be read.
    """
    path = folder / DATABASE
    if folder.exists() and not folder.is_dir():
        raise BadFile(f"{folder} is a file, not the folder of an index.", "Name a folder.")
    if not path.is_file():
        raise _no_index(folder)
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


def _no_index(folder: Path) -> BadFile:
    return BadFile(
        f"there is no index in {folder}.", f"Make one: graft index add PATH... --index {folder}"
    )


def _read_description(connection: sqlite3.Connection, folder: Path) -> dict[str, str]:
    if is_unborn(connection):
        raise _no_index(folder)
    require_index(connection, folder)
    return read_meta(connection, folder)


def is_whole(folder: Path) -> bool:
    """Whether the folder holds a database whose making was not interrupted."""
    if not (folder / DATABASE).is_file():
        return False
    with storage_errors(folder):
        connection = connect(folder / DATABASE)
        try:
            return not is_unborn(connection)
        finally:
            connection.close()


def require_free(folder: Path) -> None:
    """Check that an index can be made here.

    Raises:
        BadFile: the folder is a file or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise BadFile(f"{folder} is a file, not a folder.", "Name a folder for the index.")
    foreign = [name for name in _listing(folder) if not _is_ours(name)]
    if foreign:
        raise BadFile(
            f"{folder} holds other files, for example {foreign[0]!r}.",
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
                f"the folder {folder} cannot be made: {error.strerror}.", "Name another folder."
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
