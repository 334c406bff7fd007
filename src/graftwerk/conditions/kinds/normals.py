"""Surface normals: red to the right, green up, blue towards the camera; the sky is 128."""

import numpy as np
from jaxtyping import Float32, UInt8

from ...blocks.map_images import draw_normals
from ...blocks.maps import CLASSES
from ..base import Condition, ImageBatch, SceneMaps
from ..fidelity import each, normal_error, vectors_of
from ..perceived import PERCEPTION, perceive

_FOCAL = 1.2  # of the longer side: a field of view of about 45 degrees
_NEAR_TO_FAR = 8.0  # how many times as far the far end is as the near one, where no model says


def normals_of_nearness(nearness: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 3"]:
    """Compute surface normals (right, up, towards the camera) from inverse depth.

    Inverse depth is known up to scale and shift, so a typical lens and a typical ratio of far to
    near distance are assumed.
    """
    height, width = nearness.shape
    reach = max(float(np.ptp(nearness)), 1e-12)
    scaled = (nearness - nearness.min()) / reach  # 1 near, 0 far
    depth = 1 / (1 / _NEAR_TO_FAR + (1 - 1 / _NEAR_TO_FAR) * scaled)
    focal = _FOCAL * max(height, width)
    x = (np.arange(width) + 0.5 - width / 2) / focal * depth
    y = -(np.arange(height)[:, None] + 0.5 - height / 2) / focal * depth
    points = np.stack([x, y, -depth], axis=-1)
    across, up = np.gradient(points, axis=1), -np.gradient(points, axis=0)
    normals = np.cross(across, up)
    lengths = np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    units: np.ndarray = (normals / lengths).astype(np.float32)
    return units


def _draw(maps: SceneMaps) -> ImageBatch:
    return np.stack([draw_normals(one) for one in maps.normals])


def _read(images: ImageBatch) -> ImageBatch:
    seen = perceive(images)
    sky = seen.classes == CLASSES.index("sky")
    return np.stack([draw_normals(one) for one in np.where(sky[..., None], 0, seen.normals)])


def _problem(finished: UInt8[np.ndarray, "h w 3"]) -> str | None:
    lengths = np.linalg.norm(vectors_of(finished), axis=-1)
    whole, none = np.abs(lengths - 1) < 0.25, lengths < 0.1
    if not whole.any():
        return "no pixel holds a vector of length 1"
    if (whole | none).mean() < 0.8:
        return f"only {(whole | none).mean():.0%} of its pixels hold a vector of length 1 or none"
    return None


CONDITION = Condition(
    "normals",
    "surface normals, blue faces the camera",
    PERCEPTION,
    "normal error in degrees",
    higher_is_better=False,
    draw=_draw,
    read=_read,
    read_scenes=_read,
    compare=each(normal_error),
    problem=_problem,
)
