# ruff: noqa: RUF001  punctuation of other scripts
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwerk.models.language.sentences import split_sentences

# sentences are divided by ¦ here
CASES = [
    "It rains.¦ It pours!¦ Does it?¦ Yes… ¦Good.",
    "Mr. Smith met Dr. J. K. Rowling at 3.5 p.m. in the U.S. Army base.¦ It rained.",
    "He lives in the U.S.¦ The law is new.",
    "Pay rent, food, etc.¦ The rest is yours.",
    "We cover some costs, e.g. Travel and i.e. Food.",
    "See Fig. 3 and no. 5.¦ No.¦ That is wrong.",
    "It costs 3.50 euros.¦ 3 people came to example.com today.",
    "Version 2.0.1 is out.¦ Take notes.txt with you.",
    "“Really?” he asked.¦ “Yes.” ¦She left.",
    "It is so (really.)¦ And *so.* ¦Then.",
    "Yahoo! is a company.",
    "Wait... what?¦ Well... ¦Nothing.",
    "今天好。¦明天见！¦「真的？」¦好。",
    "A line of prose that is wrapped somewhere in its\nmiddle and goes on.¦ End.",
    "A line of prose that is wrapped somewhere near\nBerlin and goes on.",
    "Office hours\n¦We open at nine.",
    "one\n\n¦two\n \t\n¦three",
    "1. First item.¦ More.\n¦2. Second item\n¦- bullet one\n¦* bullet two\n¦  • three",
    "# Heading\n¦lower case text\n¦> quoted",
    "Service | Price\n¦rehair a bow of a violin, or of a viola, or a cello | 65\n¦crack | 380",
    "Checked.\ndepartment and cost centre in EUR, 31 Dec\n¦research, development 1,250 59 %\n"
    "¦cleaning of all facilities 310 - 12 EUR\n¦goes on here, after the table.",
    "wrapped prose that ends in the year 1990\nand goes on in the next line.",
    "name: Ann Lee\n¦city: Bonn\n¦note: Hi there.¦ Bye.",
    "a\r\n\r\n¦b",
    "",
    " \n ",
    "...",
]


@pytest.mark.parametrize("marked", CASES)
def test_sentences(marked):
    text = marked.replace("¦", "")
    expected = [piece.strip() for piece in marked.split("¦") if piece.strip()]
    assert [text[start:end] for start, end in split_sentences(text)] == expected


WORDS = st.sampled_from(
    [
        "a",
        "Word",
        "Mr",
        "e.g",
        "U.S",
        ".",
        "...",
        "!",
        "?",
        '"',
        ")",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\n\n",
        "- ",
        "1.",
        "| ",
        "x: ",
        "。",
        "\u2028",
        "\x1c",
        "J",
        "etc",
    ]
)


@given(st.lists(WORDS, max_size=40).map("".join) | st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_spans_cover_everything_but_white_space_once(text):
    position = 0
    for start, end in split_sentences(text):
        assert position <= start < end <= len(text)
        assert not text[position:start].strip()
        assert text[start:end] == text[start:end].strip()
        position = end
    assert not text[position:].strip()


@pytest.mark.parametrize(
    "unit", ["a.", "(", " ", ".", "\n", "a. ", '"', '."', "- ", "a: ", "|", "1.", "\t", "A\n", "x"]
)
def test_linear_time(unit):
    split_sentences(unit * 50_000)  # quadratic time shows
