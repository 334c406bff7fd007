"""Labels as people write them: which are one, which are several, which are none."""

import json

import pytest
from tests.unit.finetune.conftest import write_csv

from graftwerk.data.columns import ColumnChoice
from graftwerk.data.labels import as_list, match_labels, name_labels, stands_for_none
from graftwerk.data.load import read_examples
from graftwerk.data.targets import read_targets, same_targets
from graftwerk.errors import BadInput

TEXT, SERIES = (frozenset({kind}) for kind in ("text", "series"))


def read(tmp_path, labels, task=None, **requested):
    rows = [(f"text number {n} of many", label) for n, label in enumerate(labels)]
    examples = read_examples(write_csv(tmp_path / "a.csv", rows), ColumnChoice(TEXT, **requested))
    return examples, read_targets(examples, task)


def test_whole_numbers_are_one_label_with_and_without_decimals(tmp_path):
    _, found = read(tmp_path, ["1.0", "0.0", "1", "0", "+1", "1."])
    assert found.labels == ("0", "1")
    assert found.values.tolist() == [1, 0, 1, 0, 1, 1]
    assert "4 labels have another spelling" in found.notes[0]
    other = read_examples(
        write_csv(tmp_path / "b.csv", [("a b c", "1"), ("d e f", "0.00")]), ColumnChoice(TEXT)
    )
    assert same_targets(other, "class", ("0.0", "1.0"))[1].values.tolist() == [1, 0]


def test_codes_and_names_are_no_whole_numbers(tmp_path):
    assert read(tmp_path, ["007", "7", "007", "7"])[1].labels == ("007", "7")
    assert read(tmp_path, ["1.0", "1", "x", "1.0", "1", "x"])[1].labels == ("1", "1.0", "x")


def test_accents_and_spaces_are_one_spelling_and_case_is_not(tmp_path):
    labels = ["De\u0301faut", "Défaut", " Défaut\u00a0", "bien", "bien", "Bien", "Bien"]
    _, found = read(tmp_path, labels)
    assert found.labels == ("Bien", "Défaut", "bien")
    assert "'De\\u0301faut' (1)" in found.notes[0]
    assert "differ in case alone stay different: 'Bien' and 'bien'" in found.notes[1]


@pytest.mark.parametrize(
    "cells",
    [
        ["a, b", "b", "a", "a, b"],
        ["a; b", "b", "a", "a;b;"],
        ["a|b", "b", "a", " a | b"],
        ['["a", "b"]', '["b"]', '["a"]', '["a","b"]'],
        ["['a', 'b']", "['b']", "['a']", "['a' 'b']"],
        ["{'a', 'b'}", "('b',)", "[a]", "[a, b]"],
    ],
)
def test_several_labels_in_a_cell(tmp_path, cells):
    _, found = read(tmp_path, cells, "labels")
    assert found.labels == ("a", "b")
    assert found.values.tolist() == [[1, 1], [0, 1], [1, 0], [1, 1]]
    assert found.notes


def test_a_comma_is_no_separator_where_another_one_is(tmp_path):
    _, found = read(tmp_path, ["sun, sea; sand", "sand", "sun, sea", "sand"], "labels")
    assert found.labels == ("sand", "sun, sea")


def test_lists_are_several_labels_by_themselves_and_commas_are_not(tmp_path):
    assert read(tmp_path, ["['a', 'b']", "['a']", "['b']", "['a']"])[1].task == "labels"
    _, found = read(tmp_path, ["a, b", "a, c", "a, b", "a, c"])
    assert (found.task, found.labels) == ("class", ("a, b", "a, c"))
    assert any("--task labels" in note for note in found.notes)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[]", []),
        (r"['it\'s', \"b\"]".replace('\\"', '"'), ["it's", "b"]),
        (json.dumps(["é", 'a "b"', "c, d"]), ["é", 'a "b"', "c, d"]),
        ("a, b", None),
        ("[a", None),
        ("['a' b]", None),
    ],
)
def test_lists_as_programs_write_them(text, parts):
    assert as_list(text) == parts


