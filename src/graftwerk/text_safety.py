"""Untrusted text, of documents and file names, made safe for a terminal or a page.

The result is deterministic: wording alone cannot keep instructions in a document from a model.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape

_RETAINED = {"\n", "\t"}


def printable(text: str, keep_lines: bool = False) -> str:
    r"""Replace control, format (right-to-left marks) and surrogate characters by escapes.

    >>> printable("a\x1b[31mred\u202e")
    'a\\x1b[31mred\\u202e'
    """
    retained = _RETAINED if keep_lines else {"\t"}
    return "".join(
        character
        if character in retained or unicodedata.category(character) not in {"Cc", "Cf", "Cs"}
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def counted(number: int, one: str, many: str = "") -> str:
    """A count with its noun: `many` where there is not one, by default `one` with an s.

    >>> counted(1, "image"), counted(1200, "row is", "rows are")
    ('1 image', '1,200 rows are')
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


# ECMA-48 escape sequences: control sequences, strings (window titles, links), two-character ones.
_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-OQ-WYZ\\`-~])"
)
UNFINISHED_ESCAPE = re.compile(
    r"\r$|\x1b(?:\[[0-?]{0,100}[ -/]{0,9}|[\]PX^_][^\x07\x1b]{0,500}\x1b?|[ -/]{0,9})$"
)
# Control characters but tab and newline, and the marks that turn the direction of text.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
# Markdown's `![` and the start of an HTML tag; a space makes them text that loads nothing.
_LOADING = re.compile(r"!(?=\[)|<(?=[A-Za-z/])")
# `[1]` or `[1, 2]`; bounded on every side, so that no text makes the search quadratic.
CITATION = re.compile(r"\s{0,4}\[(?=[0-9\s,;]{1,80}\])\s*[0-9]{1,9}(?:\s*[,;]\s*[0-9]{1,9})*\s*\]")
UNFINISHED_LOADING = re.compile(r"[!<]$")


def strip_controls(text: str) -> str:
    """Return `text` without escape sequences and control characters."""
    return _CONTROL.sub("", _ESCAPE.sub("", text))


def disarm(text: str) -> str:
    """`text` with a space put into everything that would make a page load something."""
    return _LOADING.sub(r"\g<0> ", text)


def plain_text(text: str) -> str:
    """Return `text` without control characters, and with images and HTML tags disarmed."""
    return disarm(strip_controls(text))


def rewrite(
    pieces: Iterable[str], change: Callable[[str], str], unfinished: re.Pattern[str]
) -> Iterator[str]:
    """Apply `change` to a stream.

    Args:
        pieces: the stream.
        change: rewrites a stretch of text.
        unfinished: matches the end of a stretch that must wait for the next piece.
    """
    held = ""
    for piece in pieces:
        text = held + piece
        waiting = unfinished.search(text)
        end = waiting.start() if waiting else len(text)
        held = text[end:]
        if done := change(text[:end]):
            yield done
    if rest := change(held):
        yield rest


def shortened(text: str, most: int = 60) -> str:
    r"""Return `text` on one line, cut after `most` characters.

    >>> shortened("one two\nthree four", 11)
    'one two th…'
    """
    line = " ".join(text[: 10 * most].split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table of plain texts for notebooks; nothing in them acts as markup.

    >>> html_table(["a"], [["<b>"]])
    '<table><tr><th>a</th></tr><tr><td>&lt;b&gt;</td></tr></table>'
    """
    lines = [_html_row("th", head), *(_html_row("td", row) for row in rows)]
    return f"<table>{''.join(lines)}</table>"


def _html_row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{as_html(cell)}</{tag}>' for cell in cells)}</tr>"


def as_html(text: str) -> str:
    """Escape `text` for HTML; show control and direction characters as escapes."""
    return escape(printable(text, keep_lines=True))


def listed(counts: Mapping[str, int]) -> str:
    """Return counts of things in words, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return "; ".join(f"{count:,} {what}" for what, count in ordered)
