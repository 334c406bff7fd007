"""Straight lines by Hough's transform, drawn as white segments on black."""

import numpy as np
from jaxtyping import Bool, Float64

from .canny import canny
from .condition import Condition, Pictures, SceneMaps
from .fidelity import drawing_problem, each, edge_f1, white_on_black
from .lines import lines_of_maps
from .perceived import perceive
from .segments import find_segments


def draw_segments(
    segments: Float64[np.ndarray, "s 4"], height: int, width: int
) -> Bool[np.ndarray, "h w"]:
    """Segments from x, y to x, y (pixels; the middle of the first one is 0.5, 0.5)."""
    from PIL import Image, ImageDraw

    drawn = Image.new("1", (width, height))
    canvas = ImageDraw.Draw(drawn)
    for x, y, to_x, to_y in segments - 0.5:
        canvas.line([(round(x), round(y)), (round(to_x), round(to_y))], fill=1)
    return np.asarray(drawn)


def lines_of(edges: Bool[np.ndarray, "n h w"]) -> Pictures:
    """Straight parts of edges."""
    _, height, width = edges.shape
    drawn = [draw_segments(find_segments(one), height, width) for one in edges]
    return white_on_black(np.stack(drawn))


def _draw(maps: SceneMaps) -> Pictures:
    outlines, creases = maps.lines()
    return lines_of(outlines | creases)


def _read(pictures: Pictures) -> Pictures:
    stages = canny(pictures)
    _, height, width = stages.edges.shape
    pairs = zip(stages.edges, stages.direction, strict=True)
    drawn = [draw_segments(find_segments(*pair), height, width) for pair in pairs]
    return white_on_black(np.stack(drawn))


def _read_scenes(pictures: Pictures) -> Pictures:
    seen = perceive(pictures)
    outlines, creases = lines_of_maps(seen.nearness, seen.normals, seen.classes)
    return lines_of(outlines | creases)


CONDITION = Condition(
    "hough",
    "straight lines",
    "Hough's transform on Canny's edges",
    "line F1",
    higher_is_better=True,
    draw=_draw,
    read=_read,
    read_scenes=_read_scenes,
    compare=each(edge_f1),
    problem=drawing_problem,
)
