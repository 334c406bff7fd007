"""The one way to write a file, to hash one, and to parse JSON.

A file appears under its name only when it is whole: temporary name in the same folder, write,
fsync, rename, fsync of the folder. Its permissions follow the umask, whatever wrote its content.
Lint rules keep every other writing call, and every other call of `json.loads`, out of `src/`.
"""

import errno
import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from . import limits
from .errors import BadFile, Damaged, GraftError, NoRoom

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
_NO_LOCATION = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.EBUSY, errno.EXDEV}
_NO_LOCATION |= {errno.ENOTEMPTY, errno.ENAMETOOLONG}

_LEFTOVER = re.compile(r"\.(.+)\.([0-9a-f]{8})[0-9a-f]{8}\.tmp", re.DOTALL)
_CHECKSUM = "seal"
_NO_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.ENOTTY, errno.EOPNOTSUPP}
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def raise_write_error(error: OSError, path: Path, size: int | None = None) -> NoReturn:
    """Convert an `OSError` raised while writing `path` to a `NoRoom` with path and bytes."""
    if error.errno in _NO_ROOM | _NO_LOCATION | {errno.EIO}:
        amount = f" ({size:,} bytes)" if size is not None else ""
        raise NoRoom(
            f"cannot write {path}{amount}: {os.strerror(error.errno or 0)}.",
            "What was there before is whole; make room or name another folder, then run it again.",
        ) from error
    raise error


def real_path(path: Path, strict: bool = False) -> Path:
    """Return the absolute path without links.

    The method of `Path` raises a RuntimeError at a link that leads to itself; here the rest of such
    a path stays as it is, so that opening it fails with an OSError.

    Args:
        path: need not exist.
        strict: whether it must exist; raises OSError if it does not.
    """
    return Path(os.path.realpath(path, strict=strict))


