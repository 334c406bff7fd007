"""One writer at a time, told by name to those who wait."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from .. import files, limits
from ..errors import BadFile, Busy
from .schema import LOCK, OWNER


@contextmanager
def write_lock(folder: Path, seconds: float = limits.LOCK_SECONDS) -> Iterator[None]:
    """Hold the index's only writing right; the kernel frees it when its holder dies.

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


def _sign(folder: Path) -> None:
    """Say who writes; one write to disk a process, unless writers take turns."""
    if _read_owner(folder).get("pid") == os.getpid():
        return
    owner = {
        "pid": os.getpid(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200],
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    files.write_json(folder / OWNER, owner)


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
