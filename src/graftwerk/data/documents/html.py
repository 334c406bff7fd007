"""HTML: headings, paragraphs, lists and tables as text, without what browsers hide."""

import re
from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ... import limits
from .. import raw
from .document import IMAGES, OBJECTS, Assembly, Document

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode


# ruff: noqa: SIM905  word lists


_DROPPED = frozenset("script style svg iframe object canvas".split())
_CLOSED = "template, noscript, select, datalist"
_BLOCKS = frozenset(
    """address article aside blockquote body center dd details dialog div dl dt fieldset
    figcaption figure footer form header hr legend li main nav ol p pre search section summary
    table ul""".split()
)
_BOXES = frozenset({"button", "textarea", "meter", "progress"})  # separated from adjacent text
_HEADINGS = {"title": 0, "h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
_FIGURES = {
    **dict.fromkeys(("img", "svg", "canvas"), IMAGES),
    **dict.fromkeys(("video", "audio", "iframe", "object", "embed"), OBJECTS),
}
_BULLET = "- "
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s{0,5}=\s{0,5}[\"']?([A-Za-z0-9_-]{1,40})", re.I)
_DECLARATION = re.compile(rb"\s{0,9}<\?xml[^>]{0,200}encoding=[\"']([A-Za-z0-9_-]{1,40})")
_DISPLAY = re.compile(
    r"(?:^|[;{\s])(display|visibility)\s{0,5}:\s{0,5}([a-z-]{1,30})", re.IGNORECASE
)
_COMMENT = re.compile(r"/\*(?:[^*]|\*(?!/))*+(?:\*/|\Z)")
_BRACE = re.compile(r"([{}])")
_CLASS, _TAG = re.compile(r"[.\[:]"), re.compile(r"(?:^|[\s>+~])[a-zA-Z]")
_STYLE_CHARACTERS, _MOST_RULES = 1_000_000, 300
_SPACES = re.compile(r"[ \t\r\n\f]+")


def read_html(path: str, content: bytes, encoding: str | None = None) -> Document:
    """Read an HTML page."""
    assembly = Assembly(limits.DOCUMENT_TEXT)
    text, found = decode(content, Path(path).name, encoding)
    read_page(text, assembly)
    return assembly.finish(path, raw.encoding_notes(found, encoding))


def read_page(text: str, assembly: Assembly, number: int | None = None) -> None:
    """Add the visible text of a page to a document, as its page `number`."""
    from selectolax.lexbor import LexborHTMLParser

    parser = LexborHTMLParser(text)
    page = _Page(assembly, number)
    if parser.root is not None:
        hidden = _hidden(parser)
        for node, entering in _walk(parser.root, hidden):
            if node.mem_id not in hidden:
                page.see(node, entering)
            elif entering and (node.text() or "").strip():
                assembly.drop("hidden elements left out")
    page.flush()


def _hidden(parser: "LexborHTMLParser") -> set[int]:
    from selectolax.lexbor import SelectolaxError

    shown: dict[int, tuple[int, bool]] = {}  # by element: specificity of the rule, and visibility
    for node in parser.css("[hidden]"):
        if (node.attributes.get("hidden") or "").lower() != "until-found":
            shown[node.mem_id] = (-1, False)
    for selector, visible in _rules(parser):
        weight = 10_000 * selector.count("#") + 100 * len(_CLASS.findall(selector))
        weight += len(_TAG.findall(selector))
        try:
            nodes = parser.css(selector)
        except SelectolaxError:  # selectors unknown to the library do not match
            continue
        for node in nodes:
            if weight >= shown.get(node.mem_id, (-2, True))[0]:
                shown[node.mem_id] = (weight, visible)
    for node in parser.css("[style]"):
        own = _is_visible(node.attributes.get("style") or "")
        if own is not None:
            shown[node.mem_id] = (0, own)
    closed = {node.mem_id for node in parser.css(_CLOSED)}
    return closed | {element for element, (_, seen) in shown.items() if not seen}


def _is_visible(declarations: str) -> bool | None:
    """Whether style declarations make an element visible; None if they do not decide."""
    said = {name.lower(): value.lower() for name, value in _DISPLAY.findall(declarations)}
    if not said:
        return None
    return said.get("display") != "none" and said.get("visibility") not in {"hidden", "collapse"}


def _rules(parser: "LexborHTMLParser") -> Iterator[tuple[str, bool]]:
    left = _MOST_RULES
    for style in parser.css("style"):
        sheet = _COMMENT.sub(" ", (style.text() or "")[:_STYLE_CHARACTERS])
        opened: list[str] = []  # text before each open brace
        piece = ""
        for part in _BRACE.split(sheet):
            if part == "{":
                opened.append(piece.rpartition(";")[2].strip())
            elif part == "}" and opened:
                selectors = opened.pop()
                visible = _is_visible(piece)
                # rules inside @media and similar blocks apply to some screens only
                if opened or visible is None or selectors.startswith("@"):
                    continue
                for selector in filter(None, map(str.strip, selectors.split(","))):
                    if left:
                        left -= 1
                        yield selector, visible
            piece = part


def decode(content: bytes, name: str, encoding: str | None = None) -> tuple[str, str]:
    """Decode like any text file, or else in the encoding that the page declares."""
    head = content[:2048]
    found = _DECLARATION.match(head) or _CHARSET.search(head)
    declared = found.group(1).decode("ascii").lower() if found else None
    # the WHATWG encoding standard decodes latin-1 as its superset
    latin = declared in {"iso-8859-1", "latin1", "us-ascii"}
    return raw.decode(content, name, encoding, "windows-1252" if latin else declared)


def _walk(root: "LexborNode", hidden: Container[int]) -> Iterator[tuple["LexborNode", bool]]:
    """Yield every node on entering and leaving, without the content of hidden ones.

    There is no recursion, as the tree may be deep.
    """
    node = root
    depth = 0
    while True:
        yield node, True
        dropped = node.tag in _DROPPED or node.mem_id in hidden
        child = None if dropped else node.first_child
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
    """Collector of running text, which adds a block at the end of each block element."""

    def __init__(self, assembly: Assembly, number: int | None) -> None:
        self.assembly = assembly
        self._number = number
        self._pieces: list[str] = []
        self._heading: str | None = None  # tag of the open heading
        self._preformatted = 0

    def see(self, node: "LexborNode", entering: bool) -> None:
        """Process one step of the walk."""
        tag = node.tag or ""
        if entering and tag in _FIGURES:
            self.assembly.drop(_FIGURES[tag])
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
        elif tag in _BOXES:
            self._pieces.append(" ")
        elif tag == "tr":
            self._pieces.append("\n")
        elif tag in {"td", "th"} and entering and self._row_is_begun():
            self._pieces.append(" | ")

    def flush(self) -> None:
        """Add the collected text as a block."""
        text = "".join(self._pieces)
        self._pieces.clear()
        if not self._preformatted:
            lines = (_SPACES.sub(" ", line).strip() for line in text.split("\n"))
            text = "\n".join(line for line in lines if line)
        if text.strip() != _BULLET.strip():
            self.assembly.add(text, page=self._number)

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
