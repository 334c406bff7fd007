"""The interface of a condition, and the fidelity of images to it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from PIL import Image

from ..blocks.geometry import JOINTS
from ..blocks.maps import CLASSES, CREASE_DEGREES, CREASE_STEP, FAR, Maps, maps_of
from ..blocks.networks import Perceived, Perception, load_perception
from ..blocks.renderer import render
from ..blocks.scene import GROUNDS, Scene
from ..errors import BadInput
from ..models.hub import builtin_folder

_STEP = 0.1  # share of the distance by which one object ends before another of its class
_FACETED = ("cube", "cylinder")  # other things bend without a crease
_ALL, _LOW, _HIGH = slice(None), slice(None, -1), slice(1, None)
# index of a pixel and of its neighbour: right, left, below, above
_NEIGHBOURS = (
    ((_ALL, _ALL, _LOW), (_ALL, _ALL, _HIGH)),
    ((_ALL, _ALL, _HIGH), (_ALL, _ALL, _LOW)),
    ((_ALL, _LOW, _ALL), (_ALL, _HIGH, _ALL)),
    ((_ALL, _HIGH, _ALL), (_ALL, _LOW, _ALL)),
)


def lines_of_maps(
    nearness: Float32[np.ndarray, "n h w"],
    normals: Float32[np.ndarray, "n h w 3"],
    classes: UInt8[np.ndarray, "n h w"],
) -> tuple[Bool[np.ndarray, "n h w"], Bool[np.ndarray, "n h w"]]:
    """Return approximate outlines and creases, as `blocks.maps` defines them, from other maps.

    Two objects of one class are separated by the step in distance between them, two faces of one
    object by their angle, and two limbs of one person by a smaller step.

    Returns:
        Outlines and creases.
    """
    grounds = [CLASSES.index(ground) for ground in GROUNDS]
    layer = np.full(len(CLASSES), 2, dtype=np.int64)  # 0 sky, 1 ground, 2 an object
    layer[CLASSES.index("sky")], layer[grounds] = 0, 1
    faceted = np.isin(np.arange(len(CLASSES)), [CLASSES.index(kind) for kind in _FACETED])
    depth = 1 / np.maximum(nearness, 1 / FAR)
    thing = layer[classes]
    rank = depth + np.array([3 * FAR, 2 * FAR, 0.0], dtype=np.float32)[thing]
    bends, limbs = faceted[classes], classes == CLASSES.index("person")
    sharp = np.cos(np.radians(CREASE_DEGREES))
    outlines = np.zeros(classes.shape, dtype=np.bool_)
    creases = np.zeros(classes.shape, dtype=np.bool_)
    for here, there in _NEIGHBOURS:
        other = classes[here] != classes[there]
        behind = (depth[there] - depth[here]) / depth[here]
        step = (thing[here] == 2) & ~other & (behind > _STEP)
        limb = limbs[here] & ~other & (behind > CREASE_STEP)
        outlines[here] |= (other & (rank[here] <= rank[there])) | step
        bent = np.sum(normals[here] * normals[there], axis=-1) < sharp
        creases[here] |= ~other & ~step & bends[here] & bent & (depth[here] <= depth[there])
        creases[here] |= limb & ~step
    return outlines, creases


ImageBatch = UInt8[np.ndarray, "n h w 3"]
Read = Callable[[ImageBatch], ImageBatch]
Lines = tuple[Bool[np.ndarray, "n h w"], Bool[np.ndarray, "n h w"]]


@dataclass(frozen=True, slots=True, eq=False)
class SceneMaps:
    """Exact maps of rendered scenes.

    Attributes:
        pictures: the rendered images.
        nearness: 1 over the distance along the viewing axis.
        normals: right, up, towards the camera; 0 for the sky.
        classes: indices in `blocks.maps.CLASSES`.
        joints: x, y in pixels, and 1 if visible, of up to o people.
        lines: computes outlines, where one thing occludes another, and creases, where two faces of
            one object meet; most conditions need neither.
    """

    pictures: ImageBatch
    nearness: Float32[np.ndarray, "n h w"]
    normals: Float32[np.ndarray, "n h w 3"]
    classes: UInt8[np.ndarray, "n h w"]
    joints: Float32[np.ndarray, "n o j 3"]
    lines: Callable[[], Lines]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """How well each image follows its condition.

    Attributes:
        values: in the unit of the measure; NaN if nothing was requested.
        scores: 0 (not at all) to 1 (perfectly); NaN if nothing was requested.
    """

    values: Float64[np.ndarray, " n"]
    scores: Float64[np.ndarray, " n"]


@dataclass(frozen=True, slots=True, eq=False)
class Fidelity:
    """Fidelity of several images.

    Attributes:
        name: of the measure, with its unit.
        higher_is_better: direction of `values`; scores are always better when higher.
        values: one an image, NaN where there was nothing to keep.
        scores: the same from 0 (not at all) to 1 (entirely).
        chance: values with shuffled conditions, see `shuffled`: what is kept by chance.
        chance_scores: the same as scores.
    """

    name: str
    higher_is_better: bool
    values: Float64[np.ndarray, " n"]
    scores: Float64[np.ndarray, " n"]
    chance: Float64[np.ndarray, " n"]
    chance_scores: Float64[np.ndarray, " n"]

    @property
    def value(self) -> float:
        """Mean of the values, ignoring NaN; NaN if there are none."""
        return _mean(self.values)

    @property
    def chance_score(self) -> float:
        """Mean of the scores with shuffled conditions; NaN where there are none."""
        return _mean(self.chance_scores)

    @property
    def score(self) -> float:
        """Mean of the scores, ignoring NaN; NaN if there are none."""
        return _mean(self.scores)


def _mean(values: Float64[np.ndarray, " n"]) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")


@dataclass(frozen=True, slots=True)
class Condition:
    """A kind of condition. Every condition is an image with three channels of 8 bits.

    Attributes:
        name: as on the command line.
        about: one line for users.
        read_by: what `read` is: a classical method, or the name of a built-in model.
        measure: name of the fidelity's values, with their unit.
        higher_is_better: direction of the fidelity's values.
        draw: from exact maps to condition images.
        read: from arbitrary images to condition images, without other models.
        read_scenes: the same, from images of Blocks scenes.
        compare: requested condition images with those that were detected.
        problem: why an image cannot be a finished map of this kind, or None.
    """

    name: str
    about: str
    read_by: str
    measure: str
    higher_is_better: bool
    draw: Callable[[SceneMaps], ImageBatch]
    read: Read
    read_scenes: Read
    compare: Callable[[ImageBatch, ImageBatch], Measured]
    problem: Callable[[UInt8[np.ndarray, "h w 3"]], str | None]
    channels: int = 3

    def from_scene(self, scene: Scene, size: int) -> UInt8[np.ndarray, "h w 3"]:
        """Return the condition of a Blocks scene, from its exact maps.

        Raises:
            LimitExceeded: the image would be too large, or would have no pixels.
        """
        drawn: UInt8[np.ndarray, "h w 3"] = self.draw(maps_of_scene(scene, size))[0]
        return drawn

    def from_rows(self, rows: np.ndarray) -> ImageBatch:
        """Return the conditions of stored scenes: rows as cached by `graft recipe run perception`.

        Args:
            rows: a structured array with `image`, `depth`, `normals`, `classes`, `joints`.
        """
        return self.draw(maps_of_rows(rows))

    def from_image(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """Return the condition of one image, without other models."""
        read: UInt8[np.ndarray, "h w 3"] = self.read(image[None])[0]
        return read

    def check_map(self, finished: UInt8[np.ndarray, "h w 3"], name: str) -> None:
        """Refuse an image that is not a finished map of this kind.

        Args:
            finished: the image.
            name: used in the error message.

        Raises:
            BadInput: it is empty, or of another kind.
        """
        reason = self.problem(finished)
        if reason is not None:
            raise BadInput(
                f"{name} is not a {self.name} map: {reason}.",
                f"Make one with `graft condition {self.name} IMAGE`, or give the image itself.",
            )

    def fidelity(
        self, requested: ImageBatch, images: UInt8[np.ndarray, "m a b 3"], read: Read | None = None
    ) -> Fidelity:
        """Detect the condition in images and compare it with what was requested.

        Args:
            requested: condition images.
            images: one for each, of the same size or a whole multiple, then downsampled.
            read: detects the condition; default: as in Blocks scenes. For other images pass this
                condition's `read`, or an estimator.

        Raises:
            BadInput: the maps and the images differ in number or size.
        """
        images = downsampled_to(images, requested.shape[1:3])
        if requested.shape != images.shape:
            raise BadInput(
                f"{len(requested)} {self.name} maps of {_size(requested)} pixels were given for "
                f"{len(images)} images of {_size(images)}.",
                "Give one map for each image, of its size.",
            )
        seen = (read or self.read_scenes)(images)
        found = self.compare(requested, seen)
        others = [self.compare(maps, seen) for maps in shuffled(requested)]
        chance, scores = (
            np.array([_mean(row) for row in np.stack(rows, axis=1)])
            for rows in ([one.values for one in others], [one.scores for one in others])
        )
        return Fidelity(
            self.measure, self.higher_is_better, found.values, found.scores, chance, scores
        )


def shuffled(requested: ImageBatch) -> list[ImageBatch]:
    """Condition images that belong to other images: what is kept of them is kept by chance.

    Where there are several, each image gets those of up to three others. Where all are one, it is
    moved sideways by quarters of its width, and mirrored too: as much is drawn, as high up.
    """
    if (requested == requested[0]).all():
        both, quarter = (requested, requested[:, :, ::-1]), max(1, requested.shape[2] // 4)
        moved = [np.roll(maps, turn * quarter, axis=2) for maps in both for turn in (1, 2, 3)]
        return [np.ascontiguousarray(maps) for maps in moved]
    return [np.roll(requested, turn, axis=0) for turn in range(1, min(4, len(requested)))]


def _size(images: UInt8[np.ndarray, "m a b 3"]) -> str:
    return f"{images.shape[2]} x {images.shape[1]}"


def maps_of_scene(scene: Scene, size: int) -> SceneMaps:
    """Compute square exact maps of one scene.

    Raises:
        LimitExceeded: the image would be too large, or would have no pixels.
    """
    maps = maps_of(scene, size, size)
    return SceneMaps(
        pictures=render(scene, size, size)[None],
        nearness=1 / maps.depth[None],
        normals=maps.normals[None],
        classes=maps.classes[None],
        joints=_joints(maps)[None],
        lines=lambda: (maps.outlines[None], maps.creases[None]),
    )


def _joints(maps: Maps) -> Float32[np.ndarray, "o j 3"]:
    joints = np.zeros((len(maps.people), len(JOINTS), 3), dtype=np.float32)
    for location, person in enumerate(maps.people):
        joints[location, :, :2], joints[location, :, 2] = person.points, person.visible
    return joints


def maps_of_rows(rows: np.ndarray) -> SceneMaps:
    """Return the maps of stored scenes; lines are recomputed from the other maps."""
    nearness = rows["depth"].astype(np.float32)
    normals = rows["normals"].astype(np.float32) / 127
    return SceneMaps(
        pictures=np.ascontiguousarray(rows["picture"]),
        nearness=nearness,
        normals=normals,
        classes=np.ascontiguousarray(rows["classes"]),
        joints=np.ascontiguousarray(rows["joints"]),
        lines=lambda: lines_of_maps(nearness, normals, rows["classes"]),
    )


PERCEPTION = "builtin/blocks-perception"
_SIDE = 64  # the shorter side that the model is shown; it learned from such images
_MULTIPLE = 8  # its sides are multiples of this
_MOST = 8  # times the shorter side that the longer one may have


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Estimated maps of images of one size; see `blocks.perception.Perceived`."""

    nearness: Float32[np.ndarray, "n h w"]
    normals: Float32[np.ndarray, "n h w 3"]
    classes: UInt8[np.ndarray, "n h w"]
    joints: tuple[tuple[tuple[tuple[float, float, float], ...], ...], ...]


