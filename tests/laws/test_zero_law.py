"""What every steer promises, asked of each in the table of `conftest.py`."""

from typing import get_args

import pytest

from graftwerk.adapters.protocol import Socket, Steer
from graftwerk.errors import WrongBase


def test_the_table_is_whole(steers):
    assert len(steers) == 5  # raise it with each line that is added


def test_a_steer_says_what_it_is(case):
    steer = case.work()
    assert isinstance(steer, Steer)
    assert steer.socket in get_args(Socket)
    assert steer.base == case.base


def test_at_zero_it_is_the_frozen_thing(case):
    zero = case.zero()
    assert zero.is_zero
    assert case.observe(zero.apply(case.frozen())) == case.observe(case.frozen())


def test_at_work_it_steers(case):
    """Without this the law would hold for what does nothing."""
    work = case.work()
    assert not work.is_zero
    assert case.observe(work.apply(case.frozen())) != case.observe(case.frozen())


def test_taking_it_off_restores_the_frozen_thing(case):
    before = case.observe(case.frozen())
    for steer in (case.zero(), case.work()):
        steered = steer.apply(case.frozen())
        case.observe(steered)
        assert case.observe(steer.remove(steered)) == before


def test_applying_it_leaves_the_frozen_thing_as_it_was(case):
    frozen = case.frozen()
    before = case.observe(frozen)
    case.observe(case.work().apply(frozen))
    assert case.observe(frozen) == before


def test_it_works_the_same_each_time(case):
    first, second = (case.observe(case.work().apply(case.frozen())) for _ in range(2))
    assert first == second


def test_frozen_weights_stay(case):
    before = case.weights()
    case.observe(case.work().apply(case.frozen()))
    assert case.weights() == before


def test_on_another_base_it_is_refused_by_name(case):
    case.work()
    with pytest.raises(WrongBase) as caught:
        case.misapply()
    for fingerprint in (case.base, case.other_base):
        assert fingerprint[:12] in str(caught.value)
