"""Format text, tables and lists of skipped files for the terminal."""

import sys
from collections.abc import Sequence
from pathlib import Path

from ..results import Skipped, with_position
from ..search.results import SourceCheck
from ..text_safety import printable


def paint(text: str, code: str) -> str:
    """Style text with an ECMA-48 code, if stdout is a terminal."""
    return f"\x1b[{code}m{text}\x1b[0m" if sys.stdout.isatty() else text


def bold(text: str) -> str:
    """Return bold text."""
    return paint(text, "1")


def dim(text: str) -> str:
    """Return faint text."""
    return paint(text, "2")


def place(path: str, line: int | None = None, page: int | None = None) -> str:
    """Return a path relative to the working folder, with a line or page number."""
    try:
        shown = str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        shown = path
    return with_position(printable(shown), line, page)


_ALIKE = 3  # files with one reason that are all named
_NAMED = 10  # files named of those that differ


def skipped_lines(skipped: Sequence[Skipped]) -> list[str]:
    """Return one line per skipped file, or per reason if it is common; `--json` lists them all."""
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


def source_lines(check: SourceCheck) -> list[str]:
    """Show counts, the first files that differ, and what to do; `--json` lists all."""
    counts = check.model_dump(exclude={"differences"})
    reported = [f"{count:,} {name}" for name, count in counts.items() if count]
    lines = [f"files on the disk: {', '.join(reported) or 'none stored'}"]
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


def table(header: list[str], rows: list[list[str]], *, figures: bool = True) -> list[str]:
    """Format a table; all columns but the first are right-aligned if they are `figures`."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    out = []
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [
            cell.rjust(width) if figures else cell.ljust(width)
            for cell, width in zip(row[1:], widths[1:], strict=True)
        ]
        out.append("  ".join(cells).rstrip())
    return out
