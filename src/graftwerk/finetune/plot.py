"""The plot of a comparison: scores with intervals, what each costs, the learning curve."""

import math
from collections.abc import Callable, Sequence

from ..metrics.plots import COLOURS, SOFT, Axes, Figure, Scale, text_width
from .results import CurvePoint, Method

_SIZE = (1200, 520)
_TOP, _BOTTOM = 92, 430
_SCORES, _COSTS, _CURVE = (84, 384), (496, 776), (864, 1170)  # left and right edges


def plot_comparison(
    methods: Sequence[Method], curve: Sequence[CurvePoint], title: str, recommended: str
) -> bytes:
    """Return a PNG of three panels.

    Args:
        methods: rows of the table, the linear head first.
        curve: its learning curve.
        title: written above.
        recommended: name of the method that is.
    """
    note = "Intervals are 95 %. Bars are on logarithmic scales: the longest costs most."
    figure = Figure(*_SIZE, title, note)
    _scores(figure, methods, recommended)
    _costs(figure, methods)
    _learning(figure, curve, methods[0].score.name)
    return figure.png()


def _scores(figure: Figure, methods: Sequence[Method], recommended: str) -> None:
    scores = [method.score for method in methods]
    x = Scale.over([end for score in scores for end in (score.low, score.high)], room=0.12)
    if x is None:
        return
    y = Scale.of([method.name for method in methods][::-1])  # the first above
    title = f"{scores[0].name} on test examples"
    axes = Axes(figure, (_SCORES[0], _TOP, _SCORES[1], _BOTTOM), x, y, title, grid="x")
    for number, (method, score) in enumerate(zip(methods, scores, strict=True)):
        height, colour = float(len(methods) - 1 - number), COLOURS[number % len(COLOURS)]
        axes.whiskers([(score.low, score.high)], [(height, height)], colour)
        axes.scatter([score.value], [height], colour, 7)
        label = f"{score.value:.3f}" + (" (recommended)" if method.name == recommended else "")
        across, down = axes.at(score.value, height)
        half = text_width(label, 13) / 2  # inside the panel at both ends
        across = min(max(across, _SCORES[0] + half), _SCORES[1] - half)
        figure.text((across, down - 12), label, size=13, anchor="md")


def _costs(figure: Figure, methods: Sequence[Method]) -> None:
    left, right = _COSTS
    kinds: tuple[tuple[str, Callable[[Method], float], str], ...] = (
        ("parameters learned", lambda method: float(method.parameters), "{:,.0f}"),
        ("stored", lambda method: method.bytes / 1e6, "{:,.2f} MB"),
        ("training", lambda method: method.train_seconds, "{:,.1f} s"),
        ("1,000 predictions", lambda method: method.predict_seconds, "{:,.1f} s"),
    )
    figure.text((left - 60, _TOP - 8), "what each costs", size=14, anchor="ld")
    high = (_BOTTOM - _TOP) / len(kinds)
    names = Scale.of([method.name for method in methods][::-1])
    for place, (title, value, shown) in enumerate(kinds):
        top = _TOP + place * high + 24
        figure.text((left - 60, top - 4), title, colour=SOFT, anchor="ld")
        values = [max(value(method), 1e-9) for method in methods]
        bars = [math.log10(one / min(values)) + 0.1 for one in values]
        box = (left, top, right - 60, top + high - 28)
        axes = Axes(figure, box, Scale(0.0, max(bars), labels=()), names, grid="")
        thick = (high - 28) / len(methods) - 3
        for number, (length, method) in enumerate(zip(bars, methods, strict=True)):
            colour = COLOURS[number % len(COLOURS)]
            label = shown.format(value(method))
            axes.bar(float(len(methods) - 1 - number), length, colour, label, thick)


def _learning(figure: Figure, curve: Sequence[CurvePoint], name: str) -> None:
    left, right = _CURVE
    title = f"learning curve of linear: {name}"
    ends = [(point.score - point.spread, point.score + point.spread) for point in curve]
    y = Scale.over([end for pair in ends for end in pair], room=0.12)
    if len(curve) < 2 or y is None:
        figure.text((left, _TOP - 8), title, size=14, anchor="ld")
        figure.text((left, _TOP + 8), "too few examples", colour=SOFT)
        return
    counts = [float(point.examples) for point in curve]
    ticks = [(count, f"{count:,.0f}") for count in counts]
    x = Scale(counts[0], max(counts[-1], counts[0] * 1.01), logarithmic=True, labels=ticks)
    axes = Axes(figure, (left, _TOP, right, _BOTTOM), x, y, title, "examples learned from")
    scores = [point.score for point in curve]
    axes.whiskers([(count, count) for count in counts], ends, COLOURS[0], width=2)
    axes.line(counts, scores, COLOURS[0], width=3).scatter(counts, scores, COLOURS[0], 5)
