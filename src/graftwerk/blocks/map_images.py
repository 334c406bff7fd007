"""Maps as images, as control branches expect them, contact sheets, and folders of data sets."""

import colorsys
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8, UInt16

from .. import files
from ..data.images import NEARNESS
from ..metrics.plots import image_sheet
from ..settings import settings
from .captions import caption_of
from .maps import CLASSES, FAR, FIRST_OBJECT_ID, Keypoints, Maps, maps_of
from .renderer import render
from .sampling import sample_scene
from .scene import Scene, scene_to_data

if TYPE_CHECKING:
    from PIL import Image


# Sky, grass, sand, stone (road), cylinder (column) and person as ADE20K's palette has them; snow,
# sphere, cube and cone in colors of it that no other class here comes near.
PALETTE = {
    "sky": (6, 230, 230),
    "grass": (4, 250, 7),
    "sand": (160, 150, 20),
    "snow": (230, 230, 230),
    "stone": (140, 140, 140),
    "sphere": (224, 5, 255),
    "cube": (11, 102, 255),
    "cylinder": (255, 8, 41),
    "cone": (255, 184, 6),
    "person": (150, 5, 61),
}
# OpenPose: bones as pairs of joints; bone k and joint k have the hue k / 18
BONES = (
    (1, 2),
    (1, 5),
    (2, 3),
    (3, 4),
    (5, 6),
    (6, 7),
    (1, 8),
    (8, 9),
    (9, 10),
    (1, 11),
    (11, 12),
    (12, 13),
    (1, 0),
    (0, 14),
    (14, 16),
    (0, 15),
    (15, 17),
)
_BONE_SHADE = 0.6
_STROKE = 0.011  # width of a bone, as a share of the image's shorter side
_FINE = 4  # key points are drawn this much larger and then made smaller
_LEAST_TILE = 192  # smaller images are shown enlarged


def draw_depth(depth: Float32[np.ndarray, "h w"]) -> UInt16[np.ndarray, "h w"]:
    """Return 65535 / depth in 16 bits: near is bright, the sky is 0."""
    nearness = np.rint(65535.0 / np.maximum(depth.astype(np.float64), 1.0))
    return np.where(depth < FAR, nearness, 0).astype(np.uint16)


def draw_normals(normals: Float32[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Map x (right), y (up), z (to the camera) from [-1, 1] to RGB, 0 to 255; the sky is 128."""
    return np.rint(127.5 * (normals.astype(np.float64) + 1.0)).astype(np.uint8)


def draw_segmentation(classes: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Show each class in its color from `PALETTE`."""
    palette = np.array([PALETTE[name] for name in CLASSES], dtype=np.uint8)
    return np.take(palette, classes, axis=0)


def draw_outlines(
    outlines: Bool[np.ndarray, "h w"], creases: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w"]:
    """Set outlines to 255, creases to 128 and all other pixels to 0."""
    return np.where(outlines, 255, np.where(creases, 128, 0)).astype(np.uint8)


def draw_keypoints(
    people: tuple[Keypoints, ...], height: int, width: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Plot visible key points and the bones between them in OpenPose's colors on black."""
    from PIL import Image, ImageDraw

    large = Image.new("RGB", (width * _FINE, height * _FINE))
    canvas = ImageDraw.Draw(large)
    stroke = max(1.5, _STROKE * min(height, width)) * _FINE
    for person in people:
        points = person.points.astype(np.float64) * _FINE
        for number, (a, b) in enumerate(BONES):
            if person.visible[a] and person.visible[b]:
                ends = [tuple(points[a]), tuple(points[b])]
                canvas.line(ends, fill=_hue(number, _BONE_SHADE), width=round(stroke))
        for number, (x, y) in enumerate(points):
            if person.visible[number]:
                radius = 0.7 * stroke
                box = (x - radius, y - radius, x + radius, y + radius)
                canvas.ellipse(box, fill=_hue(number, 1.0))
    return np.asarray(large.resize((width, height), Image.Resampling.BOX))


def _hue(number: int, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(number / 18, 1.0, value)
    return int(255 * red), int(255 * green), int(255 * blue)


def condition_images(maps: Maps) -> dict[str, np.ndarray]:
    """Return every map as an image, by the name of its folder."""
    height, width = maps.depth.shape
    return {
        "depth": draw_depth(maps.depth),
        "normals": draw_normals(maps.normals),
        "segmentation": draw_segmentation(maps.classes),
        "keypoints": draw_keypoints(maps.people, height, width),
        "outlines": draw_outlines(maps.outlines, maps.creases),
    }


def sheet_of(scene: Scene, size: int) -> "Image.Image":
    """Return a labeled contact sheet of a scene and all its maps, with the caption on top."""
    from PIL import Image

    maps = maps_of(scene, size, size)
    pictures = condition_images(maps)
    depth = pictures["depth"]
    tiles = {
        "picture": render(scene, size, size),
        "depth (near is bright)": (depth / max(1, int(depth.max())) * 255).astype(np.uint8),
        "normals": pictures["normals"],
        "segmentation": pictures["segmentation"],
        "objects": _draw_objects(maps),
        "key points": pictures["keypoints"],
        "outlines and creases": pictures["outlines"],
        "outlines over image": _lines_over(render(scene, size, size), maps),
    }
    side = size * max(1, _LEAST_TILE // size)
    images = [
        Image.fromarray(tile).convert("RGB").resize((side, side), Image.Resampling.NEAREST)
        for tile in tiles.values()
    ]
    return image_sheet(images, 4, below=list(tiles), title=caption_of(scene))


def _draw_objects(maps: Maps) -> UInt8[np.ndarray, "h w 3"]:
    """Show each object in a different color, with sky and ground in gray."""
    count = int(maps.objects.max()) + 1
    hues = [_hue(4 * (number - FIRST_OBJECT_ID), 0.95) for number in range(2, max(2, count))]
    colours = np.array([(40, 40, 40), (90, 90, 90), *hues], dtype=np.uint8)
    return np.take(colours, maps.objects, axis=0)


def _lines_over(image: UInt8[np.ndarray, "h w 3"], maps: Maps) -> UInt8[np.ndarray, "h w 3"]:
    faded = (image // 2 + 128).astype(np.uint8)
    faded[maps.creases] = (120, 120, 120)
    faded[maps.outlines] = (0, 0, 0)
    return faded


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
| `conditions/segmentation/` | one color a class, below |
| `conditions/keypoints/` | visible joints and bones of people, OpenPose COCO-18 colors |
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
    from PIL.PngImagePlugin import PngInfo

    marks = PngInfo()
    if image.dtype == np.uint16:
        marks.add_text(*NEARNESS)
    Image.fromarray(image).save(path, format="PNG", pnginfo=marks)
