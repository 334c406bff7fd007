import io
import struct
import zipfile

import pytest
from tests.documents import docx_with
from tests.hostile.make import WORD, docx_parts, paragraph, zip_of

from graftwerk import limits
from graftwerk.data.documents.formats import parse
from graftwerk.errors import BadFile, LimitExceeded


def read(tmp_path, content):
    path = tmp_path / "a.docx"
    path.write_bytes(content)
    document = parse(str(path))
    return [(b.heading, document.text[b.start : b.end]) for b in document.blocks]


def body(tmp_path, xml):
    return read(tmp_path, zip_of(docx_parts(xml)))


def test_a_document_of_python_docx(tmp_path):
    from docx import Document

    document = Document()
    document.add_heading("Handbook", 0)
    document.add_paragraph("PriorTask.")
    document.add_heading("Leave", 1)
    first = document.add_paragraph("You get ")
    first.add_run("25").bold = True
    first.add_run(" days.\tYes\n")
    document.add_heading("Parents", 2)
    document.add_paragraph("one", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(table._cells, ["a", "b", "c", "d\ne"], strict=True):
        cell.text = text
    document.add_paragraph("After.")
    packed = io.BytesIO()
    document.save(packed)
    assert read(tmp_path, packed.getvalue()) == [
        ("Handbook", "PriorTask."),
        ("Handbook > Leave", "You get 25 days.\tYes"),
        ("Handbook > Leave > Parents", "one"),
        ("Handbook > Leave > Parents", "a | b\nc | d e"),
        ("Handbook > Leave > Parents", "After."),
    ]


def test_tracked_changes_links_and_controls(tmp_path):
    run = "<w:r><w:t>{}</w:t></w:r>".format
    xml = (
        f"<w:p><w:ins>{run('new ')}</w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del>"
        f"<w:hyperlink>{run('link')}</w:hyperlink></w:p>"
        f"<w:sdt><w:sdtContent>{paragraph('control')}</w:sdtContent></w:sdt>"
    )
    assert body(tmp_path, xml) == [("", "new link"), ("", "control")]


def test_a_text_box_counts_once(tmp_path):
    box = f"<w:txbxContent>{paragraph('boxed')}</w:txbxContent>"
    xml = f"<w:p><w:r><w:t>a</w:t><Choice>{box}</Choice><Fallback>{box}</Fallback><w:t>b</w:t></w:r></w:p>"
    assert body(tmp_path, xml) == [("", "boxed"), ("", "ab")]


def test_lists_and_levels(tmp_path):
    xml = (
        '<w:p><w:pPr><w:outlineLvl w:val="0"/></w:pPr><w:r><w:t>H</w:t></w:r></w:p>'
        "<w:p><w:pPr><w:numPr/></w:pPr><w:r><w:t>item</w:t></w:r></w:p>"
        + paragraph("Two", "H2")
        + paragraph("x", "unknown")
    )
    assert body(tmp_path, xml) == [("H", "- item"), ("H > Two", "x")]


def test_styles_based_on_each_other_in_a_circle(tmp_path):
    parts = docx_parts(paragraph("x", "A"))
    parts["word/styles.xml"] = (
        f'<w:styles xmlns:w="{WORD}"><w:style w:styleId="A"><w:basedOn w:val="B"/></w:style>'
        '<w:style w:styleId="B"><w:basedOn w:val="A"/></w:style></w:styles>'
    ).encode()
    assert read(tmp_path, zip_of(parts)) == [("", "x")]


def test_nested_and_malformed_tables(tmp_path):
    inner = f"<w:tbl><w:tr><w:tc>{paragraph('in')}</w:tc></w:tr></w:tbl>"
    xml = f"<w:tbl><w:tr><w:tc>{paragraph('a')}{inner}</w:tc><w:tc/></w:tr></w:tbl>"
    assert body(tmp_path, xml) == [("", "a in |")]
    assert body(tmp_path, f"<w:tbl>{paragraph('lost')}<w:tr>{paragraph('x')}</w:tr></w:tbl>") == [
        ("", "lost"),
        ("", "x"),
    ]


def test_footnotes_and_an_unusual_main_part(tmp_path):
    parts = docx_parts(paragraph("a"))
    parts["word/document2.xml"] = parts.pop("word/document.xml")
    parts["_rels/.rels"] = parts["_rels/.rels"].replace(b"document.xml", b"document2.xml")
    parts["word/footnotes.xml"] = f'<w:f xmlns:w="{WORD}">{paragraph("note")}</w:f>'.encode()
    assert read(tmp_path, zip_of(parts)) == [("", "a"), ("", "note")]


def notes_of(tmp_path, content):
    path = tmp_path / "n.docx"
    path.write_bytes(content)
    return parse(str(path)).notes


V_RUN, NOT_HIDDEN = "<w:rStyle w:val='V'/>", "<w:vanish w:val='0'/>"
RUN = "<w:r><w:rPr>{}</w:rPr><w:t>{}</w:t></w:r>".format


def test_a_moved_text_stands_once(tmp_path):
    moved = RUN("", "Signed in May.")
    xml = f"<w:p><w:moveTo>{moved}</w:moveTo></w:p><w:p>{RUN('', 'Open.')}<w:moveFrom>{moved}</w:moveFrom></w:p>"
    xml += "<w:p><w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>"
    assert body(tmp_path, xml) == [("", "Signed in May."), ("", "Open.")]
    assert notes_of(tmp_path, zip_of(docx_parts(xml))) == (
        "moved texts read at their new place: 1",
        "tracked deletions left out: 1",
    )


@pytest.mark.parametrize(
    ("xml", "shown", "hidden"),
    [
        (f"<w:p>{RUN('<w:vanish/>', 'secret')}{RUN('', 'shown')}</w:p>", ["shown"], 1),
        (f"<w:p>{RUN(NOT_HIDDEN, 'a')}</w:p>", ["a"], 0),
        (f"<w:p><w:pPr><w:rPr><w:vanish/></w:rPr></w:pPr>{RUN('', 'shown')}</w:p>", ["shown"], 0),
        (f"<w:p><w:pPr><w:pStyle w:val='V'/></w:pPr>{RUN('', 'secret')}</w:p>", [], 1),
        (f"<w:p><w:pPr><w:pStyle w:val='W'/></w:pPr>{RUN('', 'secret')}</w:p>", [], 1),
        (f"<w:p>{RUN(V_RUN, 'secret')}{RUN('', 'b')}</w:p>", ["b"], 1),
    ],
)
def test_hidden_text_is_left_out_and_counted(tmp_path, xml, shown, hidden):
    parts = docx_parts(xml)
    parts["word/styles.xml"] = (
        f'<w:styles xmlns:w="{WORD}"><w:style w:styleId="V"><w:rPr><w:vanish/></w:rPr></w:style>'
        '<w:style w:styleId="W"><w:basedOn w:val="V"/></w:style></w:styles>'
    ).encode()
    assert [text for _, text in read(tmp_path, zip_of(parts))] == shown
    reported = (f"hidden texts left out: {hidden}",) if hidden else ()
    assert notes_of(tmp_path, zip_of(parts)) == reported


def test_headers_footers_notes_and_comments(tmp_path):
    content = docx_with(
        paragraph("Top", "H1") + paragraph("Body."),
        header1=paragraph("Policy AX-4471"),
        header2=paragraph("Policy AX-4471"),
        footer1=paragraph("Page 1"),
        footnotes=paragraph("A footnote."),
        endnotes=paragraph("An endnote."),
        comments=paragraph("Is this so?"),
    )
    assert read(tmp_path, content) == [
        ("", "Page 1"),
        ("", "Policy AX-4471"),
        ("Top", "Body."),
        ("", "A footnote."),
        ("", "An endnote."),
        ("", "Is this so?"),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "damaged"),
        (b"PK\x03\x04" + bytes(100), "damaged"),
        (zip_of({"a.txt": b"x"}), "not a Word document"),
        (zip_of(docx_parts("<w:p>")), "damaged"),
        (
            zip_of(docx_parts(paragraph("x"))).replace(
                b"word/document.xml", b"word/document.xmm", 1
            ),
            "damaged",
        ),
    ],
)
def test_what_is_no_document(tmp_path, content, words):
    with pytest.raises(BadFile, match=words):
        read(tmp_path, content)


