"""Presentations (.pptx): slides in order, with tables, diagrams, notes and comments.

The number of a slide is its page. Hidden slides and shapes are left out and counted.
"""

from collections.abc import Mapping
from typing import ClassVar

from ... import limits
from .archive import Archive, Prose, open_archive
from .document import Assembly, Document

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
