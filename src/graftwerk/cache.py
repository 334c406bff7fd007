"""Rebuildable folders in the cache: built once, hashed, and checked at every load."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import files, folders
from .errors import BadFile, LimitExceeded, NoRoom
from .settings import settings

_MANIFEST = "graft.json"
_LOG = logging.getLogger(__name__)


def cached_folder(folder: Path, build: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Return what `build` reported of `folder`, building it where it is missing or damaged.

    Args:
        folder: its place in the cache.
        build: fills the empty folder it is given and returns what is to be remembered, as JSON.

    Raises:
        NoRoom: the cache cannot be written.
    """
    from filelock import FileLock

    facts = _sound_facts(folder)
    if facts is not None:
        return facts
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Processes that start together do the work once.
        with FileLock(folder.with_suffix(".lock")):
            return _sound_facts(folder) or _build(folder, build)
    except (FileExistsError, NotADirectoryError) as error:
        raise NoRoom(
            f"{settings().cache} cannot be used as a folder.",
            "Pass another in the variable GRAFTWERK_CACHE.",
        ) from error
    except OSError as error:
        files.raise_write_error(error, folder)


def _sound_facts(folder: Path) -> dict[str, Any] | None:
    """Return the recorded facts of the folder if it exists and every file matches its hash."""
    try:
        manifest = files.read_json(folder / _MANIFEST)
        facts: dict[str, Any] = manifest["facts"]
        for name, expected in manifest["sha256"].items():
            if files.sha256_of_file(folder / name) != expected:
                _LOG.warning("%s does not match its hash and is made again", folder / name)
                return None
    except (BadFile, LimitExceeded, OSError, KeyError, AttributeError, TypeError):
        return None
    return facts


def _build(folder: Path, build: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    # the cache is ours, and what lies here is damaged
    with folders.working_folder(folder, lambda _: True) as target:
        facts = build(target)
        hashes = {path.name: files.sha256_of_file(path) for path in sorted(target.iterdir())}
        files.write_json(target / _MANIFEST, {"facts": facts, "sha256": hashes})
    return facts
