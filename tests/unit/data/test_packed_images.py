"""Images whose files are cells of a Parquet table or an Arrow folder, as `datasets` stores them."""

import io
import json

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from graftwerk.commands.predictions import _unpacked
from graftwerk.data.columns import ColumnChoice
from graftwerk.data.documents.sandbox import Reader
from graftwerk.data.image_folder import read_captioned
from graftwerk.data.load import read_examples
from graftwerk.errors import BadInput

READS = ColumnChoice(frozenset({"image"}), missing="learn")


def png(color):
    out = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(out, "PNG")
    return out.getvalue()


def table_of(path, rows):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def rows_of(count=6):
    return [
        {
            "image": {"bytes": png((n * 40, 0, 9)), "path": None},
            "label": "ab"[n % 2],
            "of": {"w": n},
        }
        for n in range(count)
    ]


@pytest.mark.parametrize("bare", [False, True])
def test_images_in_parquet_are_examples(tmp_path, bare):
    rows = rows_of()
    if bare:
        rows = [row | {"image": row["image"]["bytes"]} for row in rows]
    found = read_examples(table_of(tmp_path / "a.parquet", rows), READS)
    assert found.kind == "image"
    assert [item.open().getpixel((0, 0)) for item in found.items] == [
        (n * 40, 0, 9) for n in range(6)
    ]
    assert len(set(found.keys)) == 6
    assert found.items[2].name.endswith("a.parquet:row 3")


def test_a_damaged_image_in_parquet_is_left_out_by_name(tmp_path):
    rows = rows_of()
    rows[1]["image"]["bytes"] = rows[1]["image"]["bytes"][:40]
    found = read_examples(table_of(tmp_path / "a.parquet", rows), READS)
    assert len(found) == 5
    assert "row 2" in found.refused[0].name


def test_objects_beside_images_become_columns(tmp_path):
    path = table_of(tmp_path / "a.parquet", rows_of())
    found = read_examples(path, ColumnChoice(frozenset({"row"})))
    assert found.columns == ("of.w",)
    assert any("outer.inner" in note for note in found.notes)


def test_images_in_a_table_of_an_index_are_counted(tmp_path):
    with Reader() as reader:
        document = reader.read(str(table_of(tmp_path / "a.parquet", rows_of())))
    assert "images and other files inside the table left out: 6" in document.notes
    assert "PNG" not in document.text


@pytest.mark.parametrize("folder", ["", "data"])
def test_a_folder_of_parquet_is_a_training_folder(tmp_path, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    rows = [
        {
            "image": {"bytes": png((n, 0, 0)), "path": None},
            "conditioning_image": {"bytes": png((0, n, 0)), "path": None},
            "text": [f"square {n}", "other"],
        }
        for n in range(3)
    ]
    rows.append(rows[0] | {"text": None})
    table_of(tmp_path / folder / "train-0.parquet", rows)
    found = read_captioned(tmp_path, None)
    assert found.captions == ("square 0", "square 1", "square 2")
    assert [one.getpixel((0, 0)) for one in found.pictures] == [(n, 0, 0) for n in range(3)]
    assert [one.decode().image.getpixel((0, 0)) for one in found.conditions] == [
        (0, n, 0) for n in range(3)
    ]
    assert list(found.left_out.values()) == ["no caption."]
    assert found.notes[:2] == (
        "images are read from 1 Parquet files",
        "3 images have several captions; the first is taken",
    )
    table_of(tmp_path / folder / "train-0.parquet", [{"text": "no image"}])
    with pytest.raises(BadInput, match=r"no image that can be read.*no image inside"):
        read_captioned(tmp_path, None)


def test_predictions_are_written_without_the_images():
    assert _unpacked({"bytes": b"x", "path": "a.png"}) == "a.png"
    assert _unpacked(b"1234") == "4 bytes"
    assert json.dumps(_unpacked({"w": 1})) == '{"w": 1}'
