"""Words are found however they are written: ligatures, line ends, scripts without spaces."""

# ruff: noqa: RUF001  letters of many scripts

import shutil
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import Corpus

import graftwerk as gw
from graftwerk.search.words import fold, marks_in, new_mark, spell, to_match

MADE = Path(__file__).parents[2] / "compatibility" / "made_by_0.1"

# text, query, what is marked of the text
FOUND = [
    ("The scienti\ufb01c o\ufb03ce", "scientific", "scienti\ufb01c"),
    ("The scienti\ufb01c o\ufb03ce", "OFFICES", "o\ufb03ce"),
    ("a fine office", "o\ufb03ce", "office"),
    ("Ｐａｓｓｗｏｒｄ １２", "password", "Ｐａｓｓｗｏｒｄ"),
    ("The password", "ｐａｓｓｗｏｒｄ", "password"),
    ("die Im\xadmo\xadbi\xadlien", "immobilien", "Im\xadmo\xadbi\xadlien"),
    ("a pass\u200bport", "passport", "pass\u200bport"),
    ("a passport", "pass\u2060port", "passport"),
    ("the moor-\nage of boats", "moorage", "moor-\nage"),
    ("the moor-\nage of boats", "moor", "moor"),
    ("the moor\u2010 \r\n  age of boats", "moorage", "moor\u2010 \r\n  age"),
    ("the moor\xad\nage of boats", "moorage", "moor\xad\nage"),
    ("a well-\nknown rule", "well-known", "well-\nknown"),
    ("an inter-\nnatio-\nnal rule", "international", "inter-\nnatio-\nnal"),
    ("هَذَا الْمُدَرِّسُ", "المدرس", "الْمُدَرِّسُ"),
    ("المدرس هنا", "الْمُدَرِّسُ", "المدرس"),
    ("בְּרֵאשִׁית ברא", "בראשית", "בְּרֵאשִׁית"),
    ("un cafe\u0301 noir", "café", "cafe\u0301"),
    ("明日は会議室で行います。", "会議室", "会議室"),
    ("新的停车场在大楼后面，访客", "停车场", "停车场"),
    ("跑tool-itgc后五十条", "itgc", "itgc"),
    ("跑ITGC后五十条", "itgc", "ITGC"),
    ("この図書室の本は二週間", "図書室の本", "図書室の本は"),
    ("第一章 本", "本", "本"),
    ("本の山", "本", "本の"),
    ("ｶﾞｲﾄﾞをよむ", "ガイド", "ｶﾞｲﾄﾞ"),
    ("회의실에서 만나요", "회의실", "회의실"),
    (unicodedata.normalize("NFD", "회의실에서"), "회의실", unicodedata.normalize("NFD", "회의실")),
    ("นัดที่ห้องประชุมใหญ่", "ห้องประชุม", "ห้องประชุม"),
    ("हिन्दी में लिखा", "हिन्दी", "हिन्दी"),
    ("𠮷野家の牛丼", "𠮷野家", "𠮷野家"),
    ("明日は会\n議室で", "会議室", "会\n議室"),
    ("ห้อง\r\nประชุม", "ห้องประชุม", "ห้อง\r\nประชุม"),
]


@pytest.mark.parametrize(("text", "query", "marked"), FOUND)
def test_found_and_marked(tmp_path, text, query, marked):
    with Corpus(tmp_path / "index") as corpus:
        corpus.put_text("/other.txt", "Something else that nobody asked for.")
        key = corpus.put_text("/a.txt", text)
        expression = to_match(query)
        assert corpus.match(expression) == [key]
        assert (
            " ".join(text[a:b] for a, b in corpus.marks(key, expression)).replace(
                "well known", "well-\nknown"
            )
            == marked
        )


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("会議室", "議会"),
        ("会議と室内", "会議室"),
        ("会議\n\n室", "会議室"),
        ("会議\n- 室", "会議室"),
        ("ห้องประชุม", "ประตู"),
        ("हिन्दी", "हद"),
        ("moor-\n\n- age", "moorage"),
        ("F1-\n2", "F12"),
        ("が", "か"),
    ],
)
def test_not_found(tmp_path, text, query):
    with Corpus(tmp_path / "index") as corpus:
        corpus.put_text("/a.txt", text)
        assert corpus.match(to_match(query)) == []


