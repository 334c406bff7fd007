"""Tables and zips are limited by what they unpack to, not by their size on the disk."""

import zipfile

import pyarrow
import pyarrow.parquet
import pytest

from graftwerk import limits
from graftwerk.data.load import read_class_folders
from graftwerk.data.tables import read_table
from graftwerk.errors import BadFile, LimitExceeded


def write(path, **columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_a_parquet_bomb_is_refused_before_it_unfolds(tmp_path):
    path = write(tmp_path / "bomb.parquet", text=["x" * 10_000] * 200_000, label=["a"] * 200_000)
    assert path.stat().st_size < 200_000
    with pytest.raises(LimitExceeded, match="unpacks to more than"):
        read_table(path)


@pytest.mark.parametrize(
    "column", [["long" * 50] * 2000, [["long" * 50]] * 2000, [b"long" * 50] * 2000, [1.5] * 60_000]
)
def test_every_kind_of_column_is_counted(tmp_path, monkeypatch, column):
    path = write(tmp_path / "t.parquet", column=column)
    assert len(read_table(path).column("column")) == len(column)
    monkeypatch.setattr(limits, "DATA_UNPACKED", 100 * 2000)
    with pytest.raises(LimitExceeded, match="unpacks"):
        read_table(path)


def test_what_is_read_is_what_was_written(tmp_path):
    columns = {
        "text": ["one", None, "", "ü"] * 1000,
        "lists": [["a"], [], None, ["b", "c"]] * 1000,
        "number": [1, None, 3, 4] * 1000,
    }
    table = read_table(write(tmp_path / "t.parquet", **columns))
    assert dict(table.columns) == columns
    assert table.places[-1] == "row 4000"


def test_a_column_twice_is_refused(tmp_path):
    table = pyarrow.table([["a"], ["b"]], names=["text", "text"])
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(BadFile, match="two columns of one name"):
        read_table(tmp_path / "t.parquet")


def test_texts_of_a_zip_are_counted_together(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"a/{number}.txt", "word " * 200)
    assert len(read_class_folders(tmp_path / "t.zip")) == 20
    monkeypatch.setattr(limits, "DATA_UNPACKED", 10_000)
    with pytest.raises(LimitExceeded, match="more than"):
        read_class_folders(tmp_path / "t.zip")
