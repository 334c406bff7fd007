"""Delimiter-separated text: detect the dialect of a file, and parse its rows.

`csv` is not used because it limits cells to 131,072 characters, does not report where a quote was
opened or what it merged, and reads `"a" b` as `a b`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ...errors import BadFile
from .numbers import is_localized

Quoting = Literal["doubled", "backslash", "none"]
SEPARATORS = "\t;|,"  # rarest in prose first: a tie goes to the first
NAMES = {"\t": "tab", ";": "semicolon", "|": "pipe", ",": "comma", " ": "space"}
_SAMPLE_ROWS, _SAMPLE_CHARACTERS = 500, 1 << 20
_LINE_END = re.compile(r"\r\n|\n|\r")
_SEPARATOR_LINE = re.compile(r'"?sep=(\\t|.)"?[ \t]*(?:\r\n|\n|\r|$)', re.IGNORECASE)
_ENCLOSED = {
    "doubled": re.compile(r'"((?:[^"]++|"")*+)"'),
    "backslash": re.compile(r'"((?:[^"\\]++|\\.|"")*+)"', re.DOTALL),
}
_ESCAPED = re.compile(r'\\(["\\])|""')


@dataclass(frozen=True, slots=True)
class Dialect:
    """Format of rows: the separator (empty for a single column) and the meaning of quotes."""

    separator: str
    quoting: Quoting = "doubled"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its first line, its cells, and its last line."""

    line: int
    cells: list[str]
    last: int


@dataclass(slots=True)
class Findings:
    """Irregularities that the parser found, for notes to the user.

    Attributes:
        blank: number of lines or rows without any content.
        literal: number of cells whose opening quote is closed inside the cell; read literally.
        literal_line: line of the first such cell.
        bare: number of cells that contain a quote but do not begin with one.
        multiline: number of rows with a quoted line break.
        multiline_line: line of the first such row.
    """

    blank: int = 0
    literal: int = 0
    literal_line: int = 0
    bare: int = 0
    multiline: int = 0
    multiline_line: int = 0


@dataclass(frozen=True, slots=True)
class Parsed:
    """All rows of a text, with the detected dialect and findings."""

    dialect: Dialect
    rows: list[Row]
    findings: Findings = field(default_factory=Findings)


