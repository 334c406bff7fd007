"""Documents stored as zipped XML, parsed as a stream of elements.

There is no tree in memory. The size is checked in the zip directory and again during
decompression, and document type declarations are refused, so that zip bombs and entity bombs are
stopped by the limits.
"""

import posixpath
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote
from xml.parsers import expat

from ... import limits
from ...errors import BadFile, LimitExceeded
from ...text_safety import counted
from .document import CHARTS, IMAGES, OBJECTS, Assembly

_PIECE = 1 << 16
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"  # OLE: a .doc or .ppt, or a new one with a password


class Handler:
    """Receiver of parser events; names are local names without their namespace."""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Handle the start of an element."""

    def end(self, name: str) -> None:
        """Handle the end of an element."""

    def characters(self, text: str) -> None:
        """Handle text between tags."""


@dataclass(frozen=True, slots=True)
class Relation:
    """Reference to another part: its kind (the last word of the type) and its location."""

    id: str
    kind: str
    part: str


class _Elements(Handler):
    def __init__(self, names: tuple[str, ...]) -> None:
        self.found: list[tuple[str, dict[str, str]]] = []
        self._names = names

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name in self._names:
            self.found.append((name, attributes))


class Archive:
    """An open document, as returned by `open_archive`.

    Attributes:
        name: of the file, for messages.
        parts: names of its parts.
    """

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self.name = name
        self.parts = frozenset(archive.namelist())
        self._archive = archive

    def feed(self, part: str, handler: Handler) -> bool:
        """Parse one part into `handler`; return whether the part exists."""
        if part not in self.parts:
            return False
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.StartElementHandler = lambda name, attributes: handler.start(
            name.rpartition(" ")[2], {_local(key): value for key, value in attributes.items()}
        )
        parser.EndElementHandler = lambda name: handler.end(name.rpartition(" ")[2])
        parser.CharacterDataHandler = handler.characters
        for piece in self._inflate(part):
            parser.Parse(piece, False)
        parser.Parse(b"", True)
        return True

    def read(self, part: str) -> bytes:
        """Return the content of one part."""
        return b"".join(self._inflate(part))

    def elements(self, part: str, *names: str) -> list[tuple[str, dict[str, str]]]:
        """Return elements by name, with attributes; none if the part is missing."""
        elements = _Elements(names)
        self.feed(part, elements)
        return elements.found

    def relations(self, part: str = "") -> list[Relation]:
        """Return the relations of a part, or of the whole document."""
        folder, name = posixpath.split(part)
        found = []
        links = posixpath.join(folder, "_rels", f"{name}.rels")
        for _, attributes in self.elements(links, "Relationship"):
            if attributes.get("TargetMode") != "External":
                target = posixpath.join("/", folder, attributes.get("Target", ""))
                kind = attributes.get("Type", "").rpartition("/")[2]
                part = posixpath.normpath(target).lstrip("/")
                found.append(Relation(attributes.get("Id", ""), kind, part))
        return found

    def main(self, kind: str, usual: str) -> str:
        """Return the name of the part that holds the document.

        Raises:
            BadFile: there is none.
        """
        named = [found.part for found in self.relations() if found.kind == "officeDocument"]
        main = named[-1] if named else usual
        if main not in self.parts:
            raise BadFile(f"{self.name!r} is a zip file but not a {kind}.", "Check what it is.")
        return main

    def _inflate(self, part: str) -> Iterator[bytes]:
        """Yield the content of a part in pieces.

        The bytes are counted, as the sizes in the directory may be wrong.
        """
        packed = max(1, self._archive.getinfo(part).compress_size)
        unpacked = 0
        with self._archive.open(part) as stream:
            while piece := stream.read(_PIECE):
                unpacked += len(piece)
                allowed = min(limits.XML_PART, max(packed * limits.ZIP_RATIO, _PIECE))
                if unpacked > allowed:
                    raise LimitExceeded(
                        f"part {part!r} of the document unpacks to over {allowed:,} bytes.", _hint()
                    )
                yield piece


def _local(key: str) -> str:
    namespace, _, name = key.rpartition(" ")
    return f"r:{name}" if namespace.endswith("/relationships") else name


@contextmanager
def open_archive(path: str, content: bytes) -> Iterator[Archive]:
    """Open a document if the directory of its zip is within the limits.

    Raises:
        BadFile: it is damaged, encrypted or of an old format; raised for the caller's work too.
        LimitExceeded: it unpacks to too much.
    """
    name, suffix = Path(path).name, Path(path).suffix
    if content[:4] == _OLD_OFFICE:
        raise BadFile(
            f"{name!r} is encrypted or an old {suffix[:4]}.",
            f"Save it as {suffix} without a password.",
        )
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            _measure(archive, name)
            yield Archive(archive, name)
    except (zipfile.BadZipFile, EOFError, expat.ExpatError, NotImplementedError) as error:
        raise BadFile(
            f"{name!r} is damaged: {error}.",
            "Open it in the program that made it and save it again.",
        ) from error


def _measure(archive: zipfile.ZipFile, name: str) -> None:
    entries = archive.infolist()
    packed = max(1, sum(entry.compress_size for entry in entries))
    unpacked = sum(entry.file_size for entry in entries)
    if len(entries) > limits.ZIP_ENTRIES:
        raise LimitExceeded(f"{name!r} has {counted(len(entries), 'part')}.", _hint())
    if unpacked > limits.ZIP_UNPACKED or unpacked / packed > limits.ZIP_RATIO:
        raise LimitExceeded(f"{name!r} unpacks {packed:,} bytes to {unpacked:,}.", _hint())
    if any(entry.flag_bits & 1 for entry in entries):
        raise BadFile(f"{name!r} is encrypted.", "Save a copy without a password.")


def _hint() -> str:
    return (
        f"At most {limits.ZIP_ENTRIES:,} parts, {limits.ZIP_UNPACKED:,} bytes and "
        f"{limits.ZIP_RATIO} times the packed size are read."
    )


def _refuse_doctype(*_: object) -> None:
    raise BadFile(
        "a part of the document has a document type declaration, which office programs never "
        "write.",
        "Open it in the program that made it and save it again.",
    )


def member(folder: str, reference: str) -> str:
    """Return the name of the part that a reference in a part of `folder` points to."""
    return posixpath.normpath(posixpath.join(folder, unquote(reference.partition("#")[0])))


class _Paragraph:
    """An open paragraph; text boxes nest one inside another."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.level: int | None = None
        self.listed = False


