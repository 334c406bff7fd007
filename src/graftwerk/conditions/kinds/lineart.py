"""Line drawings: white lines on black, firm outlines and fainter creases."""

import numpy as np
from jaxtyping import Bool, Float64

from ...blocks.map_images import draw_outlines
from ..base import Condition, ImageBatch, SceneMaps, lines_of_maps
from ..fidelity import chamfer, drawing_problem, each, white_on_black
from ..perceived import perceive
from .canny import blur, grey_of

_SIGMA = 0.004  # of the shorter side: width of the lines that are seen
_LEAST_SIGMA = 0.8  # pixels
_RATIO = 1.6  # of the two Gaussians: a difference like that is nearly a Laplacian
_FAINT, _FIRM = 2.0, 10.0  # grey levels of difference at which a line begins and is white


def draw_lines(images: ImageBatch) -> ImageBatch:
    """Detect dark lines and the dark sides of edges with a difference of two Gaussians.

    Based on the extended difference of Gaussians (Winnemoeller et al. 2012), white on black.
    """
    grey = grey_of(images)
    sigma = max(_LEAST_SIGMA, _SIGMA * min(grey.shape[1:]))
    darker = _smooth(grey, _RATIO * sigma) - _smooth(grey, sigma)
    strength = np.clip((darker - _FAINT) / (_FIRM - _FAINT), 0, 1)
    return white_on_black(np.rint(255 * strength))


def _smooth(grey: Float64[np.ndarray, "n h w"], sigma: float) -> Float64[np.ndarray, "n h w"]:
    return blur(grey, sigma, 2 * int(np.ceil(3 * sigma)) + 1)


def _drawn(outlines: Bool[np.ndarray, "n h w"], creases: Bool[np.ndarray, "n h w"]) -> ImageBatch:
    pairs = zip(outlines, creases, strict=True)
    return white_on_black(np.stack([draw_outlines(ends, bends) for ends, bends in pairs]))


def _draw(maps: SceneMaps) -> ImageBatch:
    return _drawn(*maps.lines())


def _read_scenes(images: ImageBatch) -> ImageBatch:
    seen = perceive(images)
    return _drawn(*lines_of_maps(seen.nearness, seen.normals, seen.classes))


CONDITION = Condition(
    "lineart",
    "cartoon line drawing",
    "a difference of Gaussians",
    "chamfer distance in % of the diagonal",
    higher_is_better=False,
    draw=_draw,
    read=draw_lines,
    read_scenes=_read_scenes,
    compare=each(chamfer),
    problem=drawing_problem,
)
