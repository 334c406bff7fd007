"""Batches that are made ahead come in their order, and not too far ahead."""

import threading
import time

import pytest

from graftwerk.training.loop import prefetched, threads_for

PARTS = [(first, 4) for first in range(0, 80, 4)]


@pytest.mark.parametrize("threads", [1, 3])
def test_the_order_is_kept(threads):
    def make(first, count):
        time.sleep(0.003 if first % 3 else 0.0)  # some are ready before those ahead of them
        return list(range(first, first + count))

    with prefetched(make, iter(PARTS), threads) as batches:
        found = list(batches)
    assert found == [(first, list(range(first, first + count))) for first, count in PARTS]


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_than_one_a_thread_is_ahead(threads):
    made, lock = [], threading.Lock()

    def make(first, count):
        with lock:
            made.append(first)
        return first

    with prefetched(make, iter(PARTS), threads) as batches:
        for used, _ in enumerate(batches, 1):
            time.sleep(0.001)
            assert len(made) <= used + threads


def test_a_failure_reaches_the_step_that_wants_the_batch():
    def make(first, count):
        if first == 8:
            raise ValueError("no such scene")
        return first

    with prefetched(make, iter(PARTS), 2) as batches:
        assert [next(batches)[0] for _ in range(2)] == [0, 4]
        with pytest.raises(ValueError, match="no such scene"):
            next(batches)


def test_a_cpu_that_trains_is_left_alone():
    assert threads_for("cpu") == 1
    assert 1 <= threads_for("cuda") <= 4
