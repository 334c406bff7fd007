"""A short run of `tests.soak`; the long one is `make soak`."""

import pytest
from tests.soak import BAD, soak


@pytest.mark.slow
def test_nothing_is_lost():
    counts = soak(rounds=1, seed=7)
    assert {name: counts[name] for name in BAD} == dict.fromkeys(BAD, 0)
    assert counts["SIGKILL"] == 3 * counts["SIGTERM"] == 3 * counts["SIGINT"] == 36
    assert counts["hostile configurations"] and counts["hostile servers"]
    assert counts["fuzzed requests"]
