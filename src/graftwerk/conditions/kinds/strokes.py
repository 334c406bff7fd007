"""Conditions of strokes, white on black: user scribbles, and line drawings."""

import zlib

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from ...blocks.map_images import draw_outlines
from ..base import Condition, ImageBatch, SceneMaps, lines_of_maps, perceive
from ..fidelity import chamfer, drawing_problem, each, is_drawn, white_on_black
from .canny import CannySettings, blur, edge_map, grey_of

_SCRIBBLE_SIGMA = 0.012  # of the shorter side: what is finer is not scribbled
_SHORTEST = 0.2  # of the shorter side: strokes with fewer pixels are left out
_WIDTH = 0.03  # of a stroke, of the shorter side
_WOBBLE = 0.012  # of the shorter side: how far the hand strays
_WAVE = 0.12  # of the shorter side: over how much it does


def scribble_of(lines: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Redraw lines with a shaky hand; deterministic."""
    from scipy.ndimage import binary_dilation, gaussian_filter, label, map_coordinates

    side = min(lines.shape)
    numbers, count = label(lines, structure=np.ones((3, 3)))
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)
    sizes[0] = 0
    retained = (sizes >= _SHORTEST * side)[numbers]
    # as a stray is as likely here as there, it is drawn again for each drawing
    generator = np.random.default_rng(zlib.crc32(np.packbits(lines).tobytes()))
    stray = gaussian_filter(
        generator.standard_normal((2, *lines.shape)), (0, _WAVE * side, _WAVE * side)
    )
    stray *= _WOBBLE * side / max(float(stray.std()), 1e-12)
    locations = np.indices(lines.shape) + stray
    thick = binary_dilation(retained, _disc(max(1.0, _WIDTH * side / 2)))
    moved = map_coordinates(thick.astype(np.float64), locations, order=1, mode="nearest")
    scribble: Bool[np.ndarray, "h w"] = moved >= 0.5
    return scribble


def _disc(radius: float) -> Bool[np.ndarray, "d d"]:
    reach = int(np.ceil(radius))
    offsets = np.arange(-reach, reach + 1)
    return offsets[:, None] ** 2 + offsets**2 <= radius**2


def scribble_of_sketch(drawing: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Return a user's drawing as white on black; black on white is inverted."""
    bright = is_drawn(drawing) if is_drawn(drawing).mean() <= 0.5 else drawing.min(axis=-1) < 160
    drawn: UInt8[np.ndarray, "h w 3"] = white_on_black(bright[None])[0]
    return drawn


def _scribbles(lines: Bool[np.ndarray, "n h w"]) -> ImageBatch:
    return white_on_black(np.stack([scribble_of(one) for one in lines]))


def _draw_scribble(maps: SceneMaps) -> ImageBatch:
    outlines, _ = maps.lines()
    return _scribbles(outlines)


def _read_scribble(images: ImageBatch) -> ImageBatch:
    sigma = max(1.4, _SCRIBBLE_SIGMA * min(images.shape[1:3]))
    settings = CannySettings(sigma=sigma, kernel=2 * int(np.ceil(3 * sigma)) + 1, unit="auto")
    return _scribbles(edge_map(images, settings))


def _read_scene_scribble(images: ImageBatch) -> ImageBatch:
    seen = perceive(images)
    return _scribbles(lines_of_maps(seen.nearness, seen.normals, seen.classes)[0])


SCRIBBLE = Condition(
    "scribble",
    "a few rough strokes",
    "Canny's edges, coarse",
    "chamfer distance in % of the diagonal",
    higher_is_better=False,
    draw=_draw_scribble,
    read=_read_scribble,
    read_scenes=_read_scene_scribble,
    compare=each(chamfer),
    problem=drawing_problem,
)


_LINEART_SIGMA = 0.004  # of the shorter side: width of the lines that are seen
_LEAST_SIGMA = 0.8  # pixels
_RATIO = 1.6  # of the two Gaussians: a difference like that is nearly a Laplacian
_FAINT, _FIRM = 2.0, 10.0  # gray levels of difference at which a line begins and is white


def draw_lines(images: ImageBatch) -> ImageBatch:
    """Detect dark lines and the dark sides of edges with a difference of two Gaussians.

    Based on the extended difference of Gaussians (Winnemoeller et al. 2012), white on black.
    """
    grey = grey_of(images)
    sigma = max(_LEAST_SIGMA, _LINEART_SIGMA * min(grey.shape[1:]))
    darker = _smooth(grey, _RATIO * sigma) - _smooth(grey, sigma)
    strength = np.clip((darker - _FAINT) / (_FIRM - _FAINT), 0, 1)
    return white_on_black(np.rint(255 * strength))


def _smooth(grey: Float64[np.ndarray, "n h w"], sigma: float) -> Float64[np.ndarray, "n h w"]:
    return blur(grey, sigma, 2 * int(np.ceil(3 * sigma)) + 1)


def _drawn(outlines: Bool[np.ndarray, "n h w"], creases: Bool[np.ndarray, "n h w"]) -> ImageBatch:
    pairs = zip(outlines, creases, strict=True)
    return white_on_black(np.stack([draw_outlines(ends, bends) for ends, bends in pairs]))


def _draw_lineart(maps: SceneMaps) -> ImageBatch:
    return _drawn(*maps.lines())


def _read_scene_lineart(images: ImageBatch) -> ImageBatch:
    seen = perceive(images)
    return _drawn(*lines_of_maps(seen.nearness, seen.normals, seen.classes))


LINEART = Condition(
    "lineart",
    "cartoon line drawing",
    "a difference of Gaussians",
    "chamfer distance in % of the diagonal",
    higher_is_better=False,
    draw=_draw_lineart,
    read=draw_lines,
    read_scenes=_read_scene_lineart,
    compare=each(chamfer),
    problem=drawing_problem,
)
