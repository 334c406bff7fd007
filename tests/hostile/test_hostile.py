# ruff: noqa: PTH119  (names of any bytes)
"""Every hostile kind is refused with a reason; files around it are read."""

import os

import pytest
from tests.hostile.make import HOSTILE, make_hostile_folder, make_odd_names

from graftwerk.data.documents.sandbox import Reader
from graftwerk.data.walk import list_files
from graftwerk.errors import BadFile, LimitExceeded

# what the message must say, by kind
REASONS = {
    "encrypted.pdf": (BadFile, "encrypted"),
    "truncated.pdf": (BadFile, "damaged or no PDF"),
    "pages.pdf": (LimitExceeded, "10,000 pages"),
    "scanned.pdf": (BadFile, "no text in it"),
    "bomb.docx": (LimitExceeded, "unpacks"),
    "entities.docx": (BadFile, "document type declaration"),
    "lying.docx": (BadFile, "damaged"),
    "parts.docx": (LimitExceeded, "3,000 parts"),
    "password.docx": (BadFile, "encrypted or an old .doc"),
    "bomb.pptx": (LimitExceeded, "unpacks"),
    "entities.odt": (BadFile, "document type declaration"),
    "chapters.epub": (LimitExceeded, "3,000 parts"),
    "groups.rtf": (LimitExceeded, "groups in each other"),
    "nested.eml": (BadFile, "eml"),
    "wide.xlsx": (LimitExceeded, "cells, empty ones included"),
    "entities.xlsx": (BadFile, "damaged"),
    "bomb.xlsx": (LimitExceeded, "unpacks to"),
    "bytes.txt": (BadFile, "not UTF-8: byte 0x"),
    "nul.txt": (BadFile, "not text"),
    "latin1.md": (BadFile, "byte 0x81 at position 5"),
    "huge.txt": (LimitExceeded, "2,147,483,648 bytes"),
    "fifo.md": (BadFile, "not a regular file"),
    "loop.md": (BadFile, "cannot be opened"),
    "bomb.png": (LimitExceeded, "pixels"),
    "truncated.png": (BadFile, "not a readable image"),
    "deep.jsonl": (BadFile, "line 1"),
    "quote.csv": (BadFile, "line 2 opens a quote that is never closed"),
}


def test_every_kind_is_looked_at() -> None:
    assert len(HOSTILE) == 28
    assert set(HOSTILE) - set(REASONS) == {"outside.txt"}  # a good file in a wrong place


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    make_hostile_folder(folder)
    return folder


@pytest.fixture(scope="module")
def reader():
    with Reader() as reader:
        yield reader


@pytest.mark.parametrize("name", REASONS)
def test_refused_with_its_reason(name, hostile, reader) -> None:
    kind, words = REASONS[name]
    with pytest.raises((BadFile, LimitExceeded)) as caught:
        reader.read(str(hostile / name))
    assert type(caught.value) is kind
    assert words in caught.value.message
    assert caught.value.hint


def test_good_files_among_hostile_ones(tmp_path) -> None:
    hostile = make_hostile_folder(tmp_path / "in")
    for number in range(200):
        (tmp_path / "in" / f"good-{number}.md").write_text(f"# Good\n\nNumber {number}.\n")
    odd = make_odd_names(tmp_path / "in")
    found = list_files([str(tmp_path / "in")])
    refused = {os.path.basename(entry.path): entry.reason for entry in found.skipped}
    assert refused.keys() == {"fifo.md", "loop.md", "outside.txt"}
    read = []
    with Reader() as reader:
        for path in found.files:
            try:
                read.append(reader.read(path).path)
            except (BadFile, LimitExceeded) as error:
                refused[os.path.basename(path)] = str(error)
    assert refused.keys() == hostile.keys()
    assert all(refused.values())
    assert len(read) == 200 + len(odd)
    assert set(odd) < set(read)
