# ruff: noqa: RUF001  quotation marks and dashes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwerk.rag.citations import find_quote

SOURCE = "He said: “Don’t  play\n**foosball** at work”[3] – never.\nThe end."


@pytest.mark.parametrize(
    ("claim", "quote"),
    [
        ("don't play foosball at work", "Don’t  play\n**foosball** at work"),
        (
            '"Don\'t play foosball at work" - never.',
            "Don’t  play\n**foosball** at work”[3] – never.",
        ),
        ("THE END", "The end."),
        ("he said", "He said"),
    ],
)
def test_a_quote_is_found_whatever_its_spaces_case_and_marks(claim, quote):
    start, end = find_quote(claim, SOURCE)
    assert SOURCE[start:end] == quote


@pytest.mark.parametrize("claim", ["", "...", "No.", "play foos", "at work never end", "oosball"])
def test_what_is_not_there_in_whole_words_is_no_quote(claim):
    assert find_quote(claim, SOURCE) is None


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("aß É“’ﬁ.\n[1]<!*_x-"), max_size=30), st.data())
def test_every_stretch_of_whole_words_quotes_itself(text, data):
    text = f"word {text} word"
    start, end = find_quote(text, text)
    assert text[start:end].startswith("word")
    assert text[start:end].endswith("word")
    assert 0 <= start < end <= len(text)
