# ruff: noqa: RUF001  apostrophes

import math

import pytest

from graftwerk.models.language.sentences import (
    content_stems,
    covered,
    is_negated,
    numbers,
    rarity,
    stem,
)


@pytest.mark.parametrize(
    "words",
    [
        ("policy", "policies"),
        ("play", "plays", "played", "playing"),
        ("allow", "allowed"),
        ("hour", "hours"),
        ("pay", "payment", "payments", "paying"),
    ],
)
def test_forms_of_a_word_have_one_stem(words):
    assert len({stem(word) for word in words}) == 1


def test_short_words_and_other_scripts_stay():
    assert [stem(word) for word in ("bus", "is", "läuft", "日本", "2nd")] == [
        "bus",
        "is",
        "läuft",
        "日本",
        "2nd",
    ]


def test_content_words_leave_grammar_out():
    assert content_stems("May we not play in the Working Hours?") == {stem("play"), "work", "hour"}
    assert content_stems("Who is it?") == frozenset()


def test_numbers_in_words_and_digits():
    assert numbers("Twenty-five euros, 1,000 of 3.5 on page 7") == {"20", "5", "1000", "3.5", "7"}
    assert numbers("three") == numbers("3")
    assert numbers("none") == frozenset()


@pytest.mark.parametrize(
    "text", ["You may NOT.", "you can't", "You don’t.", "never", "It is forbidden"]
)
def test_negations(text):
    assert is_negated(text)


@pytest.mark.parametrize(
    "text", ["You may.", "the tent", "nothings", "important", "want", "present"]
)
def test_what_only_looks_like_a_negation(text):
    assert not is_negated(text)


def test_rare_words_weigh_more():
    weights = rarity([frozenset("ab"), frozenset("a"), frozenset("a")])
    assert weights == {"a": math.log(2), "b": math.log(4)}
    assert covered(frozenset("ab"), frozenset("b"), weights) == pytest.approx(2 / 3)
    assert covered(frozenset("ac"), frozenset("a"), weights) == pytest.approx(
        1 / 3
    )  # c as rare as b
    assert covered(frozenset(), frozenset("a"), weights) == 0.0
    assert covered(frozenset("a"), frozenset("a"), {}) == 1.0
