"""PDF: the text of each page; a scanned page has none."""

import logging
import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ... import limits
from ...errors import BadFile, LimitExceeded
from .document import Assembly, Document

if TYPE_CHECKING:
    from pypdf import PdfReader


_BLANK_LINE = re.compile(r"\n[ \t]*+\n")


def read_pdf(path: str, content: bytes) -> Document:
    """Read the text of a PDF, paragraphs by blank lines, each with its page."""
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # this process only parses
    name = Path(path).name
    try:
        reader = PdfReader(BytesIO(content))
        _unlock(reader, name)
        pages = len(reader.pages)
    except PyPdfError as error:
        raise BadFile(
            f"{name!r} is damaged or no PDF: {str(error)[:200]}.", "Make the PDF again."
        ) from error
    if pages > limits.PDF_PAGES:
        raise LimitExceeded(
            f"{name!r} has {pages:,} pages; at most {limits.PDF_PAGES:,} are read.",
            "Split the file or leave it out.",
        )
    document = _read_pages(reader, path)
    if not document.blocks:
        raise BadFile(
            f"{name!r} has no text in it, only images or nothing (pages: {pages:,}).",
            "If it is scanned, run a text recognition on it first.",
        )
    return document


def _unlock(reader: "PdfReader", name: str) -> None:
    """Open a PDF that is encrypted without a password, as many are; refuse the others."""
    from pypdf.errors import DependencyError

    if not reader.is_encrypted:
        return
    try:
        opened = bool(reader.decrypt(""))
    except (DependencyError, NotImplementedError):
        opened = False
    if not opened:
        raise BadFile(f"{name!r} is encrypted.", "Save a copy without a password.")


def _read_pages(reader: "PdfReader", path: str) -> Document:
    assembly = Assembly(limits.DOCUMENT_TEXT)
    for number, page in enumerate(reader.pages, 1):
        if number > limits.PDF_PAGES:
            break
        try:
            text = page.extract_text()
        except (MemoryError, LimitExceeded):
            raise
        except Exception as error:  # parsers raise nearly every class on damaged files
            raise BadFile(
                f"page {number} of {Path(path).name!r} cannot be read ({type(error).__name__}).",
                "The file seems damaged; make the PDF again.",
            ) from error
        for paragraph in _BLANK_LINE.split(text):
            assembly.add(paragraph, page=number)
    return assembly.finish(path)