def test_a_long_question_without_spaces_finds_by_its_words(tmp_path):
    with Corpus(tmp_path / "index") as corpus:
        corpus.put_text("/a.txt", "食堂は土曜日に閉まります。")
        right = corpus.put_text("/b.txt", "図書室は五時に閉まります。本は二週間借りられます。")
        assert corpus.match(to_match("図書室の本は何週間借りることができますか"))[0] == right
        assert corpus.match(to_match("停车场在哪里怎么走")) == []


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("新的停车场在大楼后面", "请问停车场的入口怎么走"),
        ("회의실은 삼층에 있다", "회의실에서는"),
        ("ห้องประชุมอยู่ชั้นสาม", "ขอถามว่าห้องประชุมไปทางไหน"),
    ],
)
def test_a_word_inside_a_long_run_of_a_question(tmp_path, text, query):
    with Corpus(tmp_path / "index") as corpus:
        corpus.put_text("/other.txt", "全く別の話。")
        key = corpus.put_text("/a.txt", text)
        assert corpus.match(to_match(query))[:1] == [key]


def test_headings_are_spelled_too(tmp_path):
    with Corpus(tmp_path / "index") as corpus:
        key = corpus.put_text("/a.txt", "x", heading="会議室 > O\ufb03ce")
        assert corpus.match(to_match("office")) == corpus.match(to_match("会議室")) == [key]


def test_most_texts_are_stored_once():
    assert spell("A plain “text” — with café, naïve, 3 €, and a line\nend.") is None
    assert spell("Большой привет, Ελλάδα, שלום") is None


LETTERS = st.sampled_from("abcxyzäéßﬁñЖйΩ会議室図書ガｶﾞのは회의실ก้ห้अि\u0301\u200b\xad-\n 1２½™")


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(LETTERS, max_size=40), st.text(max_size=40)))
def test_marks_are_spans_of_the_text(text):
    mark = new_mark()
    spelled = spell(text) or text
    marked = "".join(f"{mark}{word}{mark} " if word else " " for word in spelled.split(" "))[:-1]
    spans = marks_in(text, marked, mark)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert list(spans) == sorted(spans)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))


WORD = st.text("flibot", min_size=5, max_size=9)
WRITTEN = [
    lambda word: word,
    str.upper,
    lambda word: "".join(chr(ord(letter) + 0xFEE0) for letter in word),
    lambda word: "\xad".join(word),
    lambda word: f"{word[:2]}\u200b{word[2:]}",
    lambda word: f"{word[:2]}-\n{word[2:]}",
    lambda word: f"会議{word}室",
    lambda word: word.replace("fi", "\ufb01").replace("fl", "\ufb02").replace("ff", "\ufb00"),
]


def put_anew(corpus, text):
    """Store a text under a new name, so that the newest key is its own, even if drawn twice."""
    return corpus.put_text(f"/{len(corpus.files())}.txt", text)


@settings(max_examples=60, deadline=None)
@given(WORD, st.sampled_from(WRITTEN), st.sampled_from(WRITTEN[:5]))
def test_any_way_of_writing_finds_any_other(tmp_path_factory, word, in_text, in_query):
    corpus = Corpus.shared(tmp_path_factory)
    key = put_anew(corpus, f"so {in_text(word)} it is")
    assert key in corpus.match(to_match(in_query(word)))


@settings(max_examples=60, deadline=None)
@given(st.text("会議室図書本館東京都水族", min_size=2, max_size=20), st.data())
def test_every_part_of_a_run_is_found(tmp_path_factory, run, data):
    start = data.draw(st.integers(0, len(run) - 1))
    end = data.draw(st.integers(start + 1, min(len(run), start + 4)))
    corpus = Corpus.shared(tmp_path_factory)
    key = put_anew(corpus, f"x。{run}。")
    assert key in corpus.match(to_match(run[start:end]))


def test_folding():
    assert fold(" The  O\ufb03ce\u200b\nｉｓ ") == fold("the office is")
    assert fold("a b") != fold("ab")


def test_an_older_index_is_searched_as_it_was_and_spelled_at_the_next_write(tmp_path):
    shutil.copytree(MADE / "index", tmp_path / "index")
    index = gw.Index(tmp_path / "index")
    assert [hit.path for hit in index.search("FOOSBALL", mode="text")]
    assert not index.search("ｆｏｏｓｂａｌｌ", mode="text").hits
    note = tmp_path / "note.txt"
    note.write_text("The o\ufb03ce has a 会議室.")
    index.add(note)
    for query in ("office", "会議室", "ｆｏｏｓｂａｌｌ"):
        [hit] = index.search(query, mode="text")
        assert hit.marks
    assert index.verify().sound
    index.remove(note)
    assert not index.search("office", mode="text").hits
    assert index.verify().sound


def test_rebuild_spells_an_older_index(tmp_path):
    shutil.copytree(MADE / "index", tmp_path / "index")
    index = gw.Index(tmp_path / "index")
    index.rebuild()
    assert index.search("ｆｏｏｓｂａｌｌ", mode="text").hits
    assert index.verify().sound