@cache
def _perception() -> Perception:
    return load_perception(builtin_folder(PERCEPTION))


def perceive(images: ImageBatch) -> Seen:
    """Run on images of one size; the model uses its own resolution."""
    height, width = images.shape[1:3]
    scale = _SIDE / min(height, width)
    own = [max(_MULTIPLE, _MULTIPLE * round(side * scale / _MULTIPLE)) for side in (height, width)]
    rows, columns = (min(side, _MOST * _SIDE) for side in own)
    if (rows, columns) == (height, width):
        return _joined(_perception().look(images.copy()))
    small = np.stack([_resized(one, rows, columns) for one in images])
    return _enlarged(_perception().look(small), height, width)


def downsampled_to(
    images: UInt8[np.ndarray, "n a b 3"], size: tuple[int, ...]
) -> UInt8[np.ndarray, "n y x 3"]:
    """Downsample images by averaging pixels, if their size is a whole multiple of this one."""
    count, height, width, colors = images.shape
    times = height // size[0]
    if times < 2 or (height, width) != (times * size[0], times * size[1]):
        return images
    parts = images.reshape(count, size[0], times, size[1], times, colors)
    means: UInt8[np.ndarray, "n y x 3"] = np.rint(parts.mean(axis=(2, 4))).astype(np.uint8)
    return means


