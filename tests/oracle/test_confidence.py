"""Temperatures and calibration errors, where the answer is known."""

import math

import numpy as np
import pytest

from graftwerk.metrics.calibration import (
    calibration_error,
    cross_fitted,
    fit_temperature,
    negative_log_likelihood,
    softmax,
)


def drawn(count: int, labels: int, temperature: float, seed: int = 0):
    """Logits, and labels drawn from their softmax at a temperature."""
    generator = np.random.default_rng(seed)
    logits = generator.standard_normal((count, labels)) * 4
    chances = softmax(logits / temperature)
    right = (chances.cumsum(axis=1) > generator.random((count, 1))).argmax(axis=1)
    return logits, right.astype(np.int64)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_true_temperature_is_found(temperature) -> None:
    logits, right = drawn(20_000, 5, temperature)
    assert fit_temperature(logits, right) == pytest.approx(temperature, rel=0.04)


@pytest.mark.parametrize(("right", "wrong"), [(30, 10), (99, 1), (7, 6)])
def test_two_labels_with_one_margin(right, wrong) -> None:
    """Of equal margins m the share f that is right gives 1/T = log(f / (1 - f)) / (2m)."""
    margin = 3.0
    logits = np.tile([margin, -margin], (right + wrong, 1))
    own = np.array([0] * right + [1] * wrong, dtype=np.int64)
    assert 1 / fit_temperature(logits, own) == pytest.approx(
        math.log(right / wrong) / (2 * margin), rel=1e-4
    )


@pytest.mark.parametrize(("right", "wrong"), [(50, 0), (99, 1)])
def test_surer_only_as_far_as_the_images_show(right, wrong) -> None:
    """With small margins T is below 1, and the share f is one of (n + 2) trials less certain."""
    count, margin = right + wrong, 0.5
    logits = np.tile([margin, -margin], (count, 1))
    own = np.array([0] * right + [1] * wrong, dtype=np.int64)
    doubt = 1 / (count + 2)
    share = (right * (1 - doubt) + wrong * doubt) / count
    temperature = fit_temperature(logits, own)
    assert temperature < 1
    assert 1 / temperature == pytest.approx(math.log(share / (1 - share)) / (2 * margin), rel=1e-4)


def test_it_is_the_least_of_all() -> None:
    logits, right = drawn(300, 4, 2.0, seed=3)

    def loss(temperature: float) -> float:
        return negative_log_likelihood(softmax(logits / temperature), right)

    found = fit_temperature(logits, right)
    assert found > 1
    assert loss(found) <= min(loss(t) for t in np.geomspace(found / 3, found * 3, 201)) + 1e-9


def test_logits_that_say_nothing_or_the_opposite() -> None:
    logits, right = drawn(200, 3, 1.0)
    assert fit_temperature(-10 * logits, right) == 1e3
    generator = np.random.default_rng(1)
    assert fit_temperature(logits, generator.permutation(right)) > 10


def test_all_right_stays_finite_and_as_sure_as_before() -> None:
    right = np.zeros(40, dtype=np.int64)
    mild, sure = (np.tile([top, 0.0, 0.0], (40, 1)) for top in (0.5, 50.0))
    assert softmax(mild / fit_temperature(mild, right))[0, 0] == pytest.approx(41 / 42, abs=1e-3)
    assert fit_temperature(sure, right) == 1


def test_softmax_bears_large_logits() -> None:
    logits = np.array([[1e4, 1e4 - 1, -1e4]])
    np.testing.assert_allclose(softmax(logits)[0], [1 / (1 + math.exp(-1)), 0.26894142, 0])


def test_calibration_error() -> None:
    generator = np.random.default_rng(4)
    confidence = generator.random(100_000)
    honest = generator.random(100_000) < confidence
    assert calibration_error(confidence, honest) < 0.005
    sure = np.ones(100)
    assert calibration_error(sure, np.arange(100) < 60) == pytest.approx(0.4)
    assert calibration_error(sure, np.ones(100, dtype=bool)) == 0
    # two bins that err in opposite ways do not cancel out
    split = np.array([0.2] * 50 + [0.8] * 50)
    correct = np.array([True] * 25 + [False] * 25 + [True] * 25 + [False] * 25)
    assert calibration_error(split, correct) == pytest.approx(0.3)


def test_negative_log_likelihood() -> None:
    chances = np.array([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]])
    right = np.array([0, 1, 0])
    assert negative_log_likelihood(chances, right) == pytest.approx(-math.log(0.375) / 3)
    assert math.isfinite(negative_log_likelihood(chances, np.array([1, 1, 1])))


def test_no_image_takes_part_in_its_own_fit() -> None:
    logits, right = drawn(60, 3, 1.0, seed=5)
    before = cross_fitted(logits, right, seed=0)
    changed = right.copy()
    changed[7] = (changed[7] + 1) % 3
    after = cross_fitted(logits, changed, seed=0)
    np.testing.assert_array_equal(before[7], after[7])
    assert (before != after).any()
    np.testing.assert_allclose(before.sum(axis=1), 1)
