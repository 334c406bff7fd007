"""Labeled data: what is read, how it is shared out, and what is refused in which words."""

import json
import zipfile

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image
from tests.unit.finetune.conftest import *  # noqa: F403
from tests.unit.finetune.conftest import sentences, write_csv

from graftwerk.data.columns import ColumnChoice
from graftwerk.data.dataset import ImageArray
from graftwerk.data.load import read_examples
from graftwerk.data.targets import balance, read_targets, same_targets, split
from graftwerk.errors import BadFile, BadInput


@pytest.fixture
def texts(tmp_path):
    return write_csv(tmp_path / "texts.csv", sentences(120))


TEXT, IMAGE, SERIES = (ColumnChoice(frozenset({kind})) for kind in ("text", "image", "series"))


def draw(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def pictures(tmp_path):
    for number, name in enumerate(("cat/a.png", "cat/b.png", "dog/c.png", "dog/d.png")):
        draw(tmp_path / "pictures" / name, number)
    return tmp_path / "pictures"


def test_tables_of_every_kind_hold_the_same(tmp_path):
    rows = sentences(6)
    write_csv(tmp_path / "a.csv", rows)
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    columns = {"text": [t for t, _ in rows], "label": [label for _, label in rows]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    found = [read_examples(tmp_path / f"a.{end}", TEXT) for end in ("csv", "jsonl", "parquet")]
    for one in found:
        assert list(zip(one.items, one.labels, strict=True)) == rows
    assert len({one.hash for one in found}) == 1


def test_a_table_without_a_header_counts_its_columns(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('"3","Fears","Unions say"\n"1","Race","Rockets fly"\n')
    found = read_examples(path, ColumnChoice(frozenset({"text"}), target="1"))
    assert found.items == ["Fears\nUnions say", "Race\nRockets fly"]
    assert found.labels == ["3", "1"]


def test_class_folders_and_a_zip_of_them_are_the_same(pictures, tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for path in pictures.rglob("*.png"):
            archive.write(path, f"outer/{path.relative_to(pictures)}")
    folder, packed = read_examples(pictures, IMAGE), read_examples(tmp_path / "p.zip", IMAGE)
    assert folder.labels == packed.labels == ["cat", "cat", "dog", "dog"]
    assert folder.keys == packed.keys
    pairs = zip(folder.items, packed.items, strict=True)
    assert all(a.open().tobytes() == b.open().tobytes() for a, b in pairs)


def test_image_paths_in_a_table_start_at_the_table(pictures):
    path = write_csv(pictures / "t.csv", [("cat/a.png", "x"), ("dog/c.png", "y")], ("f", "label"))
    found = read_examples(path, IMAGE)
    assert all(isinstance(item, ImageArray) for item in found.items)


def test_image_paths_may_start_at_the_current_folder(pictures, tmp_path, monkeypatch):
    (tmp_path / "tables").mkdir()
    rows = [("pictures/cat/a.png", "x"), ("pictures/dog/c.png", "y")]
    path = write_csv(tmp_path / "tables" / "t.csv", rows, ("f", "label"))
    monkeypatch.chdir(tmp_path)
    found = read_examples(path, IMAGE)
    assert len(found) == 2
    assert "start at the current folder" in found.notes[0]


def test_a_missing_image_names_both_places(pictures, tmp_path, monkeypatch):
    (tmp_path / "tables").mkdir()
    rows = [("pictures/cat/a.png", "x"), ("pictures\\dog\\c.png", "y"), ("none.png", "y")]
    path = write_csv(tmp_path / "tables" / "t.csv", rows, ("f", "label"))
    draw(tmp_path / "tables" / "pictures" / "cat" / "a.png", 7)  # beside the table comes first
    monkeypatch.chdir(tmp_path)
    found = read_examples(path, IMAGE)
    assert [item.path for item in found.items] == [
        str(tmp_path / "tables/pictures/cat/a.png"), str(tmp_path / "pictures/dog/c.png"),
    ]  # fmt: skip
    assert "1 paths of images start at the current folder" in found.notes[0]
    assert [one.reason for one in found.refused] == [
        f"{tmp_path / 'tables' / 'none.png'} is not there, nor is {tmp_path / 'none.png'}."
    ]


def test_columns_of_0_and_1_are_labels(tmp_path):
    rows = [(f"text {n}", n % 2, int(n % 3 == 0), "" if n else "0") for n in range(12)]
    path = write_csv(tmp_path / "o.csv", rows, ("text", "even", "third", "none"))
    found = read_examples(path, ColumnChoice(frozenset({"text"}), target="even, third"))
    assert len(found) == 12
    targets = read_targets(found, None)
    assert (targets.task, targets.labels) == ("labels", ("even", "third"))
    assert targets.values.tolist() == [[n % 2, n % 3 == 0] for n in range(12)]
    assert "labels are read from 2 columns of 0 and 1, several labels a row" in found.notes[0]
    single = [(t, a, 1 - a) for t, a, *_ in rows]
    path = write_csv(tmp_path / "s.csv", single, ("text", "odd", "even"))
    found = read_examples(path, ColumnChoice(frozenset({"text"}), target="odd,even"))
    assert found.columns == ("text",)
    assert read_targets(found, None).task == "class"
    assert found.labels == ["odd" if a else "even" for _, a, _ in single]
    with pytest.raises(
        BadInput, match=r"`target` \(several of 0 and 1: `target` odd,even\)|odd,even"
    ):
        read_examples(path, TEXT)
    path = write_csv(tmp_path / "b.csv", [*single, ("x", 2, 0)], ("text", "odd", "even"))
    with pytest.raises(BadInput, match=r"line 14 of b\.csv: odd is '2', neither 0 nor 1"):
        read_examples(path, ColumnChoice(frozenset({"text"}), target="odd,even"))


def test_numeric_columns_are_a_series(tmp_path):
    path = write_csv(tmp_path / "s.csv", [(1, 2, 3, "a"), (4, 5, 6, "b")], ("t1", "t2", "t3", "y"))
    found = read_examples(path, SERIES)
    assert found.kind == "series"
    assert np.array(found.items).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_unreadable_images_are_left_out_and_named(pictures):
    (pictures / "cat" / "bad.png").write_bytes(b"no picture")
    found = read_examples(pictures, IMAGE)
    assert len(found) == 4
    assert [one.name.endswith("cat/bad.png") for one in found.refused] == [True]
    assert "not a readable image" in found.refused[0].reason


def test_rows_without_label_or_text_are_left_out_and_named(tmp_path):
    rows = [*sentences(4), ("no label here", ""), ("", "warm"), ("also none", "nan")]
    found = read_examples(write_csv(tmp_path / "a.csv", rows), TEXT)
    assert len(found) == 4
    assert [one.name for one in found.refused] == [f"line {n} of a.csv" for n in (6, 7, 8)]
    assert [one.reason for one in found.refused] == [
        "no label.",
        "nothing in text.",
        "its label is NaN, which is not a number.",
    ]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("a", "x"), ("b", "x")], "one class only, 'x'"),
        ([("a", "x"), ("b", "x"), ("c", "y")], "'y' has one example only"),
        ([("a", "x"), ("b", "x"), ("c", "y"), ("c", "y")], "'y' has one example only"),
        ([(f"t{n}", f"l{n}") for n in range(20)], "hardly classes"),
        ([("a", ""), ("b", "")], "no example that can be used"),
        ([("a", "1.5"), ("b", "inf"), ("c", "2.5")], "'inf', which is not a finite number"),
        ([("a", "1.5"), ("b", "1.5")], "all targets"),
    ],
)
def test_labels_that_cannot_be_learned(tmp_path, rows, words):
    with pytest.raises(BadInput, match=words):
        read_targets(read_examples(write_csv(tmp_path / "a.csv", rows), TEXT), None)


