"""The distance from what is familiar, where the answer is known: normal distributions."""

import numpy as np
import pytest
from scipy.stats import chi2

from graftwerk.models.ood import least_images, measure_familiar

DIMENSION = 6


def draw(count: int, seed: int, covariance: np.ndarray, mean: np.ndarray) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.multivariate_normal(mean, covariance, count).astype(np.float32)


@pytest.fixture(scope="module")
def world():
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.standard_normal((DIMENSION, DIMENSION)))[0]
    variances = np.array([1.0, 0.3, 0.1, 0.03, 0.01, 0.003])
    return basis @ np.diag(variances) @ basis.T, generator.standard_normal(DIMENSION)


def test_the_distance_is_mahalanobis(world) -> None:
    covariance, mean = world
    familiar = measure_familiar(draw(60_000, 1, covariance, mean), "x", 0.01)
    probes = draw(50, 2, 9 * covariance, mean)
    apart = probes.astype(np.float64) - mean
    exact = np.sqrt(np.einsum("nd,de,ne->n", apart, np.linalg.inv(covariance), apart))
    # the estimate of 21 numbers from 40,000 vectors is good to about 1 %
    np.testing.assert_allclose(familiar.distances(probes) * familiar.limit, exact, rtol=0.03)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_the_limit_is_a_quantile_of_chi_squared(world, rate) -> None:
    familiar = measure_familiar(draw(60_000, 3, *world), "x", rate)
    assert familiar.limit**2 == pytest.approx(chi2.ppf(1 - rate, DIMENSION), rel=0.03)


def test_the_promised_rate_holds_on_average_for_small_samples(world) -> None:
    """Split conformal prediction: at most the rate, and at least the rate less 1 / (n + 1)."""
    rate, fresh = 0.05, draw(4_000, 4, *world)
    count = least_images(DIMENSION, rate)
    assert count == 57
    shares = [
        (measure_familiar(draw(count, 100 + trial, *world), "x", rate).distances(fresh) > 1).mean()
        for trial in range(400)
    ]
    # 400 trials of a share that varies like Beta(1, 19): standard error .0024
    assert rate - 1 / 20 < np.mean(shares) < rate + 0.008


def test_what_leaves_the_flat_directions_is_far(world) -> None:
    """A step that is small beside the whole spread, but large for a direction that hardly varies."""
    covariance, mean = world
    familiar = measure_familiar(draw(3_000, 5, covariance, mean), "x", 0.01)
    values, vectors = np.linalg.eigh(covariance)
    step = 10 * np.sqrt(values[0])
    assert step < np.sqrt(values[-1])
    near = (mean + step * vectors[:, -1])[None].astype(np.float32)
    far = (mean + step * vectors[:, 0])[None].astype(np.float32)
    assert familiar.distances(near)[0] < 0.5
    assert familiar.distances(far)[0] > 2
