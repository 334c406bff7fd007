"""PDF: the text of each page, the values of form fields, and notes.

A scanned page has no text. A page that cannot be read does not affect the others; losses are
counted.
"""

import logging
import math
import re
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import limits
from ...errors import BadFile, LimitExceeded, few
from ...text_safety import counted
from .document import IMAGES, Assembly, Document

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
            f"{name!r} has {counted(pages, 'page')}; at most {limits.PDF_PAGES:,} are read.",
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
    return f"{counted(len(numbers), 'page')} ({shown})"


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


_SHOW = {b"Tj", b"TJ", b"'", b'"'}  # operators that show text
_GRID = 2.0  # points in which two runs stand on one line, or begin at one column
_APART = 72.0  # points between the starts of two columns, at least
_LINES, _SHARE = 8, 0.4  # lines that begin at a column: their number, and share of all lines
_MOST = 4  # columns
_WORDS, _CONTINUED = 3, 0.3  # words in the usual line of prose, and lines within a sentence


_Runs = list[tuple[int, int]]  # row (from below) and start on the grid


class _Layout(NamedTuple):
    edges: list[int]  # left edges of the columns
    bottom: int
    top: int

    def part(self, row: int, start: int) -> int:
        """Return 0 for what stands above, then one number a column, and the last for below."""
        if self.bottom <= row <= self.top:
            return max(1, sum(edge <= start + 1 for edge in self.edges))
        return 0 if row > self.top else len(self.edges) + 1


def text_of(page: "PageObject", assembly: Assembly) -> str:
    """Return the text of a page; if its columns are put one after the other, that is counted."""
    runs: _Runs = []

    def record(operator: bytes, _: Any, outer: list[float], inner: list[float]) -> None:
        if operator in _SHOW:
            runs.append(_location(outer, inner))

    text = page.extract_text(visitor_operand_before=record)
    layout = _find(runs)
    if layout is None:
        return text
    parts = [_read(page, layout, number) for number in range(len(layout.edges) + 2)]
    joined = "\n\n".join(part for part, _ in parts if part.strip())
    complete = sorted("".join(joined.split())) == sorted("".join(text.split()))
    prose = all(_is_prose(lines) for _, lines in parts[1:-1])
    if not (complete and prose):
        return text
    assembly.drop("pages whose columns are read one after the other")
    return joined


def _location(outer: list[float], inner: list[float]) -> tuple[int, int]:
    """Return the row and the start of a run on the grid; text that is turned stands above all."""
    if abs(inner[0] * outer[1] + inner[1] * outer[3]) > 1e-3:
        return 1 << 30, 0
    x, y = (inner[4] * outer[n] + inner[5] * outer[n + 2] + outer[n + 4] for n in (0, 1))
    sane = math.isfinite(x) and math.isfinite(y)
    return (round(y / _GRID), round(x / _GRID)) if sane else (1 << 30, 0)


def _find(runs: _Runs) -> _Layout | None:
    rows: dict[int, set[int]] = {}
    for row, start in runs:
        rows.setdefault(row, set()).add(start)
    counts = Counter(start for starts in rows.values() for start in starts)
    edges: list[int] = []
    for start in sorted(counts):
        often = counts[start] >= max(_LINES, _SHARE * len(rows))
        if often and (not edges or start - edges[-1] >= _APART / _GRID):
            edges.append(start)
    if not 2 <= len(edges) <= _MOST:
        return None
    shared = sorted(row for row, starts in rows.items() if len(starts.intersection(edges)) > 1)
    if len(shared) < _LINES:
        return None
    leading = sorted(after - before for before, after in pairwise(shared))[len(shared) // 2]
    bottom, top = shared[0], shared[-1]
    aligned = sorted(row for row, starts in rows.items() if starts.intersection(edges))
    for row in reversed(aligned):  # one column may be longer than the others
        bottom = row if 0 < bottom - row <= 2 * leading else bottom
    layout = _Layout(edges, bottom, top)
    parts = [layout.part(row, start) for row, start in runs]
    turns = sum(before != after for before, after in pairwise(parts))
    return layout if turns >= len(shared) else None


def _read(page: "PageObject", layout: _Layout, part: int) -> tuple[str, list[str]]:
    """Return the text of one part of a page, and its lines."""
    lines: dict[int, str] = {}
    hidden: list[Any] = []

    def hide(operator: bytes, operands: list[Any], outer: list[float], inner: list[float]) -> None:
        if operator in _SHOW and operands and layout.part(*_location(outer, inner)) != part:
            hidden.append(operands[-1])
            operands[-1] = ""

    def restore(operator: bytes, operands: list[Any], *_: Any) -> None:
        if operator in _SHOW and operands and hidden:
            operands[-1] = hidden.pop()

    def collect(text: str, outer: list[float], inner: list[float], *_: Any) -> None:
        row = _location(outer, inner)[0]
        lines[row] = lines.get(row, "") + text.replace("\n", " ")

    text = page.extract_text(
        visitor_operand_before=hide, visitor_operand_after=restore, visitor_text=collect
    )
    return text, [line.strip() for line in lines.values() if line.strip()]


def _is_prose(lines: list[str]) -> bool:
    words = sorted(len(line.split()) for line in lines)
    within = sum(line[0].islower() or last.endswith("-") for last, line in pairwise(lines))
    return words[len(words) // 2] >= _WORDS and within >= _CONTINUED * len(lines)
