"""Presentations, OpenDocument, books, messages, notebooks, RTF: what is read, and what is told."""

import random
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.documents import GOOD, docx_with, eml_of, epub_of, ipynb_of, odt_of, pptx_of, shape
from tests.hostile.make import zip_of

from graftwerk import limits
from graftwerk.data.documents.formats import parse
from graftwerk.data.documents.sandbox import Reader
from graftwerk.errors import BadFile, LimitExceeded


def read(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    document = parse(str(path))
    found = [(b.heading, b.page, document.text[b.start : b.end]) for b in document.blocks]
    return found, document.notes


def test_slides_in_their_order_with_notes(tmp_path):
    table = (
        "<a:tbl>"
        + "<a:tr><a:tc>{}</a:tc><a:tc>{}</a:tc></a:tr>".format(
            *(f"<a:p><a:r><a:t>{word}</a:t></a:r></a:p>" for word in "xy")
        )
        + "</a:tbl>"
    )
    first = shape("Harbour", "title") + shape("7", "sldNum") + shape("Boats") + table
    content = pptx_of([first, shape("Second")], notes=shape("Say this"))
    assert read(tmp_path, "a.pptx", content) == (
        [
            ("Harbour", 1, "Boats"),
            ("Harbour", 1, "x | y"),
            ("Harbour", 1, "Say this"),
            ("", 2, "Second"),
        ],
        (),
    )


def test_hidden_slides_and_shapes_are_counted(tmp_path):
    slides = [shape("a") + shape("secret", hidden="1") + shape("b"), shape("c"), shape("d")]
    assert read(tmp_path, "a.pptx", pptx_of(slides, shown="101")) == (
        [("", 1, "a"), ("", 1, "b"), ("", 3, "d")],
        ("hidden texts left out: 1", "hidden slides left out: 1"),
    )


def test_a_presentation_of_python_pptx_names_missing_slides(tmp_path):
    content = pptx_of([shape("a"), shape("b")]).replace(b"slides/slide8.xml", b"slides/slideX.xml")
    found, notes = read(tmp_path, "a.pptx", content)
    assert found == [("", 1, "a")]
    assert notes == ("slides that the file does not hold: 1",)


def test_open_document(tmp_path):
    body = (
        "<text:tracked-changes><text:changed-region><text:deletion><text:p>old</text:p>"
        "</text:deletion></text:changed-region></text:tracked-changes>"
        '<text:h text:outline-level="2">Part</text:h>'
        '<text:p>One<text:s text:c="2"/>two<text:line-break/><text:date>5 May</text:date>'
        '<text:span text:style-name="H"> unseen</text:span></text:p>'
        "<text:p>x<text:note><text:note-citation>1</text:note-citation><text:note-body>"
        "<text:p>foot</text:p></text:note-body></text:note></text:p>"
        "<text:p>y<office:annotation><dc:creator>Me</dc:creator><dc:date>2020</dc:date>"
        "<text:p>comment</text:p></office:annotation></text:p>"
        '<text:section text:display="none"><text:p>draft</text:p></text:section>'
        "<text:list><text:list-item><text:p>item</text:p></text:list-item></text:list>"
        "<table:table><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell>"
        "<table:table-cell><text:p>b</text:p></table:table-cell></table:table-row></table:table>"
    )
    styles = (
        '<style:style style:name="H"><style:text-properties text:display="none"/></style:style>'
    )
    header = "".join(
        f"<style:{kind}><text:p>{text}</text:p></style:{kind}>"
        for kind, text in [("header", "Top"), ("header-left", "Top"), ("footer", "Foot")]
    )
    found, notes = read(tmp_path, "a.odt", odt_of(body, styles, header))
    assert found == [
        ("", None, "Top"),
        ("", None, "Foot"),
        ("Part", None, "One  two\n5 May"),
        ("Part", None, "foot"),
        ("Part", None, "x"),
        ("Part", None, "comment"),
        ("Part", None, "y"),
        ("Part", None, "- item"),
        ("Part", None, "a | b"),
    ]
    assert notes == ("tracked deletions left out: 1", "hidden texts left out: 2")


@pytest.mark.parametrize("folder", ["OEBPS/", ""])
def test_a_book_in_the_order_of_its_spine(tmp_path, folder):
    chapters = ["<h1>Two</h1><p>second &amp; last", "<h1>One</h1><p hidden>no</p><p>first"]
    assert read(tmp_path, "a.epub", epub_of(chapters, folder)) == (
        [("One", 1, "first"), ("Two", 2, "second & last")],
        ("hidden elements left out: 1",),
    )


def test_a_message(tmp_path):
    content = eml_of(("map.pdf", b"x"), plain="Last boat at nine.\n\nCafé.\n", html="<p>Last")
    assert read(tmp_path, "a.eml", content) == (
        [
            ("Fähre", None, "From: ann@example.org\nTo: bo@example.org"),
            ("Fähre", None, "Last boat at nine."),
            ("Fähre", None, "Café."),
        ],
        ("attachments left out (map.pdf): 1",),
    )
    found, _ = read(tmp_path, "b.eml", eml_of(html="<h2>Boats</h2><p>at nine"))
    assert found[-1] == ("Fähre > Boats", None, "at nine")
    wrong = b"Subject: s\nContent-Type: text/plain; charset=utf-8\n\nCaf\xe9"
    assert read(tmp_path, "c.eml", wrong) == (
        [("s", None, "Café")],
        ("texts whose encoding does not fit, read as Windows-1252: 1",),
    )


def test_a_notebook(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Boats\n", "\n", "A text."]},
        {
            "cell_type": "code",
            "source": "print('```')",
            "outputs": [
                {"output_type": "stream", "text": ["nine\n"]},
                {"output_type": "display_data", "data": {"image/png": "x"}},
            ],
        },
    ]
    assert read(tmp_path, "a.ipynb", ipynb_of(*cells)) == (
        [
            ("Boats", None, "A text."),
            ("Boats", None, "````\nprint('```')\n````"),
            ("Boats", None, "```\nnine\n```"),
        ],
        ("images and other outputs left out: 1",),
    )


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (rb"Caf\'e9 \u8217?s \b bold\b0  text", ["Café \u2019s bold text"]),
        (rb"one\par two\line three", ["one", "two\nthree"]),
        (
            rb"{\fonttbl{\f0 Arial;}{\f1\fcharset204 C;}}\f1 \'cf\'f0\'e8\f0 x",
            ["\u041f\u0440\u0438x"],
        ),
        (rb"\uc2\u9731\'3f\'3f!\uc0\u9731 a", ["\u2603!\u2603a"]),
        (rb"\u55357?\u56832?", ["\U0001f600"]),
        (rb"a\cell b\cell\row c\cell d\cell\row", ["a | b\nc | d"]),
        (
            rb"x{\footnote A note.} y{\*\annotation Mine}{\header Top}",
            ["x y", "A note.", "Mine", "Top"],
        ),
        (rb"a{\pict 00ff}{\*\unknown no}{\info{\title no}}\{b\}\~c", ["a{b}\xa0c"]),
        (rb"{\*\shpinst{\sp{\sn a}{\sv b}}{\shptxt boxed}}", ["boxed"]),
        (b"a\\bin3 }}}b\\\nc", ["ab", "c"]),
    ],
)
def test_rich_text(tmp_path, inside, expected):
    found, notes = read(tmp_path, "a.rtf", b"{\\rtf1\\ansi\\ansicpg1252 " + inside + b"}")
    assert ([text for *_, text in found], notes) == (expected, notes_of_images(inside))


