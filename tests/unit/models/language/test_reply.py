"""What is taken out of replies: the prompt's frame, and what never ends."""

import pytest

from graftwerk.models.language import repeats, without_marks

MARK = "be8a03c1327a094a"


def whole(text, size, mark=MARK):
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    return "".join(without_marks(pieces, mark))


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (f"<<{MARK}>>Yes.<</{MARK}>>", "Yes."),
        (f"Document 3: << {MARK}>> The trams run.", " The trams run."),
        (f"It is < /{MARK} > noon", "It is  noon"),
        (f"As {MARK} says", "As  says"),
        ("the end <<be8a03c1", "the end "),
        (f"<<{MARK}ff>>x", "x"),
        ("Document 3 says: 1 << 2, <b>, be8a03c13 <<beef>> Doc", None),
        ("if a < b and b << 4: deadbeef", None),
        ("Document", None),
    ],
)
def test_marks_in_any_form(reply, expected, size):
    if expected is None:
        expected = reply.replace("be8a03c13", "")
    assert whole(reply, size) == expected


def test_without_a_mark_nothing_waits():
    assert list(without_marks(["Document 1", ": <<", "abc"], "")) == ["Document 1", ": <<", "abc"]


@pytest.mark.parametrize(
    ("tokens", "found"),
    [
        ([1] * 41, True),
        ([1] * 40, False),
        ([9, 8] + [1, 2, 3, 4, 5] * 9, True),
        ([1, 2, 3, 4, 5] * 8, False),
        (list(range(40)) * 4, True),
        (list(range(40)) * 3, False),  # of short stretches, few copies are not enough
        ([1] * 100 + [2], False),  # it went on to something else
        ([n // 3 for n in range(300)], False),
        ([], False),
        (list(range(100)) * 2, True),
        ([*range(200), 7, 7, *range(48)], True),  # a long passage begins again
        ([*range(200), 7, 7, *range(47)], False),
    ],
)
def test_what_repeats(tokens, found):
    assert repeats(tokens) is found
