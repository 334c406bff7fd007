import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwerk.data.documents.document import Block, Document
from graftwerk.data.documents.tables import read_csv
from graftwerk.data.documents.text import find_markdown
from graftwerk.library.index import Index
from graftwerk.models.encoders import load_encoder
from graftwerk.search import index as storage
from graftwerk.search import ingest
from graftwerk.search.chunking import TARGET_CHARACTERS, cut


def markdown(text):
    return Document("/a.md", "text", text, find_markdown(text))


def sentences(count, length=80):
    return " ".join(f"Sentence {n} ".ljust(length - 1, "x") + "." for n in range(count))


def test_short_neighbours_become_one_passage():
    document = markdown("# A\n\none\n\ntwo\n\n# B\n\nthree\n")
    assert [(p.heading, p.line, p.text) for p in cut(document)] == [
        ("A", 3, "one\n\ntwo"),
        ("B", 9, "three"),
    ]


def test_neighbours_merge_up_to_the_target():
    half = "x" * (TARGET_CHARACTERS // 2 - 1)
    assert len(cut(markdown(f"{half}\n\n{half}"))) == 1
    assert len(cut(markdown(f"{half}x\n\n{half}"))) == 2


def test_headings_of_the_same_name_stay_apart():
    assert [p.text for p in cut(markdown("# A\n\none\n\n# A\n\ntwo\n"))] == ["one", "two"]


def test_headings_stay_apart_though_no_text_of_theirs_is_between():
    blocks = (Block(0, 1, "Rules", 1, None), Block(2, 3, "Exceptions", 2, None))
    passages = cut(Document("/a.docx", "text", "a b", blocks))
    assert [(p.text, p.heading) for p in passages] == [("a", "Rules"), ("b", "Exceptions")]


def test_pages_stay_apart():
    blocks = (Block(0, 1, "", None, 1), Block(2, 3, "", None, 2))
    passages = cut(Document("/a.pdf", "text", "a b", blocks))
    assert [(p.text, p.page) for p in passages] == [("a", 1), ("b", 2)]


def test_a_bare_heading_is_found_by_its_line():
    passages = cut(markdown("a\n\n# B\n# C\nc\n"))
    assert [(p.heading, p.line, p.text) for p in passages] == [
        ("", 1, "a"),
        ("", 3, "# B"),
        ("C", 5, "c"),
    ]


def test_long_paragraphs_are_divided_at_sentences_evenly():
    text = sentences(26)
    passages = cut(markdown(text))
    assert len(passages) == 3
    assert all(p.text.startswith("Sentence") and p.text.endswith(".") for p in passages)
    lengths = [len(p.text) for p in passages]
    assert max(lengths) <= TARGET_CHARACTERS
    assert max(lengths) - min(lengths) <= 160


def test_lines_are_counted_inside_a_divided_paragraph():
    text = "# A\r\n\r\n" + sentences(30).replace(". ", ".\r\n")
    for passage in cut(markdown(text)):
        assert passage.line == text[: passage.start].count("\n") + 1


def test_long_sentences_are_divided_at_words():
    passages = cut(markdown("word " * 1_000))
    assert {len(p.text) <= TARGET_CHARACTERS for p in passages} == {True}
    assert {word for p in passages for word in p.text.split()} == {"word"}


def test_a_word_without_end_is_divided_anywhere():
    passages = cut(markdown("x" * 5_000))
    assert "".join(p.text for p in passages) == "x" * 5_000
    assert max(len(p.text) for p in passages) <= TARGET_CHARACTERS


def test_a_row_is_a_passage_with_its_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f'name,text\na,b\nc,"{sentences(20)}"\nd,e\n')
    passages = cut(read_csv(str(path), path.read_bytes()))
    assert [p.line for p in passages] == [2, 3, 3, 4]
    assert passages[0].text == "name: a\ntext: b"


