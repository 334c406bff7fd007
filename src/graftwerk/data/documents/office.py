"""Office documents: Word (.docx), PowerPoint (.pptx) and LibreOffice (.odt).

Of Word headers and footers, the body, footnotes, endnotes and comments; of presentations slides in
order, with tables, diagrams, notes and comments.

"""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from ... import limits
from ...errors import BadFile
from .archive import Archive, Handler, Prose, open_archive
from .document import IMAGES, OBJECTS, Assembly, Document

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


_TITLES = frozenset({"title", "ctrTitle"})
_FIELDS = frozenset({"sldNum", "dt", "ftr", "hdr", "sldImg"})  # placeholders repeated on each page
_PARTS = ("diagramData", "notesSlide", "comments")
_SHAPES = frozenset({"sp", "pic", "graphicFrame", "cxnSp", "grpSp"})


class _Slide(Prose):
    roles: ClassVar[Mapping[str, str]] = {
        "p": "paragraph",
        "text": "paragraph",
        "tbl": "table",
        "tr": "row",
        "tc": "cell",
    }
    breaks: ClassVar[Mapping[str, str]] = {"br": "\n", "tab": "\t"}

    def __init__(self, assembly: Assembly) -> None:
        super().__init__(assembly)
        self._in_text = False
        self._title = False
        self._field = 0  # depth in a placeholder with the same text on each page
        self._invisible = 0  # depth in a hidden shape
        self._fallback = 0
        self._depth: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth.append(name)
        depth = len(self._depth)
        if not self._fallback:
            self.count(name)
        if name in _SHAPES:
            self._title = False
        if name == "Fallback":
            self._fallback = self._fallback or depth
        elif name == "cNvPr" and attributes.get("hidden") in {"1", "true"}:
            self._invisible = self._invisible or depth - 2  # the shape around its properties
        elif name == "ph" and attributes.get("type") in _FIELDS:
            self._field = self._field or depth - 3
        elif name == "ph" and attributes.get("type") in _TITLES:
            self._title = True
        elif name == "t":
            self._in_text = True
        elif self.begin(name) and self.roles.get(name) == "paragraph":
            self._paragraphs[-1].level = 1 if self._title else None
            self._in_text = name == "text"  # of a comment

    def end(self, name: str) -> None:
        if name in {"t", "text"}:
            self._in_text = False
        self.finish(name)
        depth = len(self._depth)
        self._depth.pop()
        self._invisible = 0 if self._invisible >= depth else self._invisible
        self._field = 0 if self._field >= depth else self._field
        self._fallback = 0 if self._fallback >= depth else self._fallback

    def characters(self, text: str) -> None:
        if self._in_text and not self._field and not self._fallback:
            self.take(text, hidden=bool(self._invisible))


def read_pptx(path: str, content: bytes) -> Document:
    """Read a presentation."""
    with open_archive(path, content) as archive:
        main = archive.main("presentation", "ppt/presentation.xml")
        order = [entry.get("r:id", "") for _, entry in archive.elements(main, "sldId")]
        parts = {found.id: found.part for found in archive.relations(main)}
        slide = _Slide(Assembly(limits.DOCUMENT_TEXT))
        for number, name in enumerate(order, 1):
            _read_slide(archive, parts.get(name, ""), number, slide)
        return slide.assembly.finish(path)


def _read_slide(archive: Archive, part: str, number: int, slide: _Slide) -> None:
    if part not in archive.parts:
        slide.assembly.drop("slides that the file does not hold")
    elif any(seen.get("show") in {"0", "false"} for _, seen in archive.elements(part, "sld")):
        slide.assembly.drop("hidden slides left out")
    else:
        slide.page = number
        slide.assembly.leave()
        archive.feed(part, slide)
        beside = sorted(archive.relations(part), key=lambda found: found.kind)
        for found in beside:
            if found.kind in _PARTS:
                archive.feed(found.part, slide)


_NAMES = frozenset({"creator", "date", "initials", "sender-initials"})  # metadata of a comment
_SPANS = frozenset({"span", "section", "hidden-text"})
_STYLED = ("styles.xml", "content.xml")
_MOST_SPACES = 100


