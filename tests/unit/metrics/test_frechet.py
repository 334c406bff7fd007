import numpy as np
import pytest

from graftwerk.metrics.distributions import frechet_distance


def normal(mean, deviation, seed, rows=20_000):
    generator = np.random.default_rng(seed)
    return (mean + deviation * generator.standard_normal((rows, len(mean)))).astype(np.float32)


def test_closed_form():
    a = normal(np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 0.5]), 1)
    b = normal(np.array([1.0, 1.0, 0.0]), np.array([2.0, 1.0, 0.5]), 2)
    # independent columns: squared distance of means and of spreads
    assert frechet_distance(a, b) == pytest.approx(5 + 1 + 1 + 0, rel=0.05)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


def test_it_does_not_depend_on_the_axes():
    a, b = normal(np.zeros(4), np.arange(1.0, 5), 1, 500), normal(np.ones(4), np.ones(4), 2, 500)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0].astype(np.float32)
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b), rel=1e-3)


def test_the_same_set_and_sets_of_few_rows():
    few = normal(np.zeros(16), np.ones(16), 1, 5)
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-4)
    with pytest.raises(ValueError, match="sets of 1 and 5 rows"):
        frechet_distance(few[:1], few)
