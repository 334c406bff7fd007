"""Plots: where things stand, and that labels neither overlap nor leave the figure."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from graftwerk.finetune.compare import plot_comparison
from graftwerk.finetune.results import CurvePoint, Method, Score
from graftwerk.generation.guidance_sweep import plot_sweep
from graftwerk.generation.results import SweepRow
from graftwerk.metrics import plots
from graftwerk.metrics.plots import Axes, Curve, Figure, Panel, Scale, image_sheet, plot_panels


@pytest.fixture
def texts(monkeypatch):
    """Boxes of all labels that are written, by what they say."""
    from PIL import ImageDraw

    written = []
    plain = ImageDraw.ImageDraw.text

    def text(pen, xy, text, *args, **options):
        box = pen.textbbox(xy, text, anchor=options.get("anchor"), font_size=options["font_size"])
        written.append((text, box, pen.im.size))
        return plain(pen, xy, text, *args, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return written


def check(texts):
    """No label leaves the figure, and none touches another."""
    assert texts
    shown = [(text, box, size) for text, box, size in texts if text]
    for text, (left, top, right, bottom), (width, height) in shown:
        assert left >= 0 and top >= 0 and right <= width and bottom <= height, text
    for location, (one, a, _) in enumerate(shown):
        for other, b, _ in shown[:location]:
            apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
            assert apart, (one, other)


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (Scale(0, 1), ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (Scale(-3, 7), ["-2", "0", "2", "4", "6"]),
        (Scale(0, 12_000), ["0", "5,000", "10,000"]),
        (Scale(1e-3, 10, True), ["0.001", "0.01", "0.1", "1", "10"]),
        (Scale(1e-7, 10, True), ["1e-07", "1e-05", "0.001", "0.1", "10"]),
        (Scale(2, 30, True), ["2", "5", "10", "20"]),
        (Scale(2, 4, True), ["2", "2.5", "3", "3.5", "4"]),
        (Scale.of(["a", "b"]), ["a", "b"]),
        (Scale(0, 1, labels=()), []),
    ],
)
def test_ticks_are_round(scale, expected):
    ticks = scale.ticks(5)
    assert [label for _, label in ticks] == expected
    assert all(0 <= round(scale.share(value), 6) <= 1 for value, _ in ticks)


def test_scales():
    assert Scale.over([]) is None
    assert Scale.over([math.nan, math.inf]) is None
    assert Scale.over([-1.0, 0.0], logarithmic=True) is None
    assert Scale.over([3.0]) == Scale(2.5, 3.5)
    assert Scale.over([0.0, 1.0, math.nan], room=0.1) == Scale(-0.1, 1.1)
    assert Scale(1, 100, True).share(10) == 0.5


def test_lines_bands_and_points_stand_where_they_should():
    figure = Figure(300, 200)
    axes = Axes(figure, (50, 20, 250, 180), Scale(0, 10), Scale(0, 1))
    axes.band([0, 10], [0.2, 0.2], [0.8, 0.8], (200, 0, 0)).line([0, 10], [0.5, 0.5], (0, 0, 255))
    axes.scatter([5, math.nan], [0.9, 0.9], (0, 255, 0), 4)
    pixels = np.asarray(figure.image)
    assert axes.at(5, 0.5) == (150, 100)
    assert pixels[100, 150].tolist() == [0, 0, 255]
    assert pixels[70, 150].tolist() == list(plots.lighter((200, 0, 0)))
    assert pixels[36, 150].tolist() == [0, 255, 0]
    green = np.all(pixels == (0, 255, 0), axis=-1)
    assert green[:, :140].sum() == green[:, 160:].sum() == 0


def test_a_bar_is_as_long_as_its_value():
    figure = Figure(300, 100)
    axes = Axes(figure, (20, 20, 220, 80), Scale(0, 4, labels=()), Scale.of(["a"]), grid="")
    axes.bar(0, 3, (0, 0, 255), "3", 10)
    blue = np.all(np.asarray(figure.image) == (0, 0, 255), axis=-1)
    assert np.flatnonzero(blue.any(axis=0)).tolist() == list(range(20, 171))


@pytest.mark.parametrize("values", [[1.0, math.nan, 100.0], [0.0, 0.0, 0.0], [-2.0, 0.5, 3e6]])
@pytest.mark.parametrize("logarithmic", [False, True])
def test_labels_of_panels_are_apart(texts, values, logarithmic):
    steps = [0.0, 250.0, 9_000.0]
    curves = [Curve(f"curve number {n}", steps, values, values, values) for n in range(4)]
    panels = [Panel("a panel", curves, logarithmic), Panel("another", curves[:1])]
    with Image.open(io.BytesIO(plot_panels(panels, "what all this is", [250.0]))) as image:
        assert image.width == 960
    check(texts)


def method(name, value, seconds):
    score = Score(
        name="micro F1", value=value, low=value - 0.05, high=value + 0.04, baseline=0.25, count=200,
        figures={},
    )  # fmt: skip
    known = {
        "name": name, "score": score, "parameters": 1_000_000 if seconds > 1 else 1_540,
        "bytes": 5_000_000, "train_seconds": seconds, "predict_seconds": 1.5,
    }  # fmt: skip
    return Method.model_construct(**known)


@pytest.mark.parametrize("recommended", ["linear", "lora", "full"])
def test_labels_of_a_comparison_are_apart(texts, recommended):
    methods = [
        method("linear", 0.8, 0.2),
        method("lora", 0.86, 300.0),
        method("full", 0.86, 2e4),
        method("wise-ft", 0.83, 2e4),
    ]
    curve = [
        CurvePoint.model_construct(examples=n, score=0.5 + n / 4000, spread=0.02)
        for n in (25, 50, 100, 200, 400, 800, 1000)
    ]
    image = Image.open(io.BytesIO(plot_comparison(methods, curve, "topics.csv", recommended)))
    image.load()
    check(texts)
    assert f"{0.8 if recommended == 'linear' else 0.86:.3f} (recommended)" in [t[0] for t in texts]


def test_a_short_learning_curve(texts):
    plot_comparison([method("linear", 0.8, 0.2)], [], "topics.csv", "linear")
    check(texts)
    assert "too few examples" in [text for text, *_ in texts]


def row(scale, share):
    margins = {f"{name}_margin": 0.05 for name in ("frechet", "precision", "recall", "share")}
    return SweepRow(
        scale=scale, frechet=30 * share, precision=share, recall=1 - share, share=share, **margins
    )


def test_labels_of_a_sweep_are_apart(texts):
    rows = [row(scale, 0.1 * n) for n, scale in enumerate((0, 0.5, 1, 2, 5, 10, 20, 50, 100))]
    plot_sweep(rows, row(0, 0.9))
    check(texts)


def test_labels_of_a_sheet_are_apart(texts):
    tiles = [np.full((30, 20, 3), 9 * n, np.uint8) for n in range(5)]
    sheet = image_sheet(
        tiles,
        2,
        below=[f"a label wider than the image {n}" for n in range(5)],
        left=["first row", "second", "a longer third row"],
        above=["left column", "right column that is the widest of all labels"],
        title="a title that is far too long for one line " * 3,
    )
    check(texts)
    assert sum("far too" in text or "title" in text for text, *_ in texts) > 1
    found = np.asarray(sheet)
    for n in range(1, 5):
        assert np.all(found == 9 * n, axis=-1).sum() >= 30 * 20


def test_tiles_of_a_sheet_stand_in_order():
    tiles = [np.full((8, 8, 3), 40 * n, np.uint8) for n in range(3)]
    sheet = np.asarray(image_sheet(tiles, 2, gap=4))
    assert sheet.shape == (4 + 2 * 12, 4 + 2 * 12, 3)
    assert [sheet[4, 4, 0], sheet[4, 16, 0], sheet[16, 4, 0], sheet[16, 16, 0]] == [0, 40, 80, 255]
    assert np.asarray(image_sheet(tiles, 3, gap=2, border=False)).shape == (8, 28, 3)
