"""No text of a document reaches the terminal's interpreter."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from graftwerk.text_safety import printable


@given(st.text(st.characters(exclude_categories=[])))
def test_nothing_dangerous_is_left(text: str) -> None:
    shown = printable(text)
    assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs"} or c == "\t" for c in shown)
    shown.encode("utf-8")


@given(st.text(st.characters(categories=["L", "N", "P", "Zs"])))
def test_plain_text_stays(text: str) -> None:
    assert printable(text) == text


def test_lines_are_kept_on_request() -> None:
    assert printable("a\nb") == "a\\nb"
    assert printable("a\nb", keep_lines=True) == "a\nb"
