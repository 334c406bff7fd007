"""Laws of growth against models whose course is known, and what is predicted from them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from graftwerk.controlnet.convergence import Measurement, Verdict
from graftwerk.controlnet.train import fit_growth, forecast, reported_forecast
from graftwerk.training.session import Plan

PLAN = Plan(steps=200, batch=1, learning_rate=1e-3, warm_up=20)
FROZEN = 0.3


def product_course(make_optimizer, rate, steps, wish=1.5):
    """Norms of two factors that learn a product, both from near zero: a saddle."""
    factors = [torch.tensor([0.001], requires_grad=True) for _ in range(2)]
    optimizer = make_optimizer(factors, lr=rate)
    norms = []
    for _ in range(steps):
        norms.append(float(factors[0].detach().abs()))
        optimizer.zero_grad()
        (0.5 * (wish - factors[0] * factors[1]) ** 2).sum().backward()
        optimizer.step()
    return norms


def test_at_a_saddle_gradient_descent_grows_exponentially_at_the_rate_of_the_data():
    rate, wish = 0.01, 1.5
    norms = product_course(torch.optim.SGD, rate, 600, wish)
    clocks = [rate * step for step in range(600)]
    early = slice(1, 120)
    fit = fit_growth(clocks[early], norms[early])
    assert fit.law == "exponential" and fit.rate == pytest.approx(wish, rel=0.02)
    reached, low, high = fit.reaches(0.3)
    truly = next(clock for clock, norm in zip(clocks, norms, strict=True) if norm >= 0.3)
    assert reached == pytest.approx(truly, rel=0.05) and low <= reached <= high


def test_adam_makes_it_a_power_of_the_summed_rates():
    norms = product_course(torch.optim.Adam, 0.001, 300)
    clocks = [0.001 * step for step in range(300)]
    fit = fit_growth(clocks[5:60], norms[5:60])
    assert fit.law == "power" and fit.rate == pytest.approx(1.0, abs=0.1)
    assert fit.r_squared > fit_growth(clocks[5:60], norms[5:60], "exponential").r_squared


def course(gap_of, error=1e-5, steps=200, every=4, norm_of=lambda clock: 0.0):
    return [
        Measurement(step, 0.3, 0.3, gap_of(clock), 0.0, 0.0, error, norm_of(clock), 1.0, 0.1)
        for step in range(0, steps + 1, every)
        for clock in [PLAN.rates_until(step)]
    ]


def test_a_power_is_foretold_from_the_first_fifth():
    level_at = PLAN.rates_until(110)
    measurements = course(lambda clock: 0.06 * FROZEN * (clock / level_at) ** 2.5)
    found = forecast(measurements, FROZEN, PLAN)
    assert found.until == 40 and found.gap.law == "power"
    assert found.gap.rate == pytest.approx(2.5, abs=1e-6)
    assert found.step == pytest.approx(110, abs=1) and found.low <= found.step <= found.high
    assert forecast(measurements[:11], FROZEN, PLAN).step == found.step
    line = reported_forecast(found, Verdict("converged", 100, "it rose"))
    assert "it was step 100, so the forecast was 1.1" in line


def test_noise_widens_the_interval():
    generator = np.random.default_rng(0)
    level_at = PLAN.rates_until(110)

    def noisy(clock):
        return 0.06 * FROZEN * (clock / level_at) ** 2.5 * math.exp(generator.normal(0, 0.15))

    found = forecast(course(noisy, error=1e-9), FROZEN, PLAN)
    assert found.low < 110 and (found.high is None or found.high > 110)
    assert found.step is None or found.low < found.step


def test_a_gap_that_is_not_clear_yet_leaves_the_norms():
    level_at = PLAN.rates_until(90)
    measurements = course(lambda clock: 0.0, norm_of=lambda clock: 3.0 * (clock / level_at) ** 0.7)
    found = forecast(measurements, FROZEN, PLAN)
    assert found.gap is None and found.gain.rate == pytest.approx(0.7, abs=1e-6)
    assert found.step == pytest.approx(90, abs=1) and "if the condition was of use" in found.reason
    both = [replace(one, hint_norm=one.norm) for one in measurements]
    assert forecast(both, FROZEN, PLAN).gain.rate == pytest.approx(1.4, abs=1e-6)


def test_what_cannot_be_foretold_is_said():
    flat = forecast(course(lambda clock: 0.0), FROZEN, PLAN)
    assert flat.step is None and "nothing grows" in flat.reason
    early = forecast(course(lambda clock: 0.1 if clock else 0.0), FROZEN, PLAN)
    assert early.step is None and "already" in early.reason
    slow = forecast(course(lambda clock: 1e-3 * clock, error=1e-9), FROZEN, PLAN)
    assert slow.step is None and "too slowly for 200 steps" in slow.reason
    assert reported_forecast(slow, Verdict("not yet", None, "")).startswith("no forecast: ")


def test_few_points_are_no_law():
    assert fit_growth([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) is None
    assert fit_growth([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0]) is None


@pytest.mark.parametrize("warm_up", [0, 1, 20, 200])
def test_the_summed_rates_are_the_sum_of_the_rates(warm_up):
    plan = Plan(steps=200, batch=1, learning_rate=1e-3, warm_up=warm_up)
    for step in (0, 1, 19, 20, 21, 120, 200):
        requested = math.fsum(plan.rate_at(number) for number in range(step))
        assert plan.rates_until(step) == pytest.approx(requested, rel=1e-9, abs=1e-15)
