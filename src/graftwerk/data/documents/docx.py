"""What the elements of WordprocessingML mean; names are local names without their namespace.

Word documents: paragraphs, headings and tables, from a stream of XML with no tree in memory.

The archive is measured by its directory and again while it is inflated, and a document type
declaration is refused, so neither a zip bomb nor an entity bomb gets further than the limits.
"""

import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from xml.parsers import expat

from ... import limits
from ...errors import BadFile, LimitExceeded
from .document import Assembly, Document

_TITLE_LEVELS = {"title": 0, **{f"heading {n}": n for n in range(1, 10)}}
_BREAKS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "softHyphen": ""}
_MAIN = "/officeDocument"


class Relations:
    """Finds the main part in `_rels/.rels`."""

    def __init__(self) -> None:
        self.main = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        if name == "Relationship" and attributes.get("Type", "").endswith(_MAIN):
            self.main = attributes.get("Target", "").lstrip("/")

    def end(self, name: str) -> None:
        """An element ends."""

    def characters(self, text: str) -> None:
        """Text between tags."""


class Styles:
    """Which paragraph styles are headings, and of which level; from `styles.xml`."""

    def __init__(self) -> None:
        self._style = ""
        self._levels: dict[str, int] = {}
        self._parents: dict[str, str] = {}

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        value = attributes.get("val", "")
        if name == "style":
            self._style = attributes.get("styleId", "")
        elif name == "name" and value.lower() in _TITLE_LEVELS:
            self._levels[self._style] = _TITLE_LEVELS[value.lower()]
        elif name == "basedOn":
            self._parents[self._style] = value
        elif name == "outlineLvl" and value in set("012345678"):
            self._levels.setdefault(self._style, int(value) + 1)

    def end(self, name: str) -> None:
        """An element ends."""

    def characters(self, text: str) -> None:
        """Text between tags."""

    def level(self, style: str) -> int | None:
        """Heading level of a style or of what it is based on; None for other text."""
        seen: set[str] = set()
        while style and style not in seen:
            if style in self._levels:
                return self._levels[style]
            seen.add(style)
            style = self._parents.get(style, "")
        return None


