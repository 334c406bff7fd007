"""Every layout of a folder of images with captions and conditions, read by all readers alike."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from graftwerk.data.image_folder import read_captioned, read_image_folder, read_image_tables
from graftwerk.errors import BadFile, BadInput
from graftwerk.probing.targets import read_known

COUNT = 3
CAPTIONS = tuple(f"a square, number {number}" for number in range(COUNT))


def images(folder, names):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (60 * number, 0, 0)).save(path)


def rows(image="{}.png", condition="maps/{}.png", **more):
    return [
        {
            "file_name": image.format(number),
            "conditioning_image": condition.format(number),
            "text": CAPTIONS[number],
            "size": number,
            **more,
        }
        for number in range(COUNT)
    ]


def jsonl(path, records, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding)


def csv(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(records[0])]
    lines += [",".join(f'"{cell}"' for cell in one.values()) for one in records]
    path.write_text("\n".join(lines) + "\n")


def parquet(path, records):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)


def flat(folder):
    images(folder, [f"{n}.png" for n in range(COUNT)] + [f"maps/{n}.png" for n in range(COUNT)])


def in_jsonl(folder):
    flat(folder)
    jsonl(folder / "metadata.jsonl", rows())


def in_csv(folder):
    flat(folder)
    csv(folder / "metadata.csv", rows())


def in_parquet(folder):
    flat(folder)
    parquet(folder / "metadata.parquet", rows())


def in_prompt_json(folder):
    images(folder, [f"{part}/{n}.png" for part in ("target", "source") for n in range(COUNT)])
    records = [
        {"source": f"source/{n}.png", "target": f"target/{n}.png", "prompt": CAPTIONS[n], "size": n}
        for n in range(COUNT)
    ]
    jsonl(folder / "prompt.json", records)


def in_a_list(folder):
    in_prompt_json(folder)
    lines = (folder / "prompt.json").read_text().splitlines()
    (folder / "prompt.json").write_text("[" + ",\n".join(lines) + "]\n")


def in_train(folder):
    flat(folder / "train")
    jsonl(folder / "train" / "metadata.jsonl", rows())


def in_a_deep_folder(folder):
    flat(folder / "a" / "b" / "c")
    csv(folder / "a" / "b" / "c" / "metadata.csv", rows())


def above_the_images(folder):
    flat(folder / "train" / "part")
    jsonl(folder / "metadata.jsonl", rows("train/part/{}.png", "train/part/maps/{}.png"))


def beside_with_names_from_the_root(folder):
    flat(folder / "train")
    jsonl(folder / "train" / "metadata.jsonl", rows("train/{}.png", "train/maps/{}.png"))


def from_windows(folder):
    flat(folder / "img")
    jsonl(folder / "metadata.jsonl", rows("img\\{}.png", "img\\maps\\{}.png"))


def with_a_mark_and_several_captions(folder):
    flat(folder)
    records = [one | {"text": [one["text"], "another"]} for one in rows()]
    jsonl(folder / "metadata.jsonl", records, "utf-8-sig")


def with_caption_lists_in_parquet(folder):
    flat(folder)
    parquet(
        folder / "metadata.parquet", [one | {"text": [one["text"], "another"]} for one in rows()]
    )


def with_the_other_column_of_conditions(folder):
    flat(folder)
    records = rows()
    for one in records:
        one["conditioning_image_file_name"] = one.pop("conditioning_image")
        one["caption"] = one.pop("text")
    jsonl(folder / "metadata.jsonl", records)


TABLES = [
    in_jsonl,
    in_csv,
    in_parquet,
    in_prompt_json,
    in_a_list,
    in_train,
    in_a_deep_folder,
    above_the_images,
    beside_with_names_from_the_root,
    from_windows,
    with_a_mark_and_several_captions,
    with_caption_lists_in_parquet,
    with_the_other_column_of_conditions,
]


@pytest.mark.parametrize("write", TABLES)
def test_all_readers_agree_on_every_table(tmp_path, write):
    write(tmp_path)
    shown = read_captioned(tmp_path, None)
    assert shown.captions == CAPTIONS
    assert [path.name for path in shown.paths] == [f"{n}.png" for n in range(COUNT)]
    assert [path.name for path in shown.conditions] == [f"{n}.png" for n in range(COUNT)]
    assert not set(shown.conditions) & set(shown.paths)
    listed = read_image_folder(tmp_path)
    assert [row.path for row in listed] == [str(path) for path in shown.paths]
    assert tuple(row.caption for row in listed) == CAPTIONS
    assert [row.values["size"] for row in listed] == [(str(n),) for n in range(COUNT)]
    known = read_known(tmp_path, ["size"], 1)
    assert known.paths == shown.paths
    assert known.values.tolist() == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("write", "note"),
    [
        (in_jsonl, None),
        (from_windows, r"6 file names have \ for /"),
        (with_a_mark_and_several_captions, "3 images have several captions; the first is taken"),
        (beside_with_names_from_the_root, "6 file names count from"),
    ],
)
def test_what_is_not_read_as_it_stands_is_counted(tmp_path, write, note):
    write(tmp_path)
    reported = []
    read_image_folder(tmp_path, reported.append)
    assert tuple(reported) == read_captioned(tmp_path, None).notes
    assert reported == [] if note is None else reported[0].startswith(note)


@pytest.mark.parametrize("ending", [".txt", ".caption"])
def test_captions_in_files_beside(tmp_path, ending):
    names = [f"10_things/IMG_{n}.v2.PNG" for n in range(COUNT)]
    images(tmp_path, names)
    for name, caption in zip(names, CAPTIONS, strict=True):
        (tmp_path / name).with_suffix(ending).write_text(f"{caption}\r\n")
    assert read_captioned(tmp_path, None).captions == CAPTIONS
    listed = read_image_folder(tmp_path)
    assert tuple(row.caption for row in listed) == CAPTIONS
    assert {row.values["label"] for row in listed} == {("10_things",)}


def test_folders_of_labels_in_folders_of_parts(tmp_path):
    images(tmp_path, ["train/cat/a.png", "test/dog/b.png", "train/cat/more/c.png"])
    listed = {
        row.path.rpartition("/")[2]: row.values["label"] for row in read_image_folder(tmp_path)
    }
    assert listed == {"a.png": ("cat",), "b.png": ("dog",), "c.png": ("cat",)}


def test_one_table_counts_and_the_others_are_named(tmp_path):
    in_jsonl(tmp_path)
    csv(tmp_path / "metadata.csv", [{"file_name": "0.png", "text": "another"}])
    jsonl(tmp_path / "maps" / "metadata.jsonl", [{"file_name": "0.png", "text": "a map"}])
    shown = read_captioned(tmp_path, None)
    assert shown.captions == CAPTIONS
    assert shown.notes[0].startswith("2 tables are not read")
    assert "metadata.csv" in shown.notes[0] and "maps/metadata.jsonl" in shown.notes[0]


def test_another_prompt_json_is_no_table(tmp_path):
    images(tmp_path, ["a/0.png"])
    (tmp_path / "prompt.json").write_text('{"system": "be kind"}')
    assert read_image_tables(tmp_path).tables == ()
    assert read_image_folder(tmp_path)[-2].values == {"label": ("a",)}


@pytest.mark.parametrize(
    "name", ["../secret.png", "..\\secret.png", "sub/../../secret.png", "/etc/a"]
)
def test_no_row_leads_out_of_the_folder(tmp_path, name):
    data = tmp_path / "data"
    in_train(data)
    images(tmp_path, ["secret.png"])
    records = rows()
    records[1]["file_name"] = f"../{name}" if name.startswith("..") else name
    jsonl(data / "train" / "metadata.jsonl", records)
    for read in (read_image_tables, read_image_folder):
        with pytest.raises(BadFile, match=r"line 2 of .*metadata\.jsonl names .* outside of"):
            read(data)


def test_a_link_does_not_lead_out_of_the_folder_either(tmp_path):
    in_jsonl(tmp_path / "data")
    images(tmp_path, ["secret.png"])
    (tmp_path / "data" / "1.png").unlink()
    (tmp_path / "data" / "1.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(BadFile, match="outside of"):
        read_image_tables(tmp_path / "data")


def test_a_table_may_name_images_of_a_folder_beside_its_own(tmp_path):
    flat(tmp_path / "img")
    jsonl(tmp_path / "tables" / "metadata.jsonl", rows("../img/{}.png", "../img/maps/{}.png"))
    assert read_captioned(tmp_path, None).captions == CAPTIONS


def test_parquet_without_images_is_refused_with_the_layout_to_use(tmp_path):
    parquet(tmp_path / "train-00000-of-00001.parquet", [{"image": b"x", "text": "a"}])
    with pytest.raises(BadInput, match=r"train-00000.*row 1: no image inside") as caught:
        read_captioned(tmp_path, None)
    assert "columns image, text and conditioning_image" in caught.value.hint


def test_no_captions_says_which_layouts_there_are(tmp_path):
    images(tmp_path, ["0.png"])
    with pytest.raises(BadInput, match="have no caption") as caught:
        read_captioned(tmp_path, None)
    for part in ("NAME.txt", "NAME.caption", "metadata.csv", "prompt.json", "conditioning_image"):
        assert part in caught.value.hint
