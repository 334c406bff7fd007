"""DDIM inversion where the probability-flow equation is known, and against its own sampler."""

import math

import pytest
import torch

from graftwerk.diffusion.noise_schedule import karras
from graftwerk.diffusion.samplers import sample_ddim
from graftwerk.diffusion.sampling import invert_ddim, residuals

pytestmark = pytest.mark.usefixtures("one_thread")
MEAN, DEVIATION = 0.7, 0.5


def ideal(x, sigma):
    """The expected x0 of data N(MEAN, DEVIATION^2)."""
    share = DEVIATION**2 / (DEVIATION**2 + sigma**2)
    return MEAN + share * (x - MEAN)


def pictures():
    generator = torch.Generator().manual_seed(1)
    return MEAN + DEVIATION * torch.randn(2, 1, 4, 4, dtype=torch.float64, generator=generator)


def test_plain_inversion_comes_near_the_exact_noise():
    x, highest = pictures(), 20.0
    exact = MEAN + math.sqrt((DEVIATION**2 + highest**2) / DEVIATION**2) * (x - MEAN)
    errors = [
        (invert_ddim(ideal, x, karras(0.002, highest, steps), refinements=0) - exact).abs().max()
        for steps in (100, 200)
    ]
    assert errors[1] < 0.6 * errors[0]  # first order
    assert errors[1] < 0.2 * exact.abs().max()


@pytest.mark.parametrize("steps", [10, 50])
def test_refined_inversion_is_the_inverse_of_the_sampler(steps):
    sigmas = karras(0.02, 20.0, steps)
    back = [
        sample_ddim(ideal, invert_ddim(ideal, pictures(), sigmas, refinements=count), sigmas)
        for count in (0, 30)
    ]
    errors = [(sampled - pictures()).abs().max().item() for sampled in back]
    assert errors[1] < 1e-3
    assert errors[1] < errors[0] / 10


def test_residuals_are_smallest_for_what_the_model_knows():
    generator = torch.Generator().manual_seed(2)
    known = pictures()
    unusual = known + 3
    found = residuals(ideal, torch.cat([known, unusual]), (0.5, 2.0), generator)
    assert found.shape == (4, 2)
    assert found[:2].max() < found[2:].min()
