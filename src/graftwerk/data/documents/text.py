"""Plain text, Markdown and reStructuredText, with unchanged text and offsets.

Parsing is one pass over the lines without backtracking, in memory proportional to the blocks.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from ... import limits
from ...errors import LimitExceeded
from ...text_safety import counted
from .. import raw
from .document import HEADING_CHARACTERS, Block, Document, Outline

_LINE = re.compile(r"([^\r\n]*+)(?:\r\n|\n|\r)?+")
_FENCE = re.compile(r" {0,3}(`{3,}+(?=[^`]*+$)|~{3,}+)")
_MARKDOWN_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*+)")
_MARKDOWN_UNDERLINE = re.compile(r" {0,3}(=|-)\1++[ \t]*+$")
_NO_TITLE = re.compile(r"[ \t]*(?:[-*+>|]|\d{1,9}[.)])|    |\t")
_FRONT_MATTER_END = re.compile(r"^(?:---|\.\.\.)[ \t]*+\r?$", re.MULTILINE)
_RST_UNDERLINE = re.compile(r"([!-/:-@\[-`{-~])\1++[ \t]*+$")
_LINE_END = re.compile(r"\r\n|\r|\n")
_SENTENCE_END = re.compile(r"[.!?…:;,](?:\s|$)")
_TITLE = 60  # characters; a longer line of plain text is not a title
_SHORT_TITLE = 40  # for a title without a blank line after it; prose is wrapped at a larger width
_SPECIAL_LINE = 2 * HEADING_CHARACTERS  # a longer line is never a heading, underline or fence


def read_plain(path: str, content: bytes, encoding: str | None = None) -> Document:
    """Read a plain text file, which has paragraphs as its only structure."""
    return _read(path, content, encoding, find_paragraphs)


def read_markdown(path: str, content: bytes, encoding: str | None = None) -> Document:
    """Read Markdown: headings by # and by underline, code listings as single blocks."""
    return _read(path, content, encoding, find_markdown)


def read_rst(path: str, content: bytes, encoding: str | None = None) -> Document:
    """Read reStructuredText: headings by underline, levels by order of appearance."""
    return _read(path, content, encoding, find_rst)


def _read(
    path: str, content: bytes, encoding: str | None, find: Callable[[str], tuple[Block, ...]]
) -> Document:
    name = Path(path).name
    text, found = raw.decode(content, name, encoding)
    lines = text.count("\n") + text.count("\r")
    if lines > limits.TEXT_LINES:
        raise LimitExceeded(
            f"{name!r} has {counted(lines, 'line')}; at most {limits.TEXT_LINES:,} are read.",
            "Split the file or leave it out.",
        )
    return Document(path, "text", text, find(text), notes=raw.encoding_notes(found, encoding))


class _Paragraph:
    """The lines of the current paragraph, which becomes a block when it is closed."""

    def __init__(self, text: str, outline: Outline) -> None:
        self._text = text
        self._outline = outline
        self._reset()

    def _reset(self) -> None:
        self.lines: list[str] = []  # the first three; a heading does not have more
        self._start = self._end = self._line = 0

    def take(self, start: int, end: int, number: int) -> None:
        """Add the line `start:end`, which is line `number` of the file."""
        line = self._text[start:end]
        if not self.lines:
            self._start, self._line = start + len(line) - len(line.lstrip()), number
        if len(self.lines) < 3:
            self.lines.append(line)
        if content := line.rstrip():
            self._end = start + len(content)

    def close(self) -> None:
        """Add the collected lines, if any, as a paragraph."""
        if self.lines:
            self._outline.add(self._start, self._end, self._line)
            self._reset()

    def close_as_heading(self, level: int, title: str, end: int) -> None:
        """Add the collected lines, up to `end`, as a heading."""
        self._outline.heading(level, title, self._start, end, self._line)
        self._reset()


def _lines(text: str) -> Iterator[tuple[int, int]]:
    for match in _LINE.finditer(text):
        if match.end() > match.start():
            yield match.span(1)


def find_paragraphs(text: str) -> tuple[Block, ...]:
    """Return the blocks of plain text: runs of lines between blank ones.

    The first paragraph, or first line, is the title if it is short and not a sentence; a later
    such paragraph is the heading of what follows, unless that is short as well.
    """
    outline = Outline()
    paragraphs = _split_title(text, list(_paragraphs(text)))
    for position, (start, end, line) in enumerate(paragraphs):
        following = "".join(text[s:e] for s, e, _ in paragraphs[position + 1 : position + 2])
        title = text[start:end]
        if _is_title(title) and following and (position == 0 or not _is_title(following)):
            outline.heading(1 if position == 0 else 2, title, start, end, line)
        else:
            outline.add(start, end, line)
    return outline.finish()


