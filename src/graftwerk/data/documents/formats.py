"""Mapping from file extensions to parsers."""

import os
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ... import limits
from ...errors import BadFile
from .. import raw
from .document import Document

if TYPE_CHECKING:
    from ..tables import Reading

_TABLES = "data.documents.tables:"
_TEXTS = ("data.documents.text:", "data.documents.html:")
# extension -> module and function, which takes the path, for messages, and the content
_PARSERS = {
    **dict.fromkeys((".md", ".markdown"), "data.documents.text:read_markdown"),
    **dict.fromkeys((".txt", ".log"), "data.documents.text:read_plain"),
    ".rst": "data.documents.text:read_rst",
    **dict.fromkeys((".html", ".htm"), "data.documents.html:read_html"),
    ".pdf": "data.documents.pdf:read_pdf",
    ".docx": "data.documents.office:read_docx",
    ".pptx": "data.documents.office:read_pptx",
    ".odt": "data.documents.office:read_odt",
    ".epub": "data.documents.mixed:read_epub",
    ".eml": "data.documents.mixed:read_eml",
    ".ipynb": "data.documents.mixed:read_ipynb",
    ".rtf": "data.documents.rtf:read_rtf",
    **dict.fromkeys((".csv", ".tsv", ".xlsx"), "data.documents.tables:read_csv"),
    ".jsonl": "data.documents.tables:read_jsonl",
    ".parquet": "data.documents.tables:read_parquet",
    **dict.fromkeys(
        ".jpg .jpeg .png .webp .tif .tiff .gif .bmp .heic .heif .avif".split(),  # noqa: SIM905
        "data.images:image_document",
    ),
}
# usual names of texts without an extension
_PLAIN_NAMES = {"readme", "license", "licence", "copying", "notice", "authors", "changelog"}
SUFFIXES = tuple(_PARSERS)  # in the order of messages: the usual ones of each kind first
_NAME = re.compile(r"[a-zA-Z0-9_À-ɏ.~/\\:@+-]{1,255}")  # scripts without spaces are sentences
_PATH = re.compile(r"[/\\]|\.[a-z][a-z0-9]{1,7}$", re.IGNORECASE)
IMAGES = tuple(end for end in SUFFIXES if _PARSERS[end].startswith("data.images:"))


def suffix_of(path: str) -> str:
    """Return the extension of a file's name in lower case, with its dot."""
    return os.path.splitext(path)[1].lower()  # noqa: PTH122  the name may be any bytes


def parser_of(path: str) -> str:
    """Return module and function that read a file, by its name; empty if none does."""
    name, suffix = os.path.basename(path).lower(), suffix_of(path)  # noqa: PTH119
    return _PARSERS.get(".txt" if name in _PLAIN_NAMES else suffix, "")


def is_image_path(path: str) -> bool:
    """Whether `path` has the extension of an image."""
    return suffix_of(path) in IMAGES


def refuse_missing(named: str, endings: Collection[str], hint: str) -> None:
    """Refuse a single word with a file extension that is not an existing file.

    It is probably mistyped. A sentence may end like a file name.

    Raises:
        BadFile: it is one word with one of the endings, and there is no such file.
    """
    one_word = not any(letter.isspace() for letter in named)
    if suffix_of(named) in endings and one_word and not os.path.isfile(named):  # noqa: PTH113
        kind = "image" if is_image_path(named) else "file"
        raise BadFile(f"{kind} {named!r} does not exist.", hint)


def name_notes(value: str, *, any_word: bool) -> tuple[str, ...]:
    """Return a message to the user that a word that looks like a file name is read as text.

    Args:
        value: the text.
        any_word: whether any single word is meant, or only one with a slash or an extension.
    """
    if not _NAME.fullmatch(value) or not (any_word or _PATH.search(value)):
        return ()
    there = os.path.exists(value)  # noqa: PTH110  a text may be an invalid path
    why = "a file or folder of that name exists" if there else "no file or folder has that name"
    return (f"{value!r} is read as text: {why}",)


def needs_sandbox(path: str) -> bool:
    """Whether hostile content may break the parser; plain text parsers are safe."""
    return not parser_of(path).startswith("data.documents.text:")


def size_limit(path: str) -> int:
    """Return the maximum size in bytes for the extension of `path`; 0 if unknown."""
    module = parser_of(path).partition(":")[0]
    others = {
        "data.documents.pdf": limits.PDF_FILE,
        "data.documents.office": limits.ZIP_UNPACKED,
        "data.images": limits.IMAGE_FILE,
    }
    return others.get(module, limits.TEXT_FILE) if module else 0


def size_and_hash(path: str) -> tuple[int, str]:
    """Return the size and SHA-256 of a file that `parse` would read.

    Refuses a file that `parse` would not open.

    Raises:
        BadFile: it cannot be read.
        LimitExceeded: it is larger than files of its ending may be.
    """
    return raw.size_and_hash(path, size_limit(path))


def is_table_path(path: str) -> bool:
    """Whether `path` has the extension of a table."""
    return parser_of(path).startswith(_TABLES)


def options_for(path: str, reading: "Reading | None") -> tuple[Any, ...]:
    """Return the parsing options that the parser for `path` takes: of tables all, of texts one."""
    if reading is None or reading == type(reading)():
        return ()
    if is_table_path(path):
        return (reading,)
    is_text = parser_of(path).startswith(_TEXTS)
    return (reading.encoding,) if is_text and reading.encoding else ()


def parse(path: str, reading: "Reading | None" = None) -> Document:
    """Read `path` in this process with the parser for its extension.

    The file is read once, so that the document's hash is that of the bytes that were parsed, even
    if the file changes in the meantime.

    Args:
        path: the file.
        reading: parsing options that the user gave.

    Raises:
        BadFile: it cannot be read as what its ending says.
        LimitExceeded: it is larger than a limit allows.
    """
    known = parser_of(path)
    if not known:
        name = os.path.basename(path)  # noqa: PTH119
        raise BadFile(f"{name!r} has no known ending.", f"Read are: {', '.join(SUFFIXES)}.")
    module, function = known.split(":")
    read: Callable[..., Document] = getattr(import_module(f"graftwerk.{module}"), function)
    content = raw.read_bytes(path, size_limit(path))
    document = read(path, content, *options_for(path, reading))
    notes = document.notes
    if document.kind == "text" and not notes and not document.text.strip():
        notes = ("there is no text in it",)
    return replace(document, content_hash=raw.sha256(content), notes=notes)
