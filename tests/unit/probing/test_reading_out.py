"""Read-outs of values whose answer is known."""

import numpy as np
import pytest

from graftwerk.probing.targets import directions_of, read_out, shuffled, split_of


def linear(count=800, width=20, noise=0.5, seed=0):
    """Numbers that are linear in 20 values but for noise of a known share."""
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((count, width))
    weights = generator.standard_normal((width, 2)) / np.sqrt(width)
    clean = features @ weights
    values = clean + noise * clean.std(axis=0) * generator.standard_normal(clean.shape)
    return features.astype(np.float32), values


def test_the_share_explained_is_the_share_that_there_is():
    features, values = linear()
    fit = read_out(features, values, split_of(800, 0), 0)
    truth = 1 / (1 + 0.5**2)
    assert np.all((fit.low < truth) & (truth < fit.high))
    assert np.all(fit.high - fit.low < 0.15)


def test_shuffled_labels_are_explained_by_nothing():
    features, values = linear(count=400, width=300)
    split = split_of(400, 0)
    mixed = shuffled(values, split, 0)
    assert np.mean(np.all(mixed == values, axis=1)) < 0.05
    for part in (split.train, split.test):
        assert sorted(mixed[part, 0]) == sorted(values[part, 0])
    fit = read_out(features, mixed, split, 0)
    assert np.all((fit.low <= 0.0) & (fit.high >= 0.0))


def test_each_number_has_a_strength_of_its_own():
    """One number is exact and one is noise; a common strength would spoil one of them."""
    features, values = linear(noise=0.0)
    values[:, 1] = np.random.default_rng(5).standard_normal(len(values))
    fit = read_out(features, values, split_of(800, 0), 0)
    assert fit.r2[0] > 0.999
    assert abs(fit.r2[1]) < 0.05


def test_a_number_that_never_changes_is_not_explained():
    features, values = linear()
    values[:, 1] = 3.0
    fit = read_out(features, values, split_of(800, 0), 0)
    assert np.isfinite(fit.r2).all()
    assert np.isfinite(fit.low).all()


def test_a_direction_is_how_the_values_change_with_one_number_alone():
    generator = np.random.default_rng(1)
    values = generator.standard_normal((2_000, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]])  # related
    patterns = generator.standard_normal((2, 5))
    features = values @ patterns + 0.01 * generator.standard_normal((2_000, 5)) + 7
    split = split_of(2_000, 0)
    found = directions_of(features.astype(np.float32), values, split)
    deviation = values[split.train].std(axis=0)
    np.testing.assert_allclose(found, patterns * deviation[:, None], atol=2e-3)


def test_the_split_is_of_the_seed_and_whole():
    split = split_of(101, 3)
    assert len(split.test) == 25
    assert sorted([*split.train, *split.test]) == list(range(101))
    assert np.array_equal(split_of(101, 3).test, split.test)
    assert not np.array_equal(split_of(101, 4).test, split.test)


@pytest.mark.parametrize("seed", range(3))
def test_intervals_come_from_the_seed(seed):
    features, values = linear(count=200)
    fits = [read_out(features, values, split_of(200, seed), seed) for _ in range(2)]
    assert np.array_equal(fits[0].low, fits[1].low)
