"""The curves of a sweep as a picture: one panel a figure, over the scale."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from ..reports import SweepRow

_PANEL, _GAP = (300, 240), 60
_PAPER, _INK, _GRID = (255, 255, 255), (40, 40, 40), (225, 225, 225)
_LINE, _REAL, _BAND = (30, 90, 180), (60, 150, 60), (190, 210, 235)
_FIGURES = ("frechet", "precision", "recall", "share")
_TITLES = ("Frechet distance", "precision", "recall", "wanted class by the judge")


def draw_sweep(rows: Sequence[SweepRow], real: SweepRow) -> Image.Image:
    """Four panels with 95 % bars; the green line is a fresh real sample.

    Scales are evenly spaced, whatever they are.
    """
    width = len(_FIGURES) * (_PANEL[0] + _GAP) + _GAP // 2
    canvas = Image.new("RGB", (width, _PANEL[1] + 110), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for place, (figure, title) in enumerate(zip(_FIGURES, _TITLES, strict=True)):
        left = _GAP + place * (_PANEL[0] + _GAP)
        draw.text((left, 12), title, fill=_INK, font_size=16)
        _draw_panel(draw, left, rows, figure, getattr(real, figure))
    foot = "scale of the guide; bars: 95 % intervals; green: a fresh real sample"
    draw.text((_GAP, _PANEL[1] + 84), foot, fill=_INK, font_size=13)
    return canvas


def _draw_panel(
    draw: ImageDraw.ImageDraw, left: int, rows: Sequence[SweepRow], figure: str, real: float
) -> None:
    top, (width, height) = 44, _PANEL
    values = [(getattr(row, figure), getattr(row, f"{figure}_margin")) for row in rows]
    highest = max(1.0 if figure != "frechet" else 0.0, real, *(v + m for v, m in values)) or 1.0

    def y(value: float) -> float:
        return top + height * (1 - max(value, 0.0) / highest)

    def x(place: int) -> float:
        return left + width * (place + 0.5) / len(rows)

    for mark in range(5):
        level = highest * mark / 4
        draw.line([(left, y(level)), (left + width, y(level))], fill=_GRID)
        draw.text((left - 6, y(level)), f"{level:.3g}", fill=_INK, font_size=12, anchor="rm")
    draw.line([(left, y(real)), (left + width, y(real))], fill=_REAL, width=2)
    for place, (row, (value, margin)) in enumerate(zip(rows, values, strict=True)):
        draw.line(
            [(x(place), y(value - margin)), (x(place), y(value + margin))], fill=_BAND, width=6
        )
        where = (x(place), top + height + 8)
        draw.text(where, f"{row.scale:g}", fill=_INK, font_size=12, anchor="ma")
    points = [(x(place), y(value)) for place, (value, _) in enumerate(values)]
    if len(points) > 1:
        draw.line(points, fill=_LINE, width=3)
    for px, py in points:
        draw.ellipse([(px - 3, py - 3), (px + 3, py + 3)], fill=_LINE)