def notes_of_images(inside):
    return ("images left out: 1",) if b"pict" in inside else ()


_PICTURE = '<w:r><w:drawing><a:blip xmlns:a="urn:a" r:embed="x" xmlns:r="urn:r"/></w:drawing></w:r>'
_CHART = '<w:r><w:drawing><c:chart xmlns:c="urn:c"/></w:drawing></w:r>'
_OBJECT = '<w:r><w:object><o:OLEObject xmlns:o="urn:o"/></w:object></w:r>'
_FRAME = "<draw:frame xmlns:draw='urn:d'>{}</draw:frame>"
_PREVIEW = "<draw:image xmlns:x='urn:x' x:href='./ObjectReplacements/1'/>"


@pytest.mark.parametrize(
    ("name", "content", "images", "charts", "objects"),
    [
        ("a.docx", docx_with(f"<w:p>{_PICTURE}{_CHART}{_OBJECT}{_PICTURE}</w:p>"), 2, 1, 1),
        (
            "a.pptx",
            pptx_of([shape("x") + "<a:blip/><c:chart xmlns:c='urn:c'/><p:oleObj/><a:blip/>"]),
            *(2, 1, 1),
        ),
        (
            "a.odt",
            odt_of(
                f"<text:p>x{_FRAME.format('<draw:image/>')}"
                f"{_FRAME.format('<draw:object/>' + _PREVIEW)}</text:p>"
            ),
            *(1, 0, 1),
        ),
        ("a.epub", epub_of(["<p>x<img src='a.png'/></p>", "<svg/><p>y</p>"]), 2, 0, 0),
        ("a.html", b"<p>x<img><picture><source><img></picture><iframe></iframe><i hidden><img></i>", 2, 0, 1),
        ("a.rtf", rb"{\rtf1 x{\*\shppict{\pict 00}}{\nonshppict{\pict 00}}{\object{\result y}}}", 1, 0, 1),
        ("a.eml", eml_of(plain="x", html="<img>") , 0, 0, 0),
    ],
)  # fmt: skip
def test_images_charts_and_objects_are_counted(tmp_path, name, content, images, charts, objects):
    _, notes = read(tmp_path, name, content)
    counts = {"images": images, "charts": charts, "embedded objects": objects}
    expected = {f"{what} left out: {count}" for what, count in counts.items() if count}
    assert {note for note in notes if "hidden" not in note} == expected


