import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

import graftwerk as gw
from graftwerk.blocks.captions import facts_of, parse
from graftwerk.blocks.map_images import CONDITIONS, condition_images, write_dataset
from graftwerk.blocks.maps import maps_of
from graftwerk.blocks.renderer import render
from graftwerk.blocks.sampling import sample_scene
from graftwerk.blocks.scene import scene_from_json
from graftwerk.data.images import open_image
from graftwerk.settings import settings


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_folder(tmp_path: Path) -> None:
    assert sum(write_dataset(tmp_path / "a", 8, 5, 32)) == 5
    rows = [
        json.loads(line) for line in (tmp_path / "a/train/metadata.jsonl").read_text().splitlines()
    ]
    assert len(rows) == 5
    for number, row in enumerate(rows):
        scene = sample_scene(8, number)
        assert scene_from_json((tmp_path / "a" / row["scene"]).read_text()) == scene
        assert parse(row["caption"]) == facts_of(scene)
        image = np.asarray(Image.open(tmp_path / "a/train" / row["file_name"]))
        assert np.array_equal(image, render(scene, 32, 32))
        for name, expected in condition_images(maps_of(scene, 32, 32)).items():
            stored = np.asarray(Image.open(tmp_path / "a" / row[name]))
            assert stored.dtype == expected.dtype
            assert np.array_equal(stored, expected)
    assert set(rows[0]) == {"file_name", "caption", "scene", *CONDITIONS}
    assert "| sky | 6 230 230 |" in (tmp_path / "a/README.md").read_text()


def test_the_same_bits_again_and_more_of_them(tmp_path: Path) -> None:
    list(write_dataset(tmp_path / "a", 8, 3, 32))
    list(write_dataset(tmp_path / "b", 8, 3, 32))
    steps = list(write_dataset(tmp_path / "c", 8, 23, 16))
    assert sum(steps) == 23
    assert len(steps) > 1 or settings().threads > 5
    a, b = hashes(tmp_path / "a"), hashes(tmp_path / "b")
    assert a == b
    assert len(a) == 3 * 7 + 2
    list(write_dataset(tmp_path / "d", 8, 2, 16))
    c, d = hashes(tmp_path / "c"), hashes(tmp_path / "d")
    shared = [name for name in d if name[0] not in "R" and "metadata" not in name]
    assert len(shared) == 14
    assert all(c[name] == d[name] for name in shared)


def test_a_number_of_objects(tmp_path: Path) -> None:
    list(write_dataset(tmp_path / "a", 8, 6, 16, objects=1))
    for path in (tmp_path / "a" / "scenes").iterdir():
        assert len(scene_from_json(path.read_text()).objects) == 1
    assert "--seed 8 --objects 1`" in (tmp_path / "a/README.md").read_text()


def test_its_depth_maps_are_read_as_nearness_and_not_as_millimeters(tmp_path: Path) -> None:
    list(write_dataset(tmp_path / "a", 0, 4, 64))
    for number in range(4):
        file = str(tmp_path / f"a/conditions/depth/{number:06d}.png")
        assert "nearness" in open_image(file, depth=True).notes[0]
        stored = np.asarray(open_image(file, depth=True).image)
        exact = np.asarray(gw.conditions.of_scene("depth", number, size=64))
        assert np.abs(stored.astype(int) - exact).max() <= 5  # the sky is at no distance there
