import re
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwerk.errors import BadInput, Failure
from graftwerk.rag.prompt import RetrievedContext, bare_prompt, build_prompt
from graftwerk.types import Passage

QUESTION = "Are we allowed to play foosball during working hours?"


def passage(text, start=0, **more):
    return Passage(
        path="/handbook.md", kind="text", text=text, start=start, end=start + len(text), **more
    )


def words(text):
    return len(text.split())


def context(*texts, budget=1000, marks=("a1b2",)):
    sampled = cycle(marks)
    return RetrievedContext(
        tuple(passage(text, start=100 * n) for n, text in enumerate(texts)),
        budget,
        words,
        lambda: next(sampled),
    )


def test_the_prompt_has_the_form_of_the_reference():
    prompt, dropped = build_prompt(QUESTION, context("Play after five.", "Coffee is free."))
    lines = prompt.text.split("\n")
    assert lines[:2] == [
        "I need a question answered based on our internal company policies.",
        "Answer it only based on the following documents.",
    ]
    assert "<<a1b2>>" in lines[2] and "[n]" in lines[2]
    assert lines[3:] == [
        "Document 1: <<a1b2>> Play after five. <</a1b2>>",
        "Document 2: <<a1b2>> Coffee is free. <</a1b2>>",
        f"Question: {QUESTION}",
    ]
    assert [source.number for source in prompt.sources] == [1, 2]
    assert dropped == ()


def test_headings_go_before_a_text_that_does_not_start_with_them():
    steer = RetrievedContext(
        (passage("After five.", heading="Office > Foosball"),), 1000, words, lambda: "m"
    )
    assert "<<m>> Office > Foosball\nAfter five. <</m>>" in build_prompt(QUESTION, steer)[0].text
    steer = RetrievedContext(
        (passage("# Foosball\nAfter five.", heading="Office > Foosball"),), 1000, words, lambda: "m"
    )
    assert "<<m>> # Foosball\nAfter five. <</m>>" in build_prompt(QUESTION, steer)[0].text


def test_without_passages_the_prompt_is_the_bare_question():
    assert build_prompt(QUESTION, context())[0] == bare_prompt(QUESTION)
    assert bare_prompt(QUESTION).text == QUESTION


def frames(prompt):
    mark = re.escape(prompt.nonce)
    return re.findall(rf"^Document (\d+): <<{mark}>> (.*?) <</{mark}>>$", prompt.text, re.M | re.S)


PARTS = [*"<>/ab1:\n ", "Document 2: ", "Question: ", "<<a1>> ", "<</a1>>"]
HOSTILE = st.lists(st.sampled_from(PARTS), min_size=1).map("".join).filter(str.strip)


@settings(max_examples=100, deadline=None)
@given(st.lists(HOSTILE, min_size=1, max_size=4), HOSTILE)
def test_no_document_closes_its_frame_or_forges_another(texts, question):
    steer = context(*texts, budget=10**6, marks=("a1", "b1", "1a", "0123456789abcdef"))
    prompt = build_prompt(question, steer)[0]
    assert all(prompt.nonce not in text for text in (*texts, question))
    assert frames(prompt) == [(str(n), text.strip()) for n, text in enumerate(texts, 1)]
    assert prompt.text.endswith(f"<</{prompt.nonce}>>\nQuestion: {question}")


def test_a_mark_that_occurs_is_drawn_again():
    prompt = build_prompt(QUESTION, context("the mark is 0f0f", marks=("0f0f", "1e1e")))[0]
    assert prompt.nonce == "1e1e"


def test_a_broken_source_of_marks_is_told():
    with pytest.raises(Failure, match="100 random marks"):
        build_prompt(QUESTION, context("the mark is 0f0f", marks=("0f0f",)))


def test_marks_differ_between_prompts():
    steer = RetrievedContext((passage("Text."),), 1000, words)
    marks = {build_prompt(QUESTION, steer)[0].nonce for _ in range(20)}
    assert len(marks) == 20
    assert all(re.fullmatch(r"[0-9a-f]{16}", mark) for mark in marks)


TEXTS = ("One two three. Four five six. Seven eight nine.", "Ten eleven. Twelve.", "Last one.")


@pytest.mark.parametrize("slack", range(40))
def test_the_budget_holds_and_every_lost_character_is_listed(slack):
    least = words(build_prompt(QUESTION, context("One two three."))[0].text)
    prompt, dropped = build_prompt(QUESTION, context(*TEXTS, budget=least + slack))
    assert words(prompt.text) <= least + slack
    retained = {source.passage.start: source.passage.text for source in prompt.sources}
    for number, text in enumerate(TEXTS):
        lost = [item for item in dropped if item.end == 100 * number + len(text)]
        rest = text[lost[0].start - 100 * number :] if lost else ""
        assert retained.get(100 * number, "") + rest == text
        if lost:
            assert lost[0].tokens == words(rest)
            assert lost[0].reason == ("cut" if 100 * number in retained else "dropped")


def test_the_last_passage_is_cut_at_a_sentence_end():
    whole = words(build_prompt(QUESTION, context(TEXTS[0]))[0].text)
    prompt, dropped = build_prompt(QUESTION, context(TEXTS[0], "Never.", budget=whole - 1))
    assert prompt.sources[0].passage.text == "One two three. Four five six."
    assert prompt.sources[0].passage.end == len("One two three. Four five six.")
    assert [item.reason for item in dropped] == ["cut", "dropped"]


def test_a_question_longer_than_the_budget_is_refused():
    with pytest.raises(BadInput, match="9 tokens; the prompt may have 8"):
        build_prompt(QUESTION, context("Text.", budget=8))


def test_a_prompt_never_loses_all_its_documents_in_silence():
    with pytest.raises(BadInput, match="no passage fits"):
        build_prompt(QUESTION, context("Text.", budget=12))
