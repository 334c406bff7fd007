"""Measuring what moved, on images that are made to move by known amounts."""

import numpy as np
import pytest

from graftwerk.probing.probe import STEPS, ByColour, effects_of, row_image


def square(x, y, side=8, colour=(200, 30, 30)):
    """A square on a background that changes from row to row."""
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[:] = np.linspace(60, 140, 64).astype(np.uint8)[:, None, None]
    image[y : y + side, x : x + side] = colour
    return image


def test_the_object_is_found_by_its_colour():
    seen = ByColour()(np.stack([square(10, 20), square(40, 20, side=16)]))
    np.testing.assert_allclose(seen["horizontal"], [14 / 64, 48 / 64])
    np.testing.assert_allclose(seen["vertical"], [24 / 64, 28 / 64])
    np.testing.assert_allclose(seen["area"], [64 / 4096, 256 / 4096])


def test_where_there_is_none_nothing_is_measured():
    seen = ByColour()(np.stack([square(0, 0, side=0)]))
    assert np.isnan(seen["horizontal"]).all()
    assert np.isfinite(seen["brightness"]).all()


def test_effects_are_slopes_in_standard_deviations():
    starts = [8, 16, 30]
    sampled = [np.stack([square(x + int(4 * step), 20) for x in starts]) for step in STEPS]
    spreads = {"horizontal": 8 / 64, "vertical": 0.1, "area": 0.01}
    effects = effects_of(sampled, ByColour(), spreads)
    assert effects["horizontal"].value == pytest.approx(0.5)  # 4 pixels where 8 are one deviation
    assert effects["horizontal"].margin == pytest.approx(0.0, abs=1e-9)
    assert effects["vertical"].value == pytest.approx(0.0)
    assert effects["area"].value == pytest.approx(0.0)
    assert effects["horizontal"].count == 3


def test_an_image_whose_object_is_lost_is_not_counted():
    sampled = [np.stack([square(20, 20), square(20, 20)]) for _ in STEPS]
    sampled[0][1] = square(0, 0, side=0)
    effects = effects_of(sampled, ByColour(), {"horizontal": 0.1})
    assert effects["horizontal"].count == 1


def test_the_image_has_a_row_for_each_image():
    sampled = [np.stack([square(x, 20) for x in (5, 20)]) for _ in STEPS]
    assert row_image(sampled).size == (64 * 2 * len(STEPS), 64 * 2 * 2)
