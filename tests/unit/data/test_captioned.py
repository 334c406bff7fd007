import json

import pytest
from PIL import Image

from graftwerk import limits
from graftwerk.data.image_folder import read_captioned
from graftwerk.diffusion.sampling import fit, to_values
from graftwerk.errors import BadFile, BadInput, LimitExceeded


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        Image.new("RGB", (8, 6), (40 * number, 0, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


def test_captions_beside_the_images(folder):
    for number in range(3):
        (folder / f"{number}.txt").write_text(f"number\n {number} \n")
    shown = read_captioned(folder, None)
    assert shown.captions == ("number 0", "number 1", "number 2")
    assert [image.getpixel((0, 0))[0] for image in shown.pictures] == [0, 40, 80]


@pytest.mark.parametrize("column", ["caption", "text", "prompt"])
def test_captions_in_a_table(folder, column):
    rows = [{"file_name": f"{n}.png", column: f"number {n}", "more": 1} for n in (2, 0, 1)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_captioned(folder, None).captions == ("number 0", "number 1", "number 2")


def test_a_table_above_the_images_names_them_and_their_conditions(folder):
    (folder / "train").mkdir()
    (folder / "maps").mkdir()
    rows = []
    for number in range(3):
        (folder / f"{number}.png").rename(folder / "train" / f"{number}.png")
        Image.new("RGB", (8, 6), (0, 0, 9)).save(folder / "maps" / f"{number}.png")
        row = {"file_name": f"train/{number}.png", "text": f"number {number}"}
        rows.append(row | {"conditioning_image": f"maps/{number}.png"})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = read_captioned(folder, None)
    assert shown.captions == ("number 0", "number 1", "number 2")
    assert [path.parent.name for path in shown.paths] == ["train"] * 3
    assert [path.relative_to(folder).as_posix() for path in shown.conditions] == [
        f"maps/{number}.png" for number in range(3)
    ]
    assert len(read_captioned(folder, "a thing").pictures) == 3


def test_one_caption_for_all(folder):
    assert read_captioned(folder, " a thing ").captions == ("a thing",) * 3


def test_what_blocks_render_writes(tmp_path):
    from graftwerk.blocks.map_images import write_dataset

    data = tmp_path / "data"
    data.mkdir()
    list(write_dataset(data, 3, 2, 16))
    shown = read_captioned(data, None)
    assert [path.parent.name for path in shown.paths] == ["train", "train"]
    assert all(shown.captions)


def test_missing_captions_are_counted_and_named(folder):
    (folder / "1.txt").write_text("one")
    with pytest.raises(BadInput, match=r"2 of 3 images have no caption: 0\.png, 2\.png"):
        read_captioned(folder, None)


def test_what_cannot_be_read_is_left_out_and_named(folder):
    (folder / "1.png").write_bytes(b"no picture")
    shown = read_captioned(folder, "a thing")
    assert len(shown.pictures) == 2
    assert list(shown.left_out) == ["1.png"]
    for number in (0, 2):
        (folder / f"{number}.png").write_bytes(b"no picture")
    with pytest.raises(BadInput, match="no image that can be read"):
        read_captioned(folder, "a thing")


def test_bad_tables_and_folders(folder, tmp_path):
    (folder / "metadata.jsonl").write_text('{"file_name": "0.png", "label": 3}\n')
    with pytest.raises(BadFile, match=r"line 1 of .* has no caption"):
        read_captioned(folder, None)
    assert read_captioned(folder, "a thing").captions == ("a thing",) * 3
    (folder / "metadata.jsonl").write_text('{"file_name": "0.png", "text": "a"}\n{"text": "b"}')
    with pytest.raises(BadFile, match=r"line 2 of .* has no file_name"):
        read_captioned(folder, None)
    (folder / "metadata.jsonl").write_text('{"file_name": "9.png", "text": "a"}')
    with pytest.raises(BadFile, match=r"line 1 of .* names '9.png' as its file_name.*not there"):
        read_captioned(folder, "a thing")
    (folder / "metadata.jsonl").write_text("[]\n")
    with pytest.raises(BadFile, match="contains no JSON object"):
        read_captioned(folder, None)
    with pytest.raises(BadFile, match="is not a folder"):
        read_captioned(tmp_path / "none", None)


def test_too_many(folder, monkeypatch):
    monkeypatch.setattr(limits, "TRAINED_IMAGES", 3)
    assert len(read_captioned(folder, "a").pictures) == 3
    monkeypatch.setattr(limits, "TRAINED_IMAGES", 2)
    with pytest.raises(LimitExceeded, match="at most 2"):
        read_captioned(folder, "a")


def test_images_become_squares_of_their_middles():
    image = Image.new("RGB", (30, 10))
    image.paste((255, 0, 0), (10, 0, 20, 10))
    found = to_values(fit(image, 10, 10)[None])
    assert found.shape == (1, 3, 10, 10)
    assert float(found[0, 0].min()) == 1.0
    assert float(found[0, 1].max()) == 0.0
