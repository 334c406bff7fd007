"""PDF: the text of each page, the values of form fields, and notes.

A scanned page has no text. A page that cannot be read does not affect the others; losses are
counted.
"""

import logging
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import limits
from ...errors import BadFile, LimitExceeded, few
from .document import IMAGES, Assembly, Document
from .pdf_columns import text_of

if TYPE_CHECKING:
    from pypdf import PageObject, PdfReader


_PARTLY = re.compile(r"decompress|truncat|unexpected end|invalid stream", re.IGNORECASE)
_BLANK_LINE = re.compile(r"\n[ \t]*+\n")
_INVISIBLE = 2 | 32  # flags of an annotation: hidden, not viewed
_PASSWORD, _BUTTON = 1 << 13, 1 << 16  # flags of a field
_NOTES = frozenset({"/FreeText", "/Text", "/Highlight", "/Underline", "/StrikeOut", "/Squiggly"})
_ANNOTATIONS = 10_000  # of one page
_FORMS = 3  # forms inside one another


def read_pdf(path: str, content: bytes) -> Document:
    """Read the text of a PDF: paragraphs split at blank lines, each with its page."""
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PyPdfError

    logger = logging.getLogger("pypdf")  # this process only parses
    logger.handlers, logger.propagate = [], False
    listener = _Listener()
    logger.addHandler(listener)
    name = Path(path).name
    try:
        reader = PdfReader(BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise BadFile(f"{name!r} is encrypted.", "Save a copy without a password.")
        pages = len(reader.pages)
    except (DependencyError, NotImplementedError) as error:
        raise BadFile(
            f"{name!r} is encrypted in a way that cannot be read here: {str(error)[:200]}.",
            "Run: pip install cryptography, or save a copy that is not encrypted.",
        ) from error
    except PyPdfError as error:
        raise BadFile(
            f"{name!r} is damaged or no PDF: {str(error)[:200]}.", "Make the PDF again."
        ) from error
    if pages > limits.PDF_PAGES:
        raise LimitExceeded(
            f"{name!r} has {pages:,} pages; at most {limits.PDF_PAGES:,} are read.",
            "Split the file or leave it out.",
        )
    return _read_pages(reader, path, listener)


class _Listener(logging.Handler):
    """Detector of pages that were read only in part, for which the parser logs warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard = False

    def emit(self, record: logging.LogRecord) -> None:
        self.heard |= _PARTLY.search(record.getMessage()) is not None


def _read_pages(reader: "PdfReader", path: str, listener: _Listener) -> Document:
    assembly = Assembly(limits.DOCUMENT_TEXT)
    partly: list[int] = []
    empty: list[int] = []
    broken: list[int] = []
    causes: dict[str, None] = {}
    images: set[Any] = set()  # a page may list those of all pages
    pages = len(reader.pages)
    for number in range(1, pages + 1):
        listener.heard = False
        try:
            page = reader.pages[number - 1]
            text = text_of(page, assembly)
        except (MemoryError, LimitExceeded):
            raise
        except Exception as error:  # parsers raise almost any exception on damaged files
            broken.append(number)
            causes[f"{type(error).__name__}: {str(error)[:80]}"] = None
            continue
        if not text.strip():
            empty.append(number)
        elif listener.heard:
            partly.append(number)
        for paragraph in _BLANK_LINE.split(text):
            assembly.add(paragraph, page=number)
        try:
            for line in _annotations(page, assembly):
                assembly.add(line, page=number)
            images.update(_images(_value(page, "/Resources"), f"page {number}"))
        except (MemoryError, LimitExceeded):
            raise
        except Exception:
            assembly.drop("pages whose form fields, notes and images cannot be read")
    if images:
        assembly.drop(IMAGES, len(images))
    document = assembly.finish(path, tuple(_lost(empty, partly, broken, causes)))
    if not document.blocks and broken:
        raise BadFile(
            f"no page of {Path(path).name!r} can be read ({'; '.join(causes)}).",
            "The file seems damaged; make the PDF again.",
        )
    if not document.blocks:
        raise BadFile(
            f"{Path(path).name!r} has no text in it, only images or nothing (pages: {pages:,}).",
            "If it is scanned, run a text recognition on it first.",
        )
    return document


def _lost(
    empty: list[int], partly: list[int], broken: list[int], causes: dict[str, None]
) -> Iterator[str]:
    if broken:
        yield f"{_pages(broken)} cannot be read and left out ({'; '.join([*causes][:3])})"
    if partly:
        yield f"{_pages(partly)} damaged: some of the text may be missing"
    if empty:
        yield f"{_pages(empty)} without any text: blank, scanned or damaged"


def _pages(numbers: list[int]) -> str:
    shown = few(map(str, numbers))
    return f"{len(numbers):,} page{'s' if len(numbers) > 1 else ''} ({shown})"


def _annotations(page: "PageObject", assembly: Assembly) -> Iterator[str]:
    for reference in (_value(page, "/Annots") or [])[:_ANNOTATIONS]:
        found = reference.get_object()
        kind = _value(found, "/Subtype")
        line = _field(found) if kind == "/Widget" else ""
        if kind in _NOTES:
            line = str(_value(found, "/Contents") or "").replace("\r", "\n").strip()
        if line and int(_value(found, "/F") or 0) & _INVISIBLE:
            assembly.drop("hidden form fields and notes left out")
        elif line:
            yield line


def _images(resources: Any, where: str, depth: int = 0) -> Iterator[Any]:
    """Yield an identity for each image of a page, and of the forms on it."""
    objects: Any = (_value(resources, "/XObject") or {}) if resources is not None else {}
    for name in [*objects][:_ANNOTATIONS]:
        reference = objects.raw_get(name)
        found = reference.get_object()
        if _value(found, "/Subtype") == "/Image":
            yield getattr(reference, "idnum", f"{where} {name}")
        elif depth < _FORMS:
            yield from _images(_value(found, "/Resources"), f"{where} {name}", depth + 1)


def _value(node: Any, key: str) -> Any:
    """Return the value of a key with its reference resolved; None if it is missing.

    The method `get` of a dictionary would return the reference itself.
    """
    return node[key] if key in node else None  # noqa: SIM401


def _field(widget: Any) -> str:
    """Return `name: value` of a form field; empty for one without a value."""
    names: list[str] = []
    found: dict[str, Any] = {}
    node = widget
    for _ in range(limits.FOLDER_DEPTH):  # fields may be nested
        if node is None:
            break
        if "/T" in node:
            names.insert(0, str(node["/T"]))
        for key in ("/V", "/FT", "/Ff", "/TU"):
            if key in node:
                found.setdefault(key, node[key])
        node = _value(node, "/Parent")
    value, flags = found.get("/V"), int(found.get("/Ff", 0))
    if found.get("/FT") == "/Btn":
        state = str(_value(widget, "/AS") or value or "")
        value = None if flags & _BUTTON or state in {"", "/Off"} else state.removeprefix("/")
    if value is None or found.get("/FT") == "/Sig" or flags & _PASSWORD:
        return ""
    if isinstance(value, list):
        value = ", ".join(str(one.get_object()) for one in value)
    if hasattr(value, "get_data"):  # a long text is a stream
        value = value.get_data().decode("utf-8", "replace")
    label = str(found.get("/TU") or ".".join(names))
    return f"{label}: {value}".strip() if str(value).strip() else ""
