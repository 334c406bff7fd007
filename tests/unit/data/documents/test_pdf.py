import io
import random

import pytest
from tests.documents import pdf_with
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


ALGORITHMS = ["RC4-40", "RC4-128", "AES-128", "AES-256-R5", "AES-256"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("password", ["", "secret"])
def test_every_encryption_opens_without_a_password(tmp_path, algorithm, password):
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(PdfReader(io.BytesIO(pdf_of(["Text."]))))
    writer.encrypt(password, "owner", algorithm=algorithm)
    packed = io.BytesIO()
    writer.write(packed)
    if not password:
        assert read(tmp_path, packed.getvalue()) == [(1, "Text.")]
        return
    with pytest.raises(BadFile, match="encrypted") as caught:
        read(tmp_path, packed.getvalue())
    assert "without a password" in caught.value.hint


def test_without_cryptography_the_message_names_it(tmp_path, monkeypatch):
    import pypdf._encryption
    from pypdf import PdfReader, PdfWriter
    from pypdf.errors import DependencyError

    writer = PdfWriter(PdfReader(io.BytesIO(pdf_of(["Text."]))))
    writer.encrypt("", "owner", algorithm="AES-256")
    packed = io.BytesIO()
    writer.write(packed)

    def missing(*_):
        raise DependencyError("cryptography is required")

    monkeypatch.setattr(pypdf._encryption, "aes_cbc_decrypt", missing)
    monkeypatch.setattr(pypdf._encryption, "aes_cbc_encrypt", missing)
    with pytest.raises(BadFile, match="encrypted in a way") as caught:
        read(tmp_path, packed.getvalue())
    assert "pip install cryptography" in caught.value.hint


def notes(tmp_path):
    return parse(str(tmp_path / "a.pdf")).notes


def page_with(content: bytes, filters: bytes) -> bytes:
    """A PDF of three pages whose second has a content of its own."""
    good = pdf_of(["One.", "Two.", "Three."])
    old = (
        next(part for part in good.split(b"endobj") if b"(Two.)" in part)
        .split(b"obj\n")[1]
        .rstrip()
    )
    new = b"<< /Length %d /Filter %s >>\nstream\n%s\nendstream" % (len(content), filters, content)
    return good.replace(old, new)


@pytest.mark.parametrize(
    ("content", "filters", "told"),
    [
        (b"xx", b"/Crypt9", "1 page (2) cannot be read and left out (NotImplementedError"),
        (b"no zlib", b"/FlateDecode", "1 page (2) without any text"),
        (b"", b"/FlateDecode", "1 page (2) without any text"),
    ],
)
def test_one_bad_page_loses_that_page_and_says_so(tmp_path, content, filters, told):
    assert read(tmp_path, page_with(content, filters)) == [(1, "One."), (3, "Three.")]
    [note] = notes(tmp_path)
    assert note.startswith(told)


def test_a_page_that_is_cut_short(tmp_path):
    import zlib

    whole = zlib.compress(
        b"BT /F1 12 Tf 20 100 Td (Two.) Tj ET\n" + random.Random(0).randbytes(20_000)
    )
    found = read(tmp_path, page_with(whole[:15_000], b"/FlateDecode"))
    assert (3, "Three.") in found
    assert len(notes(tmp_path)) == 1


def test_no_page_can_be_read(tmp_path):
    content = pdf_of(["One."]).replace(b"<< /Length 35", b"<< /Filter /No9 /Length 35")
    content = content.replace(b"<< /Length 36", b"<< /Filter /No9 /Length 36")
    with pytest.raises(BadFile, match="no page of"):
        read(tmp_path, content)


WIDGET = {"Subtype": "/Widget", "FT": "/Tx"}


@pytest.mark.parametrize(
    ("annotation", "line"),
    [
        ({**WIDGET, "T": "boat", "V": "Albatross"}, "boat: Albatross"),
        (
            {**WIDGET, "T": "boat", "TU": "Name of the boat", "V": "Albatross"},
            "Name of the boat: Albatross",
        ),
        ({**WIDGET, "FT": "/Btn", "T": "paid", "V": "/Yes", "AS": "/Yes"}, "paid: Yes"),
        ({**WIDGET, "FT": "/Btn", "T": "paid", "AS": "/Off"}, ""),
        ({**WIDGET, "FT": "/Btn", "T": "send", "V": "/x", "Ff": 1 << 16}, ""),
        ({**WIDGET, "T": "key", "V": "1234", "Ff": 1 << 13}, ""),
        ({**WIDGET, "T": "empty", "V": " "}, ""),
        ({"Subtype": "/FreeText", "Contents": "typed beside"}, "typed beside"),
        ({"Subtype": "/Highlight", "Contents": "a comment"}, "a comment"),
        ({"Subtype": "/Link", "Contents": "no"}, ""),
    ],
)
@pytest.mark.parametrize("by_reference", [False, True])
def test_forms_and_notes(tmp_path, annotation, line, by_reference):
    found = [text for _, text in read(tmp_path, pdf_with([annotation], by_reference))]
    assert found == ["A form.", *([line] if line else [])]
    assert notes(tmp_path) == ()


def test_hidden_fields_are_counted(tmp_path):
    hidden = [
        {**WIDGET, "T": "a", "V": "b", "F": 2},
        {"Subtype": "/Text", "Contents": "c", "F": 32},
    ]
    assert read(tmp_path, pdf_with(hidden)) == [(1, "A form.")]
    assert notes(tmp_path) == ("hidden form fields and notes left out: 2",)


def test_images_are_counted_once_though_all_pages_list_them(tmp_path):
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import DictionaryObject, NameObject, StreamObject

    writer = PdfWriter(PdfReader(io.BytesIO(pdf_of(["One.", "Two."]))))
    listed = DictionaryObject()
    for number, kind in enumerate(["Image", "Image", "Form"]):
        stream = StreamObject()
        stream[NameObject("/Subtype")] = NameObject(f"/{kind}")
        if kind == "Form":
            inside = DictionaryObject({NameObject("/X"): listed.raw_get("/X0")})
            stream[NameObject("/Resources")] = DictionaryObject({NameObject("/XObject"): inside})
        listed[NameObject(f"/X{number}")] = writer._add_object(stream)
    for page in writer.pages:
        page["/Resources"][NameObject("/XObject")] = listed
    out = io.BytesIO()
    writer.write(out)
    assert read(tmp_path, out.getvalue()) == [(1, "One."), (2, "Two.")]
    assert notes(tmp_path) == ("images left out: 2",)


def test_a_form_field_of_nonsense_does_not_lose_the_page(tmp_path):
    assert read(tmp_path, pdf_with([{"Subtype": "/Widget", "V": "x", "F": "y"}])) == [
        (1, "A form.")
    ]
    assert notes(tmp_path) == ("pages whose form fields, notes and images cannot be read: 1",)
