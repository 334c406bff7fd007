"""HTML: headings, paragraphs, lists and tables as text; what a browser does not show is dropped."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ... import limits
from ...errors import BadFile
from .. import raw
from .document import Assembly, Document

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode


# ruff: noqa: SIM905  word lists


_DROPPED = frozenset(
    "script style template noscript svg iframe object canvas select datalist".split()
)
_BLOCKS = frozenset(
    """address article aside blockquote body center dd details dialog div dl dt fieldset
    figcaption figure footer form header hr legend li main nav ol p pre search section summary
    table ul""".split()
)
_HEADINGS = {"title": 0, "h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
_BULLET = "- "
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s{0,5}=\s{0,5}[\"']?([A-Za-z0-9_-]{1,40})", re.I)
_SPACES = re.compile(r"[ \t\r\n\f]+")


def read_html(path: str, content: bytes) -> Document:
    """Read an HTML page."""
    from selectolax.lexbor import LexborHTMLParser

    root = LexborHTMLParser(_decode(content, Path(path).name)).root
    page = _Page()
    if root is not None:
        for node, entering in _walk(root):
            page.see(node, entering)
    page.flush()
    return page.assembly.finish(path)


def _decode(content: bytes, name: str) -> str:
    """Decode as any text file, else as the page itself declares."""
    try:
        return raw.decode(content, name)
    except BadFile:
        declared = _CHARSET.search(content[:2048])
        if declared is None or raw.is_binary(content):
            raise
        label = declared.group(1).decode("ascii").lower()
        # the encoding standard of the web reads latin-1 as its superset
        label = "windows-1252" if label in {"iso-8859-1", "latin1", "us-ascii"} else label
        try:
            return content.decode(label)
        except (LookupError, UnicodeError):
            raise BadFile(
                f"{name!r} declares the encoding {label!r} and is not in it.",
                "Save it as UTF-8.",
            ) from None


def _walk(root: "LexborNode") -> Iterator[tuple["LexborNode", bool]]:
    """Every node on the way in and on the way out; no recursion, as pages may be deep."""
    node = root
    depth = 0
    while True:
        yield node, True
        child = None if node.tag in _DROPPED else node.first_child
        if child is not None:
            node = child
            depth += 1
            continue
        while True:
            yield node, False
            if depth == 0:
                return
            following = node.next
            if following is not None:
                node = following
                break
            parent = node.parent
            if parent is None:
                return
            node = parent
            depth -= 1


class _Page:
    """Gathers running text, and makes a block of it wherever a block of the page ends."""

    def __init__(self) -> None:
        self.assembly = Assembly(limits.DOCUMENT_TEXT)
        self._pieces: list[str] = []
        self._heading: str | None = None  # tag of the heading that is open
        self._preformatted = 0

    def see(self, node: "LexborNode", entering: bool) -> None:
        """Take in one step of the walk."""
        tag = node.tag or ""
        if tag == "-text":
            if entering:
                self._take(node.text_content or "")
        elif tag in _HEADINGS:
            self._see_heading(tag, entering)
        elif self._heading is not None:
            self._pieces.append(" " if tag in _BLOCKS or tag == "br" else "")
        elif tag in _BLOCKS:
            self._see_block(tag, entering)
        elif tag == "br":
            self._pieces.append("\n" if entering else "")
        elif tag == "tr":
            self._pieces.append("\n")
        elif tag in {"td", "th"} and entering and self._row_is_begun():
            self._pieces.append(" | ")

    def flush(self) -> None:
        """What was gathered is a block."""
        text = "".join(self._pieces)
        self._pieces.clear()
        if not self._preformatted:
            lines = (_SPACES.sub(" ", line).strip() for line in text.split("\n"))
            text = "\n".join(line for line in lines if line)
        if text.strip() != _BULLET.strip():
            self.assembly.add(text)

    def _take(self, text: str) -> None:
        self._pieces.append(text if self._preformatted else _SPACES.sub(" ", text))

    def _see_heading(self, tag: str, entering: bool) -> None:
        if entering and self._heading is None:
            self.flush()
            self._heading = tag
        elif not entering and self._heading == tag:
            self.assembly.heading(_HEADINGS[tag], "".join(self._pieces))
            self._pieces.clear()
            self._heading = None

    def _see_block(self, tag: str, entering: bool) -> None:
        if not entering or self._pieces != [_BULLET]:  # <li><p> is one item
            self.flush()
        if tag == "pre":
            self._preformatted += 1 if entering else -1
        if tag == "li" and entering:
            self._pieces.append(_BULLET)

    def _row_is_begun(self) -> bool:
        return bool(self._pieces) and self._pieces[-1] != "\n"