@contextmanager
def disk_errors() -> Iterator[None]:
    """Raise disk errors as `OSError` that a Rust library (safetensors) reports as its own kind."""
    try:
        yield
    except (OSError, GraftError):
        raise
    except Exception as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write(temporary_path)`, then put the result in the place of `path` in one step.

    Raises:
        NoRoom: the disk is full or the folder cannot be written; `path` is as it was.
    """
    size = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent.absolute())
        with _temporary(path) as (temporary, mode):
            try:
                with disk_errors():
                    write(temporary)
                temporary.chmod(mode)
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
                temporary.replace(path)
                sync_folder(path.parent)
            except OSError:
                size = temporary.stat().st_size if temporary.exists() else None
                raise
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise_write_error(error, path, size)


def _temporary_name(name: str, chance: str) -> str:
    # the check proves that the name is ours
    check = hashlib.sha256(f"graftwerk {name} {chance}".encode(errors="surrogateescape"))
    return f".{name}.{chance}{check.hexdigest()[:8]}.tmp"


@contextmanager
def _temporary(path: Path) -> Iterator[tuple[Path, int]]:
    """A new file beside `path`, locked while its maker lives, and the mode that it got."""
    descriptor = -1
    try:
        while descriptor < 0 or not os.fstat(descriptor).st_nlink:  # removed before it was locked
            if descriptor >= 0:
                os.close(descriptor)
            temporary = path.with_name(_temporary_name(path.name, os.urandom(4).hex()))
            descriptor = _create_locked(temporary)
        yield temporary, stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


@cache
def _remove_leftovers(folder: Path) -> None:
    """Remove, once a process, the temporary files of processes that were killed as they wrote."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            found = _LEFTOVER.fullmatch(path.name)
            if not found or path.name != _temporary_name(*found.groups()) or path.is_symlink():
                continue
            with suppress(OSError), locked(path) as alone:
                if alone:
                    path.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    write_atomically(path, lambda temporary: write_plain(temporary, content))


def write_text(path: Path, content: str) -> None:
    """Write `content` as UTF-8 to `path`, whole or not at all."""
    write_bytes(path, content.encode("utf-8", "surrogateescape"))


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON to `path`, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def write_plain(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file that is not safe by itself: for `write_atomically` and in a `working_folder`."""
    with path.open("wb") as file:
        file.writelines(parts)


def write_sealed_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a record together with its own hash, so that later changes are detected.

    It guards against accidents and hasty edits, not against somebody who writes the hash again.
    """
    write_json(path, {**content, _CHECKSUM: _checksum_of(content)})


def read_sealed_json(path: Path) -> Any:
    """Read a record, and see that it is as it was written; one of old, without a seal, is taken.

    Raises:
        BadFile: the file is missing, or is not JSON.
        Damaged: it was changed.
    """
    content = read_json(path)
    if isinstance(content, dict) and content.get(_CHECKSUM, "") != _checksum_of(content):
        if _CHECKSUM not in content:
            return content
        raise Damaged(
            f"{path} was changed after it was written: it does not match its seal.",
            "Copy it again from where it was made, or make it again.",
        )
    return content


def _checksum_of(content: Mapping[str, Any]) -> str:
    return sha256_of_json({key: value for key, value in content.items() if key != _CHECKSUM})


def append_text(path: Path, content: str) -> None:
    """Append to a log: not safe against a kill, so its reader must bear a torn last line.

    Raises:
        NoRoom: the disk is full or the file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(content)
    except OSError as error:
        raise_write_error(error, path, len(content))


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names atomically; return False if the kernel or the disk cannot."""
    import ctypes

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    names = os.fsencode(one), os.fsencode(other)
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(other))


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise json.JSONDecodeError(f"an object has the key {twice!r} twice", "", 0)
    return found


def parse_json(content: str | bytes, unique: bool = False) -> Any:
    """Parse JSON from anywhere; the only caller of `json.loads`, which raises more than it says.

    Args:
        content: the text.
        unique: whether a key that an object has twice is an error; else its last value counts.

    Raises:
        ValueError: the content is not JSON or not UTF-8, is nested too deeply, or has a number
            of more digits than Python converts, or a key twice.
    """
    try:
        return json.loads(content, object_pairs_hook=_as_dict if unique else None)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError as error:  # a guard against numbers that take minutes to convert
        limit = sys.get_int_max_str_digits()
        raise ValueError(f"a number in it has more than {limit:,} digits") from error


def read_json(path: Path, limit: int = limits.JSON_FILE) -> Any:
    """Read a JSON file of at most `limit` bytes.

    Raises:
        BadFile: the file is missing, is no regular file, or holds no JSON.
        LimitExceeded: the file is too large.
    """
    if not path.is_file():
        raise BadFile(f"{path} is not a file.", "Name an existing JSON file.")
    limits.require_file_size(path, limit, "JSON file")
    try:
        return parse_json(path.read_text("utf-8"))
    except ValueError as error:
        raise BadFile(f"{path} is not JSON: {error}.", "Check the file's content.") from error


def require_regular(path: Path) -> None:
    """See that a path is a file: reading a FIFO or a device may never end.

    Raises:
        BadFile: it is something else.
        FileNotFoundError: it is not there.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise BadFile(
            f"{path} is not a regular file, so reading it may never end.",
            "Put the file itself in its place.",
        )


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content.

    Raises:
        BadFile: it is not a regular file.
    """
    require_regular(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(content: Any) -> str:
    """Hexadecimal SHA-256 of what JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def size_of(folder: Path) -> int:
    """Return the total size of all files under a folder, in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def created_and_locked(path: Path, content: Any) -> Iterator[None]:
    """Create a small JSON file and hold a lock on it; the kernel frees it when its holder dies.

    Where the file system has no locks, it stays unlocked.
    """
    descriptor = _create_locked(path)
    try:
        os.write(descriptor, json.dumps(content, sort_keys=True).encode())
        os.fsync(descriptor)
        yield
    finally:
        os.close(descriptor)


def _create_locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    _lock(descriptor, wait=True)
    return descriptor


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Try to lock a file that is there; gives whether it could be, that is, its maker is gone."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, wait: bool = False) -> bool:
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True
