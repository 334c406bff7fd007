"""Plots and labeled contact sheets, using only Pillow.

All plots use a few primitives: a `Figure` with `Axes`, and on them lines with bands, points, error
bars, bars and rules. `plot_panels` is what most callers need: curves over one horizontal axis.
`image_sheet` arranges images with labels that never overlap. Pillow is needed for images anyway;
Matplotlib would be a further dependency with dependencies of its own.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from PIL.Image import Image

Colour = tuple[int, int, int]
Number = float | int  # the run-time type checks of the tests tell them apart

PAPER, INK, SOFT, GRID = (255, 255, 255), (40, 40, 40), (105, 105, 105), (226, 226, 226)
# Okabe and Ito's colors without yellow: distinguishable to people with any common color vision
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (0, 0, 0))
_TITLE, _HEAD, _SMALL = 17, 14, 12  # sizes of letters in pixels
_LINE = 18  # height of a line of labels
_PANEL = (960, 200)
_LEFT, _RIGHT = 86, 24  # of a panel: room for the labels of its ticks


def lighter(colour: Colour, share: Number = 0.75) -> Colour:
    """Mix a color with white."""
    red, green, blue = (round(part + (255 - part) * share) for part in colour)
    return red, green, blue


@dataclass(frozen=True, slots=True)
class Scale:
    """The range of an axis.

    Attributes:
        low: its lower end.
        high: its upper end, above `low`.
        logarithmic: whether the scale is logarithmic; then both ends are positive.
        labels: positions and texts to show instead of numbers, or empty.
    """

    low: Number
    high: Number
    logarithmic: bool = False
    labels: Sequence[tuple[Number, str]] | None = None

    @classmethod
    def over(
        cls, values: Sequence[Number], logarithmic: bool = False, room: Number = 0.0
    ) -> "Scale | None":
        """Return the range of the values that can be plotted, or None if there are none.

        Args:
            values: those that are not finite, or not positive on a logarithmic axis, are ignored.
            logarithmic: as the attribute.
            room: added at both ends, as a fraction of the range.
        """
        finite = [v for v in values if math.isfinite(v) and (v > 0 or not logarithmic)]
        if not finite:
            return None
        low, high = min(finite), max(finite)
        if logarithmic:
            ratio = max(high / low, 1.01) ** max(room, 0.02)
            return cls(low / ratio, high * ratio, True)
        if high <= low:
            return cls(low - 0.5, low + 0.5)
        extra = room * (high - low)
        return cls(low - extra, high + extra)

    @classmethod
    def of(cls, names: Sequence[str]) -> "Scale":
        """Return a categorical axis with names at 0, 1, 2, ..."""
        return cls(
            -0.5, len(names) - 0.5, labels=[(float(n), name) for n, name in enumerate(names)]
        )

    def holds(self, value: Number) -> bool:
        """Whether a value can be plotted."""
        return math.isfinite(value) and (value > 0 or not self.logarithmic)

    def share(self, value: Number) -> float:
        """Return the position of a value: 0 at the lower end, 1 at the upper."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """Return round values inside the range, about `most` at most, and their labels."""
        if self.labels is not None:
            return list(self.labels)
        if self.logarithmic and self.high / self.low >= 10:
            locations = self._decades(most)
        else:
            step = _round_step((self.high - self.low) / most)
            first = math.ceil(self.low / step - 1e-9)
            locations = [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [(p, number(p)) for p in locations if 0 <= round(self.share(p), 6) <= 1]

    def _decades(self, most: int) -> list[float]:
        """Return the densest of the usual ticks of a logarithmic axis that fit."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        inside: list[float] = []
        for every in (1, *range(1, len(powers) + 1)):
            digits = (1, 2, 5) if not inside else (1,)
            inside = [
                digit * 10.0**power
                for power in powers[::every]
                for digit in digits
                if 0 <= self.share(digit * 10.0**power) <= 1
            ]
            if len(inside) <= most:
                break
        return inside


