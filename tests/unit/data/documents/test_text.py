import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwerk import limits
from graftwerk.data.documents.sandbox import Reader
from graftwerk.data.documents.text import find_markdown, find_paragraphs, find_rst
from graftwerk.data.tables import Reading
from graftwerk.errors import BadFile, LimitExceeded

FINDERS = [find_markdown, find_paragraphs, find_rst]


def outline(find, text):
    return [(b.line, b.heading, text[b.start : b.end]) for b in find(text)]


def read(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with Reader() as reader:
        return reader.read(str(path))


def test_markdown_headings_and_paragraphs():
    text = "intro\n\n# One\na\nb\n\n\nc\n## Two ##\nd\n# Three\n\ne\n"
    assert outline(find_markdown, text) == [
        (1, "", "intro"),
        (4, "One", "a\nb"),
        (8, "One", "c"),
        (10, "One > Two", "d"),
        (13, "Three", "e"),
    ]


def test_markdown_underlined_headings():
    text = "One\n===\n\na\n\nTwo\nlines\n---\nb\n\n- item\n---\n\n---\n"
    assert outline(find_markdown, text) == [
        (4, "One", "a"),
        (9, "One > Two lines", "b"),
        (11, "One > Two lines", "- item\n---"),
        (14, "One > Two lines", "---"),
    ]


@pytest.mark.parametrize("fence", ["```", "~~~", "````python"])
def test_no_heading_in_a_listing(fence):
    close = fence.removesuffix("python")
    text = f"# A\n\n{fence}\n# no heading\n\nx\n---\n{close}\nafter\n# B\nb\n"
    assert [(line, heading) for line, heading, _ in outline(find_markdown, text)] == [
        (3, "A"),
        (9, "A"),
        (11, "B"),
    ]


def test_a_shorter_or_other_fence_does_not_close():
    text = "````\n```\n~~~\n# no\n````\n# yes\nb"
    assert [heading for _, heading, _ in outline(find_markdown, text)] == ["", "yes"]


def test_front_matter_is_no_heading():
    text = "---\ntitle: x\n# comment\n---\n# A\na\n"
    assert outline(find_markdown, text) == [
        (1, "", "---\ntitle: x\n# comment\n---"),
        (6, "A", "a"),
    ]


@pytest.mark.parametrize(
    "line", ["#tag", "####### seven", "    # code", "#", "# " + "long " * 60, "\\# escaped"]
)
def test_lines_that_are_no_heading(line):
    text = f"x\n\n{line}\n\ny"
    assert [heading for _, heading, _ in outline(find_markdown, text)] == ["", "", ""]


def test_a_heading_with_nothing_under_it_is_a_block():
    text = "# A\n## B\n## C\n### D\nd\n# E\n"
    assert outline(find_markdown, text) == [
        (2, "A", "## B"),
        (5, "A > C > D", "d"),
        (6, "", "# E"),
    ]


def test_rst_headings_by_order_of_appearance():
    text = (
        "=====\nTitle\n=====\n\na\n\nOne\n---\nb\n\nTwo\n~~~\nc\n\nThree\n-----\nd\n\n----\n\ne\n"
    )
    assert outline(find_rst, text) == [
        (5, "Title", "a"),
        (9, "Title > One", "b"),
        (13, "Title > One > Two", "c"),
        (17, "Title > Three", "d"),
        (19, "Title > Three", "----"),
        (21, "Title > Three", "e"),
    ]


def test_rst_lines_that_are_no_heading():
    text = "A::\n\n  code\n  ----\n\n  code\n----\n\ntwo\nlines\n-----\n\nlong title\n--\n"
    assert [heading for _, heading, _ in outline(find_rst, text)] == [""] * 5


def test_plain_text_has_paragraphs_only():
    assert outline(find_paragraphs, "# a\nb\n \t\n\nc") == [(1, "", "# a\nb"), (5, "", "c")]


def test_line_ends_stay_and_count(tmp_path):
    content = b"# A\r\n\r\none\r\ntwo\r\rthree\n"
    document = read(tmp_path, "a.md", content)
    assert document.text == content.decode()
    assert outline(find_markdown, document.text) == [(3, "A", "one\r\ntwo"), (6, "A", "three")]


@pytest.mark.parametrize(
    "content",
    [
        "# Größe\n\nü".encode("utf-8-sig"),
        b"\xff\xfe" + "# Größe\n\nü".encode("utf-16-le"),
        b"\xfe\xff" + "# Größe\n\nü".encode("utf-16-be"),
    ],
)
def test_byte_order_marks(tmp_path, content):
    document = read(tmp_path, "a.md", content)
    assert document.text == "# Größe\n\nü"
    assert document.blocks[0].heading == "Größe"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"abc\x81", "byte 0x81 at position 3"),
        (b"\xef\xbb\xbfabc\xe9", "byte 0xe9 at position 6"),
        (b"\xff\xfea\x00\x00\xd8", "not UTF-16"),
        (b"a\x00b", "NUL"),
        (b"\x01\x02\x03abc", "control characters"),
    ],
)
def test_what_is_no_text(tmp_path, content, words):
    with pytest.raises(BadFile, match=words):
        read(tmp_path, "a.txt", content)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.rst", "a.log"])
