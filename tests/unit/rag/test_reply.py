import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwerk import limits
from graftwerk.errors import WriterFailed
from graftwerk.rag.prompt import KnownCitations, clean_reply, numbers_of
from graftwerk.text_safety import CITATION


def clean(pieces, known=(1, 2)):
    citations = KnownCitations(known)
    return "".join(clean_reply(pieces, citations)), citations.removed


@pytest.mark.parametrize(
    ("reply", "expected", "removed"),
    [
        ("Free [1].", "Free [1].", 0),
        ("Free [9].", "Free.", 1),
        ("Free [1, 9] [2][7].", "Free [1] [2].", 2),
        ("Free [0] [ 2 ; 3 ].", "Free [2].", 2),
        ("In [2019] all [x] was [1 2].", "In all [x] was [1 2].", 1),
        ("[[9]9] stays text", "(9] stays text", 1),
        ("[9[[9]9]", "[9(9]", 1),
    ],
)
def test_only_citations_of_what_was_sent_stay(reply, expected, removed):
    assert clean([reply]) == (expected, removed)
    assert clean(reply) == (expected, removed)  # one character at a time


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("![a](http://evil/x.png)", "! [a](http://evil/x.png)"),
        ("!\x00[a](http://evil)", "! [a](http://evil)"),
        ("![9][a](http://evil)", "! [a](http://evil)"),
        ("<img src=//evil>", "< img src=//evil>"),
        ("<[9]img src=//evil>", "< img src=//evil>"),
        ("1 < 2 and a<3!", "1 < 2 and a<3!"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07plain\r\n", "red plain\n"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("turn\u202earound\x9b", "turnaround"),
        ("tab\tand\nline", "tab\tand\nline"),
    ],
)
def test_a_reply_is_plain_text(reply, expected):
    assert clean([reply])[0] == expected
    assert clean(reply)[0] == expected


PARTS = ["[", "]", "1", "9", ",", " ", "!", "<", "i", "\x1b", "\x00", "\n", "(", "\u202e", "[9]"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PARTS), max_size=8).map("".join)))
def test_whatever_a_writer_says_nothing_loads_and_nothing_unknown_is_cited(pieces):
    text, _ = clean(pieces)
    cited = [number for found in CITATION.finditer(text) for number in numbers_of(found[0])]
    assert set(cited) <= {1, 2}
    assert not re.search(r"!\[|<[A-Za-z/]", text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_nothing_is_held_back_longer_than_needed():
    pieces = list(
        clean_reply(iter(["Foosball is ", "fine [", "1] at ", "five."]), KnownCitations([1]))
    )
    assert pieces == ["Foosball is", " fine", " [1] at", " five."]


def test_an_endless_reply_is_stopped():
    def endless():
        while True:
            yield "word " * 1000

    with pytest.raises(WriterFailed, match="more than 200,000 characters"):
        clean(endless())


def test_a_reply_of_the_largest_size_is_read_in_linear_time():
    for unit in (" ", "[", "[9", "[9]", "!", "\x1b", "[1,"):
        clean([unit * (limits.REPLY_CHARACTERS // len(unit))])
        clean([unit] * 5_000)
