"""The text of a PDF page whose columns are stored line by line, across the columns.

Only such pages are reordered, and only if each column reads as prose: most programs store one
column after the other, and the rows of a table belong together.
"""

import math
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from .document import Assembly

if TYPE_CHECKING:
    from pypdf import PageObject

_SHOW = {b"Tj", b"TJ", b"'", b'"'}  # operators that show text
_GRID = 2.0  # points in which two runs stand on one line, or begin at one column
_APART = 72.0  # points between the starts of two columns, at least
_LINES, _SHARE = 8, 0.4  # lines that begin at a column: their number, and share of all lines
_MOST = 4  # columns
_WORDS, _CONTINUED = 3, 0.3  # words in the usual line of prose, and lines within a sentence


_Runs = list[tuple[int, int]]  # row (from below) and start on the grid


class _Layout(NamedTuple):
    edges: list[int]  # left edges of the columns
    bottom: int
    top: int

    def part(self, row: int, start: int) -> int:
        """Return 0 for what stands above, then one number a column, and the last for below."""
        if self.bottom <= row <= self.top:
            return max(1, sum(edge <= start + 1 for edge in self.edges))
        return 0 if row > self.top else len(self.edges) + 1


def text_of(page: "PageObject", assembly: Assembly) -> str:
    """Return the text of a page; if its columns are put one after the other, that is counted."""
    runs: _Runs = []

    def record(operator: bytes, _: Any, outer: list[float], inner: list[float]) -> None:
        if operator in _SHOW:
            runs.append(_location(outer, inner))

    text = page.extract_text(visitor_operand_before=record)
    layout = _find(runs)
    if layout is None:
        return text
    parts = [_read(page, layout, number) for number in range(len(layout.edges) + 2)]
    joined = "\n\n".join(part for part, _ in parts if part.strip())
    complete = sorted("".join(joined.split())) == sorted("".join(text.split()))
    prose = all(_is_prose(lines) for _, lines in parts[1:-1])
    if not (complete and prose):
        return text
    assembly.drop("pages whose columns are read one after the other")
    return joined


def _location(outer: list[float], inner: list[float]) -> tuple[int, int]:
    """Return the row and the start of a run on the grid; text that is turned stands above all."""
    if abs(inner[0] * outer[1] + inner[1] * outer[3]) > 1e-3:
        return 1 << 30, 0
    x, y = (inner[4] * outer[n] + inner[5] * outer[n + 2] + outer[n + 4] for n in (0, 1))
    sane = math.isfinite(x) and math.isfinite(y)
    return (round(y / _GRID), round(x / _GRID)) if sane else (1 << 30, 0)


def _find(runs: _Runs) -> _Layout | None:
    rows: dict[int, set[int]] = {}
    for row, start in runs:
        rows.setdefault(row, set()).add(start)
    counts = Counter(start for starts in rows.values() for start in starts)
    edges: list[int] = []
    for start in sorted(counts):
        often = counts[start] >= max(_LINES, _SHARE * len(rows))
        if often and (not edges or start - edges[-1] >= _APART / _GRID):
            edges.append(start)
    if not 2 <= len(edges) <= _MOST:
        return None
    shared = sorted(row for row, starts in rows.items() if len(starts.intersection(edges)) > 1)
    if len(shared) < _LINES:
        return None
    leading = sorted(after - before for before, after in pairwise(shared))[len(shared) // 2]
    bottom, top = shared[0], shared[-1]
    aligned = sorted(row for row, starts in rows.items() if starts.intersection(edges))
    for row in reversed(aligned):  # one column may be longer than the others
        bottom = row if 0 < bottom - row <= 2 * leading else bottom
    layout = _Layout(edges, bottom, top)
    parts = [layout.part(row, start) for row, start in runs]
    turns = sum(before != after for before, after in pairwise(parts))
    return layout if turns >= len(shared) else None


def _read(page: "PageObject", layout: _Layout, part: int) -> tuple[str, list[str]]:
    """Return the text of one part of a page, and its lines."""
    lines: dict[int, str] = {}
    hidden: list[Any] = []

    def hide(operator: bytes, operands: list[Any], outer: list[float], inner: list[float]) -> None:
        if operator in _SHOW and operands and layout.part(*_location(outer, inner)) != part:
            hidden.append(operands[-1])
            operands[-1] = ""

    def restore(operator: bytes, operands: list[Any], *_: Any) -> None:
        if operator in _SHOW and operands and hidden:
            operands[-1] = hidden.pop()

    def collect(text: str, outer: list[float], inner: list[float], *_: Any) -> None:
        row = _location(outer, inner)[0]
        lines[row] = lines.get(row, "") + text.replace("\n", " ")

    text = page.extract_text(
        visitor_operand_before=hide, visitor_operand_after=restore, visitor_text=collect
    )
    return text, [line.strip() for line in lines.values() if line.strip()]


def _is_prose(lines: list[str]) -> bool:
    words = sorted(len(line.split()) for line in lines)
    within = sum(line[0].islower() or last.endswith("-") for last, line in pairwise(lines))
    return words[len(words) // 2] >= _WORDS and within >= _CONTINUED * len(lines)
