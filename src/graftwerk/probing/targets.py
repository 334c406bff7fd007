"""Numbers that are known of a picture: of a rendered scene, or in the columns of a table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from ..blocks.geometry import project, view_of
from ..blocks.maps import maps_of
from ..blocks.person import JOINTS
from ..blocks.scene import COLOURS, GROUNDS, KINDS, TIMES, Scene, SceneObject, scene_from_json
from ..data.tables import json_objects
from ..errors import BadFile, BadInput, UnknownName
from .regression import FEWEST

_METADATA = "metadata.jsonl"
_SIDE = 64  # of the picture in which joints are looked up; results are shares of it
SCENE_TARGETS = ("place", "distance", "height", "kind", "colour", "ground", "time", "keypoints")


@dataclass(frozen=True)
class Known:
    """Pictures and what is known of each.

    Attributes:
        paths: of the pictures.
        names: of the numbers.
        values: one row a picture.
        left_out: pictures of other scenes than those asked for.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    values: Float64[np.ndarray, "n k"]
    left_out: int


def read_known(folder: Path, targets: Sequence[str], objects: int) -> Known:
    """Read a folder as `graft blocks render` writes it, or pictures with a table of numbers.

    Args:
        folder: holds `metadata.jsonl`, or `train/metadata.jsonl`.
        targets: of `SCENE_TARGETS`, or columns of numbers in the table.
        objects: only scenes with so many are taken; what is said of an object is said of the
            first from the left. For `keypoints` that one must be a person.

    Raises:
        BadInput: no such folder or target, or no picture is left.
    """
    root = folder / "train" if (folder / "train" / _METADATA).is_file() else folder
    rows = [row for _, row in json_objects(root / _METADATA)]
    if not rows:
        raise BadInput(f"{root / _METADATA} is empty.", "Name a folder with pictures.")
    of_scenes = [target for target in targets if target in SCENE_TARGETS]
    columns = [target for target in targets if target not in SCENE_TARGETS]
    _require_columns(rows, columns)
    paths, values, names = [], [], tuple(columns)
    for number, row in enumerate(rows, 1):
        scene = _scene_of(folder, row, number) if of_scenes else None
        if scene is not None and not _is_wanted(scene, of_scenes, objects):
            continue
        known = {name: _number(row, name, number) for name in columns}
        for target in of_scenes if scene is not None else ():
            assert scene is not None  # noqa: S101  for the type checker
            known |= numbers_of(scene, target)
        names = tuple(known)
        paths.append(_inside(root, str(row.get("file_name"))))
        values.append(list(known.values()))
    if not paths:
        who = "a person alone" if "keypoints" in of_scenes else f"{objects} objects"
        raise BadInput(f"{folder} has no scene with {who}.", _more(objects))
    return Known(tuple(paths), names, np.array(values, dtype=np.float64), len(rows) - len(paths))


def require_enough(known: Known, targets: Sequence[str], objects: int) -> None:
    """Refuse too few pictures for a read-out, before a model is loaded.

    Raises:
        BadInput: fewer than `FEWEST`; says how many were left out, and why.
    """
    count = len(known.paths)
    if count >= FEWEST:
        return
    held = "several objects" if objects == 1 else f"another number of objects than {objects}"
    if "keypoints" in targets:
        held += ", or no person"
    total = count + known.left_out
    why = f": {known.left_out:,} of {total:,} were left out because they hold {held}"
    raise BadInput(
        f"{count} pictures are too few for a read-out, which needs {FEWEST}"
        f"{why if known.left_out else ''}.",
        _more(objects),
    )


def _more(objects: int) -> str:
    return (
        f"Give more, as `graft blocks render --objects {objects} --count 200 --out DIR` renders "
        "them, or take other scenes with --objects."
    )


def numbers_of(scene: Scene, target: str) -> dict[str, float]:
    """The numbers of one of `SCENE_TARGETS`; places and lengths are shares of the picture."""
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
    """Where a share of an object's height is seen, as shares of the picture, and its distance."""
    tall = thing.size * (0.75 if thing.pose == "sitting" else 1.0)
    point = np.array([(thing.x, up * tall, thing.z)])
    x, y, depth = project(view_of(scene.camera, 1, 1), point)[0].tolist()
    return x, y, depth


def _is_wanted(scene: Scene, targets: Sequence[str], objects: int) -> bool:
    if len(scene.objects) != objects:
        return False
    return "keypoints" not in targets or scene.objects[0].kind == "person"


def _scene_of(folder: Path, row: dict[str, Any], number: int) -> Scene:
    name = row.get("scene")
    if not isinstance(name, str):
        raise BadFile(
            f"line {number} of the table in {folder} names no scene.",
            "Name a folder that `graft blocks render` wrote, or a column of numbers.",
        )
    path = _inside(folder, name)
    if not path.is_file():
        raise BadFile(f"{path} does not exist.", "Copy the whole folder again.")
    return scene_from_json(path.read_bytes())


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BadFile(f"the table in {folder} points outside of it: {name!r}.", "Mend it.")
    return path


def _require_columns(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    first = rows[0]
    numeric = [key for key, value in first.items() if _is_number(value)]
    for name in columns:
        if name not in numeric:
            raise UnknownName("target", name, (*SCENE_TARGETS, *numeric))


def _number(row: dict[str, Any], name: str, number: int) -> float:
    value = row.get(name)
    if not _is_number(value) or not math.isfinite(float(value)):  # type: ignore[arg-type]
        raise BadInput(
            f"line {number} of the table has {name} = {value!r}, which is no finite number.",
            "Leave that picture out.",
        )
    return float(value)  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
