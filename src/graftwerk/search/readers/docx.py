"""Word documents: paragraphs, headings and tables, from a stream of XML with no tree in memory.

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
from .document import Document
from .word_markup import Body, Relations, Styles

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
            f"{name!r} is damaged: {error}.", "Open it in a word processor and save it anew."
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
        "Open it in a word processor and save it anew.",
    )
