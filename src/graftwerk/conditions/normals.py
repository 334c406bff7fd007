"""Surface normals: red to the right, green up, blue towards the camera; the sky is 128."""

import numpy as np
from jaxtyping import UInt8

from ..blocks.drawing import draw_normals
from ..blocks.maps import CLASSES
from .condition import Condition, Pictures, SceneMaps
from .fidelity import each, normal_error, vectors_of
from .perceived import perceive


def _draw(maps: SceneMaps) -> Pictures:
    return np.stack([draw_normals(one) for one in maps.normals])


def _read(pictures: Pictures) -> Pictures:
    seen = perceive(pictures)
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
    "normal error in degrees",
    higher_is_better=False,
    draw=_draw,
    read=_read,
    compare=each(normal_error),
    problem=_problem,
)
