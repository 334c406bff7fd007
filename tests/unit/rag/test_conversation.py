"""Follow-up questions are made to stand alone, by a language model or by rules."""

import pytest
from tests.support import HashEncoder

from graftwerk.rag.conversation import list_phrases, stand_alone
from graftwerk.rag.results import Answer, CitationReport
from graftwerk.search.results import Hit


class Extractive:
    name, extractive = "extractive", True

    def count_tokens(self, text):
        return len(text.split())

    def write(self, prompt):
        raise AssertionError("it only quotes")


class Model(Extractive):
    extractive = False

    def __init__(self, reply):
        self.reply = reply
        self.prompts = []

    def write(self, prompt):
        self.prompts.append(prompt.text)
        yield from self.reply


def turn(question, text="", heading="", span="", asked=None):
    citation = CitationReport(
        number=1,
        path="/a.md",
        start=0,
        end=len(text),
        line=1,
        page=None,
        claim=text,
        quote=text,
        verdict="verbatim",
        similarity=1.0,
        answer_start=text.index(span) if span else None,
        answer_end=text.index(span) + len(span) if span else None,
    )
    return Answer(
        question=question,
        asked=asked,
        answer=text,
        abstained=not text,
        writer="extractive",
        extractive=True,
        evidence=1.0,
        evidence_floor=0.5,
        calibration="",
        citations=[citation] if text else [],
        removed_citations=0,
        uncited=0,
        hits=[Hit("/a.md", "text", text, 0, len(text), heading, score=1.0)] if text else [],
        dropped=[],
        prompt=None,
        prompt_tokens=0,
        seconds={},
    )


def alone(question, *turns, writer=None, budget=100):
    return stand_alone(question, turns, writer or Extractive(), HashEncoder(), budget)


LEAVE = turn("How long is parental leave paid?", "The first 16 weeks.", "Leave > Parental leave")
FOOSBALL = turn("May we play foosball during working hours?", "The table stays covered.")
CARD = turn("How much does a library card cost for an adult?", "It costs 18 euros.")
SWIM = turn("Who teaches adults to swim?", "Book with Henrik Solberg.", span="Henrik Solberg")
ROOM = turn("Which room has a screen?", "The Harbour Room has a screen.")
PERMIT = turn("What does a permit cost in the Old brewery?", "A permit costs 30 euros.")


@pytest.mark.parametrize(
    ("last", "question", "expected"),
    [
        (LEAVE, "When must I announce it?", "When must I announce parental leave?"),
        (LEAVE, "And who pays for it?", "Who pays for parental leave?"),
        (LEAVE, "What are its terms?", "What are parental leave's terms?"),
        (LEAVE, "How do I apply?", "How do I apply (parental leave)?"),
        (FOOSBALL, "Why not?", "Why not (May we play foosball during working hours)?"),
        (FOOSBALL, "And during the break?", "May we play foosball during the break?"),
        (CARD, "And for children?", "How much does a library card cost for children?"),
        (CARD, "What if I lose it?", "What if I lose the library card?"),
        (CARD, "What about the guest card?", "How much does the guest card cost for an adult?"),
        (SWIM, "What does he charge?", "What does Henrik Solberg charge?"),
        (ROOM, "How large is it?", "How large is the room that has a screen?"),
        (PERMIT, "And at the fort?", "What does a permit cost at the fort?"),
        (PERMIT, "Can I park there?", "Can I park in the Old brewery?"),
    ],
)
def test_a_follow_up_takes_what_it_leaves_out_from_the_turn_before(last, question, expected):
    assert alone(question, last) == expected


@pytest.mark.parametrize(
    "question",
    [
        "How many vacation days are there?",
        "Is there a fridge in the kitchen?",
        "How long does it take to repair a laptop?",
        "What happens when it rains on the terrace?",
        "Who said that dogs are welcome?",
    ],
)
def test_a_question_that_stands_alone_is_asked_as_it_is(question):
    assert alone(question, LEAVE) == question


def test_the_first_question_stands_alone():
    assert alone("Why is it?") == "Why is it?"


def test_what_was_spoken_of_before_is_meant_again():
    first = turn("How big is an allotment?", "A plot measures 200 square metres.")
    waiting = turn("How long is the waiting list for one?", "Three years until a plot is free.",
                   asked="How long is the waiting list for an allotment?")  # fmt: skip
    assert alone("What may I build on it?", waiting) == "What may I build on the waiting list?"
    assert alone("What may I build on it?", first, waiting) == "What may I build on the allotment?"


def test_phrases_are_without_the_verbs_around_them():
    found = [phrase.text for phrase in list_phrases("What fuel did the old lamp burn at night?")]
    assert found == ["fuel", "the old lamp", "night"]


def test_a_language_model_rewrites_with_the_turns_that_fit(monkeypatch):
    writer = Model(["When must I announce ", "parental leave?\nOf course."])
    turns = [turn(f"What is rule {n}?", "It is long. " * 20) for n in range(5)] + [LEAVE]
    written = alone("When to announce it?", *turns, writer=writer, budget=110)
    assert written == "When must I announce parental leave?"
    [prompt] = writer.prompts
    assert len(prompt.split()) <= 110
    assert "parental leave" in prompt and "rule 4" in prompt and "rule 0" not in prompt


@pytest.mark.parametrize(
    "reply",
    ["", "?", "The first 16 weeks are paid.", "When must I announce the sabbatical?", "?" * 20_000],
)
def test_what_a_language_model_makes_up_is_not_asked(reply):
    expected = "When must I announce parental leave?"
    writer = Model([reply])
    assert alone("When must I announce it?", LEAVE, writer=writer) == expected
