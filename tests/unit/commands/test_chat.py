"""Conversations with an index: `Index.chat` and `graft chat`."""

import io

import pytest

import graftwerk as gw
from graftwerk.errors import BadInput, BadValue
from graftwerk.requests.search import Chat
from graftwerk.results import Report

QUESTIONS = ["When may foosball be played?", "And who pays for it in the mountains of Peru?"]


def test_each_turn_has_its_own_citations_and_abstention(library):
    with gw.Index(library) as index:
        conversation = index.chat(k=2, evidence=0.2)
        first, second, third = map(conversation.ask, [*QUESTIONS, "May it be played?"])
    assert (first.asked, first.abstained, len(first.citations)) == (None, False, 1)
    assert second.question == QUESTIONS[1]
    assert second.asked == "Who pays for foosball in the mountains of Peru?"
    assert second.abstained and second.citations == []
    assert third.asked == "May foosball be played?" and third.citations[0].number == 1
    assert conversation.turns == [first, second, third]
    assert len(first.hits) == 2 and repr(conversation) == "<Conversation: 3 turns>"
    assert "Who pays" not in conversation._repr_html_() and "And who" in conversation._repr_html_()


def test_a_turn_is_what_ask_answers_to_the_question_that_stands_alone(library):
    with gw.Index(library) as index:
        conversation = index.chat()
        conversation.ask(QUESTIONS[0])
        turn = conversation.ask("May it be played?")
        same = index.ask(turn.asked)
    left_out = {"question", "asked", "seconds"}
    assert turn.model_dump(exclude=left_out) == same.model_dump(exclude=left_out)


@pytest.mark.parametrize("option", [{"k": -1}, {"budget": 3}, {"colour": "red"}])
def test_bad_options_are_refused_before_the_first_question(library, option):
    with gw.Index(library) as index, pytest.raises(BadValue):
        index.chat(**option)


def test_the_command_shows_each_turn(library, listener):
    result = gw.run(Chat(index=library, questions=QUESTIONS), listener)
    assert [turn.question for turn in result.turns] == QUESTIONS
    assert listener.shown == result.turns and isinstance(listener.shown[0], Report)


class Standard(io.TextIOWrapper):
    terminal = False

    def isatty(self):
        return self.terminal


def given(monkeypatch, text, terminal=False):
    stream = Standard(io.BytesIO(text.encode()), encoding="utf-8")
    stream.terminal = terminal
    monkeypatch.setattr("sys.stdin", stream)


def test_questions_come_one_a_line_from_standard_input(library, monkeypatch, listener):
    given(monkeypatch, "\ufeff" + "\r\n\n".join(QUESTIONS))
    result = gw.run(Chat(index=library), listener)
    assert [turn.question for turn in result.turns] == QUESTIONS


def test_no_question_is_an_error(library, monkeypatch):
    given(monkeypatch, " \n")
    with pytest.raises(BadInput, match="there is no question"):
        gw.run(Chat(index=library))


def test_a_failed_turn_ends_a_pipe_and_not_a_terminal(library, monkeypatch, listener):
    text = "\n".join(["word " * 200, QUESTIONS[0], ""])
    given(monkeypatch, text)
    with pytest.raises(BadInput, match="tokens"):
        gw.run(Chat(index=library, budget=150), listener)
    given(monkeypatch, text, terminal=True)
    result = gw.run(Chat(index=library, budget=150), listener)
    assert [turn.question for turn in result.turns] == QUESTIONS[:1]
    assert "the prompt may have 150" in listener.notes[-1]
