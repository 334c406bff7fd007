"""Every interval against the formula that the module took over, to the last digit."""

import math

import numpy as np
import pytest
from scipy.stats import beta, t

from graftwerk.controlnet.convergence import gap_interval
from graftwerk.finetune.scoring import score
from graftwerk.metrics import intervals
from graftwerk.probing.targets import _score


@pytest.fixture
def generator():
    return np.random.default_rng(11)


@pytest.mark.parametrize(("hits", "count"), [(0, 7), (7, 7), (9, 10), (171, 200)])
def test_wilson(hits, count):
    z2, share = 1.959964**2, hits / count
    half = 1.959964 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    middle, half = (share + z2 / (2 * count)) / (1 + z2 / count), half / (1 + z2 / count)
    expected = max(0.0, middle - half), min(1.0, middle + half)
    assert intervals.wilson(hits, count) == expected


def test_wilson_of_nothing_is_everything():
    assert intervals.wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("share", "count"), [(0.0, 40), (0.3, 40), (1.0, 320)])
def test_the_margin_of_wilson(share, count):
    root = np.sqrt(share * (1 - share) / count + 1.96**2 / (4 * count**2))
    assert intervals.wilson_margin(share, count) == float(1.96 * root / (1 + 1.96**2 / count))


@pytest.mark.parametrize(("hits", "count"), [(0, 20), (3, 20), (20, 20)])
def test_clopper_pearson(hits, count):
    expected = 1.0 if hits == count else beta.ppf(1 - (1 - 0.95) / 2, hits + 1, count - hits)
    assert intervals.clopper_pearson_upper(hits, count) == float(expected)


def test_paired_differences(generator):
    before, after = generator.normal(1.0, 0.2, 33), generator.normal(0.8, 0.2, 33)
    gain, margin = intervals.paired(before, after)
    assert gain == (before - after).mean()
    assert margin == 1.96 * float((before - after).std(ddof=1)) / math.sqrt(33)
    assert intervals.normal_margin(before[:1]) == math.inf
    # what both hold in common does not widen it
    assert intervals.paired(before + 5 * np.arange(33.0), before + 5 * np.arange(33.0))[1] == 0


def test_students_margin(generator):
    values = [float(value) for value in generator.normal(size=4)]
    error = float(np.std(values, ddof=1)) / 4**0.5
    assert intervals.student(values) == (float(np.mean(values)), t.ppf(0.975, 3) * error)
    assert intervals.student(values[:1]) == (values[0], None)


def test_the_bootstrap_of_a_score(generator):
    truth = generator.standard_normal(50)
    predicted = (truth + 0.5 * generator.standard_normal(50)).astype(np.float32)
    errors = predicted.astype(np.float64) - truth

    def measure(rows):
        total = float(((truth[rows] - truth[rows].mean()) ** 2).sum())
        return 1 - float((errors[rows] ** 2).sum()) / max(total, 1e-300)

    sampled = np.random.default_rng(4)
    found = [measure(sampled.integers(0, 50, 50)) for _ in range(1_000)]
    expected = np.quantile(found, (0.025, 0.975))
    made = score(predicted[:, None], truth, "number", seed=4)
    assert [made.low, made.high] == expected.tolist()


def test_the_bootstrap_of_several_numbers_at_once(generator):
    requested = generator.standard_normal((60, 3))
    found = requested + 0.4 * generator.standard_normal((60, 3))
    errors, total = (requested - found) ** 2, requested**2
    sampled = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(2,)))
    rows = sampled.integers(60, size=(1_000, 60))
    resampled = [1 - errors[n].sum(axis=0) / total[n].sum(axis=0) for n in rows]
    low, high = np.percentile(np.array(resampled), [2.5, 97.5], axis=0)
    fit = _score(requested, found, 5)
    assert np.array_equal(fit.low, low) and np.array_equal(fit.high, high)


def test_the_bootstrap_of_gaps(generator):
    gaps = generator.standard_t(3, 96)
    sampled = np.random.default_rng(np.random.SeedSequence(7, spawn_key=(300,)))
    rows = sampled.integers(0, 96, (400, 96))
    expected = np.percentile(gaps[rows].mean(axis=1), (0.5, 99.5))
    assert gap_interval(gaps, 300) == tuple(expected)


def test_the_margin_of_a_resampled_measure(generator):
    values = generator.normal(size=(45, 4))

    def measure(rows):
        return float(values[rows].max())

    sampled = np.random.default_rng(0)
    again = [measure(sampled.integers(45, size=45)) for _ in range(50)]
    made = intervals.bootstrap_margin(measure, 45, np.random.default_rng(0), 50)
    assert made == 1.96 * float(np.std(again)) > 0


def test_a_higher_confidence_is_wider(generator):
    values = generator.normal(size=80)

    def width(confidence):
        low, high = intervals.bootstrap(
            lambda rows: float(values[rows].mean()),
            80,
            np.random.default_rng(1),
            confidence=confidence,
        )
        return high - low

    assert width(0.5) < width(0.95) < width(0.99)