class UnclosedQuote(Exception):
    """A quote that opens a cell without a valid closing quote."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line:,} opens a quote {reason}")
        self.line = line


def parse(text: str, name: str, suffix: str, separator: str | None = None) -> Parsed:
    """Parse delimiter-separated text.

    Args:
        text: decoded content.
        name: of the file, for messages.
        suffix: of the file; for `.tsv` the separator is a tab if the text has one.
        separator: given by the user; None to detect it from the text.

    Raises:
        BadFile: a quote is opened and not closed; the message names its line.
    """
    begin, line = 0, 1
    declared = _SEPARATOR_LINE.match(text)
    if declared:
        begin, line = declared.end(), 2
        separator = separator or declared[1].replace("\\t", "\t")
    if separator is None:
        separator = _find_separator(text, begin, suffix)
    try:
        return _with_quoting(text, begin, line, separator, suffix)
    except UnclosedQuote as error:
        raise BadFile(
            f"{name!r} is not CSV: {error}.",
            "Put the whole cell in quotes and double those inside it, or save the table as .tsv "
            "with tabs, where a quote is an ordinary character.",
        ) from error


def parse_rows(
    text: str, dialect: Dialect, findings: Findings, begin: int = 0, line: int = 1
) -> Iterator[Row]:
    """Yield parsed rows one by one.

    Raises:
        UnclosedQuote: a quote opens a cell and is not closed before a separator or line end.
    """
    quoted = dialect.quoting != "none"
    cells_of = _Cells(text, dialect, findings) if quoted else None
    position = begin
    while position < len(text):
        first = line
        end = _LINE_END.search(text, position)
        stop = end.start() if end else len(text)
        if cells_of is None or text.find('"', position, stop) < 0:
            content = text[position:stop]
            cells = content.split(dialect.separator) if dialect.separator else [content]
        else:
            cells, stop, crossed = cells_of.read(position, line)
            end = _LINE_END.match(text, stop)
            line += crossed
        if any(cell and not cell.isspace() for cell in cells):
            yield Row(first, cells, line)
            if line > first:
                findings.multiline += 1
                findings.multiline_line = findings.multiline_line or first
        else:
            findings.blank += 1
        position = end.end() if end else len(text)
        line += 1


class _Cells:
    """Reader of the cells of rows in which quotes have a meaning."""

    def __init__(self, text: str, dialect: Dialect, findings: Findings) -> None:
        self._text = text
        self._separator = dialect.separator
        self._quoting = dialect.quoting
        self._findings = findings
        self._enclosed = _ENCLOSED[dialect.quoting]
        self._plain = re.compile(f"[^{re.escape(dialect.separator)}\r\n]*+")
        self._blanks = re.compile("[" + " \t".replace(dialect.separator, "") + "]*+")

    def read(self, position: int, line: int) -> tuple[list[str], int, int]:
        """Return the cells of the row at `position`, its end, and its line breaks."""
        cells: list[str] = []
        crossed = 0
        while True:
            cell, position, lines = self._cell(position, line + crossed)
            cells.append(cell)
            crossed += lines
            if not (self._separator and self._text.startswith(self._separator, position)):
                return cells, position, crossed
            position += len(self._separator)

    def _cell(self, position: int, line: int) -> tuple[str, int, int]:
        start = self._skip_blanks(position)
        if not self._text.startswith('"', start):
            return self._unquoted(position)
        enclosed = self._enclosed.match(self._text, start)
        if enclosed is None:
            raise UnclosedQuote(line, "that is never closed")
        lines = len(_LINE_END.findall(enclosed[1]))
        end = self._skip_blanks(enclosed.end())
        if self._ends_cell(end):
            return self._unescape(enclosed[1]), end, lines
        if lines:
            raise UnclosedQuote(line, f"that ends on line {line + lines:,} inside of a cell")
        self._findings.literal += 1
        self._findings.literal_line = self._findings.literal_line or line
        return self._unquoted(position)

    def _unquoted(self, position: int) -> tuple[str, int, int]:
        found = self._plain.match(self._text, position)
        assert found is not None  # noqa: S101  it also matches the empty string
        self._findings.bare += '"' in found[0]
        return found[0], found.end(), 0

    def _skip_blanks(self, position: int) -> int:
        found = self._blanks.match(self._text, position)
        return found.end() if found else position

    def _ends_cell(self, position: int) -> bool:
        at_end = position >= len(self._text) or self._text[position] in "\r\n"
        return at_end or bool(self._separator and self._text.startswith(self._separator, position))

    def _unescape(self, body: str) -> str:
        if self._quoting == "backslash":
            return _ESCAPED.sub(lambda found: found[1] or '"', body)
        return body.replace('""', '"')


def _with_quoting(text: str, begin: int, line: int, separator: str, suffix: str) -> Parsed:

    def attempt(quoting: Quoting) -> Parsed:
        dialect, findings = Dialect(separator, quoting), Findings()
        rows = list(parse_rows(text, dialect, findings, begin, line))
        return Parsed(dialect, rows, findings)

    if '"' not in text:
        return replace(attempt("none"), dialect=Dialect(separator))
    tabs = separator == "\t" or suffix == ".tsv"
    try:
        parsed = attempt("doubled")
        _require_whole_rows(text, parsed)
    except UnclosedQuote:
        if not tabs and '\\"' not in text:
            raise
        return attempt("none" if tabs else "backslash")
    if tabs:
        # quotes are literal in a TSV file, unless every cell with one is quoted as a whole
        return attempt("none") if parsed.findings.literal or parsed.findings.bare else parsed
    if parsed.findings.literal and '\\"' in text:
        try:
            escaped = attempt("backslash")
        except UnclosedQuote:
            return parsed
        return escaped if escaped.findings.literal < parsed.findings.literal else parsed
    return parsed


def _require_whole_rows(text: str, parsed: Parsed) -> None:
    """Refuse a quoted line break that merges rows: two stray quotes look like one cell.

    Each line of such a row, read on its own, has as many cells as a row, and a value that its
    column also has elsewhere, in whole rows or in these lines.
    """
    separator = parsed.dialect.separator
    broken = [row for row in parsed.rows if row.last > row.line]
    if not broken or not separator:
        return
    whole = [row for row in parsed.rows if row.last == row.line]
    width = _most_common(Counter(len(row.cells) for row in whole or broken))
    usual = [row.cells for row in whole if len(row.cells) == width]
    known = [{row[location].strip() for row in usual} - {""} for location in range(width)]
    lines = _LINE_END.split(text)
    for row in broken:
        alone = [line.split(separator) for line in lines[row.line - 1 : row.last]]
        if any(len(cells) != width for cells in alone):
            continue
        columns = [Counter(cell.strip() for cell in column) for column in zip(*alone, strict=True)]
        twice = [{v for v, count in column.items() if v and count > 1} for column in columns]
        values = [old | new for old, new in zip(known, twice, strict=True)]
        if all(_fits(cells, values) for cells in alone):
            raise UnclosedQuote(
                row.line,
                f"that ends on line {row.last:,}, though each line between is a row of its own",
            )


def _fits(cells: Sequence[str], known: Sequence[set[str]]) -> bool:
    pairs = zip(cells, known, strict=True)
    return any(cell.strip().strip('"') in values for cell, values in pairs)


def _find_separator(text: str, begin: int, suffix: str) -> str:
    """Return the separator for which the first rows have equally many cells; '' if none."""
    sample = text[begin : begin + _SAMPLE_CHARACTERS]
    if suffix == ".tsv" and "\t" in sample:
        return "\t"
    scores = {}
    for location, separator in enumerate(SEPARATORS):
        if separator in sample:
            score = _score(sample, separator, len(sample) < len(text) - begin)
            if score is not None:
                scores[separator] = (*score, -location)
    return max(scores, key=scores.__getitem__, default="")


def _score(sample: str, separator: str, cut: bool) -> tuple[float, bool, float, int] | None:
    """Return how well a separator explains a sample; None if it gives no columns."""
    rows: list[list[str]] = []
    whole = True
    findings = Findings()
    try:
        for row in parse_rows(sample, Dialect(separator), findings):
            rows.append(row.cells)
            if len(rows) == _SAMPLE_ROWS:
                break
    except UnclosedQuote:
        whole = cut and len(rows) > 0  # the sample may end inside a cell
        if separator == "\t" or not rows:
            rows = [line.split(separator) for line in _LINE_END.split(sample) if line.strip()]
            rows = rows[:_SAMPLE_ROWS]
    if not rows:
        return None
    widths = Counter(map(len, rows))
    usual = _most_common(widths)
    if usual < 2:
        later = max(map(len, rows[1:]), default=len(rows[0]))
        if not 1 < later <= len(rows[0]):
            return None
        usual = len(rows[0])
    share = widths[usual] / len(rows) - findings.literal / (usual * len(rows))
    cells = [cell for row in rows for cell in row]
    follow = [cell for row in rows for cell in row[1:] if cell]
    tight = sum(cell.startswith(" ") for cell in follow) < 0.9 * max(len(follow), 1)
    others = [other for other in SEPARATORS if other != separator]
    clean = sum(is_localized(c) or not any(o in c for o in others) for c in cells) / len(cells)
    return (round(share if whole else share / 2, 2), tight, round(clean, 2), usual)


def _most_common(widths: Counter[int]) -> int:
    """Return the most common width; the largest one for a tie."""
    return max(widths, key=lambda width: (widths[width], width))
