"""Text documents of LibreOffice (.odt).

Headers and footers, the body, footnotes and comments are read. Tracked changes are read as
accepted, and hidden text is left out; both are counted.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from ... import limits
from ...errors import BadFile
from .archive import Archive, Prose, open_archive
from .document import IMAGES, OBJECTS, Assembly, Document

_DELETED = "tracked deletions left out"
_NAMES = frozenset({"creator", "date", "initials", "sender-initials"})  # metadata of a comment
_SPANS = frozenset({"span", "section", "hidden-text"})
_PARTS = ("styles.xml", "content.xml")
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
        hidden = {style for part in _PARTS for style in _hidden_styles(archive, part)}
        assembly = Assembly(limits.DOCUMENT_TEXT)
        assembly.once = True
        archive.feed("styles.xml", _Text(assembly, hidden, _HEADERS))
        assembly.once = False
        archive.feed("content.xml", _Text(assembly, hidden, frozenset({"body"})))
        return assembly.finish(path)
