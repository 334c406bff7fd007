import io

import pytest
from tests.hostile.make import pdf_of

from graftwerk import limits
from graftwerk.data.documents.formats import parse
from graftwerk.errors import BadFile, LimitExceeded


def read(tmp_path, content):
    path = tmp_path / "a.pdf"
    path.write_bytes(content)
    document = parse(str(path))
    return [(b.page, document.text[b.start : b.end]) for b in document.blocks]


def test_pages(tmp_path):
    assert read(tmp_path, pdf_of(["One.", "", "Three."])) == [(1, "One."), (3, "Three.")]


def test_page_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "PDF_PAGES", 3)
    assert len(read(tmp_path, pdf_of(["a"], 3))) == 3
    with pytest.raises(LimitExceeded, match="4 pages"):
        read(tmp_path, pdf_of(["a"], 4))


def test_text_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "DOCUMENT_TEXT", 6)
    assert read(tmp_path, pdf_of(["abcdef"]))
    with pytest.raises(LimitExceeded, match="more than 6 characters"):
        read(tmp_path, pdf_of(["abcdefg"]))


def test_size_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "PDF_FILE", 100)
    with pytest.raises(LimitExceeded, match="bytes"):
        read(tmp_path, pdf_of(["a"]))


@pytest.mark.parametrize("password", ["", "secret"])
def test_encrypted(tmp_path, password):
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(PdfReader(io.BytesIO(pdf_of(["Text."]))))
    writer.encrypt(password, "owner")
    packed = io.BytesIO()
    writer.write(packed)
    if not password:  # anyone may open it
        assert read(tmp_path, packed.getvalue()) == [(1, "Text.")]
        return
    with pytest.raises(BadFile, match="encrypted"):
        read(tmp_path, packed.getvalue())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "damaged or no PDF"),
        (b"%PDF-1.4\n", "damaged or no PDF"),
        (b"plain text", "damaged or no PDF"),
        (pdf_of([""]), "no text in it"),
    ],
)
def test_what_gives_no_text(tmp_path, content, words):
    with pytest.raises(BadFile, match=words):
        read(tmp_path, content)