def test_an_image_is_one_passage():
    (passage,) = cut(Document("/a.png", "image", "", ()))
    assert (passage.path, passage.kind, passage.text) == ("/a.png", "image", "")
    assert (passage.start, passage.end, passage.line, passage.page) == (0, 0, None, None)


PIECES = st.sampled_from(
    [
        "# H\n",
        "## I\n",
        "\n\n",
        "\n",
        "a b. ",
        "C d! ",
        "```\n",
        "- e\n",
        "x" * 500,
        "y " * 400,
        "\u2028",
        "\r\n",
        "T\n===\n",
        "。" * 300,
    ]
)


@given(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_every_character_of_a_block_is_in_one_passage(text):
    document = markdown(text)
    passages = cut(document)
    covered = [False] * len(text)
    position = 0
    for passage in passages:
        assert position <= passage.start < passage.end
        assert passage.text == text[passage.start : passage.end] == passage.text.strip()
        assert len(passage.text) <= TARGET_CHARACTERS
        position = passage.end
        covered[passage.start : passage.end] = [True] * len(passage.text)
    inside = [False] * len(text)
    for block in document.blocks:
        inside[block.start : block.end] = [True] * (block.end - block.start)
    for character, requested, found in zip(text, inside, covered, strict=True):
        assert requested == found or character.isspace()
    headings = {(b.heading, b.start) for b in document.blocks}
    assert all(any(p.heading == h and p.start >= s for h, s in headings) for p in passages)


@pytest.mark.parametrize("unit", ["a. ", "x", " ", "\n", "A\n", "。"])
def test_a_lot_of_anything_is_cut(unit):
    cut(markdown(unit * 30_000))  # quadratic time shows


@pytest.mark.parametrize(
    "text",
    [
        "図書館は平日の午前九時から午後八時まで開いています。本は二週間借りられます。" * 60,
        "北京地铁每天早上六点开始运营" * 100,  # without an end of a sentence
        "Библиотека открыта с девяти утра до восьми вечера. " * 60,  # noqa: RUF001
        "x = [0x1f, 0x2e, 0x3d]; y = {'a': (1, 2), 'b': (3, 4)}\n" * 60,
        "12.75 3 8.1 -4.22 19 0.003 7 65 1.5 2026-11-28 " * 60,
        "supercalifragilistic electroencephalography immunohistochemistry " * 60,
    ],
)
def test_passages_are_as_long_as_the_encoder_reads(text):
    encoder = load_encoder("builtin/minilm")
    passages = cut(markdown(text))
    counts = [encoder.count_tokens(passage.text) for passage in passages]
    assert max(counts) <= 254
    assert sum(counts) / len(counts) > 100
    whole = "".join(passage.text for passage in passages)
    assert "".join(whole.split()) == "".join(text.split())


def test_prose_is_cut_by_characters_and_an_older_index_by_them_alone():
    prose = "The library is open from nine until eight on weekdays and lends two books. " * 60
    assert [p.text for p in cut(markdown(prose))] == [p.text for p in cut(markdown(prose), 1)]
    japanese = markdown("本は二週間借りられます。" * 200)
    assert len(cut(japanese)) > 3 * len(cut(japanese, 1))


def test_an_index_goes_on_with_its_own_way_of_cutting(tmp_path, monkeypatch):
    text = "本は二週間借りられます。" * 90
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text(text)
    with Index(tmp_path / "index") as index:
        for module in (storage, ingest):
            monkeypatch.setattr(module, "CHUNKER_VERSION", 1)
        index.add(tmp_path / "a.md")
        monkeypatch.undo()
        index.add(tmp_path / "b.md")
        assert index.status().passages == 2 * len(cut(markdown(text), 1))
        assert index.verify(sources=True).sources.unchanged == 2
        for name in ("a.md", "b.md"):
            (tmp_path / name).unlink()
        index.rebuild(encoder="static")  # from what is stored
        assert index.status().passages == 2 * len(cut(markdown(text), 1))
        assert index.verify().sound
