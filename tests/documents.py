"""Small documents of every format, as their programs write them, for tests that read them back."""

import io
import json
from collections.abc import Sequence

from tests.hostile.make import WORD, docx_parts, pdf_of, zip_of

_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_SLIDE = f'xmlns:p="urn:p" xmlns:a="urn:a" xmlns:r="{_LINKS}"'
_OPEN = 'xmlns:office="urn:o" xmlns:text="urn:t" xmlns:table="urn:b" xmlns:style="urn:s" xmlns:dc="urn:d"'


def links(*found: tuple[str, str, str]) -> str:
    """A part that names others: id, kind and part of each."""
    inside = "".join(
        f'<Relationship Id="{name}" Type="{_LINKS}/{kind}" Target="{part}"/>'
        for name, kind, part in found
    )
    return f"<Relationships>{inside}</Relationships>"


def _zip(parts: dict[str, str]) -> bytes:
    return zip_of({name: text.encode() for name, text in parts.items()})


def docx_with(body: str, **parts: str) -> bytes:
    """A Word document with other parts: their inside by their kind and a digit."""
    kinds = [(name, name.rstrip("0123456789"), f"{name}.xml") for name in parts]
    word = {
        f"word/{name}.xml": f'<w:{kind} xmlns:w="{WORD}">{parts[name]}</w:{kind}>'.encode()
        for name, kind, _ in kinds
    }
    word["word/_rels/document.xml.rels"] = links(*kinds).encode()
    return zip_of({**docx_parts(body), **word})


def shape(text: str, placeholder: str = "", hidden: str = "0") -> str:
    """A box of text on a slide."""
    kind = f'<p:ph type="{placeholder}"/>' if placeholder else ""
    return (
        f'<p:sp><p:nvSpPr><p:cNvPr id="1" hidden="{hidden}"/><p:nvPr>{kind}</p:nvPr></p:nvSpPr>'
        f"<p:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>"
    )


def pptx_of(slides: Sequence[str], notes: str = "", shown: str = "") -> bytes:
    """A presentation; `shown` has a 0 for each slide that is hidden. The notes are on the first."""
    order = "".join(f'<p:sldId r:id="r{n}" id="{256 + n}"/>' for n in range(len(slides)))
    parts = {
        "_rels/.rels": links(("r", "officeDocument", "ppt/presentation.xml")),
        "ppt/presentation.xml": f"<p:presentation {_SLIDE}><p:sldIdLst>{order}</p:sldIdLst></p:presentation>",
        # files are numbered the other way round: the order is that of the presentation
        "ppt/_rels/presentation.xml.rels": links(
            *((f"r{n}", "slide", f"slides/slide{9 - n}.xml") for n in range(len(slides)))
        ),
    }
    for number, inside in enumerate(slides):
        show = shown[number : number + 1] or "1"
        parts[f"ppt/slides/slide{9 - number}.xml"] = (
            f'<p:sld {_SLIDE} show="{show}"><p:cSld><p:spTree>{inside}</p:spTree></p:cSld></p:sld>'
        )
    if notes:
        parts["ppt/slides/_rels/slide9.xml.rels"] = links(("n", "notesSlide", "../notes/n.xml"))
        parts["ppt/notes/n.xml"] = f"<p:notes {_SLIDE}>{notes}</p:notes>"
    return _zip(parts)


def odt_of(body: str, styles: str = "", header: str = "") -> bytes:
    """A text document of LibreOffice."""
    return _zip(
        {
            "mimetype": "application/vnd.oasis.opendocument.text",
            "content.xml": f"<office:document-content {_OPEN}>{styles}<office:body><office:text>{body}"
            "</office:text></office:body></office:document-content>",
            "styles.xml": f"<office:document-styles {_OPEN}>{header}</office:document-styles>",
        }
    )


def epub_of(chapters: Sequence[str], folder: str = "OEBPS/") -> bytes:
    """A book."""
    items = "".join(
        f'<item id="c{n}" href="text/c%20{n}.xhtml" media-type="application/xhtml+xml"/>'
        for n in range(len(chapters))
    )
    order = "".join(f'<itemref idref="c{n}"/>' for n in reversed(range(len(chapters))))
    parts = {
        "META-INF/container.xml": f'<container><rootfiles><rootfile full-path="{folder}book.opf"/>'
        "</rootfiles></container>",
        f"{folder}book.opf": f"<package><manifest>{items}</manifest><spine>{order}</spine></package>",
    }
    for number, text in enumerate(chapters):
        parts[f"{folder}text/c {number}.xhtml"] = (
            '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html>'
            f'<html xmlns="http://www.w3.org/1999/xhtml"><body>{text}</body></html>'
        )
    return _zip(parts)


def eml_of(*attachments: tuple[str, bytes], plain: str = "", html: str = "") -> bytes:
    """A message."""
    from email.message import EmailMessage

    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = (
        "Fähre",
        "ann@example.org",
        "bo@example.org",
    )
    if plain:
        message.set_content(plain)
    if html and plain:
        message.add_alternative(html, subtype="html")
    elif html:
        message.set_content(html, subtype="html")
    for name, content in attachments:
        message.add_attachment(content, "application", "octet-stream", filename=name)
    return bytes(message)


def ipynb_of(*cells: dict[str, object]) -> bytes:
    """A notebook."""
    return json.dumps({"nbformat": 4, "cells": cells}).encode()


def pdf_with(annotations: Sequence[dict[str, object]], by_reference: bool = False) -> bytes:
    """A PDF of one page with form fields and notes; strings that begin with / are names."""
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import (
        ArrayObject,
        DictionaryObject,
        NameObject,
        NumberObject,
        TextStringObject,
    )

    def made(value: object) -> object:
        if isinstance(value, int):
            return NumberObject(value)
        return NameObject(value) if str(value).startswith("/") else TextStringObject(value)

    writer = PdfWriter(PdfReader(io.BytesIO(pdf_of(["A form."]))))
    found = [
        DictionaryObject({NameObject(f"/{key}"): made(value) for key, value in one.items()})
        for one in annotations
    ]
    listed = ArrayObject(writer._add_object(one) for one in found) if by_reference else None
    if by_reference:  # as programs write it: everything in objects of its own
        for one in found:
            for key in list(one):
                one[key] = writer._add_object(one[key])
        listed = writer._add_object(listed)
    writer.pages[0][NameObject("/Annots")] = listed or ArrayObject(found)
    packed = io.BytesIO()
    writer.write(packed)
    return packed.getvalue()


GOOD = {
    "a.docx": docx_with("<w:p><w:r><w:t>Harbour</w:t></w:r></w:p>"),
    "a.pptx": pptx_of([shape("Harbour")]),
    "a.odt": odt_of("<text:p>Harbour</text:p>"),
    "a.epub": epub_of(["<p>Harbour</p>"]),
    "a.eml": eml_of(plain="Harbour\n"),
    "a.ipynb": ipynb_of({"cell_type": "markdown", "source": ["Harbour"]}),
    "a.rtf": rb"{\rtf1\ansi Harbour\par}",
    "a.pdf": pdf_of(["Harbour"]),
    "a.html": b"<p>Harbour</p>",
}
