"""Canny against a slow one of our own, written pixel by pixel from the definition."""

import math

import numpy as np
import pytest

from graftwerk.blocks.renderer import render
from graftwerk.blocks.sampling import sample_scene
from graftwerk.conditions.kinds.canny import CannySettings, canny


def slow_canny(grey, sigma, kernel, low, high):
    """Gray levels to edges, with plain loops; thresholds are fractions of the largest slope."""
    height, width = len(grey), len(grey[0])

    def at(table, y, x):
        return table[min(max(y, 0), height - 1)][min(max(x, 0), width - 1)]

    half = kernel // 2
    weights = {
        (dy, dx): math.exp(-(dy * dy + dx * dx) / (2 * sigma * sigma))
        for dy in range(-half, half + 1)
        for dx in range(-half, half + 1)
    }
    total = math.fsum(weights.values())
    blurred = [
        [
            math.fsum(w * at(grey, y + dy, x + dx) for (dy, dx), w in weights.items()) / total
            for x in range(width)
        ]
        for y in range(height)
    ]
    slopes = [[0.0] * width for _ in range(height)]
    sectors = [[0] * width for _ in range(height)]
    for y in range(height):
        for x in range(width):
            window = [[at(blurred, y + dy, x + dx) for dx in (-1, 0, 1)] for dy in (-1, 0, 1)]
            across = sum(k * (row[2] - row[0]) for k, row in zip((1, 2, 1), window, strict=True))
            down = sum(k * (window[2][i] - window[0][i]) for i, k in enumerate((1, 2, 1)))
            slopes[y][x] = round(math.hypot(across, down), 6)
            sectors[y][x] = round(math.degrees(math.atan2(down, across)) / 45) % 4
    steps = {0: (0, 1), 1: (1, 1), 2: (1, 0), 3: (1, -1)}
    thin = [[0.0] * width for _ in range(height)]
    for y in range(height):
        for x in range(width):
            dy, dx = steps[sectors[y][x]]

            def slope(row, column):
                there = 0 <= row < height and 0 <= column < width
                return slopes[row][column] if there else 0.0

            if slopes[y][x] > slope(y - dy, x - dx) and slopes[y][x] >= slope(y + dy, x + dx):
                thin[y][x] = slopes[y][x]
    largest = max(map(max, thin))
    edges = np.zeros((height, width), dtype=bool)
    pending = [
        (y, x) for y in range(height) for x in range(width) if 0 < thin[y][x] >= high * largest
    ]
    while pending:
        y, x = pending.pop()
        if edges[y, x]:
            continue
        edges[y, x] = True
        for row in range(max(0, y - 1), min(height, y + 2)):
            for column in range(max(0, x - 1), min(width, x + 2)):
                if 0 < thin[row][column] >= low * largest:
                    pending.append((row, column))
    return edges


def grey_levels(image):
    return (image @ np.array([0.299, 0.587, 0.114])).tolist()


def test_the_same_edges_pixel_for_pixel_on_rendered_scenes() -> None:
    differing = pixels = edges = 0
    for number in range(12):
        image = render(sample_scene(5, number), 64, 64)
        settings = CannySettings(*((1.4, 5), (0.8, 7), (2.3, 3))[number % 3], "fraction", 0.1, 0.3)
        ours = canny(image[None], settings).edges[0]
        theirs = slow_canny(grey_levels(image), settings.sigma, settings.kernel, 0.1, 0.3)
        differing += int((ours != theirs).sum())
        pixels, edges = pixels + ours.size, edges + int(ours.sum())
    assert pixels == 12 * 64 * 64 and edges > 2_000
    assert differing == 0


@pytest.mark.parametrize("seed", range(4))
def test_the_same_edges_on_noise(seed) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (37, 51, 3)).astype(np.uint8)
    ours = canny(image[None]).edges[0]
    assert ours.any()
    assert np.array_equal(ours, slow_canny(grey_levels(image), 1.4, 5, 0.1, 0.3))


def test_the_same_edges_where_slopes_are_equal() -> None:
    """Steps, squares and checks: every edge lies between two equal slopes."""
    checks = np.indices((40, 40)).sum(axis=0) // 8 % 2 * 200
    step = np.where(np.arange(40) < 20, 30, 220) * np.ones((40, 1), dtype=int)
    square = np.zeros((40, 40), dtype=int)
    square[12:28, 12:28] = 255
    for grey in (checks, step, square):
        ours = canny(grey[None].astype(np.uint8)).edges[0]
        theirs = slow_canny(grey.astype(float).tolist(), 1.4, 5, 0.1, 0.3)
        assert ours.any()
        assert np.array_equal(ours, theirs)


def test_the_gaussian_is_scipys_where_the_kernel_holds_all_of_it() -> None:
    from scipy.ndimage import gaussian_filter

    image = render(sample_scene(5, 3), 64, 64)
    stages = canny(image[None], CannySettings(sigma=1.4, kernel=17))
    expected = gaussian_filter(stages.grey[0], 1.4, mode="nearest", radius=8)
    np.testing.assert_allclose(stages.blurred[0], expected, atol=1e-9)


def test_the_slope_is_scipys_sobel() -> None:
    from scipy.ndimage import sobel

    stages = canny(render(sample_scene(5, 4), 64, 64)[None])
    blurred = stages.blurred[0]
    expected = np.hypot(sobel(blurred, 0, mode="nearest"), sobel(blurred, 1, mode="nearest"))
    np.testing.assert_allclose(stages.slope[0], expected, atol=1e-6)
