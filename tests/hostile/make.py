# ruff: noqa: PTH118, PTH123  (names of any bytes)
"""Builders of files that no reader can or should read, and of small good ones to spoil.

`make_hostile_folder(folder)` writes one file of every hostile kind; use it as

    from tests.hostile.make import make_hostile_folder
"""

import io
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
# names that are legal in a Linux folder, and break careless programs
ODD_NAMES = (
    b"invalid-\xff\xfe-utf8.md",
    "right-to-left-\u202egnp.md".encode(),
    b"escape-\x1b[31m-code.md",
    b"new\nline.md",
    b"quote'\"`$(id).md",
    b"-dash.md",
    b"percent%_.md",
    b"n" * 252 + b".md",
)


def make_odd_names(
    folder: Path, content: bytes = b"# Odd\n\nA file with an odd name.\n"
) -> list[str]:
    """Write a good file under each odd name; returns their paths."""
    paths = [os.path.join(os.fsencode(folder), name) for name in ODD_NAMES]
    for path in paths:
        with open(path, "wb") as file:
            file.write(content)
    return sorted(os.fsdecode(path) for path in paths)


# -- good files ---------------------------------------------------------------------------------


def pdf_of(pages: Iterable[str], repeat: int = 1) -> bytes:
    """A PDF with one line of ASCII text a page, its pages listed `repeat` times."""
    kids, objects = [], []
    for text in pages:
        content = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode("ascii") if text else b""
        number = 4 + len(objects)
        kids.append(f"{number} 0 R")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 200] /Contents {number + 1} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    kids *= repeat
    head = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(kids)} /Kids [{' '.join(kids)}] >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate([*head, *objects], 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(offsets) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer << /Size %d /Root 1 0 R >>\n" % (len(offsets) + 1)
    out += b"startxref\n%d\n%%%%EOF\n" % start
    return bytes(out)


def zip_of(parts: dict[str, bytes]) -> bytes:
    """A zip archive of the parts, deflated."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return packed.getvalue()


def docx_parts(body: str, before: str = "") -> dict[str, bytes]:
    """Parts of a Word document whose body is the given WordprocessingML."""
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    styles = "".join(
        f'<w:style w:styleId="H{n}"><w:name w:val="heading {n}"/></w:style>' for n in (1, 2)
    )
    return {
        "_rels/.rels": f'<Relationships><Relationship Type="{relation}" '
        f'Target="word/document.xml"/></Relationships>'.encode(),
        "word/document.xml": f'{before}<w:document xmlns:w="{WORD}"><w:body>{body}</w:body>'
        "</w:document>".encode(),
        "word/styles.xml": f'<w:styles xmlns:w="{WORD}">{styles}</w:styles>'.encode(),
    }


def paragraph(text: str, style: str = "") -> str:
    """A paragraph in WordprocessingML."""
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


def png_of(width: int, height: int, rows: bytes) -> bytes:
    """A PNG of one bit a pixel whose packed rows are given."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# -- hostile files ------------------------------------------------------------------------------


def encrypted_pdf() -> bytes:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(PdfReader(io.BytesIO(pdf_of(["secret"]))))
    writer.encrypt("password")
    packed = io.BytesIO()
    writer.write(packed)
    return packed.getvalue()


def paragraph_bomb(count: int = 21_000_000) -> bytes:
    """A .docx of about 200 kB that unfolds to `count` empty paragraphs."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("word/document.xml", "w") as part,
    ):
        part.write(f'<w:document xmlns:w="{WORD}"><w:body>'.encode())
        for _ in range(count // 100_000):
            part.write(b"<w:p/>" * 100_000)
        part.write(b"</w:body></w:document>")
    return packed.getvalue()


def entity_bomb() -> bytes:
    names = "abcdefghijkl"
    entities = "".join(
        f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in pairwise(names)
    )
    doctype = f'<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">{entities}]>'
    return zip_of(docx_parts(paragraph("&l;"), before=doctype))


def lying_docx() -> bytes:
    """A .docx whose directory tells a small unpacked size for a large part."""
    parts = docx_parts(paragraph("x") * 400_000)
    packed = zip_of(parts)
    true = struct.pack("<I", len(parts["word/document.xml"]))
    assert packed.count(true) == 2  # local header and directory
    return packed.replace(true, struct.pack("<I", 1_000))


def workbook_of(sheet: str, before: str = "") -> bytes:
    """An .xlsx of one sheet."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    links = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Override PartName='
        f'"/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/><Override PartName='
        f'"/xl/worksheets/sheet1.xml" ContentType="{kind}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{links}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{links}"><sheets><sheet name="s" '
        'sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{links}/worksheet" Target="worksheets/sheet1.xml"/>'
        "</Relationships>",
        "xl/worksheets/sheet1.xml": f'{before}<worksheet xmlns="{main}"><sheetData>{sheet}'
        "</sheetData></worksheet>",
    }
    return zip_of({name: text.encode() for name, text in parts.items()})