@pytest.mark.parametrize("word", ["NA", "N/A", "null", "None", "-", " NA "])
def test_words_that_may_stand_for_none_are_asked_about(tmp_path, word):
    labels = ["x", "y", word, "x", "y", word]
    with pytest.raises(BadInput, match=r"column label of a.csv holds .*\(2 times\).*`missing`"):
        read(tmp_path, labels)
    examples, found = read(tmp_path, labels, missing="drop")
    assert found.labels == ("x", "y")
    assert [one.reason for one in examples.refused] == [
        f"its label {word.strip()!r} stands for none."
    ] * 2
    assert read(tmp_path, labels, missing="learn")[1].labels == tuple(
        sorted(("x", "y", word.strip()))
    )


def test_words_that_are_classes():
    assert not any(map(stands_for_none, ["none", "no", "unknown", "0", "", None, 3]))


def test_numbers_are_targets_as_people_write_them(tmp_path):
    examples, found = read(tmp_path, ["$1,250.00", "$3.50", "$7.25", "$9.75"])
    assert (found.task, found.values.tolist()) == ("number", [1250.0, 3.5, 7.25, 9.75])
    assert "'$1,250.00' = 1250.00" in found.notes[0]
    assert examples.labels[0] == "$1,250.00"


def test_names_keep_their_rows_apart_from_their_spelling():
    found = name_labels("t", ["b ", "a", "b"], several=False)
    assert found.rows == [["b"], ["a"], ["b"]]
    assert match_labels("t", ["b  ", "c"], False, ("a", "b")).rows == [["b"], ["c"]]


def series(tmp_path, header, rows):
    return read_examples(write_csv(tmp_path / "s.csv", rows, header), ColumnChoice(SERIES))


def test_dates_and_numbers_of_rows_are_no_part_of_a_series(tmp_path):
    rows = [(n, f"2026-01-{n + 1:02}", n * 0.5, 1.0 - n * n, "ab"[n % 2]) for n in range(9)]
    found = series(tmp_path, ("", "date", "t0", "t1", "label"), rows)
    assert found.columns == ("t0", "t1")
    assert "column 1 (identifiers), date (dates)" in found.notes[0]


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("id", [f"r{n}" for n in range(6)], "identifiers"),
        ("review_id", range(100, 106), "numbers"),
        ("key", [f"{n:032x}" for n in range(6)], "identifiers"),
        ("no", [f"T-{n:04}" for n in range(6)], "identifiers"),
        ("when", [f"{n + 1}. March 2026" for n in range(6)], "dates"),
        ("when", [f"{n + 1}/3/2026 10:3{n}" for n in range(6)], "dates"),
        ("copy", [*"abcabc"], "the same as the labels"),
    ],
)
def test_columns_about_a_row_are_not_read_as_its_text(tmp_path, name, values, why):
    rows = [(v, f"text number {n} of many", "abc"[n % 3]) for n, v in enumerate(values)]
    found = read_examples(
        write_csv(tmp_path / "a.csv", rows, (name, "text", "label")), ColumnChoice(TEXT)
    )
    assert found.columns == ("text",)
    assert f"{name} (" in found.notes[0] and why in found.notes[0].replace("identifiers", why)
    named = ColumnChoice(TEXT, content=(name,))
    assert read_examples(tmp_path / "a.csv", named).columns == (name,)


def test_truth_values_are_one_label_in_any_spelling_of_programs():
    found = match_labels("t", [True, "true", "FALSE", "maybe"], False, ("False", "True"))
    assert found.rows == [["True"], ["True"], ["False"], ["maybe"]]


@pytest.mark.parametrize("word", ["NA", "\\N", ".", "#N/A", "-"])
def test_words_of_databases_and_statistics_stand_for_none(word):
    assert stands_for_none(word)