def test_all_messages_of_a_mailbox_are_read(tmp_path):
    line = b"From a@b.c Mon Jan  5 10:00:00 2026\n"
    content = line + eml_of(plain="one") + b"\n" + line + b"Subject: Two\n\nFrom here on.\n"
    found, notes = read(tmp_path, "a.eml", content)
    assert [text for *_, text in found if text in ("one", "From here on.")] == [
        "one",
        "From here on.",
    ]
    assert found[-1][0] == "Two"
    assert notes == ()


def test_the_images_of_a_message_are_counted_apart_from_its_attachments(tmp_path):
    message = EmailMessage()
    message["From"] = "a@b.c"
    message.set_content("plain")
    message.add_alternative("<p>page <img src='cid:x'>", subtype="html")
    message.get_payload()[1].add_related(b"png", "image", "png", cid="<x>")
    message.add_attachment(b"png", "image", "png", filename="b.png")
    _, notes = read(tmp_path, "a.eml", message.as_bytes())
    assert notes == ("images left out: 1", "attachments left out (b.png): 1")


def test_rich_text_that_is_hidden_is_counted(tmp_path):
    inside = rb"a{\v secret} b{\deleted gone} c\v x\plain d}"
    found, notes = read(tmp_path, "a.rtf", rb"{\rtf1 " + inside)
    assert [text for *_, text in found] == ["a b cd"]
    assert notes == ("hidden texts left out: 2", "tracked deletions left out: 1")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.rtf", b"no", "not a Rich Text"),
        ("a.pptx", zip_of({"x": b"y"}), "not a presentation"),
        ("a.odt", zip_of({"x": b"y"}), "not an OpenDocument"),
        ("a.epub", zip_of({"x": b"y"}), "not a book"),
        ("a.ipynb", b'{"worksheets": []}', "old format"),
        ("a.ipynb", b"{", "not a notebook"),
        ("a.ipynb", b"[1]", "not a notebook"),
        ("a.eml", b"", "not a message"),
        ("a.pptx", b"\xd0\xcf\x11\xe0" + bytes(100), "encrypted or an old .ppt"),
        ("a.odt", b"PK\x03\x04" + bytes(100), "damaged"),
        (
            "a.odt",
            zip_of({"content.xml": b'<!DOCTYPE d [<!ENTITY a "x">]><d>&a;</d>'}),
            "document type declaration",
        ),
    ],
)
def test_what_is_refused(tmp_path, name, content, words):
    with pytest.raises(BadFile, match=words) as caught:
        read(tmp_path, name, content)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["a.pptx", "a.odt", "a.epub"])
def test_a_part_that_unfolds_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.setattr(limits, "ZIP_RATIO", 20)
    with pytest.raises(LimitExceeded, match="unpacks"):
        read(tmp_path, name, zip_of({"content.xml": b" " * 1_000_000}))


def test_groups_in_each_other(tmp_path):
    with pytest.raises(LimitExceeded, match="groups"):
        read(tmp_path, "a.rtf", rb"{\rtf1" + b"{" * 2_000)


@pytest.fixture(scope="module")
def reader():
    with Reader() as made:
        yield made


@pytest.mark.parametrize("name", GOOD)
def test_every_format_in_the_sandbox(reader, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(GOOD[name])
    document = reader.read(str(path))
    assert "Harbour" in document.text
    assert [b for b in document.blocks if "Harbour" in document.text[b.start : b.end]]


@pytest.mark.parametrize("name", GOOD)
def test_damaged_files_are_read_or_refused_in_a_sentence(reader, tmp_path, name):
    chance = random.Random(name)
    path = tmp_path / name
    for _ in range(25):
        content = bytearray(GOOD[name])
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(
            content[: chance.randint(1, len(content)) if chance.random() < 0.3 else None]
        )
        try:
            reader.read(str(path))
        except (BadFile, LimitExceeded) as error:
            assert name in error.message or "part" in error.message or "no page" in error.message
            assert error.hint


WORDS = st.lists(
    st.text("abcdäß漢字 ", min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=6
)


@settings(max_examples=40, deadline=None)
@given(WORDS, st.sampled_from(["pptx", "odt", "epub", "eml", "ipynb", "rtf"]))
def test_every_paragraph_comes_back_once(tmp_path_factory, paragraphs, kind):
    plain = [" ".join(text.split()) for text in paragraphs]
    made = {
        "pptx": lambda: pptx_of([shape(text) for text in plain]),
        "odt": lambda: odt_of("".join(f"<text:p>{text}</text:p>" for text in plain)),
        "epub": lambda: epub_of([f"<p>{text}</p>" for text in reversed(plain)]),
        "eml": lambda: eml_of(plain="\n\n".join(plain)),
        "ipynb": lambda: ipynb_of(*({"cell_type": "markdown", "source": text} for text in plain)),
        "rtf": lambda: (
            rb"{\rtf1\uc1 "
            + b"\\par ".join(
                "".join(c if c.isascii() else f"\\u{ord(c)}?" for c in text).encode()
                for text in plain
            )
            + b"}"
        ),
    }[kind]()
    found, notes = read(tmp_path_factory.mktemp("made"), f"a.{kind}", made)
    body = found[1:] if kind == "eml" else found  # after who wrote to whom
    assert [text for *_, text in body] == plain
    assert notes == ()
