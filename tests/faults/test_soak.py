"""`tests.soak` at full count, whose sums the run of the tests prints at its end; also `make soak`."""

import pytest
from tests.injecting import can_trace
from tests.soak import BAD, INJECTED, JOBS, SIGNALS, attack_all, disturb_all, total, working
from tests.state import State

ROUNDS = 9  # 324 SIGKILL, 108 SIGTERM and SIGINT each, 432 errors of the disk


def check(counts, record_property):
    record_property("counts", dict(counts))
    assert {name: counts[name] for name in BAD} == dict.fromkeys(BAD, 0)


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_nothing_is_lost(job, record_property):
    done = State()
    with working() as work:
        disturb_all(work, ROUNDS, [job], done)
    counts = total(done)
    counts.update(work.counts)
    check(counts, record_property)
    for number, times in SIGNALS.items():
        assert counts[number.name] == times * ROUNDS
    assert counts["SIGKILL at work"] > counts["SIGKILL"] / 2
    assert counts["write errors"] == (INJECTED * ROUNDS if can_trace() else 0)


@pytest.mark.slow
def test_whatever_attacks_is_refused(record_property):
    done = State()
    with working() as work:
        attack_all(work, ROUNDS, done)
    counts = total(done)
    counts.update(work.counts)
    check(counts, record_property)
    assert counts["hostile configurations"] >= 300
    assert counts["hostile servers"] >= 100
    assert counts["fuzzed requests"] >= 5_000
    for kind in ("hostile configurations refused", "fuzzed requests refused"):
        assert counts[kind] > 100
