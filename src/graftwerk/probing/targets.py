"""Known values of an image: facts of a rendered scene, or columns of a table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int64

from ..blocks.geometry import JOINTS, project, view_of
from ..blocks.maps import maps_of
from ..blocks.scene import COLOURS, GROUNDS, KINDS, TIMES, Scene, SceneObject, scene_from_json
from ..data.image_folder import TABLES, ImageRow, read_image_tables
from ..data.tables import is_number
from ..errors import BadFile, BadInput, UnknownName
from ..files import real_path
from ..metrics.intervals import percentile_interval, resample
from ..text_safety import counted

_STRENGTHS = np.logspace(-2, 8, 21)  # tried, on values of unit spread
_RESAMPLES = 1_000
_TEST_SHARE = 0.25
FEWEST = 40  # images

Features = Float32[np.ndarray, "n d"]
Values = Float64[np.ndarray, "n k"]


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of the training and test images."""

    train: Int64[np.ndarray, " t"]
    test: Int64[np.ndarray, " u"]


@dataclass(frozen=True, slots=True)
class Fit:
    """R2 of each target on test images, with 95 % intervals.

    Attributes:
        r2: 1 is exact, 0 is as good as always predicting the mean.
        low: 2.5th percentile over resampled test images.
        high: 97.5th percentile.
    """

    r2: Float64[np.ndarray, " k"]
    low: Float64[np.ndarray, " k"]
    high: Float64[np.ndarray, " k"]


def split_of(count: int, seed: int) -> Split:
    """Hold out a quarter of the images for testing."""
    order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,))).permutation(count)
    held = max(1, round(count * _TEST_SHARE))
    return Split(order[held:], order[:held])


def shuffled(values: Values, split: Split, seed: int) -> Values:
    """Permute the values within the training and within the test images."""
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
    mixed = values.copy()
    for part in (split.train, split.test):
        mixed[part] = values[generator.permutation(part)]
    return mixed


def read_out(features: Features, values: Values, split: Split, seed: int) -> Fit:
    """Fit a probe on the training images and evaluate it on the test images.

    R2 is relative to the training mean, so predicting that mean scores exactly 0.
    """
    from sklearn.linear_model import Ridge

    known, requested = values[split.train], values[split.test]
    deviation = np.where(known.std(axis=0) > 0, known.std(axis=0), 1.0)
    middle = known.mean(axis=0)
    scaled = (known - middle) / deviation
    inputs = features.astype(np.float64) / max(float(features[split.train].std()), 1e-12)
    ridge = Ridge(alpha=_strengths(inputs[split.train], scaled))
    ridge.fit(inputs[split.train], scaled)
    found = ridge.predict(inputs[split.test]).reshape(requested.shape)
    return _score((requested - middle) / deviation, found, seed)


def _strengths(
    inputs: Float64[np.ndarray, "t d"], scaled: Float64[np.ndarray, "t k"]
) -> Float64[np.ndarray, " k"]:
    """Return, per target, the strongest ridge that leave-one-out cannot tell from the best one.

    This is the one-standard-error rule (Breiman et al., "Classification and Regression Trees",
    1984) on paired differences: the best of many strengths would fit noise where there is nothing
    to learn.
    """
    from sklearn.linear_model import RidgeCV

    ridge = RidgeCV(alphas=_STRENGTHS, alpha_per_target=True, store_cv_results=True)
    ridge.fit(inputs, scaled)
    errors = ridge.cv_results_.reshape(len(scaled), scaled.shape[1], len(_STRENGTHS))
    chosen = []
    for own in errors.transpose(1, 0, 2):
        worse = own - own[:, [own.mean(axis=0).argmin()]]
        margins = worse.std(axis=0, ddof=1) / np.sqrt(len(own))
        chosen.append(_STRENGTHS[worse.mean(axis=0) <= margins].max())
    return np.array(chosen)


def _score(requested: Values, found: Values, seed: int) -> Fit:
    errors, total = (requested - found) ** 2, requested**2
    r2 = 1 - errors.sum(axis=0) / _safe(total.sum(axis=0))
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2,)))

    def determination(rows: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, " k"]:
        explained: Float64[np.ndarray, " k"] = 1 - errors[rows].sum(axis=0) / _safe(
            total[rows].sum(axis=0)
        )
        return explained

    resampled = resample(determination, len(requested), generator, _RESAMPLES)
    low, high = percentile_interval(np.array(resampled))
    return Fit(r2, low, high)


def _safe(total: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """Avoid dividing by zero for a constant target; its R2 becomes 0 or below."""
    return np.where(total > 0, total, np.inf)


def directions_of(features: Features, values: Values, split: Split) -> Float64[np.ndarray, "k d"]:
    """Return how the activations change with each target while the others stay constant.

    This regresses activations on targets (the pattern of Haufe et al., "On the interpretation of
    weight vectors of linear models", 2014). Moving along the probe's own weights would leave the
    range of real activations; moving along patterns stays inside it. In units of one standard
    deviation of the target.
    """
    known = values[split.train]
    deviation = np.where(known.std(axis=0) > 0, known.std(axis=0), 1.0)
    scaled = (known - known.mean(axis=0)) / deviation
    centred = features[split.train].astype(np.float64)
    centred -= centred.mean(axis=0)
    found: Float64[np.ndarray, "k d"] = np.linalg.lstsq(scaled, centred, rcond=None)[0]
    return found


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
        f"{counted(count, 'image is', 'images are')} too few for a linear probe, which needs "
        f"{FEWEST}{why if known.left_out else ''}.",
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
    if not real_path(path).is_relative_to(real_path(folder)):
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
