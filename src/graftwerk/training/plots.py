"""The loss curve as a picture."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw


_WIDTH, _HEIGHT = 960, 540
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 20, 50, 60
_PAPER, _INK, _GRID = (255, 255, 255), (40, 40, 40), (225, 225, 225)
_RAW, _SMOOTH = (190, 210, 235), (30, 90, 180)
_MARKS = 5  # on each axis
_SMOOTHED = 50  # stretches that the smooth line has at most


def draw_losses(entries: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """A PNG of the loss over the steps, and of its mean over stretches of them.

    Args:
        entries: of the log; those without a finite loss are left out.
        title: written above.
    """
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (_WIDTH, _HEIGHT), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((_LEFT, 16), title, fill=_INK, font_size=16)
    pairs = [(e["step"], e["loss"]) for e in entries if math.isfinite(e["loss"])]
    if pairs:
        points = np.array(pairs, dtype=np.float64)
        _draw_curve(draw, points)
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG")
    return buffer.getvalue()


def _draw_curve(draw: "ImageDraw", points: Float64[np.ndarray, "n 2"]) -> None:
    logarithmic = bool(points[:, 1].min() > 0)
    if logarithmic:
        points = np.column_stack([points[:, 0], np.log10(points[:, 1])])
    low, high = points.min(axis=0), points.max(axis=0)
    high = np.where(high > low, high, low + 1)
    spread = np.array([_WIDTH - _LEFT - _RIGHT, -(_HEIGHT - _TOP - _BOTTOM)])
    origin = np.array([_LEFT, _HEIGHT - _BOTTOM])

    def place(rows: Float64[np.ndarray, "m 2"]) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for x, y in origin + (rows - low) / (high - low) * spread]

    for step in np.linspace(low[0], high[0], _MARKS):
        (x, y), *_ = place(np.array([[step, low[1]]]))
        draw.text((x, y + 8), f"{step:,.0f}", fill=_INK, font_size=13, anchor="ma")
    for level in np.linspace(low[1], high[1], _MARKS):
        (x, y), *_ = place(np.array([[low[0], level]]))
        draw.line([(x, y), (_WIDTH - _RIGHT, y)], fill=_GRID)
        value = 10**level if logarithmic else level
        draw.text((x - 8, y), f"{value:.3g}", fill=_INK, font_size=13, anchor="rm")
    stretches = np.array_split(points, min(_SMOOTHED, len(points)))
    for rows, colour, width in (
        (points, _RAW, 1),
        (np.array([stretch.mean(axis=0) for stretch in stretches]), _SMOOTH, 3),
    ):
        if len(rows) > 1:
            draw.line(place(rows), fill=colour, width=width)
    axis = "steps; loss on a logarithmic scale" if logarithmic else "steps; loss"
    draw.text((_WIDTH - _RIGHT, _HEIGHT - 20), axis, fill=_INK, font_size=13, anchor="rm")
