"""Reading folders of images with what is said about them, and files of texts."""

import json

import pytest

from graftwerk import limits
from graftwerk.data.benchmarks import attributes, read_labelled_texts
from graftwerk.data.image_folder import LabelledImage, read_image_folder
from graftwerk.errors import BadFile, LimitExceeded


@pytest.fixture
def write(tmp_path):
    def write(*rows, location="metadata.jsonl"):
        path = tmp_path / location
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("\n".join(lines) + "\n")
        return tmp_path

    return write


def test_metadata(write):
    folder = write(
        {"file_name": "a.png", "caption": "a cube", "label": "cube", "size": 3, "x": 0.5, "none": None},
        "",
        {"file_name": "deep/b.png", "text": "a cone", "tags": ["red", "blue"], "empty": "", "on": True},
    )  # fmt: skip
    first, second = read_image_folder(folder)
    assert first == LabelledImage(
        str(folder / "a.png"), "a cube", {"label": ("cube",), "size": ("3",)}
    )
    assert second.path == str(folder / "deep" / "b.png")
    assert second.caption == "a cone"
    assert second.values == {"tags": ("red", "blue"), "empty": (), "on": ("True",)}
    assert read_image_folder(folder / "metadata.jsonl") == [first, second]


def test_metadata_in_folders_of_it(write):
    write({"file_name": "a.png"}, location="train/metadata.jsonl")
    folder = write({"file_name": "b.png"}, location="test/metadata.jsonl")
    (folder / "conditions").mkdir()
    paths = [row.path for row in read_image_folder(folder)]
    assert paths == [str(folder / "test" / "b.png"), str(folder / "train" / "a.png")]
    write({"file_name": "c.png"})
    assert [row.path for row in read_image_folder(folder)] == [str(folder / "c.png")]


def test_a_folder_for_each_label_and_loose_images(tmp_path):
    for name in ("cat/b.png", "cat/a.png", "dog/c.png", ".hidden/d.png", "dog/.e.png", "f.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    rows = read_image_folder(tmp_path)
    assert [(row.path, row.values) for row in rows] == [
        (str(tmp_path / "cat/a.png"), {"label": ("cat",)}),
        (str(tmp_path / "cat/b.png"), {"label": ("cat",)}),
        (str(tmp_path / "dog/c.png"), {"label": ("dog",)}),
        (str(tmp_path / "f.png"), {}),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "line 1: no JSON"),
        ("[" * 100_000, "line 1: no JSON"),
        ("3", "line 1 of .* contains no JSON object: '3'"),
        ({"caption": "x"}, "has no file_name"),
        ({"file_name": ""}, "has no file_name"),
        ({"file_name": "../a.png"}, "lies outside of"),
        ({"file_name": "/etc/a.png"}, "lies outside of"),
        ({"file_name": "a/../../b.png"}, "lies outside of"),
    ],
)
def test_malformed_metadata(write, row, message):
    with pytest.raises(BadFile, match=message):
        read_image_folder(write(row))


def test_what_is_no_image_folder(tmp_path, write):
    with pytest.raises(BadFile, match="does not exist"):
        read_image_folder(tmp_path / "nowhere")
    with pytest.raises(BadFile, match="contains no images"):
        read_image_folder(tmp_path)
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(BadFile, match="neither a folder nor a table"):
        read_image_folder(tmp_path / "a.png")
    (tmp_path / "metadata.jsonl").write_bytes(b"\x81\x8d")
    with pytest.raises(BadFile, match="not UTF-8"):
        read_image_folder(tmp_path)


def test_the_limit_of_images(write, monkeypatch):
    folder = write(*({"file_name": f"{n}.png"} for n in range(3)))
    monkeypatch.setattr(limits, "LABELLED_IMAGES", 3)
    assert len(read_image_folder(folder)) == 3
    monkeypatch.setattr(limits, "LABELLED_IMAGES", 2)
    with pytest.raises(LimitExceeded, match="holds 3 images; at most 2"):
        read_image_folder(folder)


def test_attributes_are_columns_that_items_share():
    rows = [
        {"kind": ("cube",), "path": (f"{n}.png",), "all": ("x",), "few": ("a",) if n else ()}
        for n in range(3)
    ] + [{"kind": ("cone",), "path": ("3.png",), "all": ("x",), "few": ("b",)}]
    found = attributes(rows)
    assert set(found) == {"kind", "few"}
    assert found["few"] == [(), ("a",), ("a",), ("b",)]
    assert attributes([{}, {}]) == {}


def test_texts_with_labels(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('\ufefftext,topic,year\n"one, two",sport,2001\nthree,,2002\n')
    assert [(row.text, row.values) for row in read_labelled_texts(path).rows] == [
        ("one, two", {"topic": ("sport",), "year": ("2001",)}),
        ("three", {"topic": (), "year": ("2002",)}),
    ]
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one", "topic": "sport"}\n\n{"text": "two", "n": 1.5}\n')
    assert [(row.text, row.values) for row in read_labelled_texts(path).rows] == [
        ("one", {"topic": ("sport",)}),
        ("two", {}),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"a,b\n1,2\n", "the header of .* has no column text, but: a, b"),
        ("a.csv", b"", "has no column text"),
        ("a.csv", b"text,b\n,2\n", "line 2: there is no text"),
        ("a.csv", b'text,b\n"a,2\n', "not CSV"),
        ("a.csv", b"text\n\xff\n", "not UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n{\n', "line 2: no JSON"),
        ("a.jsonl", b'{"text": 3}\n', "line 1: there is no text"),
        ("a.jsonl", b"[1]\n", "line 1 .*no JSON object"),
    ],
)
def test_malformed_texts(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadFile, match=message):
        read_labelled_texts(path)


def test_a_file_of_texts_that_is_none(tmp_path, monkeypatch):
    with pytest.raises(BadFile, match="is not a file"):
        read_labelled_texts(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("text\nx\n")
    monkeypatch.setattr(limits, "TEXT_FILE", 6)
    with pytest.raises(LimitExceeded, match="file of texts"):
        read_labelled_texts(tmp_path / "a.csv")