def _paragraphs(text: str) -> Iterator[tuple[int, int, int]]:
    begin = last = first = 0
    for number, (start, end) in enumerate(_lines(text), 1):
        line = text[start:end]
        if line.strip():
            if not first:
                begin, first = start + len(line) - len(line.lstrip()), number
            last = start + len(line.rstrip())
        elif first:
            yield begin, last, first
            first = 0
    if first:
        yield begin, last, first


def _split_title(text: str, paragraphs: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    for start, end, line in paragraphs[:1]:
        parts = _LINE_END.split(text[start:end], maxsplit=1)
        if len(parts) == 2 and len(parts[0]) <= _SHORT_TITLE and _is_title(parts[0].rstrip()):
            body = parts[1].lstrip()
            if body[:1].isupper() and len(_LINE_END.split(body, maxsplit=1)[0]) > _SHORT_TITLE:
                title = (start, start + len(parts[0].rstrip()), line)
                return [title, (end - len(body), end, line + 1), *paragraphs[1:]]
    return paragraphs


def _is_title(line: str) -> bool:
    return (
        len(line) <= _TITLE
        and line[:1].isalnum()
        and not line[:1].islower()
        and _SENTENCE_END.search(line) is None
        and _LINE_END.search(line) is None
        and _NO_TITLE.match(line) is None
    )


def find_markdown(text: str) -> tuple[Block, ...]:
    """Return the blocks of Markdown; # is not a heading in code listings and front matter."""
    outline = Outline()
    paragraph = _Paragraph(text, outline)
    front_matter = _front_matter_end(text)
    fence = ""
    for number, (start, end) in enumerate(_lines(text), 1):
        line = text[start:end]
        special = line if len(line) <= _SPECIAL_LINE else ""
        opened = _FENCE.match(special)
        if start < front_matter:
            paragraph.take(start, end, number)
        elif fence:
            paragraph.take(start, end, number)
            if special.strip().startswith(fence) and not special.strip().strip(fence[0]):
                paragraph.close()
                fence = ""
        elif opened:
            paragraph.close()
            paragraph.take(start, end, number)
            fence = opened.group(1)
        elif not line.strip():
            paragraph.close()
        elif heading := _hash_heading(special):
            paragraph.close()
            outline.heading(heading[0], heading[1], start, end, number)
        elif underlined := _MARKDOWN_UNDERLINE.match(special):
            title = _underlined_title(paragraph.lines)
            if title:
                level = 1 if underlined.group(1) == "=" else 2
                paragraph.close_as_heading(level, title, end)
            else:
                paragraph.take(start, end, number)
        else:
            paragraph.take(start, end, number)
        if end < front_matter <= end + 2:
            paragraph.close()
    paragraph.close()
    return outline.finish()


def _front_matter_end(text: str) -> int:
    """Return the offset after a `---` block at the top of the file, or 0."""
    first = _LINE.match(text)
    if first is None or first.group(1).rstrip() != "---":
        return 0
    closing = _FRONT_MATTER_END.search(text, first.end())
    return closing.end() + 1 if closing else 0


def _hash_heading(line: str) -> tuple[int, str] | None:
    match = _MARKDOWN_HEADING.match(line)
    if match is None:
        return None
    title = match.group(2).strip()
    bare = title.rstrip("#")
    if bare != title and (not bare or bare[-1] in " \t"):
        title = bare.rstrip()
    if not title or len(title) > HEADING_CHARACTERS:
        return None
    return len(match.group(1)), title


def _underlined_title(lines: list[str]) -> str:
    if not lines or len(lines) > 2 or _NO_TITLE.match(lines[0]):
        return ""
    title = " ".join(line.strip() for line in lines)
    return title if len(title) <= HEADING_CHARACTERS else ""


def find_rst(text: str) -> tuple[Block, ...]:
    """Return the blocks of reStructuredText."""
    outline = Outline()
    paragraph = _Paragraph(text, outline)
    styles: list[str] = []
    for number, (start, end) in enumerate(_lines(text), 1):
        line = text[start:end]
        if not line.strip():
            paragraph.close()
            continue
        style, title = _rst_title(paragraph.lines, line)
        if title:
            if style not in styles:
                styles.append(style)
            paragraph.close_as_heading(styles.index(style) + 1, title, end)
        else:
            paragraph.take(start, end, number)
    paragraph.close()
    return outline.finish()


def _rst_title(lines: list[str], underline: str) -> tuple[str, str]:
    if len(underline) > _SPECIAL_LINE or not _RST_UNDERLINE.match(underline):
        return "", ""
    underline = underline.rstrip()
    overlined = len(lines) == 2 and lines[0].rstrip() == underline
    if len(lines) != 1 + overlined:
        return "", ""
    title = lines[-1].rstrip()
    indented = title[:1].isspace() and not overlined
    short = len(underline) < min(len(title), 4)
    if indented or short or len(title) > HEADING_CHARACTERS or _RST_UNDERLINE.match(title):
        return "", ""
    return underline[0] * (1 + overlined), title.strip()