def test_a_column_that_is_not_there_names_those_that_are(tmp_path):
    path = write_csv(tmp_path / "a.csv", sentences(4), ("words", "kind"))
    with pytest.raises(BadInput, match=r"no column 'topic'.*words, kind"):
        read_examples(path, ColumnChoice(frozenset({"text"}), target="topic"))
    with pytest.raises(BadInput, match=r"no target column.*`target`.*words, kind"):
        read_examples(path, TEXT)


def test_data_of_another_kind_than_the_model_reads(pictures, texts):
    with pytest.raises(
        BadInput,
        match=r"holds images.* reads texts\. .*`model` imagenet .*`model` builtin/blocks-clip",
    ):
        read_examples(pictures, TEXT)
    paths = write_csv(pictures / "t.csv", [("cat/a.png", "x"), ("dog/c.png", "y")], ("f", "label"))
    with pytest.raises(BadInput, match=r"t\.csv holds images.*`model` builtin/blocks-clip"):
        read_examples(paths, TEXT)
    with pytest.raises(BadInput, match="no column of images"):
        read_examples(texts, IMAGE)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "text,label\na,b,c\n", "3 cells"),
        ("a.csv", "text,label\n", "no row"),
        ("a.jsonl", "[1]\n", "no JSON object"),
        ("a.jsonl", "{\n", "no JSON"),
        ("a.parquet", "x", "not a Parquet"),
        ("a.zip", "x", "not a zip"),
        ("a.xls", "x", "not a table"),
    ],
)
def test_malformed_files(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(BadInput, match=words):
        read_examples(tmp_path / name, TEXT)
    with pytest.raises(BadFile, match="does not exist"):
        read_examples(tmp_path / "none.csv", TEXT)


def test_folders_of_a_split_are_no_classes(tmp_path):
    for part in ("train", "test"):
        draw(tmp_path / "data" / part / "cat" / "a.png", 1)
    with pytest.raises(BadInput, match="look like parts of a split"):
        read_examples(tmp_path / "data", IMAGE)


def test_kinds_of_labels(tmp_path):
    lists = "\n".join(json.dumps({"text": t, "label": ["a", "b"][: n % 3]}) for n, (t, _) in
                      enumerate(sentences(9)))  # fmt: skip
    (tmp_path / "l.jsonl").write_text(lists)
    found = read_targets(read_examples(tmp_path / "l.jsonl", TEXT), None)
    assert (found.task, found.labels) == ("labels", ("a", "b"))
    numbers = write_csv(tmp_path / "n.csv", [(t, n / 7) for n, (t, _) in enumerate(sentences(9))])
    assert read_targets(read_examples(numbers, TEXT), None).task == "number"
    assert read_targets(read_examples(numbers, TEXT), None).outputs == 1


def test_new_labels_of_other_data_are_left_out_and_counted(texts, tmp_path):
    known = read_targets(read_examples(texts, TEXT), None)
    rows = [("a", "tepid"), ("b", "warm"), ("c", "tepid"), ("d", "cold")]
    other = read_examples(write_csv(tmp_path / "o.csv", rows), TEXT)
    retained, targets, counts = same_targets(other, "class", known.labels)
    assert counts == {"tepid": 2}
    assert (retained.items, targets.values.tolist()) == (["b", "d"], [1, 0])
    assert [one.name for one in retained.refused] == ["line 2 of o.csv", "line 4 of o.csv"]
    assert (
        "2 rows have labels that were not learned and are not scored: 'tepid' (2)"
        in (targets.notes[-1])
    )
    only = read_examples(write_csv(tmp_path / "p.csv", rows[:1]), TEXT)
    with pytest.raises(BadInput, match=r"not learned: 'tepid'.*Known are: 'cold', 'warm'"):
        same_targets(only, "class", known.labels)


def test_a_split_depends_on_contents_and_seed_alone(tmp_path):
    rows = sentences(100)
    parts = []
    for order in (rows, rows[::-1]):
        examples = read_examples(write_csv(tmp_path / "a.csv", order), TEXT)
        found = split(examples, read_targets(examples, None), 0, 0.2, 0.1)
        parts.append({examples.items[n] for n in found.test.tolist()})
        everything = np.concatenate([found.train, found.validation, found.test])
        assert sorted(everything.tolist()) == list(range(100))
    assert parts[0] == parts[1]
    other = split(examples, read_targets(examples, None), 1, 0.2, 0.1)
    assert {examples.items[n] for n in other.test.tolist()} != parts[0]


def test_a_split_is_stratified(tmp_path):
    rows = [(f"common {n}", "common") for n in range(90)] + [(f"rare {n}", "r") for n in range(10)]
    examples = read_examples(write_csv(tmp_path / "a.csv", rows), TEXT)
    targets = read_targets(examples, None)
    found = split(examples, targets, 0, 0.2, 0.2)
    assert balance(targets, found.test) == {"common": 18, "r": 2}
    assert balance(targets, found.validation) == {"common": 14, "r": 2}


def test_copies_stay_on_one_side_and_contradictions_are_counted(tmp_path):
    rows = sentences(50)
    flipped = [(text, {"warm": "cold", "cold": "warm"}[label]) for text, label in rows[:3]]
    examples = read_examples(write_csv(tmp_path / "a.csv", rows * 2 + flipped), TEXT)
    found = split(examples, read_targets(examples, None), 0, 0.3, 0.2)
    assert (found.copies, found.contradictions) == (53, 3)
    sides = [{examples.keys[n] for n in part} for part in (found.train, found.test)]
    assert not sides[0] & sides[1]


def test_a_bad_cell_costs_its_row_and_not_its_column(tmp_path):
    rows = [[number, number + 1, "ab"[number % 2]] for number in range(20)]
    rows[3][1], rows[7][0] = "x", "inf"
    path = write_csv(tmp_path / "series.csv", rows, ("first", "second", "label"))
    found = read_examples(path, ColumnChoice(frozenset({"series"})))
    assert found.columns == ("first", "second")
    assert len(found) == 18
    assert [one.reason for one in found.refused] == [
        "second is 'x', which is not a number.",
        "first is inf, which is not a finite number of 32 bits.",
    ]
