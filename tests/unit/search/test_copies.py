"""One hit per content; its copies are listed with it."""

import pytest
from tests.support import Corpus

from graftwerk.results import Passage
from graftwerk.search import query
from graftwerk.search.query import search

LONG = "The pool opens at seven in the morning and closes at nine in the evening, every day."
TOWELS = "Towels for the pool are given out at the reception; children need a grown-up."


def find(corpus, text="when does the pool open", **options):
    return search(corpus.index, corpus.encoder, text, **options).hits


@pytest.fixture
def corpus(tmp_path):
    with Corpus(tmp_path / "index") as made:
        for number in range(6):
            made.put_text(f"/copy-{number}.txt", LONG)
        made.put_text("/towels.txt", TOWELS)
        yield made


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
def test_copies_take_one_place(corpus, mode):
    hits = find(corpus, k=2, mode=mode)
    assert sorted(hit.text for hit in hits) == [LONG, TOWELS]
    [hit] = [hit for hit in hits if hit.text == LONG]
    assert hit.path == "/copy-0.txt"
    assert [copy.path for copy in hit.copies] == [f"/copy-{n}.txt" for n in range(1, 6)]
    assert hit.copy_count == 5 and hit.copies[0].location == "/copy-1.txt:1"


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        lambda text: text.replace(" ", " \n\t"),
        lambda text: f"{text}\u200b",
        lambda text: f"- {text.replace('seven', '**seven**')}",  # the same page in Markdown
        lambda text: f"“{text.replace(', every day.', ' — every day')}”",
    ],
)
def test_near_copies_are_copies(corpus, change):
    corpus.put_text("/near.txt", change(LONG))
    [hit] = [hit for hit in find(corpus, k=9) if len(hit.copies) > 1]
    assert "/near.txt" in {hit.path, *(copy.path for copy in hit.copies)}
    assert hit.copy_count == 6


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("seven", "six"),
        ("1.5", "15"),
        ("15", "-15"),
        ("15", "(15)"),
        ("15 %", "15 €"),
        ("a pool", "no pool"),
        ("C# code", "C code"),
        ("2*3", "2 3"),
    ],
)
def test_a_word_or_number_makes_a_difference(corpus, one, other):
    for number, name in enumerate((one, other)):
        corpus.put_text(f"/{number}.txt", f"{LONG} The office at the sea has {name}.")
    hits = [hit for hit in find(corpus, "the office at the sea", k=9) if "office" in hit.text]
    assert [hit.copy_count for hit in hits] == [0, 0]


def test_copies_do_not_push_others_down_the_ranks(corpus):
    hits = find(corpus, k=9)
    assert {hit.vector_rank for hit in hits} == {1, 2} == {hit.text_rank for hit in hits}


def test_more_copies_than_are_ranked(corpus, monkeypatch):
    monkeypatch.setattr(query, "DEPTH", 3)
    for mode in ("hybrid", "vector", "text"):
        hits = find(corpus, k=2, mode=mode)
        assert {hit.text for hit in hits} == {LONG, TOWELS}
        assert max(hit.copy_count for hit in hits) == 5


def test_a_condition_holds_for_copies_too(corpus):
    [hit] = find(corpus, where=["name < copy-2.txt"])
    assert [copy.path for copy in hit.copies] == ["/copy-1.txt"]


def test_many_copies_are_counted(corpus):
    corpus.put_text("/table.txt", *[LONG] * 50)
    [hit] = [hit for hit in find(corpus, k=9) if hit.copies]
    assert len(hit.copies) == 20 and hit.copy_count == 55


def test_a_short_text_is_what_its_heading_says(corpus):
    for heading in ("Dogs", "Cats", "cats"):
        corpus.put_text(f"/{heading}.md", "Not allowed in the pool.", heading=heading)
    hits = [hit for hit in find(corpus, "not allowed", mode="text") if hit.text.startswith("Not")]
    assert sorted((hit.heading, hit.copy_count) for hit in hits) == [("Cats", 1), ("Dogs", 0)]
    corpus.put_text("/headed.md", LONG, heading="Pool")
    [hit] = [hit for hit in find(corpus, k=9) if hit.text == LONG]
    assert hit.copy_count == 6


def test_images_are_told_apart_by_their_content(tmp_path):
    with Corpus(tmp_path / "index") as corpus:
        for name, content in (("a", "1"), ("b", "2"), ("c", "1")):
            corpus.put(
                f"/{name}.png", Passage(f"/{name}.png", "image", "", 0, 0), content_hash=content
            )
        hits = find(corpus, mode="vector")
        assert {hit.path: [copy.path for copy in hit.copies] for hit in hits} == {
            "/a.png": ["/c.png"],
            "/b.png": [],
        }