def wide_workbook() -> bytes:
    """An .xlsx of 10,000 rows, each with one cell in the last column: 160 million cells."""
    rows = (f'<row r="{n}"><c r="XFD{n}"><v>1</v></c></row>' for n in range(1, 10_001))
    return workbook_of("".join(rows))


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2 * 1024**3)  # a hole: takes no room


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _bytes(make: Callable[[], bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(make())

    return write


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "encrypted.pdf": (_bytes(encrypted_pdf), "a PDF with a password"),
    "truncated.pdf": (_bytes(lambda: pdf_of(["a", "b"])[:300]), "a PDF that breaks off"),
    "pages.pdf": (_bytes(lambda: pdf_of(["a"], 10_000)), "a PDF of 10,000 pages"),
    "scanned.pdf": (_bytes(lambda: pdf_of(["", ""])), "a PDF without text"),
    "bomb.docx": (_bytes(paragraph_bomb), "21 million empty paragraphs in 200 kB"),
    "entities.docx": (_bytes(entity_bomb), "entities that unfold to a terabyte"),
    "lying.docx": (_bytes(lying_docx), "a zip directory that tells a wrong size"),
    "parts.docx": (
        _bytes(lambda: zip_of({f"word/{n}.xml": b"" for n in range(3_000)})),
        "a zip of 3,000 parts",
    ),
    "password.docx": (
        _bytes(lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(4096)),
        "a Word document with a password is not a zip",
    ),
    "bomb.pptx": (
        _bytes(lambda: zip_of({"ppt/presentation.xml": b"<p/>" * 5_000_000})),
        "a presentation that unfolds to 20 MB",
    ),
    "entities.odt": (
        _bytes(
            lambda: zip_of({"content.xml": b'<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">]><d>&a;</d>'})
        ),
        "entities in an OpenDocument text",
    ),
    "chapters.epub": (
        _bytes(lambda: zip_of({f"{n}.xhtml": b"" for n in range(3_000)})),
        "a book of 3,000 parts",
    ),
    "groups.rtf": (_bytes(lambda: b"{\\rtf1" + b"{" * 2_000_000), "two million open groups"),
    "nested.eml": (
        _bytes(lambda: b"".join(b"Content-Type: message/rfc822\n\n" for _ in range(50_000))),
        "messages in messages",
    ),
    "wide.xlsx": (_bytes(wide_workbook), "160 million cells in 100 kB"),
    "entities.xlsx": (
        _bytes(lambda: workbook_of("", before='<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">]>')),
        "entities in a workbook",
    ),
    "bomb.xlsx": (
        _bytes(lambda: workbook_of('<row r="1"/>' * 20_000_000)),
        "20 million empty rows",
    ),
    "bytes.txt": (_bytes(lambda: random.Random(1).randbytes(5_000)), "random bytes"),
    "nul.txt": (_bytes(lambda: b"text\x00text" * 10), "NUL bytes"),
    "latin1.md": (_bytes(lambda: "# Caf\x81\n".encode("latin-1")), "no encoding"),
    "huge.txt": (_huge, "a file of 2 GB"),
    "fifo.md": (_fifo, "a FIFO that nobody writes to"),
    "loop.md": (_link("loop.md"), "a link to itself"),
    "outside.txt": (_link("/etc/passwd"), "a link that leads outside"),
    "bomb.png": (
        _bytes(lambda: png_of(40_000, 40_000, bytes(5_001 * 40_000))),
        "an image of 1.6 gigapixels",
    ),
    "truncated.png": (
        _bytes(lambda: png_of(64, 64, random.Random(2).randbytes(9 * 64))[:300]),
        "an image that breaks off",
    ),
    "deep.jsonl": (_bytes(lambda: b"[" * 100_000), "lists in lists in lists"),
    "quote.csv": (_bytes(lambda: b'a,b\n1,"' + b"x" * 200_000), "a quote that is never closed"),
}


def make_hostile_folder(folder: Path) -> dict[str, str]:
    """Write one file of each hostile kind; returns their names, each with what it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (write, _) in HOSTILE.items():
        write(folder / name)
    return {name: why for name, (_, why) in HOSTILE.items()}
