"""Listing of the files to read in the files and folders that the user names.

Named paths are used as they are, including links. Inside a folder, hidden names are left out, and
a link counts only if it leads to something inside that folder which has no other name there.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field

from .. import limits
from ..errors import BadFile
from ..results import Skipped
from .documents.formats import SUFFIXES, parser_of

INDEX_FILE = "graft.sqlite"
_UNREAD = (
    f"Its ending is not one of those read: {', '.join(SUFFIXES)}. Export it to one of these, or "
    "copy a text to .txt."
)
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class Found:
    """Files found in the named paths.

    Attributes:
        files: absolute paths, sorted; bytes that are not UTF-8 as surrogate escapes.
        skipped: what was left out, with reasons; hidden names are not listed.
    """

    files: tuple[str, ...]
    skipped: tuple[Skipped, ...]


def list_files(paths: Sequence[str]) -> Found:
    """List every readable file once.

    Raises:
        BadFile: a named path does not exist.
    """
    walk = _Walk()
    for named in paths:
        try:
            path = os.path.abspath(named)  # noqa: PTH100  links in it are not resolved
            state = os.stat(path)  # noqa: PTH116  the name may be any bytes
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise BadFile(f"{named!r} cannot be read: {reason}.", "Check the path.") from error
        if stat.S_ISDIR(state.st_mode):
            walk.folder(path, state)
        else:
            walk.file(path, state)
    return Found(tuple(sorted(walk.files.values())), tuple(walk.skipped))


def names_of(path: str) -> tuple[str, str]:
    """Return the absolute path as named, and its target if its links can be resolved."""
    named = os.path.abspath(path)  # noqa: PTH100
    try:
        return named, os.path.realpath(path)
    except OSError:
        return named, named


@dataclass(slots=True)
class _Walk:
    """State of a walk."""

    files: dict[str, str] = field(default_factory=dict)  # real path -> path as found
    skipped: list[Skipped] = field(default_factory=list)
    folders: set[tuple[int, int]] = field(default_factory=set)  # device and inode

    def folder(self, root: str, state: os.stat_result) -> None:
        """Walk a named folder, then the targets that only its links reach."""
        real = self._real(root)
        if real is None:
            return
        inside = os.path.join(real, "")  # noqa: PTH118
        links: list[tuple[str, int]] = []
        self._below(root, 0, state, links)
        while links:
            path, depth = links.pop(0)
            self._link(path, depth, inside, links)

    def file(self, path: str, state: os.stat_result) -> None:
        """Add a file if it is a regular file with a known extension."""
        if not stat.S_ISREG(state.st_mode):
            kind = _KINDS.get(stat.S_IFMT(state.st_mode), "something else")
            self._skip(path, f"It is {kind}, not a file.")
        elif not parser_of(path):
            self._skip(path, _UNREAD)
        else:
            real = self._real(path)
            if real is not None:
                self.files.setdefault(real, path)

    def _below(
        self, root: str, depth: int, state: os.stat_result, links: list[tuple[str, int]]
    ) -> None:
        waiting = [(root, depth, state)]
        while waiting:
            folder, depth, state = waiting.pop()
            if (state.st_dev, state.st_ino) in self.folders:
                continue
            self.folders.add((state.st_dev, state.st_ino))
            if depth > limits.FOLDER_DEPTH:
                self._skip(folder, f"It is more than {limits.FOLDER_DEPTH} folders deep.")
                continue
            inner = []
            for path in self._entries(folder):
                try:
                    state = os.lstat(path)
                except OSError as error:
                    self._skip(path, f"It cannot be read: {error.strerror}.")
                    continue
                if stat.S_ISLNK(state.st_mode):
                    links.append((path, depth + 1))
                elif stat.S_ISDIR(state.st_mode):
                    inner.append((path, depth + 1, state))
                else:
                    self.file(path, state)
            waiting.extend(reversed(inner))

    def _entries(self, folder: str) -> list[str]:
        try:
            names = sorted(os.listdir(folder))  # noqa: PTH208
        except OSError as error:
            self._skip(folder, f"It cannot be read: {error.strerror}.")
            return []
        if INDEX_FILE in names:
            self._skip(folder, f"It is an index: it holds {INDEX_FILE}.")
            return []
        return [os.path.join(folder, name) for name in names if name[:1] != "."]  # noqa: PTH118

    def _link(self, path: str, depth: int, inside: str, links: list[tuple[str, int]]) -> None:
        """Follow a link that stays inside the named folder."""
        target = self._real(path)
        if target is None:
            return
        if not os.path.join(target, "").startswith(inside):  # noqa: PTH118
            self._skip(path, "It is a link that leads outside the folder; name its target itself.")
            return
        try:
            state = os.stat(path)  # noqa: PTH116
        except OSError as error:
            self._skip(path, f"It is a link that cannot be followed: {error.strerror}.")
            return
        if stat.S_ISDIR(state.st_mode):
            self._below(path, depth, state, links)
        elif target not in self.files:
            self.file(path, state)

    def _real(self, path: str) -> str | None:
        """Return the target of a path; None, and skip the path, if it cannot be resolved."""
        try:
            return os.path.realpath(path)
        except OSError as error:  # in /proc, only the owner may read some links
            self._skip(path, f"It is a link that cannot be followed: {error.strerror}.")
            return None

    def _skip(self, path: str, reason: str) -> None:
        self.skipped.append(Skipped(path=path, reason=reason))