def test_an_encrypted_part(tmp_path):
    content = bytearray(zip_of(docx_parts(paragraph("x"))))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(mark) + offset
        content[at : at + 2] = struct.pack("<H", 1)
    with pytest.raises(BadFile, match="encrypted"):
        read(tmp_path, bytes(content))


def test_number_of_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "ZIP_ENTRIES", 3)
    assert body(tmp_path, paragraph("x"))
    with pytest.raises(LimitExceeded, match="4 parts"):
        read(tmp_path, zip_of(docx_parts(paragraph("x")) | {"more": b""}))


def test_unpacked_size(tmp_path, monkeypatch):
    parts = docx_parts(paragraph("x") * 20)
    monkeypatch.setattr(limits, "ZIP_UNPACKED", sum(map(len, parts.values())))
    assert read(tmp_path, zip_of(parts))
    with pytest.raises(LimitExceeded, match="unpacks"):
        read(tmp_path, zip_of(parts | {"more": b"1"}))


def test_ratio(tmp_path):
    with pytest.raises(LimitExceeded, match=r"unpacks [0-9,]+ bytes to 12,0"):
        body(tmp_path, "<w:p/>" * 2_000_000)


def test_a_part_is_measured_while_it_is_inflated(tmp_path, monkeypatch):
    content = zip_of(docx_parts("".join(paragraph(f"x{n}") for n in range(3_000))))
    monkeypatch.setattr(limits, "XML_PART", 200_000)
    assert read(tmp_path, content)
    monkeypatch.setattr(limits, "XML_PART", 100_000)
    with pytest.raises(LimitExceeded, match="unpacks to over 100,000"):
        read(tmp_path, content)


def test_a_directory_that_tells_less_than_there_is(tmp_path):
    parts = docx_parts(paragraph("x") * 1_000)
    size = struct.pack("<I", len(parts["word/document.xml"]))
    content = zip_of(parts)
    assert content.count(size) == 2
    with pytest.raises(BadFile, match="damaged"):
        read(tmp_path, content.replace(size, struct.pack("<I", 500)))


def test_text_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "DOCUMENT_TEXT", 10)
    assert body(tmp_path, paragraph("x" * 10))
    with pytest.raises(LimitExceeded, match="more than 10 characters"):
        body(tmp_path, paragraph("x" * 11))


def test_utf_16_does_not_hide_a_document_type(tmp_path):
    parts = docx_parts(paragraph("x"))
    doctype = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE d [<!ENTITY a "b">]>'
    parts["word/document.xml"] = (doctype + parts["word/document.xml"].decode()).encode("utf-16")
    with pytest.raises(BadFile, match="document type"):
        read(tmp_path, zip_of(parts))


def test_other_compressions_are_refused_or_read(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, content in docx_parts(paragraph("x")).items():
            archive.writestr(name, content)
    assert read(tmp_path, packed.getvalue()) == [("", "x")]