def _hidden_styles(archive: Archive, part: str) -> Iterator[str]:
    style = ""
    for name, attributes in archive.elements(part, "style", "text-properties"):
        if name == "style":
            style = attributes.get("name", "")
        elif attributes.get("display") == "none":
            yield style


class _Text(Prose):
    """Builder of blocks from a part.

    Args:
        assembly: receives the blocks.
        hidden: styles that hide their text.
        only: elements whose content is read.
    """

    roles: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("p", "h"), "paragraph"),
        "table": "table",
        "table-row": "row",
        **dict.fromkeys(("table-cell", "covered-table-cell"), "cell"),
    }
    breaks: ClassVar[Mapping[str, str]] = {"tab": "\t", "line-break": "\n"}
    figures: ClassVar[Mapping[str, str]] = {
        "image": IMAGES,
        **dict.fromkeys(("object", "object-ole", "plugin"), OBJECTS),
    }

    def __init__(self, assembly: Assembly, hidden: set[str], only: frozenset[str]) -> None:
        super().__init__(assembly)
        self._hiding = hidden
        self._only = only
        self._path: list[str] = []  # open elements inside the content that is read
        self._dropping = 0  # depth in content that is not shown, or is only metadata
        self._invisible: list[bool] = []  # for each open paragraph, span and section
        self._first = False  # whether the next paragraph begins a list item

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._path and name not in self._only:
            return
        inside = self._path[-1] if self._path else ""
        self._path.append(name)
        if not attributes.get("href", "").startswith("./ObjectReplacements"):  # an object's preview
            self.count(name)
        only_name = name == "note-citation" or (inside == "annotation" and name in _NAMES)
        if self._dropping or only_name or name == "tracked-changes":
            self._dropping += 1
            if name == "deletion":
                self.assembly.drop(_DELETED)
        elif name in _SPANS:
            said = attributes.get("display") == "none" or attributes.get("is-hidden") == "true"
            self._invisible.append(said or self._hides(attributes))
        elif name == "list-item":
            self._first = True
        elif name == "s":
            count = attributes.get("c", "1")
            self.take(" " * min(int(count) if count.isdecimal() else 1, _MOST_SPACES))
        elif self.begin(name) and self.roles.get(name) == "paragraph":
            self._begin_paragraph(name, attributes)

    def _begin_paragraph(self, name: str, attributes: dict[str, str]) -> None:
        self._invisible.append(self._hides(attributes))
        paragraph = self._paragraphs[-1]
        paragraph.listed = self._first
        self._first = False
        if name == "h":
            level = attributes.get("outline-level", "1")
            paragraph.level = int(level) if level in set("0123456789") else 1

    def _hides(self, attributes: dict[str, str]) -> bool:
        return attributes.get("style-name", "") in self._hiding

    def end(self, name: str) -> None:
        if not self._path:
            return
        self._path.pop()
        if self._dropping:
            self._dropping -= 1
        elif name == "list-item":
            self._first = False
        elif name in _SPANS or self.roles.get(name) == "paragraph":
            self._invisible.pop()
            self.finish(name)
        else:
            self.finish(name)

    def characters(self, text: str) -> None:
        if self._path and not self._dropping:
            self.take(text, hidden=any(self._invisible))


_HEADERS = frozenset(
    f"{kind}{side}" for kind in ("header", "footer") for side in ("", "-left", "-first")
)


def read_odt(path: str, content: bytes) -> Document:
    """Read a text document."""
    with open_archive(path, content) as archive:
        if "content.xml" not in archive.parts:
            raise BadFile(
                f"{archive.name!r} is a zip file but not an OpenDocument text.", "Check what it is."
            )
        hidden = {style for part in _STYLED for style in _hidden_styles(archive, part)}
        assembly = Assembly(limits.DOCUMENT_TEXT)
        assembly.once = True
        archive.feed("styles.xml", _Text(assembly, hidden, _HEADERS))
        assembly.once = False
        archive.feed("content.xml", _Text(assembly, hidden, frozenset({"body"})))
        return assembly.finish(path)
