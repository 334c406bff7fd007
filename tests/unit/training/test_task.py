import pytest

from graftwerk.errors import BadInput
from graftwerk.training.session import Plan


def test_the_learning_rate_rises_and_falls():
    plan = Plan(steps=100, batch=8, learning_rate=0.5, warm_up=10)
    rates = [plan.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == rates[9] == rates[10] == 0.5
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.25)
    assert 0 < rates[-1] < 0.001


def test_no_warm_up_and_steps_within_the_warm_up():
    assert Plan(steps=1, batch=1, learning_rate=1.0, warm_up=0).rate_at(0) == 1.0
    assert Plan(steps=5, batch=1, learning_rate=1.0, warm_up=10).rate_at(4) == 0.5


def test_shares():
    plan = Plan(steps=1, batch=24, learning_rate=1.0, accumulate=2)
    assert [plan.part(n) for n in (1, 2, 3)] == [12, 6, 4]
    with pytest.raises(BadInput, match="5 processes"):
        plan.part(5)
