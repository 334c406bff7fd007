"""The picture of a comparison: scores with intervals, what each costs, the learning curve."""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .results import CurvePoint, Method

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw


_WIDTH, _HEIGHT, _MARGIN = 1200, 520, 30
_PAPER, _INK, _SOFT, _GRID = (255, 255, 255), (40, 40, 40), (110, 110, 110), (228, 228, 228)
_COLOURS = ((30, 90, 180), (28, 124, 84), (179, 38, 30), (201, 138, 27))
_PANELS = ((30, 400), (430, 800), (830, 1170))  # left and right edges
_TOP, _BOTTOM, _NAMES = 90, 440, 80


def draw_comparison(
    ways: Sequence[Method], curve: Sequence[CurvePoint], title: str, kept: str
) -> bytes:
    """A PNG of three panels.

    Args:
        ways: rows of the table, the linear head first.
        curve: its learning curve.
        title: written above.
        kept: name of the way that is recommended.
    """
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (_WIDTH, _HEIGHT), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, 18), title, fill=_INK, font_size=18)
    _scores(draw, ways, kept)
    _costs(draw, ways)
    _curve(draw, curve, ways[0].score.name)
    draw.text(
        (_MARGIN, _HEIGHT - 32),
        "Bars of costs are on logarithmic scales, the longest is the dearest. Intervals are 95 %.",
        fill=_SOFT,
        font_size=13,
    )
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG")
    return buffer.getvalue()


def _scores(draw: "ImageDraw", ways: Sequence[Method], kept: str) -> None:
    left, right = _PANELS[0]
    left += _NAMES
    draw.text(
        (_PANELS[0][0], 58), f"{ways[0].score.name} on test examples", fill=_INK, font_size=15
    )
    low = min(way.score.low for way in ways)
    high = max(way.score.high for way in ways)
    low, high = _widened(low, high)

    def place(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    for step in range(5):
        value = low + step * (high - low) / 4
        draw.line([(place(value), _TOP), (place(value), _BOTTOM)], fill=_GRID)
        label = f"{value:.2f}"
        draw.text((place(value), _BOTTOM + 8), label, fill=_SOFT, font_size=12, anchor="ma")
    for number, way in enumerate(ways):
        y = _row(number, len(ways))
        colour = _COLOURS[number % len(_COLOURS)]
        draw.text((left - 12, y), way.name, fill=_INK, font_size=15, anchor="rm")
        draw.line([(place(way.score.low), y), (place(way.score.high), y)], fill=colour, width=4)
        x = place(way.score.value)
        draw.ellipse([x - 8, y - 8, x + 8, y + 8], fill=colour)
        mark = f"{way.score.value:.3f}" + ("  recommended" if way.name == kept else "")
        draw.text((x, y - 14), mark, fill=_INK, font_size=13, anchor="mb")


def _costs(draw: "ImageDraw", ways: Sequence[Method]) -> None:
    left, right = _PANELS[1]
    draw.text((left, 58), "what each costs", fill=_INK, font_size=15)
    kinds = (
        ("learned", [float(way.parameters) for way in ways], "{:,.0f} numbers"),
        ("stored", [way.bytes / 1e6 for way in ways], "{:,.2f} MB"),
        ("training", [way.train_seconds for way in ways], "{:,.1f} s"),
        ("1,000 predictions", [way.predict_seconds for way in ways], "{:,.1f} s"),
    )
    height = (_BOTTOM - _TOP) / len(kinds)
    for place, (name, values, shown) in enumerate(kinds):
        top = _TOP + place * height
        draw.text((left, top), name, fill=_SOFT, font_size=13)
        least, most = math.log10(max(min(values), 1e-9)), math.log10(max(*values, 1e-9))
        bar = (height - 28) / len(ways)
        for number, value in enumerate(values):
            share = (math.log10(max(value, 1e-9)) - least) / (most - least) if most > least else 1.0
            y = top + 20 + number * bar
            end = left + 12 + share * (right - left - 150)
            draw.rectangle([left, y, end, y + bar - 3], fill=_COLOURS[number % len(_COLOURS)])
            text = shown.format(value)
            draw.text((end + 6, y + bar / 2 - 1), text, fill=_INK, font_size=11, anchor="lm")


def _curve(draw: "ImageDraw", curve: Sequence[CurvePoint], name: str) -> None:
    left, right = _PANELS[2]
    draw.text((left, 58), f"learning curve of linear: {name}", fill=_INK, font_size=15)
    if len(curve) < 2:
        draw.text((left, _TOP), "too few examples", fill=_SOFT, font_size=13)
        return
    left += 40
    low, high = _widened(
        min(p.score - p.spread for p in curve), max(p.score + p.spread for p in curve)
    )
    first, last = math.log2(curve[0].examples), math.log2(curve[-1].examples)

    def place(count: int, score: float) -> tuple[float, float]:
        x = left + (math.log2(count) - first) / max(last - first, 1e-9) * (right - left)
        return x, _BOTTOM - (score - low) / (high - low) * (_BOTTOM - _TOP)

    for step in range(5):
        value = low + step * (high - low) / 4
        _, y = place(curve[0].examples, value)
        draw.line([(left, y), (right, y)], fill=_GRID)
        draw.text((left - 8, y), f"{value:.2f}", fill=_SOFT, font_size=12, anchor="rm")
    draw.line([place(p.examples, p.score) for p in curve], fill=_COLOURS[0], width=3)
    for one in curve:
        x, y = place(one.examples, one.score)
        ends = [place(one.examples, one.score + side * one.spread) for side in (-1, 1)]
        draw.line(ends, fill=_COLOURS[0], width=2)
        draw.ellipse([x - 6, y - 6, x + 6, y + 6], fill=_COLOURS[0])
        draw.text((x, _BOTTOM + 8), f"{one.examples:,}", fill=_SOFT, font_size=12, anchor="ma")
    draw.text((right, _BOTTOM + 26), "examples learned from", fill=_SOFT, font_size=12, anchor="ra")


def _row(number: int, count: int) -> float:
    return _TOP + (number + 0.6) * (_BOTTOM - _TOP) / count


def _widened(low: float, high: float) -> tuple[float, float]:
    """A range with some room at both ends."""
    room = max(0.12 * (high - low), 0.01)
    return low - room, high + room