def _joined(found: list[Perceived]) -> Seen:
    return Seen(
        np.stack([one.depth for one in found]).astype(np.float32),
        np.stack([one.normals for one in found]),
        np.stack([one.classes for one in found]),
        tuple(one.joints for one in found),
    )


def _resized(image: UInt8[np.ndarray, "h w 3"], rows: int, columns: int) -> np.ndarray:
    # averages over what becomes one pixel; enlarges smoothly
    method = Image.Resampling.BOX if rows < image.shape[0] else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image).resize((columns, rows), method))


def _enlarged(found: list[Perceived], height: int, width: int) -> Seen:
    seen = _joined(found)
    rows, columns = seen.nearness.shape[1:]
    down = np.arange(height) * rows // height
    across = np.arange(width) * columns // width
    normals = np.stack([smooth(one, height, width) for one in seen.normals])
    lengths = np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    ratio_x, ratio_y = width / columns, height / rows
    joints = tuple(
        tuple(
            tuple((x * ratio_x, y * ratio_y, score) for x, y, score in locations)
            for locations in person
        )
        for person in seen.joints
    )
    return Seen(
        np.stack([smooth(one[..., None], height, width)[..., 0] for one in seen.nearness]),
        (normals / lengths).astype(np.float32),
        seen.classes[:, down][:, :, across],
        joints,
    )


def smooth(
    values: Float32[np.ndarray, "r c k"], height: int, width: int
) -> Float32[np.ndarray, "h w k"]:
    """Resize values with linear interpolation."""
    channels = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(values[..., location])).resize(
                (width, height), Image.Resampling.BILINEAR
            )
        )
        for location in range(values.shape[-1])
    ]
    return np.stack(channels, axis=-1)