def _round_step(least: Number) -> float:
    """Return the smallest of 1, 2, 5, 10, 20, ... that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(d * power for d in (1, 2, 5, 10) if d * power >= least * (1 - 1e-9))


def number(value: Number) -> str:
    """Format a number as a tick label."""
    if value == 0:
        return "0"
    if abs(value) >= 1000 and abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def text_width(text: str, size: int) -> float:
    """Return the width of a line in pixels."""
    from PIL import ImageFont

    return float(ImageFont.load_default(size).getlength(text))


class Figure:
    """A white canvas with a title above and a note below."""

    def __init__(self, width: int, height: int, title: str = "", note: str = "") -> None:
        from PIL import Image, ImageDraw

        self.image = Image.new("RGB", (width, height), PAPER)
        self.pen = ImageDraw.Draw(self.image)
        self.text((24, 12), title, size=_TITLE)
        self.text((24, height - 12), note, colour=SOFT, anchor="ld")

    def text(
        self,
        at: tuple[Number, Number],
        text: str,
        colour: Colour = INK,
        size: int = _SMALL,
        anchor: str = "la",
    ) -> float:
        """Write a line and return its width; `anchor` is as in Pillow."""
        self.pen.text(at, text, fill=colour, font_size=size, anchor=anchor)
        return text_width(text, size)

    def png(self) -> bytes:
        """Return the figure as a PNG file."""
        buffer = io.BytesIO()
        self.image.save(buffer, format="PNG")
        return buffer.getvalue()


class Axes:
    """A rectangle of a figure with two scales.

    Args:
        figure: that contains it.
        box: left, upper, right and lower edge of the rectangle, without labels.
        x: horizontal scale.
        y: vertical scale.
        title: above the axes.
        x_title: below the right end.
        grid: the axes whose ticks have grid lines.
    """

    def __init__(
        self,
        figure: Figure,
        box: tuple[Number, Number, Number, Number],
        x: Scale,
        y: Scale,
        title: str = "",
        x_title: str = "",
        grid: str = "y",
    ) -> None:
        self.figure, self.box, self.x, self.y = figure, box, x, y
        left, top, right, bottom = box
        pen = figure.pen
        figure.text((left, top - 8), title, size=_HEAD, anchor="ld")
        for value, label in y.ticks(max(2, int((bottom - top) / 36))):
            height = self.at(x.low, value)[1]
            if "y" in grid:
                pen.line([(left, height), (right, height)], fill=GRID)
            figure.text((left - 8, height), label, anchor="rm")
        end = -math.inf
        for value, label in x.ticks(max(2, int((right - left) / 60))):
            across = self.at(value, y.low)[0]
            if "x" in grid:
                pen.line([(across, top), (across, bottom)], fill=GRID)
            half = text_width(label, _SMALL) / 2
            if across - half > end + 6:  # a label that would touch the last one is left out
                figure.text((across, bottom + 6), label, anchor="ma")
                end = across + half
        figure.text((right, bottom + 6 + _LINE), x_title, colour=SOFT, anchor="ra")

    def at(self, x: Number, y: Number) -> tuple[float, float]:
        """Convert a point to pixels."""
        left, top, right, bottom = self.box
        return left + self.x.share(x) * (right - left), bottom - self.y.share(y) * (bottom - top)

    def line(
        self, x: Sequence[Number], y: Sequence[Number], colour: Colour, width: int = 2
    ) -> "Axes":
        """Plot a line through the points, or a dot if there is only one."""
        points = self._points(x, y)
        if len(points) > 1:
            self.figure.pen.line(points, fill=colour, width=width, joint="curve")
        else:
            self._dots(points, colour, 3)
        return self

    def band(
        self, x: Sequence[Number], low: Sequence[Number], high: Sequence[Number], colour: Colour
    ) -> "Axes":
        """Fill the area between two lines in a light shade of a color."""
        lower, upper = self._points(x, low), self._points(x, high)
        if len(lower) > 1 and len(upper) > 1:
            self.figure.pen.polygon([*upper, *lower[::-1]], fill=lighter(colour))
        return self

    def scatter(
        self, x: Sequence[Number], y: Sequence[Number], colour: Colour, radius: Number = 3
    ) -> "Axes":
        """Plot a dot for each point."""
        return self._dots(self._points(x, y), colour, radius)

    def whiskers(
        self,
        x: Sequence[tuple[Number, Number]],
        y: Sequence[tuple[Number, Number]],
        colour: Colour,
        width: int = 4,
    ) -> "Axes":
        """Plot vertical or horizontal error bars."""
        for (left, right), (low, high) in zip(x, y, strict=True):
            ends = self._points((left, right), (low, high))
            if len(ends) > 1:
                self.figure.pen.line(ends, fill=colour, width=width)
        return self

    def bar(self, y: Number, length: Number, colour: Colour, label: str, thick: Number) -> "Axes":
        """Plot a horizontal bar from the left edge, with a label at its end."""
        across, height = self.at(length, y)
        left = self.box[0]
        end = max(across, left + 2)  # the shortest can still be seen
        self.figure.pen.rectangle([left, height - thick / 2, end, height + thick / 2], fill=colour)
        self.figure.text((end + 6, height), label, anchor="lm")
        return self

    def rule(self, colour: Colour, x: Number | None = None, y: Number | None = None) -> "Axes":
        """Plot a line across the whole axes."""
        left, top, right, bottom = self.box
        if x is not None:
            across = self.at(x, self.y.low)[0]
            self.figure.pen.line([(across, top), (across, bottom)], fill=colour, width=2)
        if y is not None:
            height = self.at(self.x.low, y)[1]
            self.figure.pen.line([(left, height), (right, height)], fill=colour, width=2)
        return self

    def legend(self, names: Sequence[tuple[str, Colour]], after: str = "") -> "Axes":
        """Write names in their colors above the axes, to the right of a title."""
        left, top, right, _ = self.box
        pen = self.figure.pen
        widths = [26 + text_width(name, _SMALL) for name, _ in names]
        start = left + text_width(after, _HEAD) + 24
        across = max(start, right - sum(widths) - 12 * (len(names) - 1))
        for (name, colour), width in zip(names, widths, strict=True):
            pen.line([(across, top - 15), (across + 18, top - 15)], fill=colour, width=3)
            self.figure.text((across + 24, top - 15), name, anchor="lm")
            across += width + 12
        return self

    def _points(self, x: Sequence[Number], y: Sequence[Number]) -> list[tuple[float, float]]:
        pairs = zip(x, y, strict=True)
        return [self.at(a, b) for a, b in pairs if self.x.holds(a) and self.y.holds(b)]

    def _dots(
        self, points: Sequence[tuple[Number, Number]], colour: Colour, radius: Number
    ) -> "Axes":
        for x, y in points:
            box = [(x - radius, y - radius), (x + radius, y + radius)]
            self.figure.pen.ellipse(box, fill=colour)
        return self


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve.

    Attributes:
        name: for the legend.
        steps: ascending.
        values: one for each step; NaN where there is none.
        low: lower end of a band around it; may be empty.
        high: upper end.
        colour: None for the next of `COLOURS`.
        width: of the line in pixels.
    """

    name: str
    steps: Sequence[Number]
    values: Sequence[Number]
    low: Sequence[Number] = ()
    high: Sequence[Number] = ()
    colour: Colour | None = None
    width: int = 2


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves over one vertical axis.

    Attributes:
        title: above the panel.
        curves: colored in order.
        logarithmic: whether the vertical axis is logarithmic.
    """

    title: str
    curves: Sequence[Curve] = field(default_factory=tuple)
    logarithmic: bool = False


def plot_panels(
    panels: Sequence[Panel],
    title: str,
    marks: Sequence[Number] = (),
    x_title: str = "step",
    height: int = _PANEL[1],
    labels: Sequence[tuple[Number, str]] | None = None,
) -> bytes:
    """Return a PNG of panels that share a horizontal axis.

    Args:
        panels: from top to bottom.
        title: above them.
        marks: steps at which a vertical line crosses all panels.
        x_title: label of the horizontal axis.
        height: of a panel in pixels.
        labels: steps and texts to show on the horizontal axis instead of numbers.
    """
    figure = Figure(_PANEL[0], 40 + height * len(panels) + _LINE, title)
    steps = [step for panel in panels for curve in panel.curves for step in curve.steps]
    x = Scale(0.0, max([1.0, *steps]), labels=labels)
    for location, panel in enumerate(panels):
        top = 40 + location * height
        box = (_LEFT, top + 30, _PANEL[0] - _RIGHT, top + height - 26)
        values = [v for c in panel.curves for v in (*c.values, *c.low, *c.high)]
        y = Scale.over(values, panel.logarithmic, room=0.03)
        if y is None:
            figure.text((_LEFT, top + 22), panel.title, size=_HEAD, anchor="ld")
            figure.text((_LEFT, top + 40), "nothing finite to plot", colour=SOFT)
            continue
        last = location == len(panels) - 1
        axes = Axes(figure, box, x, y, panel.title, x_title if last else "")
        colours = [c.colour or COLOURS[n % len(COLOURS)] for n, c in enumerate(panel.curves)]
        for curve, colour in zip(panel.curves, colours, strict=True):
            if curve.low and curve.high:
                axes.band(curve.steps, curve.low, curve.high, colour)
        for step in marks:
            axes.rule(SOFT, x=step)
        for curve, colour in zip(panel.curves, colours, strict=True):
            axes.line(curve.steps, curve.values, colour, curve.width)
            if len(curve.steps) < 40:
                axes.scatter(curve.steps, curve.values, colour, 2)
        named = [(c.name, colour) for c, colour in zip(panel.curves, colours, strict=True)]
        axes.legend([(name, colour) for name, colour in named if name], panel.title)
    return figure.png()


def _wrapped(title: str, width: Number) -> list[str]:
    """Wrap a title into lines no wider than `width`, without breaking words."""
    lines: list[str] = []
    for word in title.split():
        if lines and text_width(f"{lines[-1]} {word}", _TITLE) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _widest(labels: Sequence[str]) -> int:
    return math.ceil(max((text_width(label, 13) for label in labels), default=0))


def image_sheet(
    tiles: Sequence["Image | UInt8[np.ndarray, 'h w 3']"],
    columns: int,
    *,
    below: Sequence[str] = (),
    left: Sequence[str] = (),
    above: Sequence[str] = (),
    title: str = "",
    gap: int = 10,
    border: bool = True,
) -> "Image":
    """Return images in rows on white, with labels in the gaps.

    Columns are as wide as the widest image or label, so that no label is cut or overlaps another.

    Args:
        tiles: images from the upper left, row by row; smaller ones are centered.
        columns: number of images in a row.
        below: a label for each image.
        left: a label for each row.
        above: a label for each column.
        title: above all, wrapped to the width of the sheet.
        gap: pixels between images.
        border: whether there is a gap around the sheet too.
    """
    from PIL import Image, ImageDraw

    images = [tile if isinstance(tile, Image.Image) else Image.fromarray(tile) for tile in tiles]

    columns = max(1, min(columns, len(images)))
    rows = math.ceil(len(images) / columns)
    widest = max((image.width for image in images), default=1)
    wide = max(widest, _widest(below), _widest(above))
    gap = max(gap, 16 if wide > widest else 0)  # labels touch each other sooner than images
    high = max((image.height for image in images), default=1)
    edge = gap if border else 0
    side = edge + (_widest(left) + max(gap, 8) if left else 0)
    width = side + columns * (wide + gap) - gap + edge
    lines = _wrapped(title, width - 2 * gap)
    top = edge + 24 * len(lines) + (20 if above else 0)
    down = high + (20 if below else 0) + gap
    sheet = Image.new("RGB", (width, top + rows * down - gap + edge), PAPER)
    pen = ImageDraw.Draw(sheet)
    for location, line in enumerate(lines):
        pen.text((gap, gap + 24 * location), line, fill=INK, font_size=_TITLE)
    for column, label in enumerate(above[:columns]):
        x = side + column * (wide + gap) + wide // 2
        pen.text((x, top - 18), label, fill=INK, font_size=13, anchor="ma")
    for row, label in enumerate(left[:rows]):
        y = top + row * down + high // 2
        pen.text((edge, y), label, fill=INK, font_size=13, anchor="lm")
    for location, image in enumerate(images):
        row, column = divmod(location, columns)
        x, y = side + column * (wide + gap), top + row * down
        inset = (high - image.height) // 2
        sheet.paste(image.convert("RGB"), (x + (wide - image.width) // 2, y + inset))
        if below:
            x += wide // 2
            pen.text((x, y + high + 3), below[location], fill=SOFT, font_size=13, anchor="ma")
    return sheet


_SMALLEST, _LARGEST = 192, 512  # longer side of a tile in pixels

Tile = UInt8[np.ndarray, "h w 3"]


def tile_sheet(tiles: Mapping[str, Tile], columns: int) -> "Image":
    """Arrange images of one size in rows, each above its label."""
    from PIL import Image

    height, width = next(iter(tiles.values())).shape[:2]
    longer = max(height, width)
    scale = float(max(1, _SMALLEST // longer)) if longer <= _LARGEST else _LARGEST / longer
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    images = [Image.fromarray(tile).resize(size, method) for tile in tiles.values()]
    return image_sheet(images, columns, below=list(tiles))