class _Paragraph:
    """A paragraph that is open; text boxes put one inside another."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.level: int | None = None
        self.listed = False


class Body:
    """Makes blocks of the paragraphs and tables of a part."""

    def __init__(self, styles: Styles) -> None:
        self.assembly = Assembly(limits.DOCUMENT_TEXT)
        self._styles = styles
        self._paragraphs: list[_Paragraph] = []
        self._tables: list[list[list[str]]] = []  # open tables > rows > cells
        self._in_text = False
        self._fallback = 0  # depth in what repeats a drawing for old programs

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        if name == "Fallback" or self._fallback:
            self._fallback += 1
        elif name == "p":
            self._paragraphs.append(_Paragraph())
        elif name == "t":
            self._in_text = True
        elif name == "tbl":
            self._tables.append([])
        elif name == "tr" and self._tables:
            self._tables[-1].append([])
        elif name == "tc" and self._tables and self._tables[-1]:
            self._tables[-1][-1].append("")
        elif self._paragraphs:
            self._start_in_paragraph(name, attributes.get("val", ""), self._paragraphs[-1])

    def end(self, name: str) -> None:
        """An element ends."""
        if self._fallback:
            self._fallback -= 1
        elif name == "t":
            self._in_text = False
        elif name == "p" and self._paragraphs:
            self._end_paragraph(self._paragraphs.pop())
        elif name == "tbl" and self._tables:
            self._end_table(self._tables.pop())

    def characters(self, text: str) -> None:
        """Text between tags."""
        if self._in_text and self._paragraphs and not self._fallback:
            self._paragraphs[-1].pieces.append(text)

    def _start_in_paragraph(self, name: str, value: str, paragraph: _Paragraph) -> None:
        if name in _BREAKS:
            paragraph.pieces.append(_BREAKS[name])
        elif name == "pStyle":
            paragraph.level = self._styles.level(value)
        elif name == "outlineLvl" and value in set("012345678"):
            paragraph.level = int(value) + 1
        elif name == "numPr":
            paragraph.listed = True

    def _end_paragraph(self, paragraph: _Paragraph) -> None:
        text = "".join(paragraph.pieces).strip()
        if not text:
            return
        if self._tables:
            self._put_in_cell(text)
        elif paragraph.level is not None:
            self.assembly.heading(paragraph.level, text)
        else:
            self.assembly.add(f"- {text}" if paragraph.listed else text)

    def _end_table(self, rows: list[list[str]]) -> None:
        lines = (" | ".join(" ".join(cell.split()) for cell in row) for row in rows)
        text = "\n".join(line for line in lines if line.strip(" |"))
        if text and self._tables:
            self._put_in_cell(text)
        else:
            self.assembly.add(text)

    def _put_in_cell(self, text: str) -> None:
        table = self._tables[-1]
        if not table or not table[-1]:  # malformed: text outside any cell
            self.assembly.add(text)
            return
        row = table[-1]
        row[-1] = f"{row[-1]}\n{text}" if row[-1] else text


_PIECE = 1 << 16
_OLD_WORD = b"\xd0\xcf\x11\xe0"  # OLE: a .doc, or a .docx with a password


def read_docx(path: str, content: bytes) -> Document:
    """Read a Word document: its body, then footnotes and endnotes."""
    name = Path(path).name
    try:
        with _open_archive(BytesIO(content), name) as archive:
            return _read_parts(archive, path)
    except (zipfile.BadZipFile, EOFError, expat.ExpatError, NotImplementedError) as error:
        raise BadFile(
            f"{name!r} is damaged: {error}.", "Open it in a word processor and save it again."
        ) from error


def _open_archive(file: BytesIO, name: str) -> zipfile.ZipFile:
    """Open the archive once its directory keeps the limits."""
    if file.read(4) == _OLD_WORD:
        raise BadFile(
            f"{name!r} is encrypted or an old .doc.", "Save it as .docx without a password."
        )
    archive = zipfile.ZipFile(file)
    entries = archive.infolist()
    packed = max(1, sum(entry.compress_size for entry in entries))
    unpacked = sum(entry.file_size for entry in entries)
    if len(entries) > limits.ZIP_ENTRIES:
        raise LimitExceeded(f"{name!r} has {len(entries):,} parts.", _hint())
    if unpacked > limits.ZIP_UNPACKED or unpacked / packed > limits.ZIP_RATIO:
        raise LimitExceeded(
            f"{name!r} unpacks {packed:,} bytes to {unpacked:,}.",
            _hint(),
        )
    if any(entry.flag_bits & 1 for entry in entries):
        raise BadFile(f"{name!r} is encrypted.", "Save a copy without a password.")
    return archive


def _hint() -> str:
    return (
        f"At most {limits.ZIP_ENTRIES:,} parts, {limits.ZIP_UNPACKED:,} bytes and "
        f"{limits.ZIP_RATIO} times the packed size are read."
    )


def _read_parts(archive: zipfile.ZipFile, path: str) -> Document:
    name = Path(path).name
    present = set(archive.namelist())
    relations = Relations()
    _feed(archive, "_rels/.rels", present, relations)
    main = relations.main or "word/document.xml"
    if main not in present:
        raise BadFile(f"{name!r} is a zip file but no Word document.", "Check what it is.")
    folder = main.rpartition("/")[0]
    styles = Styles()
    _feed(archive, f"{folder}/styles.xml", present, styles)
    body = Body(styles)
    for part in (main, f"{folder}/footnotes.xml", f"{folder}/endnotes.xml"):
        _feed(archive, part, present, body)
    return body.assembly.finish(path)


def _feed(
    archive: zipfile.ZipFile, part: str, present: set[str], handler: Relations | Styles | Body
) -> None:
    """Parse one part of the archive, if it is there, into `handler`."""
    if part not in present:
        return
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = lambda name, attributes: handler.start(
        name.rpartition(" ")[2], {key.rpartition(" ")[2]: v for key, v in attributes.items()}
    )
    parser.EndElementHandler = lambda name: handler.end(name.rpartition(" ")[2])
    parser.CharacterDataHandler = handler.characters
    for piece in _inflate(archive, part):
        parser.Parse(piece, False)
    parser.Parse(b"", True)


def _inflate(archive: zipfile.ZipFile, part: str) -> Iterator[bytes]:
    """Content of a part, piece by piece, counted: the directory may have lied."""
    packed = max(1, archive.getinfo(part).compress_size)
    unpacked = 0
    with archive.open(part) as stream:
        while piece := stream.read(_PIECE):
            unpacked += len(piece)
            allowed = min(limits.XML_PART, max(packed * limits.ZIP_RATIO, _PIECE))
            if unpacked > allowed:
                raise LimitExceeded(
                    f"part {part!r} of the document unpacks to over {allowed:,} bytes.", _hint()
                )
            yield piece


def _refuse_doctype(*_: object) -> None:
    raise BadFile(
        "a part of the document has a document type declaration, which Word never writes.",
        "Open it in a word processor and save it again.",
    )
