"""Diffusion transformers against diffusers' own pipelines, on tiny weights and the same noise."""

import math
from pathlib import Path

import pytest
import torch
from tests.pipelines import flow_scheduler, write_sd3_pipeline

import graftwerk as gw
from bench.flow import CASES, compare
from graftwerk.diffusion.flow import guided_flow, read_flow
from graftwerk.diffusion.noise_schedule import flow_levels
from graftwerk.diffusion.samplers import find_sampler

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
LIMIT = 1e-3
MEAN, DEVIATION = 0.7, 0.5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_latents_are_those_of_diffusers_pipeline(case, tmp_path) -> None:
    difference, largest = compare(case, tmp_path)
    assert difference < LIMIT
    assert largest > 0.5


def test_euler_is_the_sampler_if_none_is_named(tmp_path) -> None:
    assert compare(CASES[0], tmp_path, sampler="euler")[0] < LIMIT
    own = gw.Pipeline(tmp_path, device="cpu").generate("a cube", n=1, steps=2).report
    assert own.sampler == "euler"


def test_a_guide_is_the_gradient_of_the_score() -> None:
    """A guide that turns the data's distribution into another gives that one's denoiser."""

    def log_density(y, sigma, mean, deviation):
        variance = deviation**2 + sigma**2
        return (-0.5 * (y - mean) ** 2 / variance).sum(dim=(1, 2, 3))

    def log_prob(y, sigma):  # of the noisy values, in the form `x0 + sigma * noise`
        return log_density(y, sigma, 0.1, 0.8) - log_density(y, sigma, MEAN, DEVIATION)

    x = torch.linspace(-1, 1, 16, dtype=torch.float64).view(1, 1, 4, 4)
    guided = guided_flow(lambda denoise: gw.guided(denoise, log_prob, 1.0), ideal)
    for level in (0.9, 0.5, 0.1):
        assert torch.allclose(guided(x, level), ideal(x, level, 0.1, 0.8), atol=1e-12)
        rows = torch.tensor([level], dtype=torch.float64)
        assert torch.allclose(guided(x, rows), guided(x, level), atol=1e-12)
    assert torch.equal(guided(x, 1.0), ideal(x, 1.0))  # pure noise has no gradient
    assert guided_flow(lambda denoise: gw.guided(denoise, log_prob, 0.0), ideal) is ideal


def noise_with(**options):
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", **flow_scheduler(**options).config}
    return read_flow(config, Path("scheduler_config.json"), "StableDiffusion3Pipeline")


def ideal(x, sigma, mean=MEAN, deviation=DEVIATION):
    """The expected x0 of Gaussian data in `(1 - sigma) x0 + sigma noise`."""
    variance = (1 - sigma) ** 2 * deviation**2 + sigma**2
    return mean + (1 - sigma) * deviation**2 / variance * (x - (1 - sigma) * mean)


def exact(x, sigma, after):
    """Where the flow leads, exactly: both are Gaussian."""

    def spread(level):
        return math.sqrt((1 - level) ** 2 * DEVIATION**2 + level**2)

    return (1 - after) * MEAN + spread(after) / spread(sigma) * (x - (1 - sigma) * MEAN)


@pytest.mark.parametrize(
    ("name", "order"), [("euler", 1), ("ddim", 1), ("heun", 2), ("dpmpp_2m", 2)]
)
def test_order_of_convergence_on_a_flow(name, order) -> None:
    """`dpmpp_2m` stands for all that see the flow as `x0 + sigma * noise`."""
    x = torch.linspace(-2, 2, 16, dtype=torch.float64).view(1, 1, 4, 4)
    errors = []
    for steps in (40, 80):
        levels = torch.linspace(0.95, 0.05, steps + 1, dtype=torch.float64).tolist()
        sampler = find_sampler(name, torch.Generator().manual_seed(0), noise=noise_with())
        errors.append((sampler(ideal, x, levels) - exact(x, 0.95, 0.05)).abs().max().item())
    assert math.log2(errors[0] / errors[1]) > order - 0.25


@pytest.mark.parametrize("name", ["dpmpp_2m", "heun", "dpmpp_2m_sde", "ddpm", "euler_ancestral"])
def test_samplers_reach_the_data_from_pure_noise(name) -> None:
    noise = noise_with()
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(20_000, 1, 1, 1, generator=generator)
    sampler = find_sampler(name, generator, noise=noise)
    sampled = sampler(ideal, noise.start(x, 1.0), flow_levels(noise, 160))
    assert sampled.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert sampled.std().item() == pytest.approx(DEVIATION, abs=0.03)


def test_stochastic_sampling_is_diffusers_step() -> None:
    """Its pipeline passes no generator, so the steps are compared, from a level below 1."""
    noise, scheduler = (
        noise_with(stochastic_sampling=True),
        flow_scheduler(stochastic_sampling=True),
    )
    scheduler.set_timesteps(5)
    x = y = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    sampler = find_sampler("model", torch.Generator().manual_seed(2), noise=noise)
    ours = sampler(ideal, x, flow_levels(noise, 5)[1:])
    generator = torch.Generator().manual_seed(2)
    for time, sigma in list(zip(scheduler.timesteps, scheduler.sigmas, strict=False))[1:]:
        velocity = (y - ideal(y, float(sigma))) / float(sigma)
        y = scheduler.step(velocity, time, y, generator=generator).prev_sample
    assert torch.allclose(ours, y, atol=1e-5)


@pytest.mark.parametrize("t5", [True, False])
def test_cut_prompts_are_named(tmp_path, t5) -> None:
    reader = gw.Pipeline(write_sd3_pipeline(tmp_path, t5=t5), device="cpu").steered.frozen.reader
    prompt = " ".join(["cube"] * 40)
    assert len(reader.cut_from(prompt).split()) == (0 if t5 else 26)  # CLIP reads 16 - 2
