"""Noise levels, times and predictions of discrete-time models."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.pipelines import noise_of

from graftwerk.diffusion.noise_schedule import SCHEDULERS, Clamp, read_noise
from graftwerk.errors import BadFile


def test_every_level_of_the_table_is_its_own_time() -> None:
    noise = noise_of()
    assert [noise.time_of(sigma) for sigma in noise.sigmas] == list(range(1000))
    rounded = torch.tensor(noise.sigmas, dtype=torch.float32)
    assert noise.times_of(rounded, rounded).tolist() == list(range(1000))


def test_between_two_levels_the_logarithm_is_interpolated() -> None:
    noise = noise_of()
    low, high = noise.sigmas[400:402]
    assert noise.time_of(float(np.sqrt(low * high))) == pytest.approx(400.5)
    assert noise.time_of(float(low**0.75 * high**0.25)) == pytest.approx(400.25)


def test_outside_the_table_its_ends_are_taken() -> None:
    noise = noise_of()
    assert noise.time_of(1e-9) == 0
    assert noise.time_of(1e9) == 999


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_perfect_network_gives_the_image_back(prediction) -> None:
    noise = noise_of(prediction_type=prediction)
    generator = torch.Generator().manual_seed(0)
    x0, unit = torch.randn(2, 2, 3, 4, 4, dtype=torch.float64, generator=generator)
    sigma = torch.tensor([0.3, 9.0], dtype=torch.float64).view(-1, 1, 1, 1)
    alpha = 1 / (1 + sigma**2).sqrt()
    output = {
        "epsilon": unit,
        "v_prediction": alpha * unit - (sigma * alpha) * x0,  # Salimans and Ho, 2022
        "sample": x0,
    }[prediction]
    assert torch.allclose(noise.x0_of(x0 + sigma * unit, output, sigma), x0, atol=1e-12)


def test_a_class_reads_only_its_own_options() -> None:
    # files made from another class's keep keys that theirs does not look at
    changes = {"_class_name": "EulerDiscreteScheduler", "set_alpha_to_one": False}
    noise = noise_of(**changes, clip_sample=True, thresholding=True)
    assert noise.last == 0
    assert noise.clamp is None
    assert noise_of(set_alpha_to_one=False).last == noise_of().sigmas[0]


def test_clamps() -> None:
    assert noise_of().clamp is None
    assert noise_of(clip_sample=True, clip_sample_range=2.0).clamp == Clamp(2.0)
    found = noise_of(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=3.0)
    assert found.clamp == Clamp(3.0, 0.9)


def test_missing_options_are_those_of_the_class(tmp_path) -> None:
    noise = read_noise({"_class_name": "DDPMScheduler"}, tmp_path)
    assert noise.clamp == Clamp(1.0)
    assert (noise.spacing, noise.last, noise.prediction) == ("leading", 0.0, "epsilon")
    assert read_noise({"_class_name": "PNDMScheduler"}, tmp_path).last > 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of diffusers itself
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_known_class(name) -> None:
    import diffusers

    if name == "DPMSolverSDEScheduler":
        pytest.importorskip("torchsde")
    scheduler = getattr(diffusers, name)()
    noise = read_noise(json.loads(scheduler.to_json_string()), Path("x"))
    signal = scheduler.alphas_cumprod.double().numpy()
    assert np.allclose(noise.sigmas, np.sqrt((1 - signal) / signal), rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "FlowMatchEulerDiscreteScheduler"),
        ({"_class_name": None}, "None"),
        ({"prediction_type": "flow"}, "prediction_type is 'flow'"),
        ({"timestep_spacing": "even"}, "timestep_spacing is 'even'"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule is 'sigmoid'"),
        ({"num_train_timesteps": 0}, "num_train_timesteps is 0"),
        ({"num_train_timesteps": 10**9}, "num_train_timesteps is 1000000000"),
        ({"beta_start": "x"}, "could not convert"),
        ({"beta_end": 2.0}, "does not rise"),
        ({"trained_betas": [0.1, 0.0, 0.2]}, "does not rise"),
        ({"trained_betas": [float("nan"), 0.1]}, "does not rise"),
        ({"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": True}, "flow matching"),
        ({"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"}, "continuous"),
    ],
)
def test_what_is_not_known_is_refused_by_name(changes, message) -> None:
    with pytest.raises(BadFile, match=message):
        noise_of(**changes)
