"""Candidates, and the cheapest that is good enough."""

import pytest

from graftwerk.finetune import compare
from graftwerk.finetune.compare import Comparison
from graftwerk.finetune.results import Score
from graftwerk.finetune.run import Run, candidates, cheapest, usual
from graftwerk.finetune.scoring import Settings
from graftwerk.finetune.tune import Tuning


def score(value, low):
    return Score(name="accuracy", value=value, low=low, high=1.0, baseline=0.5, count=100)


def test_the_cheapest_within_the_interval_of_the_best():
    linear, lora, full = score(0.80, 0.7), score(0.89, 0.8), score(0.9, 0.85)
    assert cheapest([("linear", linear), ("lora", lora), ("full", full)]) == 1
    assert cheapest([("full", full), ("linear", score(0.85, 0.7))]) == 1
    assert cheapest([("lora", score(0.87, 0.8)), ("lora", lora), ("full", full)]) == 1


def test_rates_lie_around_the_one_that_was_asked_for():
    settings = Settings("full", learning_rate=3e-3)
    rates = [one.learning_rate for one in candidates(settings, 3)]
    assert rates == pytest.approx([9e-3, 3e-3, 1e-3])
    assert candidates(settings, 1) == [settings]
    assert [one.learning_rate for one in candidates(Settings("full", learning_rate=0.5), 2)] == [
        0.5,
        pytest.approx(0.5 / 3),
    ]
    assert len({one.learning_rate for one in usual(settings)}) == 2


def test_lora_is_tried_with_a_faster_b_beside_several_rates():
    settings = Settings("lora", learning_rate=3e-3)
    assert candidates(settings, 1) == [settings]
    paces = [one.pace for one in candidates(settings, 3)]
    assert paces == ["rate 0.009", "rate 0.003", "rate 0.001", "rate 0.0015, B 16 times"]
    requested = Settings("lora", learning_rate=3e-3, lora_plus=4.0)
    assert [one.lora_plus for one in candidates(requested, 3)] == [4.0] * 3


@pytest.mark.parametrize("rates", [(1e-3, 1e-2), (1e-2, 1e-3)])
def test_the_best_candidate_on_validation_examples_is_the_way(tmp_path, monkeypatch, rates):
    """Runs are stand-ins, of which the one at the higher rate scores better."""
    done = []

    def tune(problem, settings, folder, monitor, *, minutes=None):
        done.append((settings.learning_rate, minutes))
        measured = score(0.9 if settings.learning_rate == 1e-2 else 0.8, 0.7)
        return Run(object.__new__(Tuning), settings, measured, 0.5, 3, 4, True, 1.5, 10)

    monkeypatch.setattr(compare, "tune", tune)
    comparison = object.__new__(Comparison)
    comparison._problem = comparison._monitor = None
    listed = [Settings("lora", learning_rate=rate) for rate in rates]
    run, folder = comparison._best(listed, tmp_path)
    assert run.settings.learning_rate == 1e-2
    assert folder == tmp_path / str(rates.index(1e-2))
    assert run.seconds == 3.0
    assert done == [(rates[0], None), (rates[1], None), (1e-2, 0.0)]
