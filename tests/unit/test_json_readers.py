"""JSON from elsewhere: what Python's parser raises besides its own error is told as bad input."""

import json
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from graftwerk.blocks.scene import scene_from_json
from graftwerk.commands.search import read_questions
from graftwerk.data.benchmarks import read_labelled_texts
from graftwerk.data.documents.sandbox import Reader
from graftwerk.data.image_folder import read_image_folder
from graftwerk.data.tables import read_table
from graftwerk.errors import BadFile, BadInput
from graftwerk.files import read_json
from graftwerk.generation.provenance import read_record
from graftwerk.search.database import SNAPSHOT
from graftwerk.search.vectors import read_snapshot
from graftwerk.training.loop import Log

LONG_NUMBER = f'{{"text": "a", "label": {"9" * 5_000}}}'
DEEP = "[" * 100_000


def read_document(path: Path) -> object:
    with Reader() as reader:
        return reader.read(str(path))


def read_scene(path: Path) -> object:
    return scene_from_json(path.read_bytes())


@pytest.mark.parametrize("content", [LONG_NUMBER, DEEP], ids=["long number", "deep"])
@pytest.mark.parametrize(
    ("read", "name"),
    [
        (read_json, "a.json"),
        (read_table, "a.jsonl"),
        (read_labelled_texts, "a.jsonl"),
        (read_image_folder, "metadata.jsonl"),
        (read_questions, "a.jsonl"),
        (read_document, "a.jsonl"),
        (read_scene, "a.json"),
    ],
)
def test_it_is_bad_input(read, name, content, tmp_path):
    path = tmp_path / name
    path.write_text(content + "\n")
    with pytest.raises((BadFile, BadInput), match=r"JSON|a\.jsonl|not a scene"):
        read(path)


@pytest.mark.parametrize("content", [LONG_NUMBER, DEEP], ids=["long number", "deep"])
def test_a_record_in_an_image(content, tmp_path):
    metadata = PngInfo()
    metadata.add_itxt("graftwerk", content, zip=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=metadata)
    with pytest.raises(BadFile, match="request"):
        read_record(tmp_path / "a.png")


@pytest.mark.parametrize("content", [LONG_NUMBER, DEEP], ids=["long number", "deep"])
def test_a_line_of_a_log_counts_as_torn(content, tmp_path):
    (tmp_path / "log.jsonl").write_text(f'{{"step": 1}}\n{content}\n{{"step": 2}}\n')
    assert Log(tmp_path / "log.jsonl").read() == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize("content", [LONG_NUMBER, DEEP], ids=["long number", "deep"])
def test_a_snapshot_with_such_a_header_is_none(content, tmp_path):
    header = content.encode()
    (tmp_path / SNAPSHOT).write_bytes(len(header).to_bytes(8, "little") + header)
    assert read_snapshot(tmp_path) is None


def test_a_number_that_is_not_converted_is_told_as_such(tmp_path):
    (tmp_path / "a.json").write_text(LONG_NUMBER)
    with pytest.raises(BadFile, match=r"a number in it has more than 4,300 digits\."):
        read_json(tmp_path / "a.json")


def test_the_number_is_one_that_json_itself_may_hold():
    with pytest.raises(ValueError, match="4300 digits"):
        json.loads(LONG_NUMBER)
