"""Straight line segments by the Hough transform, shown white on black.

Edge pixels vote for lines; the longest run on the best line becomes a segment; repeat.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from PIL import Image, ImageDraw

from ...compiled import compiled
from ..base import Condition, ImageBatch, SceneMaps, lines_of_maps, perceive
from ..fidelity import drawing_problem, each, edge_f1, white_on_black
from .canny import CannySettings, edge_map, find_directions

_ANGLES = 180  # directions, one degree apart
_SHORTEST = 0.08  # of the shorter side
_LEAST = 8  # pixels
_GAP = 2  # pixels that may be missing within a segment
_NEAR = 1.0  # pixels from a line within which an edge lies on it
_MOST = 400  # segments of one image
_LEAN = 12  # degrees between a line and the edge at a pixel that lies on it
_ANY = -1  # a pixel whose edge has no known direction


def find_segments(
    edges: Bool[np.ndarray, "h w"], slopes: Float64[np.ndarray, " e"] | None = None
) -> Float64[np.ndarray, "s 4"]:
    """Return segments from x, y to x, y in pixels; the center of the first pixel is 0.5, 0.5.

    Each edge pixel votes for every line through it (Hough 1962; distance and angle: Duda and Hart
    1972). The longest run of pixels on the line with the most votes becomes a segment, and these
    pixels no longer vote, until no line has enough votes.

    Args:
        edges: pixels that may lie on a line.
        slopes: direction across the edge at each of these pixels, row by row, in radians, where
            that is known; a pixel then votes only for lines along its own edge (O'Gorman and Clowes
            1973), and leaves of a tree make no lines.
    """
    height, width = edges.shape
    reach = int(np.ceil(np.hypot(height, width)))
    points = np.ascontiguousarray(np.argwhere(edges)[:, ::-1].astype(np.float64))
    angles = np.arange(_ANGLES) * (np.pi / _ANGLES)
    facing = np.full(len(points), _ANY, dtype=np.int64)
    if slopes is not None:
        facing = np.rint(slopes * (_ANGLES / np.pi)).astype(np.int64) % _ANGLES
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    votes = np.zeros((_ANGLES, 2 * reach + 1), dtype=np.int64)
    left = np.ones(len(points), dtype=np.bool_)
    runs = np.empty(2 * reach + 1, dtype=np.bool_)
    found = np.empty((_MOST, 4), dtype=np.float64)
    shortest = max(_LEAST, round(_SHORTEST * min(height, width)))
    count = _find(points, facing, left, votes, directions, runs, found, shortest)
    return found[:count] + 0.5


@compiled
def _lies_along(facing: int, angle: int) -> bool:
    apart = abs(facing - angle)
    return facing < 0 or min(apart, _ANGLES - apart) <= _LEAN


@compiled
def _vote(
    point: Float64[np.ndarray, "2"],
    facing: int,
    votes: Int64[np.ndarray, "a d"],
    directions: Float64[np.ndarray, "a 2"],
    weight: int,
) -> None:
    reach = votes.shape[1] // 2
    for angle in range(len(directions)):
        if not _lies_along(facing, angle):
            continue
        distance = point[0] * directions[angle, 0] + point[1] * directions[angle, 1]
        votes[angle, int(np.round(distance)) + reach] += weight


@compiled
def _longest_run(runs: Bool[np.ndarray, " r"]) -> tuple[int, int]:
    start, last, best, length = 0, -_GAP - 2, 0, 0
    for location in range(len(runs)):
        if runs[location]:
            if location - last > _GAP + 1:
                start = location
            last = location
            if location - start + 1 > length:
                best, length = start, location - start + 1
    return best, length


@compiled
def _find(
    points: Float64[np.ndarray, "n 2"],
    facing: Int64[np.ndarray, " n"],
    left: Bool[np.ndarray, " n"],
    votes: Int64[np.ndarray, "a d"],
    directions: Float64[np.ndarray, "a 2"],
    runs: Bool[np.ndarray, " r"],
    found: Float64[np.ndarray, "m 4"],
    shortest: int,
) -> int:
    reach = votes.shape[1] // 2
    for number in range(len(points)):
        _vote(points[number], facing[number], votes, directions, 1)
    count = 0
    while count < len(found):
        best = votes.argmax()
        angle, location = best // votes.shape[1], best % votes.shape[1]
        if votes[angle, location] < shortest:
            break
        cosine, sine, distance = directions[angle, 0], directions[angle, 1], location - reach
        runs[:] = False
        for number in range(len(points)):
            x, y = points[number]
            near = abs(x * cosine + y * sine - distance) <= _NEAR
            if left[number] and near and _lies_along(facing[number], angle):
                runs[int(np.round(y * cosine - x * sine)) + reach] = True
        start, length = _longest_run(runs)
        if length < shortest:
            votes[angle, location] = 0
            continue
        first, last = start - reach, start + length - 1 - reach
        for number in range(len(points)):
            x, y = points[number]
            along = y * cosine - x * sine
            near = abs(x * cosine + y * sine - distance) <= _NEAR
            inside = first - 0.5 <= along <= last + 0.5
            if left[number] and near and inside and _lies_along(facing[number], angle):
                left[number] = False
                _vote(points[number], facing[number], votes, directions, -1)
        found[count, 0] = distance * cosine - first * sine
        found[count, 1] = distance * sine + first * cosine
        found[count, 2] = distance * cosine - last * sine
        found[count, 3] = distance * sine + last * cosine
        count += 1
    return count


def draw_segments(
    segments: Float64[np.ndarray, "s 4"], height: int, width: int
) -> Bool[np.ndarray, "h w"]:
    """Rasterize segments from x, y to x, y in pixels; the center of the first pixel is 0.5, 0.5."""
    drawn = Image.new("1", (width, height))
    canvas = ImageDraw.Draw(drawn)
    for x, y, to_x, to_y in segments - 0.5:
        canvas.line([(round(x), round(y)), (round(to_x), round(to_y))], fill=1)
    return np.asarray(drawn)


def lines_of(edges: Bool[np.ndarray, "n h w"]) -> ImageBatch:
    """Return the straight parts of edges."""
    _, height, width = edges.shape
    drawn = [draw_segments(find_segments(one), height, width) for one in edges]
    return white_on_black(np.stack(drawn))


def _draw(maps: SceneMaps) -> ImageBatch:
    outlines, creases = maps.lines()
    return lines_of(outlines | creases)


def _read(images: ImageBatch) -> ImageBatch:
    return white_on_black(np.stack([_lines_in(image) for image in images]))


def _lines_in(image: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    settings = CannySettings()
    edges = edge_map(image[None], settings)[0]
    segments = find_segments(edges, find_directions(image, edges, settings))
    return draw_segments(segments, *edges.shape)


def _read_scenes(images: ImageBatch) -> ImageBatch:
    seen = perceive(images)
    outlines, creases = lines_of_maps(seen.nearness, seen.normals, seen.classes)
    return lines_of(outlines | creases)


HOUGH = Condition(
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
