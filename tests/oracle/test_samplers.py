"""Samplers against closed forms: for Gaussian data the ideal denoiser and its paths are known."""

import itertools
import math
from functools import partial

import pytest
import torch

from graftwerk.diffusion.noise_schedule import karras
from graftwerk.diffusion.samplers import (
    sample_ddim,
    sample_ddpm,
    sample_dpmpp_2m,
    sample_euler,
    sample_heun,
)

pytestmark = pytest.mark.usefixtures("one_thread")
MEAN, DEVIATION = 0.7, 0.5
HIGHEST, LOWEST = 20.0, 0.02


def ideal(x, sigma):
    """The expected x0 of data N(MEAN, DEVIATION^2) under noise of level sigma."""
    share = DEVIATION**2 / (DEVIATION**2 + sigma**2)
    return MEAN + share * (x - MEAN)


def on_path(x, sigma, after):
    """Where the probability-flow equation leads from `x`, exactly."""
    deviation = math.sqrt((DEVIATION**2 + after**2) / (DEVIATION**2 + sigma**2))
    return MEAN + deviation * (x - MEAN)


def start():
    x = torch.linspace(-30, 30, 16, dtype=torch.float64)
    return x.view(1, 1, 4, 4)


def error(sampler, steps):
    """Largest distance from the exact path at the end, above 0, where the equation is smooth."""
    sigmas = karras(LOWEST, HIGHEST, steps + 1)[:-1]
    exact = on_path(start(), HIGHEST, LOWEST)
    return (sampler(ideal, start(), sigmas) - exact).abs().max().item()


@pytest.mark.parametrize(
    ("sampler", "order"),
    [(sample_euler, 1), (sample_ddim, 1), (sample_heun, 2), (sample_dpmpp_2m, 2)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_order_of_convergence(sampler, order) -> None:
    errors = [error(sampler, steps) for steps in (80, 160, 320)]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)


def uneven(steps):
    """Levels whose steps in the logarithm are short and long in turn."""
    lengths = torch.tensor([1.0, 3.0] * (steps // 2), dtype=torch.float64).cumsum(0)
    share = torch.cat([torch.zeros(1, dtype=torch.float64), lengths / lengths[-1]])
    return (HIGHEST * (LOWEST / HIGHEST) ** share).tolist()


@pytest.mark.parametrize("sampler", [sample_heun, sample_dpmpp_2m])
def test_second_order_holds_on_uneven_steps(sampler) -> None:
    exact = on_path(start(), HIGHEST, LOWEST)
    errors = [(sampler(ideal, start(), uneven(n)) - exact).abs().max() for n in (160, 320)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("sampler", [sample_heun, sample_dpmpp_2m])
def test_second_order_pays(sampler) -> None:
    assert error(sampler, 40) < error(sample_euler, 40) / 4


def test_ddim_without_fresh_noise_is_euler() -> None:
    sigmas = karras(LOWEST, HIGHEST, 12)
    ours = sample_ddim(ideal, start(), sigmas)
    assert torch.allclose(ours, sample_euler(ideal, start(), sigmas), rtol=0, atol=1e-12)


def chain(sigmas, variance):
    """Mean and variance of the ancestral chain on Gaussian data: each step is linear."""
    mean = 0.0
    for sigma, after in itertools.pairwise(sigmas):
        share = (after / sigma) ** 2
        retained = DEVIATION**2 / (DEVIATION**2 + sigma**2)
        slope = (1 - share) * retained + share
        mean = slope * mean + (1 - share) * (1 - retained) * MEAN
        variance = slope**2 * variance + after**2 * (1 - share)
    return mean, variance


@pytest.mark.parametrize(
    "sampler", [sample_ddpm, partial(sample_ddim, eta=1.0)], ids=["ddpm", "ddim, eta 1"]
)
@pytest.mark.parametrize("steps", [8, 200])
def test_ancestral_statistics(sampler, steps) -> None:
    count = 40_000
    generator = torch.Generator().manual_seed(11)
    noise = torch.randn(count, 1, 1, 1, dtype=torch.float64, generator=generator)
    sigmas = karras(LOWEST, HIGHEST, steps)
    sampled = sampler(ideal, HIGHEST * noise, sigmas, generators=generator)
    mean, variance = chain(sigmas, HIGHEST**2)
    assert sampled.mean().item() == pytest.approx(mean, abs=4 * math.sqrt(variance / count))
    # the deviation of a Gaussian's sample variance is variance * sqrt(2 / count)
    assert sampled.var().item() == pytest.approx(variance, rel=4 * math.sqrt(2 / count))
    if steps == 200:  # then the chain itself is near the data
        assert mean == pytest.approx(MEAN, abs=0.01)
        assert math.sqrt(variance) == pytest.approx(DEVIATION, rel=0.03)


def test_ddpm_is_ddim_of_eta_one() -> None:
    sigmas = karras(LOWEST, HIGHEST, 10)
    ddpm = sample_ddpm(ideal, start(), sigmas, generators=torch.Generator().manual_seed(1))
    ddim = sample_ddim(ideal, start(), sigmas, generators=torch.Generator().manual_seed(1), eta=1.0)
    assert torch.allclose(ddpm, ddim, rtol=0, atol=1e-12)


def mixture(x, sigma):
    """The expected x0 of two points, -1 and 1, in each value alike."""
    return torch.tanh(x / sigma**2)


@pytest.mark.parametrize("sampler", [sample_euler, sample_heun, sample_dpmpp_2m, sample_ddim])
def test_two_points_are_reached(sampler) -> None:
    x = start() + 0.1
    sampled = sampler(mixture, x, karras(LOWEST, HIGHEST, 40))
    assert torch.allclose(sampled, x.sign(), atol=1e-6)
