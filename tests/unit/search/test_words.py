"""Queries as full-text expressions, and marks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import Corpus

from graftwerk.search.words import new_mark, read_marks, to_match, to_terms


def test_terms():
    assert to_terms("How do I get the Parental leave, the LEAVE?") == ["get", "parental", "leave"]
    assert to_terms("to be or not to be") == ["to", "be", "or", "not"]
    assert to_terms("?! --") == []
    assert to_terms("snake_case café 3.5") == ["snake", "case", "café", "3", "5"]
    assert len(to_terms(" ".join(f"w{i}" for i in range(1000)))) == 128


def test_expression():
    assert to_match("AND play*") == '"play"'
    assert to_match("near dogs") == '"near" OR "dogs"'
    assert to_match("...") is None


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_valid_query(tmp_path_factory, query):
    corpus = Corpus.shared(tmp_path_factory)
    expression = to_match(query)
    if expression is not None:
        corpus.match(expression)


@pytest.mark.parametrize(
    "query", ['"', "'", "a AND", "NEAR(a b)", "heading: x", "a" * 10_000, "\0x"]
)
def test_operators_are_words(tmp_path, query):
    with Corpus(tmp_path / "index") as corpus:
        corpus.put_text("/a.txt", "heading a and near x aaa")
        expression = to_match(query)
        if expression is not None:
            corpus.match(expression)


def test_marks():
    mark = new_mark()
    assert read_marks(f"a {mark}bc{mark} d{mark}e{mark}", mark) == ((2, 4), (6, 7))
    assert read_marks("plain", mark) == ()
    assert read_marks(f"{mark}open", mark) == ((0, 4),)
    assert new_mark() != mark


def test_marks_know_word_forms_and_accents(tmp_path):
    with Corpus(tmp_path / "index") as corpus:
        text = "Résumés: she was PLAYING, he plays; layer"
        key = corpus.put_text("/a.txt", text)
        marks = corpus.marks(key, to_match("played resume"))
        assert [text[a:b] for a, b in marks] == ["Résumés", "PLAYING", "plays"]
