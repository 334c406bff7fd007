"""Files that were left out, for people."""

from collections.abc import Sequence

from .. import reports
from .paint import place
from .printable import printable

_ALIKE = 3  # files with one reason that are all named


def skipped_lines(skipped: Sequence[reports.Skipped]) -> list[str]:
    """One line a file; many with the same reason share one, and `--json` names them all."""
    by_reason: dict[str, list[str]] = {}
    for entry in skipped:
        by_reason.setdefault(entry.reason, []).append(entry.path)
    lines = []
    for reason, paths in by_reason.items():
        if len(paths) > _ALIKE:
            lines.append(f"  skipped {len(paths):,} such as {place(paths[0])}: {printable(reason)}")
        else:
            lines += [f"  skipped {place(path)}: {printable(reason)}" for path in paths]
    return lines
