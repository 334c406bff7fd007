"""What the meter says of courses of measurements: real ones, and ones that must not fool it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import wilcoxon

from graftwerk.control.meter import Measurement, bootstrap, signed_rank
from graftwerk.control.verdict import is_clear, judge

FROZEN = 0.334


def course(gaps, steps, error=0.002, change=0.2, loss=0.33):
    return [
        Measurement(
            step, loss, loss, gap, gap - 3 * error, gap + 3 * error, error, 1.0, 1.0, change
        )
        for step, gap in zip(steps, gaps, strict=True)
    ]


# measured on builtin/blocks and a segmentation map, 20 steps apart
SUDDEN = [0.0, 0.0016, 0.0194, 0.0357, 0.0499, 0.055, 0.058, 0.06, 0.061]


def states(gaps, planned=1000, **options):
    steps = [20 * number for number in range(len(gaps))]
    return [
        judge(course(gaps[: n + 1], steps[: n + 1], **options), FROZEN, planned)
        for n in range(len(gaps))
    ]


def test_a_sudden_rise_is_told_in_its_order():
    told = [verdict.state for verdict in states(SUDDEN)]
    assert told[0] == "not yet" and told[-1] == "converged"
    assert "converging" in told
    assert sorted(set(told), key=told.index) == ["not yet", "converging", "converged"]
    assert states(SUDDEN)[-1].step == 40


def test_a_gap_within_its_noise_is_nothing():
    generator = np.random.default_rng(0)
    for _ in range(10):
        drifting = np.cumsum(generator.normal(0, 0.0005, 50)).tolist()
        told = states(drifting, error=0.0015)
        assert not {"converged", "converging"} & {verdict.state for verdict in told}


def test_mispaired_data_and_a_small_rate_are_told_apart():
    mispaired = states([0.0] * 30, planned=600)[-1]
    assert mispaired.state == "not learning" and "belong together" in mispaired.reason
    slow = states([0.0] * 30, planned=600, change=0.005)[-1]
    assert slow.state == "not learning" and "learning rate is too small" in slow.reason


def test_a_tiny_gap_that_is_clear_of_zero_is_not_worth_it():
    told = states([0.0005] * 40, planned=800, error=0.00001, change=0.005)
    assert told[-1].state == "not learning"


@pytest.mark.parametrize("loss", [float("nan"), 1.0])
def test_divergence(loss):
    gaps, steps = [0.0] * 5, list(range(5))
    measurements = course(gaps, steps)[:3] + course(gaps, steps, loss=loss)[3:]
    assert judge(measurements, FROZEN, 100).state == "diverged"


def test_a_gaussian_start_that_heals_did_not_diverge():
    steps = [0, 20, 40, 60]
    losses = [0.9, 0.8, 0.6, 0.4]
    measurements = [
        course([0.0], [step], loss=loss)[0] for step, loss in zip(steps, losses, strict=True)
    ]
    assert judge(measurements, FROZEN, 100).state == "not yet"


def test_the_bootstrap_covers_the_mean():
    generator = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        low, high = bootstrap(generator.normal(0.3, 1.0, 64), trial)
        hits += low <= 0.3 <= high
    assert hits / 200 > 0.95


def test_the_signed_rank_is_wilcoxons():
    values = np.random.default_rng(2).standard_t(2, 80) + 0.4
    told = wilcoxon(values, alternative="greater", method="asymptotic", correction=False)
    assert signed_rank(values) == pytest.approx(told.zstatistic)
    assert signed_rank(np.zeros(4)) == 0 and signed_rank(-values) == pytest.approx(
        -signed_rank(values)
    )


def test_of_no_difference_the_rank_is_rarely_far():
    generator = np.random.default_rng(3)
    scores = [signed_rank(generator.standard_t(1.5, 64)) for _ in range(2_000)]
    assert np.std(scores) == pytest.approx(1.0, abs=0.06) and max(scores) < 4


def test_a_gap_of_few_pairs_is_clear_by_its_ranks():
    # measured on builtin/blocks: a gap of 7 % of the loss with a long tail
    long_tail = course([0.02], [100], error=0.0057)[0]
    long_tail = replace(long_tail, gap_low=0.009)
    assert not is_clear(long_tail, FROZEN)
    assert is_clear(replace(long_tail, rank=4.8), FROZEN)
    assert not is_clear(replace(long_tail, rank=4.8, gap_low=-0.001), FROZEN)
