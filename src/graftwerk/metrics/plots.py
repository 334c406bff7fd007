"""Several curves over the steps of a training as one picture, one panel below the other."""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw


_WIDTH, _HEIGHT = 960, 190  # of a panel
_LEFT, _RIGHT, _TOP, _BOTTOM, _HEAD = 90, 20, 26, 24, 44
_PAPER, _INK, _GRID, _MARK = (255, 255, 255), (40, 40, 40), (225, 225, 225), (200, 60, 40)
_COLOURS = ((30, 90, 180), (200, 120, 20), (40, 140, 70), (130, 60, 150))
_BAND = (214, 226, 243)


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve.

    Attributes:
        name: of what it shows.
        steps: rising.
        values: one for each step; NaN where there is none.
        low: lower end of a band around it; empty: none.
        high: upper end.
    """

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves over one vertical axis.

    Attributes:
        title: above it.
        curves: in their order of colours.
        logarithmic: whether the vertical axis is.
    """

    title: str
    curves: Sequence[Curve] = field(default_factory=tuple)
    logarithmic: bool = False


def draw_panels(panels: Sequence[Panel], title: str, marks: Sequence[float] = ()) -> bytes:
    """A PNG of panels over one horizontal axis of steps.

    Args:
        panels: from above.
        title: above them.
        marks: steps at which a line goes through all panels.
    """
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (_WIDTH, _HEAD + _HEIGHT * len(panels)), _PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((_LEFT, 12), title, fill=_INK, font_size=16)
    steps = [step for panel in panels for curve in panel.curves for step in curve.steps]
    last = max([1.0, *steps])
    for number, panel in enumerate(panels):
        _draw(pen, panel, _HEAD + number * _HEIGHT, last, marks)
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG")
    return buffer.getvalue()


def _draw(pen: "ImageDraw", panel: Panel, top: int, last: float, marks: Sequence[float]) -> None:
    everything = [v for c in panel.curves for v in (*c.values, *c.low, *c.high)]
    finite = [v for v in everything if math.isfinite(v) and (v > 0 or not panel.logarithmic)]
    pen.text((_LEFT, top), panel.title, fill=_INK, font_size=13)
    if not finite:
        return
    scale = math.log10 if panel.logarithmic else float
    low, high = scale(min(finite)), scale(max(finite))
    high = high if high > low else low + 1
    upper, lower = top + _TOP, top + _HEIGHT - _BOTTOM

    def place(step: float, value: float) -> tuple[float, float]:
        across = _LEFT + step / last * (_WIDTH - _LEFT - _RIGHT)
        return across, lower - (scale(value) - low) / (high - low) * (lower - upper)

    for level in np.linspace(low, high, 3):
        height = lower - (level - low) / (high - low) * (lower - upper)
        pen.line([(_LEFT, height), (_WIDTH - _RIGHT, height)], fill=_GRID)
        shown = 10**level if panel.logarithmic else level
        pen.text((_LEFT - 8, height), f"{shown:.3g}", fill=_INK, font_size=12, anchor="rm")
    for step in np.linspace(0, last, 5):
        across = _LEFT + step / last * (_WIDTH - _LEFT - _RIGHT)
        pen.text((across, lower + 5), f"{step:,.0f}", fill=_INK, font_size=12, anchor="ma")
    for step in marks:
        across = _LEFT + step / last * (_WIDTH - _LEFT - _RIGHT)
        pen.line([(across, upper), (across, lower)], fill=_MARK, width=2)
    name_at = _LEFT + 260
    for curve, colour in zip(panel.curves, _COLOURS, strict=False):
        _draw_curve(pen, curve, colour, place, panel.logarithmic)
        pen.text((name_at, top), curve.name, fill=colour, font_size=13)
        name_at += 12 + int(pen.textlength(curve.name, font_size=13))


def _draw_curve(
    pen: "ImageDraw",
    curve: Curve,
    colour: tuple[int, int, int],
    place: Callable[[float, float], tuple[float, float]],
    logarithmic: bool,
) -> None:
    if curve.low and curve.high:
        below = _points(curve.steps, curve.low, logarithmic)
        above = _points(curve.steps, curve.high, logarithmic)
        if len(below) > 1 and len(above) > 1:
            outline = [place(*point) for point in (*above, *below[::-1])]
            pen.polygon(outline, fill=_BAND)
    line = [place(*point) for point in _points(curve.steps, curve.values, logarithmic)]
    if len(line) > 1:
        pen.line(line, fill=colour, width=2)
    for x, y in line if len(line) < 40 else ():
        pen.ellipse([(x - 2, y - 2), (x + 2, y + 2)], fill=colour)


def _points(
    steps: Sequence[float], values: Sequence[float], logarithmic: bool
) -> Float64[np.ndarray, "n 2"]:
    """The points that can be drawn."""
    kept = [
        (step, value)
        for step, value in zip(steps, values, strict=True)
        if math.isfinite(value) and (value > 0 or not logarithmic)
    ]
    return np.array(kept, dtype=np.float64).reshape(-1, 2)
