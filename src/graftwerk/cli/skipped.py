"""Files that were left out, and files that are not what an index holds, for people."""

from collections.abc import Sequence

from .. import reports
from .paint import place
from .printable import printable

_ALIKE = 3  # files with one reason that are all named
_NAMED = 10  # files named of those that differ


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


def source_lines(check: reports.SourceCheck) -> list[str]:
    """Counts, the first files that differ, and what to do; `--json` names all."""
    counts = {
        "unchanged": check.unchanged,
        "changed": check.changed,
        "missing": check.missing,
        "unreadable": check.unreadable,
    }
    told = [f"{count:,} {name}" for name, count in counts.items() if count]
    lines = [f"files on the disk: {', '.join(told) or 'none stored'}"]
    lines += [
        f"  {entry.state} {place(entry.path)}: {printable(entry.reason)}"
        for entry in check.differences[:_NAMED]
    ]
    if len(check.differences) > _NAMED:
        lines.append(f"  and {len(check.differences) - _NAMED:,} more; --json names all")
    if check.differences:
        lines.append(
            "take in what changed: graft index add PATH...; take out what is gone: graft index "
            "add FOLDER, or graft index remove PATH..."
        )
    return lines
