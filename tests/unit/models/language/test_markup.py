"""Markup is overwritten where it is; everything else stays where it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftwerk.models.language.markup import MASK, readable, without_markup
from graftwerk.results import Passage


def words(text: str, path: str = "a.md", start: int = 1) -> str:
    return " ".join(without_markup(text, path, start).replace(MASK, "").split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ask [Kathryn](https://a.org/x_(y)), who knows.", "Ask Kathryn, who knows."),
        ("See [the page]({% page /a/ %}) of {{ site.name }}.", "See the page of ."),
        ("**Note**: up to __two__ days.", "Note: up to two days."),
        ("![A map](map.png) of the [site][1] and [all][]", "A map of the site and all"),
        ('<td class="a">5</td><td>50%</td><br/>', "550%"),
        ("a <!-- hidden --> b\n[1]: https://a.org 'x'\nc", "a b c"),
        ("Write `graft --out <path>`, or <https://a.org>.", "Write `graft --out <path>`, or https://a.org."),
        ("Run this:\n```sh -e\nls `pwd`\n```\nor ```that```.", "Run this: ls `pwd` or ```that```."),
        ("# Costs {: .wide}\nfive [1] snake_case 2 * 3 ** 4", "# Costs five [1] snake_case 2 * 3 ** 4"),
    ],
)  # fmt: skip
def test_markdown(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The default is ``10``, see :ref:`the page <page>`.", "The default is `10`, see the page."),
        (".. note:: Keep it.\n   :class: wide\n\n.. _anchor:\n\nMore", "Keep it. More"),
        (".. versionadded:: 1.2.0\n   Reports.", "1.2.0 Reports."),
        (".. image:: a.png\n   :width: 3\n`Syncthing <https://a.org>`__ runs", "Syncthing runs"),
        ("Run this::\n\n  ls\n\nor::\n\n::\n\n  pwd", "Run this: ls or: pwd"),
        ("a::b and c::\n\n::: d", "a::b and c: ::: d"),
        (":option:`--home` and `FAQ`_", "--home and FAQ"),
    ],
)  # fmt: skip
def test_restructured_text(text, expected):
    assert words(text, "a.rst") == expected


def test_front_matter_is_overwritten_only_at_the_beginning_of_a_file():
    text = "---\ntitle: Cards\nredirect_from:\n  - /piv/\n---\nA card opens doors.\n"
    assert words(text, start=0) == "A card opens doors."
    assert "redirect_from" in words(text, start=9)
    assert words("---\nno end", start=0) == "--- no end"


def test_other_files_stay_as_they_are():
    text = "**a** [b](c) ``d``"
    assert without_markup(text, "a.txt") == text
    passage = Passage("a.pdf", "text", text, 0, len(text))
    assert readable([passage]) == [passage]


@given(st.text("ab[]()<>{}%`*_!:.-\n \r|~#/é1", max_size=300), st.sampled_from(["x.md", "x.rst"]))
def test_nothing_moves(text, path):
    found = without_markup(text, path, 0)
    assert len(found) == len(text)
    assert all(a == b or a in f"{MASK} " for a, b in zip(found, text, strict=True))
    assert [c for c in found if c in "\r\n"] == [c for c in text if c in "\r\n"]


def test_long_lines_take_linear_time():
    for part in ("[a", "**a", "<a ", "{%", "`a <", ":a:`", "![](", "..", "---\n"):
        without_markup(part * 3_000, "a.md")
        without_markup(part * 3_000, "a.rst")