class Prose(Handler):
    """Builder of blocks from paragraphs and tables, for any element names.

    Attributes:
        roles: role of each element: paragraph, table, row or cell.
        breaks: text that replaces an element in running text.
        figures: elements that are counted and left out.
        page: page number of the blocks, if there are pages.
    """

    roles: ClassVar[Mapping[str, str]] = {}
    breaks: ClassVar[Mapping[str, str]] = {}
    figures: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("blip", "imagedata"), IMAGES),
        "chart": CHARTS,
        **dict.fromkeys(("OLEObject", "oleObj", "videoFile", "audioFile"), OBJECTS),
    }

    def __init__(self, assembly: Assembly) -> None:
        self.assembly = assembly
        self.page: int | None = None
        self._paragraphs: list[_Paragraph] = []
        self._tables: list[list[list[str]]] = []  # open tables > rows > cells
        self._hidden = False  # whether hidden text was found

    def take(self, text: str, *, hidden: bool = False) -> None:
        """Add running text; hidden text is counted and left out."""
        if hidden:
            self._hidden |= bool(text.strip())
        elif self._paragraphs:
            self._paragraphs[-1].pieces.append(text)

    def count(self, name: str) -> None:
        """Count an element that is left out."""
        if name in self.figures:
            self.assembly.drop(self.figures[name])

    def begin(self, name: str) -> bool:
        """Begin an element according to its role; return whether it is known."""
        role = self.roles.get(name)
        if role == "paragraph":
            self._paragraphs.append(_Paragraph())
        elif role == "table":
            self._tables.append([])
        elif role == "row" and self._tables:
            self._tables[-1].append([])
        elif role == "cell" and self._tables and self._tables[-1]:
            self._tables[-1][-1].append("")
        elif name in self.breaks:
            self.take(self.breaks[name])
        else:
            return role is not None
        return True

    def finish(self, name: str) -> None:
        """End an element according to its role."""
        role = self.roles.get(name)
        if role == "paragraph":
            self._end_paragraph()
        elif role == "table" and self._tables:
            rows = self._tables.pop()
            lines = (" | ".join(" ".join(cell.split()) for cell in row) for row in rows)
            self._put("\n".join(line for line in lines if line.strip(" |")))

    def _end_paragraph(self) -> None:
        if self._hidden:
            self._hidden = False
            self.assembly.drop("hidden texts left out")
        if not self._paragraphs:
            return
        paragraph = self._paragraphs.pop()
        text = "".join(paragraph.pieces).strip()
        if paragraph.level is not None and not self._tables:
            self.assembly.heading(paragraph.level, text)
        else:
            self._put(f"- {text}" if paragraph.listed and text and not self._tables else text)

    def _put(self, text: str) -> None:
        """Add text to the open cell, or as a block; a malformed table may have no cell."""
        if not text or not self._tables or not self._tables[-1] or not self._tables[-1][-1]:
            self.assembly.add(text, page=self.page)
            return
        row = self._tables[-1][-1]
        row[-1] = f"{row[-1]}\n{text}" if row[-1] else text
