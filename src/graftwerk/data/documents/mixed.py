"""Files composed of other documents: books (.epub), messages (.eml), notebooks (.ipynb)."""

import re
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart
from pathlib import Path
from typing import Any

from ... import files, limits
from ...errors import BadFile, few
from .. import raw
from .archive import Archive, member, open_archive
from .document import IMAGES, Assembly, Document
from .html import decode, read_page
from .text import find_markdown

_NEXT_MESSAGE = re.compile(rb"(?:\A|(?<=\n))From [^\n]*\d{4}\r?\n")  # of a mailbox
_PAGES = frozenset({"application/xhtml+xml", "text/html"})


def read_epub(path: str, content: bytes) -> Document:
    """Read a book: its chapters in order; the number of a chapter is its page."""
    with open_archive(path, content) as archive:
        roots = archive.elements("META-INF/container.xml", "rootfile")
        package = next((root.get("full-path", "") for _, root in roots), "")
        if package not in archive.parts:
            raise BadFile(f"{archive.name!r} is a zip file but not a book.", "Check what it is.")
        if "META-INF/encryption.xml" in archive.parts and "META-INF/rights.xml" in archive.parts:
            raise BadFile(f"{archive.name!r} is encrypted.", "Get a copy without a lock.")
        assembly = Assembly(limits.DOCUMENT_TEXT)
        folder = package.rpartition("/")[0]
        entries = archive.elements(package, "item", "itemref")
        held = {item.get("id"): item for name, item in entries if name == "item"}
        order = [item.get("idref") for name, item in entries if name == "itemref"]
        for number, name in enumerate(order, 1):
            _read_chapter(archive, folder, held.get(name, {}), number, assembly)
        return assembly.finish(path)


def _read_chapter(
    archive: Archive, folder: str, item: dict[str, str], number: int, assembly: Assembly
) -> None:
    part = member(folder, item.get("href", ""))
    if part not in archive.parts:
        assembly.drop("chapters that the file does not hold")
    elif item.get("media-type") not in _PAGES:
        assembly.drop("chapters that are not text left out")
    else:
        assembly.leave()
        text, found = decode(archive.read(part), f"{archive.name}/{part}")
        if found == raw.GUESSED:
            assembly.drop("chapters that are not UTF-8, read as Windows-1252")
        read_page(text, assembly, number)


def read_eml(path: str, content: bytes) -> Document:
    """Read a message, or a mailbox: sender, recipients, date and text; attachments are named."""
    assembly = Assembly(limits.DOCUMENT_TEXT)
    mailbox, read = content.startswith(b"From "), 0
    for part in filter(None, _NEXT_MESSAGE.split(content) if mailbox else [content]):
        message = message_from_bytes(part, policy=policy.default)
        if isinstance(message, EmailMessage) and message.keys():
            _read_message(message, assembly)
            read += 1
        elif mailbox:
            assembly.drop("messages without a header left out")
    if not read:
        raise BadFile(
            f"{Path(path).name!r} is not a message: it has no header.", "Check what it is."
        )
    return assembly.finish(path)


def _read_message(message: EmailMessage, assembly: Assembly) -> None:
    assembly.heading(1, str(message.get("Subject", "")))
    headers = [(name, str(message.get(name, ""))) for name in ("From", "To", "Cc", "Date")]
    assembly.add("\n".join(f"{name}: {value}" for name, value in headers if value))
    body = message.get_body(preferencelist=("plain", "html"))
    if body is not None:
        text = _content(body, assembly)
        if body.get_content_type() == "text/html":
            read_page(text, assembly)
        else:
            for paragraph in re.split(r"\n[ \t]*+\n", text.replace("\r\n", "\n")):
                assembly.add(paragraph)
    attached = list(message.iter_attachments())
    names = [part.get_filename() or part.get_content_type() for part in attached]
    inside = sum(part.get_content_maintype() == "image" for part in message.walk())
    inside -= sum(p.get_content_maintype() == "image" for part in attached for p in part.walk())
    if inside and not (body is not None and body.get_content_type() == "text/html"):
        assembly.drop(IMAGES, inside)  # of the page; if the page is read, it shows them
    if names:
        assembly.drop(f"attachments left out ({few(names, 3)})", len(names))


def _content(part: MIMEPart, assembly: Assembly) -> str:
    payload = part.get_payload(decode=True)
    body = payload if isinstance(payload, bytes) else b""
    try:
        return body.decode(part.get_content_charset("utf-8"))
    except (LookupError, UnicodeError):
        assembly.drop("texts whose encoding does not fit, read as Windows-1252")
        return body.decode("cp1252", "replace")


def read_ipynb(path: str, content: bytes) -> Document:
    """Read a notebook: text as Markdown, code and text output as listings."""
    name = Path(path).name
    bad = BadFile(f"{name!r} is not a notebook.", "Open it in Jupyter and save it again.")
    try:
        notebook = files.parse_json(raw.decode(content, name)[0].encode())
    except ValueError as error:
        raise bad from error
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        if isinstance(notebook, dict) and "worksheets" in notebook:
            bad = BadFile(f"{name!r} is of an old format.", bad.hint)
        raise bad
    pieces: list[str] = []
    left_out = 0
    for cell in cells:
        if not isinstance(cell, dict):
            raise bad
        source = _joined(cell.get("source"))
        left_out += len(cell.get("attachments") or ())
        pieces.append(source if cell.get("cell_type") == "markdown" else _listing(source))
        for output in cell.get("outputs") or []:
            shown = _output(output)
            data = output.get("data") if isinstance(output, dict) else None
            drawn = any(kind.startswith("image/") for kind in data or ())
            left_out += shown is None or drawn
            pieces.append(_listing(shown or ""))
    text = "\n\n".join(filter(None, pieces))
    notes = (f"images and other outputs left out: {left_out:,}",) if left_out else ()
    return Document(path, "text", text, find_markdown(text), notes=notes)


def _listing(source: str) -> str:
    fence = "```"
    while fence in source:
        fence += "`"
    return f"{fence}\n{source.strip()}\n{fence}" if source.strip() else ""


def _output(output: Any) -> str | None:
    """Return the text output of a cell; None for an image or a page."""
    if not isinstance(output, dict):
        return None
    data = output.get("data")
    if isinstance(data, dict):
        return _joined(data["text/plain"]) if "text/plain" in data else None
    return _joined(output.get("text") or output.get("evalue"))


def _joined(lines: Any) -> str:
    if isinstance(lines, list):
        lines = "".join(line for line in lines if isinstance(line, str))
    return lines.translate({0: "\ufffd"}) if isinstance(lines, str) else ""
