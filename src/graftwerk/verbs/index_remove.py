"""`graft index remove`: files and folders out of an index."""

import os
import time
from collections.abc import Mapping

from ..contracts import Monitor
from ..errors import BadFile
from ..reports import IndexChange, Skipped
from ..requests import IndexRemove
from ..search.index import open_index
from ..search.tally import Tally
from ..search.walk import names_of
from .opening import change_report


def run(request: IndexRemove, monitor: Monitor) -> IndexChange:
    """Take files or whole folders out; the files themselves stay, and need not be there.

    Raises:
        BadFile: there is no index, or none of the paths is in it.
        Busy: another process writes to it for too long.
        NoRoom: the folder cannot be written; nothing was taken out.
    """
    begin = time.perf_counter()
    tally = Tally()
    with open_index(request.index) as index:
        with index.view() as view:
            stored = view.files()
        chosen: dict[str, None] = {}
        for path in request.paths:
            found = _find(path, stored)
            chosen.update(dict.fromkeys(found))
            if not found:
                tally.skipped.append(Skipped(path=path, reason="is not in the index."))
        if not chosen:
            raise BadFile(
                f"{', '.join(request.paths)}: not in the index {request.index}.",
                "Paths are those that `graft search` shows; a folder takes out all in it.",
            )
        monitor.start("taking out", len(chosen))
        tally.removed = index.remove(list(chosen))
        tally.unchanged = len(stored) - tally.removed
        index.refresh()
        return change_report(index, tally, begin)


def _find(path: str, stored: Mapping[str, str]) -> list[str]:
    """The stored files that a path names: itself, or all in it."""
    places = set(names_of(path))
    inside = tuple(place.rstrip(os.sep) + os.sep for place in places)
    return [name for name in stored if name in places or name.startswith(inside)]
