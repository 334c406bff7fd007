"""Distances from what is usual."""

import numpy as np
import pytest

from graftwerk.metrics.distributions import neighbour_distances, psnr, spectra, usual


def test_1_is_what_95_percent_keep():
    generator = np.random.default_rng(0)
    mixing = generator.standard_normal((3, 3))
    real = generator.standard_normal((4000, 3)) @ mixing + 5
    distances = usual(real).distances(generator.standard_normal((4000, 3)) @ mixing + 5)
    assert np.mean(distances <= 1) == pytest.approx(0.95, abs=0.01)
    far = usual(real).distances(generator.standard_normal((50, 3)) @ mixing + 25)
    assert far.min() > 2


def test_neighbours_of_real_rows_are_not_themselves():
    real = np.arange(5.0)[:, None]
    assert neighbour_distances(real, real, among=True)[0] == pytest.approx((1 + 2 + 3) / 3)
    assert neighbour_distances(real, real)[0] == pytest.approx((0 + 1 + 2) / 3)


def test_fine_stripes_have_power_in_high_bands():
    across = np.arange(32)
    coarse, fine = (
        np.broadcast_to(
            (127 + 100 * np.sin(2 * np.pi * across / period))[None, :, None], (32, 32, 3)
        ).astype(np.uint8)
        for period in (16, 2.5)
    )
    bands = spectra(np.stack([coarse, fine]))
    assert bands[0, :3].max() > bands[0, 6:].max() + 3
    assert bands[1, 6:].max() > bands[1, :3].max() + 3


def test_psnr():
    black = np.zeros((2, 4, 4, 3), np.uint8)
    grey = black + np.array([0, 51], np.uint8)[:, None, None, None]
    np.testing.assert_allclose(psnr(grey, black), [120, -20 * np.log10(0.2)])
