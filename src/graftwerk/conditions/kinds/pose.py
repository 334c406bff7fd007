"""Human key points: OpenPose's 18 key points and bones in its colors, on black."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from ...blocks.geometry import JOINTS
from ...blocks.map_images import draw_keypoints
from ...blocks.maps import CLASSES, Keypoints
from ..base import PERCEPTION, Condition, ImageBatch, SceneMaps, perceive
from ..fidelity import each

_BRIGHT = 0.75  # value from which a colored pixel is a joint's; bones have 0.6
_HUE_REACH = 0.4  # of the distance between two joints' hues
_NEAR = 0.1  # share of a person's longer side within which a joint is found
_LEAST_NEAR = 1.5  # pixels: about how exactly a joint can be read out of a drawing
_SMALLEST = 6  # pixels of a person that is looked for


def draw_people(
    people: Sequence[Float32[np.ndarray, "j 3"]], height: int, width: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Plot skeletons; each key point is x, y in pixels, and positive if visible."""
    points = [Keypoints(0, one[:, :2], one[:, 2] > 0) for one in people]
    return draw_keypoints(tuple(points), height, width)


def key_points_of(drawn: UInt8[np.ndarray, "h w 3"]) -> list[Float64[np.ndarray, "p 2"]]:
    """Find the discs of each key point in a skeleton map: x, y in pixels.

    Key points covered by the disc of another one, as in the face of a small person, are not found.
    """
    from scipy.ndimage import center_of_mass, label

    value = drawn.max(axis=-1) / 255
    numbers, certain = _hue_numbers(drawn)
    locations = []
    for joint in range(len(JOINTS)):
        mask = certain & (value >= _BRIGHT) & (numbers == joint)
        parts, count = label(mask, structure=np.ones((3, 3)))
        centres = center_of_mass(value * mask, parts, range(1, count + 1))
        middles = np.array(centres, dtype=np.float64).reshape(-1, 2)[:, ::-1] + 0.5
        locations.append(np.ascontiguousarray(middles))
    return locations


def _hue_numbers(drawn: UInt8[np.ndarray, "h w 3"]) -> tuple[np.ndarray, Bool[np.ndarray, "h w"]]:
    """Return the key point with the nearest hue, and whether the hue clearly matches it."""
    red, green, blue = (drawn[..., location].astype(np.float64) for location in range(3))
    largest, smallest = drawn.max(axis=-1), drawn.min(axis=-1)
    deviation = np.maximum(largest.astype(np.float64) - smallest, 1)
    hue = np.where(
        largest == drawn[..., 0],
        (green - blue) / deviation,
        np.where(
            largest == drawn[..., 1], 2 + (blue - red) / deviation, 4 + (red - green) / deviation
        ),
    )
    location = (hue / 6 % 1) * len(JOINTS)
    nearest = np.rint(location)
    certain = (
        (np.abs(location - nearest) <= _HUE_REACH) & (deviation > 0.5 * largest) & (largest > 0)
    )
    return nearest.astype(np.int64) % len(JOINTS), certain


def _draw(maps: SceneMaps) -> ImageBatch:
    _, height, width = maps.classes.shape
    return np.stack([draw_people(list(people), height, width) for people in maps.joints])


def _read(images: ImageBatch) -> ImageBatch:
    _, height, width, _ = images.shape
    seen = perceive(images)
    flesh = seen.classes == CLASSES.index("person")
    pairs = zip(seen.joints, flesh, strict=True)
    return np.stack([draw_people(group(joints, mask), height, width) for joints, mask in pairs])


def group(
    joints: Sequence[Sequence[tuple[float, float, float]]], flesh: Bool[np.ndarray, "h w"]
) -> list[Float32[np.ndarray, "j 3"]]:
    """Group key point candidates into people: each blob gets the best candidate of each key point.

    Args:
        joints: candidates of each key point, most confident first: x, y in pixels and a score.
        flesh: pixels that belong to people.
    """
    from scipy.ndimage import distance_transform_edt, label

    blobs, count = label(flesh, structure=np.ones((3, 3)))
    sizes = np.bincount(blobs.ravel(), minlength=count + 1)
    people = np.zeros((count + 1, len(joints), 3), dtype=np.float32)
    if count == 0:
        return []
    nearest = distance_transform_edt(~flesh, return_distances=False, return_indices=True)
    owner = blobs[tuple(nearest)]
    for number, locations in enumerate(joints):
        for x, y, score in locations:
            row = min(max(int(y), 0), flesh.shape[0] - 1)
            column = min(max(int(x), 0), flesh.shape[1] - 1)
            person = owner[row, column]
            if people[person, number, 2] == 0:
                people[person, number] = x, y, score
    return [people[one] for one in range(1, count + 1) if sizes[one] >= _SMALLEST]


def found_joints(
    requested: UInt8[np.ndarray, "h w 3"], seen: UInt8[np.ndarray, "h w 3"]
) -> tuple[float, float]:
    """PCK: share of requested key points found within 0.1 of their person's longer side.

    A person is a connected component of the requested map.
    """
    from scipy.ndimage import find_objects, label

    parts, _ = label(requested.max(axis=-1) > 0, structure=np.ones((3, 3)))
    longer = [max(rows.stop - rows.start, columns.stop - columns.start)
              for rows, columns in find_objects(parts)]  # fmt: skip
    hits = total = 0
    for mine, theirs in zip(key_points_of(requested), key_points_of(seen), strict=True):
        for x, y in mine:
            person = parts[int(y), int(x)]
            reach = max(_LEAST_NEAR, _NEAR * (longer[person - 1] if person else 0))
            hits += bool(len(theirs)) and bool(
                (np.hypot(theirs[:, 0] - x, theirs[:, 1] - y) <= reach).any()
            )
            total += 1
    share = hits / total if total else float("nan")
    return share, share


def _problem(finished: UInt8[np.ndarray, "h w 3"]) -> str | None:
    dark = finished.max(axis=-1) < 32
    if not (~dark).any():
        return "it is empty, no joint is drawn"
    if dark.mean() < 0.5:
        return f"{1 - dark.mean():.0%} of it is bright, and skeletons are on black"
    if not any(len(locations) for locations in key_points_of(finished)):
        return "no joint in OpenPose's colors is in it"
    return None


POSE = Condition(
    "pose",
    "key points of people in OpenPose's colors",
    PERCEPTION,
    "PCK@0.1",
    higher_is_better=True,
    draw=_draw,
    read=_read,
    read_scenes=_read,
    compare=each(found_joints),
    problem=_problem,
)
