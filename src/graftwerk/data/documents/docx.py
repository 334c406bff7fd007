"""Word documents: headers and footers, the body, footnotes, endnotes and comments.

Tracked changes are read as accepted, and hidden text is left out; both are counted.
"""

from collections.abc import Mapping
from typing import ClassVar

from ... import limits
from .archive import Handler, Prose, open_archive
from .document import Assembly, Document

_TITLE_LEVELS = {"title": 0, **{f"heading {n}": n for n in range(1, 10)}}
_OUTLINE_LEVELS = frozenset("012345678")
_BESIDE = ("header", "footer")
_AFTER = ("diagramData", "footnotes", "endnotes", "comments")
_USUAL = {"footnotes": "footnotes.xml", "endnotes": "endnotes.xml"}  # if no relation names them
# elements whose content is not shown once changes are accepted, and their description
_DROPPED = {"Fallback": "", "moveFrom": "moved texts read at their new place", "del": ""}
_DELETED = "tracked deletions left out"


def _is_on(attributes: dict[str, str]) -> bool:
    return attributes.get("val", "true") not in {"0", "false", "off"}


class Styles(Handler):
    """Heading levels and visibility of styles, from `styles.xml`."""

    def __init__(self) -> None:
        self._style = ""
        self._levels: dict[str, int] = {}
        self._hidden: dict[str, bool] = {}
        self._parents: dict[str, str] = {}
        self._in_paragraph = False  # in the properties of the paragraph's mark, not of its text

    def start(self, name: str, attributes: dict[str, str]) -> None:
        value = attributes.get("val", "")
        if name == "style":
            self._style = attributes.get("styleId", "")
        elif name == "name" and value.lower() in _TITLE_LEVELS:
            self._levels[self._style] = _TITLE_LEVELS[value.lower()]
        elif name == "basedOn":
            self._parents[self._style] = value
        elif name == "outlineLvl" and value in _OUTLINE_LEVELS:
            self._levels.setdefault(self._style, int(value) + 1)
        elif name == "pPr":
            self._in_paragraph = True
        elif name == "vanish" and not self._in_paragraph:
            self._hidden[self._style] = _is_on(attributes)

    def end(self, name: str) -> None:
        if name == "pPr":
            self._in_paragraph = False

    def level(self, style: str) -> int | None:
        """Return the heading level of a style, which it may inherit; None for other text."""
        return next((self._levels[one] for one in self._line(style) if one in self._levels), None)

    def is_hidden(self, style: str) -> bool:
        """Whether text of a style is hidden."""
        return next((self._hidden[one] for one in self._line(style) if one in self._hidden), False)

    def _line(self, style: str) -> list[str]:
        seen: dict[str, None] = {}
        while style and style not in seen:
            seen[style] = None
            style = self._parents.get(style, "")
        return list(seen)


class Body(Prose):
    """Builder of blocks from the paragraphs and tables of a part."""

    roles: ClassVar[Mapping[str, str]] = {
        "p": "paragraph",
        "tbl": "table",
        "tr": "row",
        "tc": "cell",
    }
    breaks: ClassVar[Mapping[str, str]] = {
        "tab": "\t",
        "br": "\n",
        "cr": "\n",
        "noBreakHyphen": "-",
    }

    def __init__(self, styles: Styles, assembly: Assembly) -> None:
        super().__init__(assembly)
        self._styles = styles
        self._in_text = False
        self._in_mark = False  # properties of the paragraph's mark
        self._dropping = 0  # depth in content that is not shown
        self._style = False  # whether the paragraph's style is hidden
        self._vanished: bool | None = None  # the run's own setting

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name in _DROPPED or self._dropping:
            self._dropping += 1
            self._count(name)
            return
        self.count(name)
        if name == "t":
            self._in_text = True
        elif not (self._in_mark and name in self.breaks) and self.begin(name):  # tab: where one is
            self._style = self._style and name != "p"
        elif self._paragraphs:
            self._start_in_paragraph(name, attributes)

    def end(self, name: str) -> None:
        if self._dropping:
            self._dropping -= 1
        elif name == "t":
            self._in_text = False
        elif name == "pPr":
            self._in_mark = False
        else:
            self.finish(name)

    def characters(self, text: str) -> None:
        if self._in_text and not self._dropping:
            hidden = self._style if self._vanished is None else self._vanished
            self.take(text, hidden=hidden)

    def _count(self, name: str) -> None:
        if name == "delText":
            self.assembly.drop(_DELETED)
        elif said := _DROPPED.get(name):
            self.assembly.drop(said)

    def _start_in_paragraph(self, name: str, attributes: dict[str, str]) -> None:
        value, paragraph = attributes.get("val", ""), self._paragraphs[-1]
        if name == "pPr":
            self._in_mark = True
        elif name == "r":
            self._vanished = None
        elif name == "pStyle":
            paragraph.level = self._styles.level(value)
            self._style = self._styles.is_hidden(value)
        elif name == "rStyle" and self._styles.is_hidden(value):
            self._vanished = True
        elif name == "vanish":
            self._vanished = _is_on(attributes)
        elif name == "outlineLvl" and value in _OUTLINE_LEVELS:
            paragraph.level = int(value) + 1
        elif name == "numPr":
            paragraph.listed = True


def read_docx(path: str, content: bytes) -> Document:
    """Read a Word document."""
    with open_archive(path, content) as archive:
        main = archive.main("Word document", "word/document.xml")
        folder = main.rpartition("/")[0]
        beside: list[str] = []
        after: list[str] = []
        for found in archive.relations(main):
            if found.kind in _BESIDE:
                beside.append(found.part)
            elif found.kind in _AFTER:
                after.append(found.part)
        after += [f"{folder}/{name}" for name in _USUAL.values()]
        styles = Styles()
        archive.feed(f"{folder}/styles.xml", styles)
        body = Body(styles, Assembly(limits.DOCUMENT_TEXT))
        body.assembly.once = True  # every section and page side may have the same header
        for part in sorted(set(beside)):
            archive.feed(part, body)
        body.assembly.once = False
        archive.feed(main, body)
        body.assembly.leave()
        for part in dict.fromkeys(after):
            archive.feed(part, body)
        return body.assembly.finish(path)
