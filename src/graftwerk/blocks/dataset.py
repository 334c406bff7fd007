"""Write rendered scenes as a folder that `datasets.load_dataset("imagefolder")` reads."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .. import files
from ..settings import settings
from .captions import caption_of
from .map_images import PALETTE, condition_images
from .maps import CLASSES, maps_of
from .renderer import render
from .sampling import sample_scene
from .scene import Scene, scene_to_data

CONDITIONS = ("depth", "normals", "segmentation", "keypoints", "outlines")
_BATCH = 4  # scenes handed to each thread at a time; a stop waits for them

_README = """\
# Blocks: {count} scenes, {size} x {size} pixels, seed {seed}

Written by `graft blocks render --count {count} --size {size} --seed {seed}{objects}`, which writes
the same bytes again. Load it with `datasets.load_dataset("imagefolder", data_dir=FOLDER)`; paths in
columns other than `file_name` start at this folder.

| where | what |
|---|---|
| `train/NNNNNN.png` | the image, sRGB |
| `train/metadata.jsonl` | per image `file_name`, `caption`, and the paths of what is below |
| `conditions/depth/` | 16 bits, 65535 / depth along the viewing axis in scene units; 0 is the sky |
| `conditions/normals/` | red right, green up, blue towards the camera; 255 is 1, 0 is -1; sky 128 |
| `conditions/segmentation/` | one colour a class, below |
| `conditions/keypoints/` | visible joints and bones of people, OpenPose COCO-18 colours |
| `conditions/outlines/` | outlines 255, creases 128 |
| `scenes/NNNNNN.json` | the scene itself: camera, sun, ground, time, objects from left to right |

| class | red green blue |
|---|---|
{palette}
"""


def write_dataset(
    folder: Path, seed: int, count: int, size: int, objects: int | None = None
) -> Iterator[int]:
    """Write scenes 0 to `count` - 1 of a seed's world into an empty folder.

    The folder is complete once the iterator is exhausted.

    Args:
        folder: an empty folder, for example a `folders.working_folder`.
        seed: of the world.
        count: number of scenes.
        size: side length of the images in pixels.
        objects: number of objects in each scene; None means one to four.

    Yields:
        Number of scenes finished in each step.
    """
    for name in ("train", "scenes", *(f"conditions/{name}" for name in CONDITIONS)):
        (folder / name).mkdir(parents=True)
    rows: list[dict[str, str]] = []
    threads = settings().threads
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, count, _BATCH * threads):
            numbers = range(start, min(count, start + _BATCH * threads))
            rows += pool.map(
                lambda number: _write_scene(
                    folder, number, sample_scene(seed, number, count=objects), size
                ),
                numbers,
            )
            yield len(numbers)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    palette = "\n".join(f"| {name} | {' '.join(map(str, PALETTE[name]))} |" for name in CLASSES)
    few = f" --objects {objects}" if objects else ""
    readme = _README.format(count=count, size=size, seed=seed, objects=few, palette=palette)
    files.write_text(folder / "README.md", readme)
    files.write_text(folder / "train" / "metadata.jsonl", lines)


def _write_scene(folder: Path, number: int, scene: Scene, size: int) -> dict[str, str]:
    name = f"{number:06d}"
    _write_image(folder / "train" / f"{name}.png", render(scene, size, size))
    row = {"file_name": f"{name}.png", "caption": caption_of(scene)}
    for condition, image in condition_images(maps_of(scene, size, size)).items():
        row[condition] = f"conditions/{condition}/{name}.png"
        _write_image(folder / row[condition], image)
    row["scene"] = f"scenes/{name}.json"
    content = json.dumps(scene_to_data(scene), indent=2) + "\n"
    files.write_plain(folder / row["scene"], content.encode())
    return row


def _write_image(path: Path, image: Any) -> None:
    from PIL import Image

    Image.fromarray(image).save(path, format="PNG")
