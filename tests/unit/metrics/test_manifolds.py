"""Precision and recall where the answer is seen at once."""

import numpy as np
import pytest

from graftwerk.metrics.distributions import inside


def ring(count, radius=1.0, start=0.0):
    angles = start + 2 * np.pi * np.arange(count) / count
    return (radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32)


def test_a_set_lies_inside_its_own_manifold():
    assert inside(ring(20), ring(20)).all()


def test_points_far_from_it_lie_outside():
    rows = np.concatenate([ring(20, start=0.01), ring(20, radius=3)])
    assert inside(rows, ring(20)).tolist() == [True] * 20 + [False] * 20


def test_half_of_a_ring_is_precise_but_recalls_half_of_it():
    whole, half = ring(200), ring(200)[:100]
    assert inside(half, whole).mean() == 1
    assert inside(whole, half).mean() == pytest.approx(0.53, abs=0.01)


def test_too_few_rows_have_no_manifold():
    with pytest.raises(ValueError, match="3 rows"):
        inside(ring(3), ring(3))