def test_text_that_is_not_utf_8_is_read_as_a_table_is(tmp_path, name):
    text = "Die Brücke über den Fluß ist gesperrt."
    for encoding in ("cp1252", "utf-16-le", "utf-32"):
        document = read(tmp_path, name, text.encode(encoding))
        assert document.text == text
        assert bool(document.notes) == (encoding == "cp1252")
    path = tmp_path / name
    path.write_bytes("図書館は九時".encode("shift_jis"))
    with Reader() as reader, pytest.raises(BadFile, match="`encoding`"):
        reader.read(str(path))
    with Reader(Reading(encoding="shift_jis")) as reader:
        assert reader.read(str(path)).text == "図書館は九時"


def test_escape_codes_of_a_log_are_text(tmp_path):
    assert read(tmp_path, "a.log", b"\x1b[31mred\x1b[0m\x07 " + b"x" * 100).blocks


def test_empty_file(tmp_path):
    assert read(tmp_path, "a.txt", b" \n").blocks == ()


def test_size_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "TEXT_FILE", 10)
    assert read(tmp_path, "a.txt", b"x" * 10).text == "x" * 10
    with pytest.raises(LimitExceeded, match="11 bytes"):
        read(tmp_path, "b.txt", b"x" * 11)


def test_line_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "TEXT_LINES", 3)
    assert read(tmp_path, "a.txt", b"a\nb\nc\nd").blocks
    with pytest.raises(LimitExceeded, match="4 lines"):
        read(tmp_path, "b.txt", b"a\nb\nc\nd\n")


def test_block_limit(monkeypatch):
    monkeypatch.setattr(limits, "DOCUMENT_BLOCKS", 3)
    assert len(find_paragraphs("a\n\nb\n\nc")) == 3
    with pytest.raises(LimitExceeded, match="more than 3"):
        find_paragraphs("a\n\nb\n\nc\n\nd")


LINES = st.sampled_from(
    [
        "",
        " ",
        "a",
        "b c",
        "# H",
        "## I",
        "###",
        "---",
        "===",
        "- x",
        "```",
        "~~~",
        "    i",
        "....",
        "| a | b |",
        "..",
        "é\u2028f",
        "\ufeff",
    ]
)
TEXTS = st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r\n", "\r"])), max_size=25).map(
    lambda lines: "".join(line + end for line, end in lines)
) | st.text(max_size=60)


@pytest.mark.parametrize("find", FINDERS)
@given(text=TEXTS)
@settings(max_examples=150, deadline=None)
def test_blocks_are_ordered_trimmed_and_leave_out_headings_only(find, text):
    position = 0
    left = []
    for block in find(text):
        piece = text[block.start : block.end]
        assert position <= block.start < block.end
        assert piece == piece.strip()
        before = text[: block.start].replace("\r\n", "\n").replace("\r", "\n")
        assert block.line == before.count("\n") + 1
        left.append(text[position : block.start])
        position = block.end
    left.append(text[position:])
    headings = " ".join(block.heading for block in find(text))
    for word in "".join(left).split():
        assert word in headings or not word.strip("#=-.~`|")


@pytest.mark.parametrize("find", FINDERS)
@pytest.mark.parametrize(
    "unit",
    [
        "# ",
        "#",
        "`",
        "~~~ ",
        " ",
        "\t",
        "\n",
        "\r",
        "=",
        "---\n",
        "a\n",
        "a ",
        "```\n",
        "- ",
        "\ufeff",
    ],
)
def test_a_lot_of_anything(find, unit):
    find(unit * 30_000)  # quadratic time shows


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("In case of fire\n\nLeave.", [(3, "In case of fire", "Leave.")]),
        (
            "Baths\r\n\r\nPrices\r\n\r\nA ticket costs 5 euros.\r\n\r\nLessons\r\n\r\nOn Mondays.",
            [
                (5, "Baths > Prices", "A ticket costs 5 euros."),
                (9, "Baths > Lessons", "On Mondays."),
            ],
        ),
        (
            "In case of fire\nLeave by the nearest stairs, not by the lift at all.\nThen wait.",
            [
                (
                    2,
                    "In case of fire",
                    "Leave by the nearest stairs, not by the lift at all.\nThen wait.",
                )
            ],
        ),
        ("Buy milk\nBuy bread", [(1, "", "Buy milk\nBuy bread")]),
        ("It is short.\n\nIt is.", [(1, "", "It is short."), (3, "", "It is.")]),
        ("- An item\n\nText.", [(1, "", "- An item"), (3, "", "Text.")]),
        ("Only a title", [(1, "", "Only a title")]),
        (
            "Intro is here.\n\nAnna\n\nBert",
            [(1, "", "Intro is here."), (3, "", "Anna"), (5, "", "Bert")],
        ),
    ],
)
def test_short_lines_of_plain_text_are_titles_not_passages(text, blocks):
    assert outline(find_paragraphs, text) == blocks
    for block in find_paragraphs(text):
        assert text[block.start : block.end].strip() == text[block.start : block.end]
