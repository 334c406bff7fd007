"""Which columns are read, and what is said of it."""

from pathlib import Path

import pytest

from graftwerk.data.columns import ColumnChoice, choose_columns
from graftwerk.data.tables import Table
from graftwerk.errors import BadInput


def table(**columns):
    count = len(next(iter(columns.values())))
    return Table(Path("a.csv"), columns, [f"line {n + 2}" for n in range(count)])


def requested(kind, *content):
    return ColumnChoice(frozenset({kind}), content=content)


def test_one_fitting_column_needs_no_word():
    chosen = choose_columns(table(text=["a", "b"], label=["x", "y"]), requested("text"), "label")
    assert (chosen.kind, chosen.names, chosen.note) == ("text", ("text",), "")


def test_columns_that_are_not_read_are_named_with_what_they_hold():
    found = table(
        first=[1, 2], second=[3.5, 4], name=["u", "v"], nothing=["", None], label=["x", "y"]
    )
    chosen = choose_columns(found, requested("series"), "label")
    assert chosen.names == ("first", "second")
    assert chosen.note == (
        "a.csv: reading series of numbers from 2 columns first, second; left out: name (text), "
        "nothing (empty); --content names others"
    )


def test_codes_and_times_in_digits_are_not_quantities():
    found = table(
        zip=["01067", "10115", "01067"],
        session=[1234567890123456789, 1234567890123456790, 1234567890123456790],
        created=[1704412800, 1704499200, 1704499200],
        at=["1704412800000", "1704499200000", "1704585600000"],
        hour=["01", "23", "07"],
        rows=[1704412800, 12, 3],
        label=["x", "y", "y"],
    )
    chosen = choose_columns(found, requested("series"), "label")
    assert chosen.names == ("hour", "rows")
    assert "zip (identifiers), session (identifiers), created (dates), at (dates)" in chosen.note
    assert choose_columns(found, requested("series", "zip"), "label").names == ("zip",)


def test_several_columns_of_text_are_read_together_and_told():
    chosen = choose_columns(
        table(title=["a", "b"], body=["c", "d"], label=[0, 1]), requested("text"), "label"
    )
    assert chosen.names == ("title", "body")
    assert "from 2 columns title, body" in chosen.note


def test_images_are_one_column():
    found = table(front=["a.png", "b.png"], back=["c.png", "d.png"], label=["x", "y"])
    chosen = choose_columns(found, requested("image"), "label")
    assert chosen.names == ("front",)
    assert "left out: back (images)" in chosen.note


def test_named_columns_of_numbers_must_be_numbers():
    found = table(first=[1, 2], second=["1,5", "2,5"], label=["x", "y"])
    with pytest.raises(BadInput, match=r"line 2 of a\.csv: second is '1,5', which is not a number"):
        choose_columns(found, requested("series", "first", "second"), "label")


@pytest.mark.parametrize(("cell", "why"), [(float("nan"), "nan, which is"), (None, "empty")])
def test_a_named_column_without_a_value(cell, why):
    found = table(first=[1, 2], second=[cell, cell], label=["x", "y"])
    with pytest.raises(BadInput, match=f"second is {why}"):
        choose_columns(found, requested("series", "first", "second"), "label")


def test_a_table_without_a_fitting_column_says_what_it_holds():
    with pytest.raises(BadInput, match=r"beside the labels: first \(numbers\)") as caught:
        choose_columns(table(first=[1, 2], label=["x", "y"]), requested("text"), "label")
    assert "there are: first, label" in str(caught.value)
