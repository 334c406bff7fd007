"""Step by step with diffusers' schedulers: same weights, same noise.

Its variance-preserving schedulers (DDIM, DDPM, DPM-Solver) keep `x / sqrt(1 + sigma^2)`; ours is
divided likewise before it is compared. What is left is float32 rounding.

Left out, because diffusers does something else there on purpose or by accident:
- DDIM and DDPM variants of `linspace`: DDIM steps to `t - 1000 // steps`, which is then not the
  next time of its own list.
- DPM-Solver with Karras' spacing: it rounds the times of the levels to whole steps.
- Euler and Heun with `linspace` and times that are not whole: they interpolate sigma between two
  steps; ours rounds the time, as DDIM does. (10 steps of 1000 give whole times.)
"""

import functools
from pathlib import Path

import diffusers
import pytest
import torch
from tests.pipelines import SCHEDULER, tiny_unet

from graftwerk.diffusion.noise_schedule import initial, noise_levels, read_noise
from graftwerk.diffusion.prompts import TextStates
from graftwerk.diffusion.samplers import find_sampler
from graftwerk.diffusion.unet import NetworkDenoiser

# of diffusers itself, with NumPy 2
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
TOLERANCE = 5e-5  # of the largest value at each step; measured: at most 2e-5
STEPS = 10
DIFF = []
PRESERVING = {"DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler"}


@functools.cache
def unet():
    return tiny_unet()


@functools.cache
def texts():
    return torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(2))


def theirs(scheduler, noise, sigmas, **options):
    """Every step of diffusers' loop, in its own form."""
    preserving = type(scheduler).__name__ in PRESERVING
    x = noise if preserving else initial(noise, sigmas[0])
    found = []
    for time in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, time)
        output = unet()(scaled, time, encoder_hidden_states=texts()).sample
        x = scheduler.step(output, time, x, **options).prev_sample
        found.append(x)
    return found


def compare(name, sampler, steps=STEPS, eta=0.0, **changes):
    scheduler = getattr(diffusers, name).from_config(SCHEDULER | {"_class_name": name} | changes)
    scheduler.set_timesteps(steps)
    model_noise = read_noise({**scheduler.config, "_class_name": name}, Path("test"))
    sigmas = noise_levels(model_noise, steps, "model")
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    options = {}
    if name in {"DDIMScheduler", "DDPMScheduler"}:
        options["generator"] = torch.Generator().manual_seed(4)
    if eta:
        options["eta"] = eta
    ours = []
    with torch.inference_mode():
        expected = theirs(scheduler, start, sigmas, **options)
        draw = find_sampler(sampler, torch.Generator().manual_seed(4), eta)
        denoise = NetworkDenoiser(unet(), model_noise, TextStates(texts()))
        draw(denoise, initial(start, sigmas[0]), sigmas, watch=lambda step: ours.append(step.x))
    if sampler == "heun":  # theirs counts evaluations: two a step, one in the last
        expected = [*expected[1::2], expected[-1]]
    assert len(ours) == len(expected) == steps
    for number, (x, other) in enumerate(zip(ours, expected, strict=True)):
        after = sigmas[number + 1]
        x = x / (1 + after**2) ** 0.5 if name in PRESERVING else x
        assert (x - other).abs().max() <= TOLERANCE * other.abs().max(), f"step {number + 1}"


PAIRS = [
    ("EulerDiscreteScheduler", "euler"),
    ("HeunDiscreteScheduler", "heun"),
    ("DPMSolverMultistepScheduler", "dpmpp_2m"),
    ("DDIMScheduler", "ddim"),
    ("DDPMScheduler", "ddpm"),
]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(("name", "sampler"), PAIRS)
def test_predictions(name, sampler, prediction) -> None:
    compare(name, sampler, prediction_type=prediction)


@pytest.mark.parametrize(("name", "sampler"), PAIRS)
def test_trailing(name, sampler) -> None:
    compare(name, sampler, timestep_spacing="trailing")


@pytest.mark.parametrize(("name", "sampler"), [*PAIRS[:2], PAIRS[4]])
def test_linspace(name, sampler) -> None:
    compare(name, sampler, timestep_spacing="linspace")


def test_linspace_of_dpm_solver_spaces_one_step_more() -> None:
    compare("DPMSolverMultistepScheduler", "dpmpp_2m", steps=9, timestep_spacing="linspace")


@pytest.mark.parametrize(("name", "sampler"), PAIRS[:2])
def test_karras(name, sampler) -> None:
    compare(name, sampler, timestep_spacing="linspace", use_karras_sigmas=True)


@pytest.mark.parametrize("eta", [0.4, 1.0])
def test_ddim_with_fresh_noise(eta) -> None:
    compare("DDIMScheduler", "ddim", eta=eta)


@pytest.mark.parametrize("schedule", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize(("name", "sampler"), [PAIRS[0], PAIRS[3]])
def test_beta_schedules(name, sampler, schedule) -> None:
    compare(name, sampler, beta_schedule=schedule, prediction_type="v_prediction")


def test_an_end_at_zero() -> None:
    compare("DDIMScheduler", "ddim", set_alpha_to_one=True)


def test_an_end_at_the_smallest_level() -> None:
    compare(
        "DPMSolverMultistepScheduler",
        "dpmpp_2m",
        steps=16,
        final_sigmas_type="sigma_min",
        lower_order_final=False,
    )


def test_no_signal_at_the_first_step() -> None:
    compare(
        "EulerDiscreteScheduler",
        "euler",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        prediction_type="v_prediction",
    )
