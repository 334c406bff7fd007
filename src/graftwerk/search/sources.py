"""Comparing what an index holds with the files on the disk now."""

import os
from collections.abc import Mapping

from ..contracts import Monitor
from ..errors import BadFile, LimitExceeded
from ..reports import SourceCheck, SourceDifference
from .readers import size_and_hash


def compare_sources(stored: Mapping[str, str], monitor: Monitor) -> SourceCheck:
    """Hash every stored file as it is now.

    Args:
        stored: content hash of each stored file, by path.
        monitor: told about progress; may stop the work.
    """
    monitor.start("comparing files", len(stored))
    differences = []
    for path, content_hash in stored.items():
        difference = _compare(path, content_hash)
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
        return SourceDifference(path=path, state="unreadable", reason=str(error))
    if now == content_hash:
        return None
    return SourceDifference(path=path, state="changed", reason="It is not what was stored.")
