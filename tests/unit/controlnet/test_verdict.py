"""What the meter says of courses of measurements: real ones, and ones that must not fool it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import wilcoxon

from graftwerk.controlnet.convergence import Measurement, gap_interval, is_clear, judge, signed_rank

FROZEN = 0.334


def course(gaps, steps, error=0.002, change=0.2, loss=0.33, gain=1.0):
    return [
        Measurement(
            step, loss, loss, gap, gap - 3 * error, gap + 3 * error, error, gain, 1.0, change
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
    reported = [verdict.state for verdict in states(SUDDEN)]
    assert reported[0] == "not yet" and reported[-1] == "converged"
    assert "converging" in reported
    assert sorted(set(reported), key=reported.index) == ["not yet", "converging", "converged"]
    assert states(SUDDEN)[-1].step == 40


def test_a_gap_within_its_noise_is_nothing():
    generator = np.random.default_rng(0)
    for _ in range(10):
        drifting = np.cumsum(generator.normal(0, 0.0005, 50)).tolist()
        reported = states(drifting, error=0.0015)
        assert not {"converged", "converging"} & {verdict.state for verdict in reported}


def test_mispaired_data_and_a_small_rate_are_told_apart():
    mispaired = states([0.0] * 30, planned=600, error=0.0001, gain=5.0)
    assert mispaired[-1].state == "not learning" and "belong together" in mispaired[-1].reason
    assert mispaired[11].state == "not yet"  # 220 of 600 steps
    slow = states([0.0] * 30, planned=600, error=0.00002, change=0.005)[-1]
    assert slow.state == "not learning" and "learning rate is too small" in slow.reason


def test_a_branch_that_is_still_small_proves_nothing_of_the_data():
    reported = states([0.0] * 30, planned=600, error=0.0001, gain=2.4)
    assert {verdict.state for verdict in reported} == {"not yet"}
    assert "its gain is 2.4" in reported[-1].reason and "more steps" not in reported[-1].reason
    ended = states([0.0] * 31, planned=600, error=0.0001, gain=2.4)[-1]
    assert ended.state == "not yet" and "more steps" in ended.reason


def test_both_ends_grow_before_the_data_are_at_fault():
    measurements = course([0.0] * 30, range(0, 600, 20), error=0.0001, gain=1.5)
    assert judge(measurements, FROZEN, 600).state == "not yet"
    grown = [replace(one, hint_norm=1.7) for one in measurements]
    assert judge(grown, FROZEN, 600).state == "not learning"


@pytest.mark.parametrize("back", [1, 5, 10])  # the last third of the steps
def test_a_gap_that_may_be_worth_it_is_not_yet_clear(back):
    measurements = course([0.0] * 30, range(0, 600, 20), error=0.0001, gain=5.0)
    measurements[-back] = replace(measurements[-back], gap_high=0.0041 * FROZEN)
    found = judge(measurements, FROZEN, 600)
    assert found.state == "not yet" and "may be of use" in found.reason
    measurements[-back] = replace(measurements[-back], gap_high=0.0039 * FROZEN)
    measurements[-11] = replace(measurements[-11], gap_high=1.0)
    assert judge(measurements, FROZEN, 600).state == "not learning"


# measured on builtin/blocks and a segmentation map, batch 16, 4 steps apart from step 48 on, a
# training of 120: the data are right, the steps too few
SHORT = [0.0045, 0.0002, 0.0001, 0.0030, 0.0031, 0.0033, 0.0031, 0.0033, 0.0037, 0.0041]
HIGHS = [0.0088, 0.0025, 0.0015, 0.0071, 0.0061, 0.0070, 0.0076, 0.0074, 0.0088, 0.0088]
LOWS = [0.0011, -0.0022, -0.0016, -0.0009, 0.0003, 0.0002, -0.0001, 0.0, -0.0003, 0.0005]


def test_a_gap_that_rises_slowly_on_true_pairs_is_no_fault_of_theirs():
    measured = [
        replace(one, gap_low=low, gap_high=high)
        for one, low, high in zip(
            course(SHORT, range(48, 88, 4), error=0.0016, change=0.11, gain=4.5),
            LOWS,
            HIGHS,
            strict=True,
        )
    ]
    for end in range(1, len(measured) + 1):
        assert judge(measured[:end], 0.3045, 120).state == "not yet"


# the same with 240 steps, 8 apart; it rests from step 104 to 120 and rises again
RESTING = [0.0, 0.0, 0.0, 0.0015, 0.0003, 0.0009, 0.0009, 0.0011, 0.0032, 0.0041, 0.0050, 0.0076]
RESTING += [0.0134, 0.0245, 0.0239, 0.0220, 0.0531, 0.0422, 0.0425, 0.0598, 0.0621, 0.0580]


def test_a_rest_in_the_rise_is_not_its_end():
    steps = range(0, 8 * len(RESTING), 8)
    for end in range(13, len(RESTING) + 1):
        reported = judge(course(RESTING[:end], steps[:end], error=0.001), 0.3045, 240)
        assert reported.state == "converging"


# batch 32: a peak that was not clear of 0 is no rise that is over
PEAK = [0.0, 0.0001, 0.0003, 0.0051, 0.0009, 0.0036, 0.0148, 0.0061, 0.0063, 0.0168, 0.0156]
ERRORS = [0.0, 0.0001, 0.0002, 0.0023, 0.0005, 0.0015, 0.0057, 0.0023, 0.0018, 0.0048, 0.0027]
RANKS = [0.0, 1.5, 1.2, 2.1, 1.2, 2.5, 3.67, 4.20, 4.87, 4.78, 6.07]


def test_a_peak_before_the_gap_was_clear_is_not_taken_for_the_rise():
    measured = [
        replace(course([gap], [8 * number])[0], error=error, rank=rank, gap_low=0.1 * gap)
        for number, (gap, error, rank) in enumerate(zip(PEAK, ERRORS, RANKS, strict=True))
    ]
    reported = [judge(measured[:end], 0.3045, 240).state for end in range(1, len(measured) + 1)]
    assert reported == ["not yet"] * 8 + ["converging"] * 3


@pytest.mark.parametrize(("before", "state"), [(0.0451, "converged"), (0.0449, "converging")])
def test_a_rise_is_over_when_little_of_the_gap_is_late(before, state):
    gaps = [0.0, 0.0, 0.03, *[before] * 8, *[0.06] * 5]  # a quarter of it after 200 of 300 steps
    measurements = course(gaps, range(0, 320, 20), error=0.001)
    assert judge(measurements, FROZEN, 300).state == state


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
        low, high = gap_interval(generator.normal(0.3, 1.0, 64), trial)
        hits += low <= 0.3 <= high
    assert hits / 200 > 0.95


def test_the_signed_rank_is_wilcoxons():
    values = np.random.default_rng(2).standard_t(2, 80) + 0.4
    reported = wilcoxon(values, alternative="greater", method="asymptotic", correction=False)
    assert signed_rank(values) == pytest.approx(reported.zstatistic)
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
