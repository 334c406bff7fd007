"""Known values of an image: facts of a rendered scene, or columns of a table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from ..blocks.geometry import project, view_of
from ..blocks.maps import maps_of
from ..blocks.person import JOINTS
from ..blocks.scene import COLOURS, GROUNDS, KINDS, TIMES, Scene, SceneObject, scene_from_json
from ..data.image_folder import TABLES, ImageRow, read_image_tables
from ..data.tables import is_number
from ..errors import BadFile, BadInput, UnknownName
from .regression import FEWEST

_SIDE = 64  # of the image in which joints are looked up; results are shares of it
SCENE_TARGETS = ("place", "distance", "height", "kind", "colour", "ground", "time", "keypoints")


@dataclass(frozen=True)
class ProbeTargets:
    """Images and their known values.

    Attributes:
        paths: of the images.
        names: of the targets.
        values: one row per image.
        left_out: number of images with another number of objects than requested.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    values: Float64[np.ndarray, "n k"]
    left_out: int


def read_known(folder: Path, targets: Sequence[str], objects: int) -> ProbeTargets:
    """Read a folder written by `graft blocks render`, or images with a table of numbers.

    Args:
        folder: contains a table of images at any depth; see `data.image_folder`.
        targets: of `SCENE_TARGETS`, or numeric columns of the table.
        objects: only use scenes with this many objects. Targets of an object refer to the leftmost
            one; for `keypoints` it must be a person.
    """
    rows = read_image_tables(folder).rows if folder.is_dir() else ()
    if not rows:
        raise BadFile(
            f"{folder} has no table of images, or an empty one.",
            f"Name a folder with one of {', '.join(TABLES)}.",
        )
    of_scenes = [target for target in targets if target in SCENE_TARGETS]
    columns = [target for target in targets if target not in SCENE_TARGETS]
    _require_columns(rows, columns)
    paths, values, names = [], [], tuple(columns)
    for row in rows:
        scene = _scene_of(folder, row) if of_scenes else None
        if scene is not None and not _is_requested(scene, of_scenes, objects):
            continue
        known = {name: _number(row, name) for name in columns}
        for target in of_scenes if scene is not None else ():
            assert scene is not None  # noqa: S101  for the type checker
            known |= numbers_of(scene, target)
        names = tuple(known)
        paths.append(row.path)
        values.append(list(known.values()))
    if not paths:
        who = "a person alone" if "keypoints" in of_scenes else f"{objects} objects"
        raise BadInput(f"{folder} has no scene with {who}.", _more(objects))
    return ProbeTargets(
        tuple(paths), names, np.array(values, dtype=np.float64), len(rows) - len(paths)
    )


def require_enough(known: ProbeTargets, targets: Sequence[str], objects: int) -> None:
    """Refuse too few images for a linear probe before a model is loaded."""
    count = len(known.paths)
    if count >= FEWEST:
        return
    held = "several objects" if objects == 1 else f"another number of objects than {objects}"
    if "keypoints" in targets:
        held += ", or no person"
    total = count + known.left_out
    why = f": {known.left_out:,} of {total:,} were left out because they hold {held}"
    raise BadInput(
        f"{count} images are too few for a linear probe, which needs {FEWEST}"
        f"{why if known.left_out else ''}.",
        _more(objects),
    )


def _more(objects: int) -> str:
    return (
        f"Give more, as `graft blocks render --objects {objects} --count 200 --out DIR` renders "
        "them, or take other scenes with --objects."
    )


def numbers_of(scene: Scene, target: str) -> dict[str, float]:
    """Return the values of one of `SCENE_TARGETS`; positions are fractions of the image."""
    thing = scene.objects[0]
    words: dict[str, tuple[str, Sequence[str]]] = {
        "kind": (thing.kind, KINDS),
        "colour": (thing.colour, COLOURS),
        "ground": (scene.ground, GROUNDS),
        "time": (scene.time, TIMES),
    }
    if target in words:
        value, all_of = words[target]
        return {f"{target}={one}": float(value == one) for one in all_of}
    if target == "keypoints":
        points = maps_of(scene, _SIDE, _SIDE).people[0].points / _SIDE
        return {
            f"{joint} {axis}": float(value)
            for joint, point in zip(JOINTS, points, strict=True)
            for axis, value in zip("xy", point, strict=True)
        }
    x, y, distance = _seen(scene, thing, 0.5)
    if target == "place":
        return {"horizontal": x, "vertical": y}
    if target == "distance":
        return {"distance": distance}
    return {"height": _seen(scene, thing, 0.0)[1] - _seen(scene, thing, 1.0)[1]}


def _seen(scene: Scene, thing: SceneObject, up: float) -> tuple[float, float, float]:
    """Return image position and distance of a point at a fraction `up` of an object's height."""
    tall = thing.size * (0.75 if thing.pose == "sitting" else 1.0)
    point = np.array([(thing.x, up * tall, thing.z)])
    x, y, depth = project(view_of(scene.camera, 1, 1), point)[0].tolist()
    return x, y, depth


def _is_requested(scene: Scene, targets: Sequence[str], objects: int) -> bool:
    if len(scene.objects) != objects:
        return False
    return "keypoints" not in targets or scene.objects[0].kind == "person"


def _scene_of(folder: Path, row: ImageRow) -> Scene:
    name = row.columns.get("scene")
    if not isinstance(name, str):
        raise BadFile(
            f"{row.place} names no scene.",
            "Name a folder that `graft blocks render` wrote, or a column of numbers.",
        )
    path = _inside(folder, name)
    if not path.is_file():
        raise BadFile(f"{path} does not exist.", "Copy the whole folder again.")
    return scene_from_json(path.read_bytes())


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BadFile(f"the table in {folder} names {name!r}, which lies outside of it.", "Fix it.")
    return path


def _require_columns(rows: Sequence[ImageRow], columns: Sequence[str]) -> None:
    numeric = [key for key, value in rows[0].columns.items() if is_number(value)]
    for name in columns:
        if name not in numeric:
            raise UnknownName("target", name, (*SCENE_TARGETS, *numeric))


def _number(row: ImageRow, name: str) -> float:
    value = row.columns.get(name)
    if not is_number(value) or not math.isfinite(float(value)):  # type: ignore[arg-type]
        raise BadInput(
            f"{row.place} has {name} = {value!r}, which is not a finite number.",
            "Leave that image out.",
        )
    return float(value)  # type: ignore[arg-type]
