"""Schedulers of diffusers as samplers: equal to its pipeline, and their methods on any levels.

`python -m bench schedulers` compares every combination; here is one of each kind.
"""

import copy
import importlib
import sys
import types
from dataclasses import replace
from pathlib import Path

import diffusers
import pytest
import torch
from tests.pipelines import SCHEDULER, noise_of

from bench.schedulers import PIPELINE, SCHEDULERS, STEPS, Pair
from graftwerk.diffusion.noise_schedule import initial, noise_levels, own_levels, read_noise
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.diffusion.samplers import find_sampler, sample_ddim, sample_euler
from graftwerk.diffusion.unet import NetworkDenoiser
from graftwerk.errors import BadFile, BadInput
from graftwerk.library import samplers

# of diffusers itself, with NumPy 2
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
KARRAS = {"use_karras_sigmas": True}
ZERO = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
CASES = [
    ("DDIMScheduler", {"clip_sample": True}),
    ("DDIMScheduler", {"steps_offset": 0, "timestep_spacing": "linspace"}),
    ("DDIMScheduler", {**ZERO, "prediction_type": "v_prediction"}),
    ("DDPMScheduler", {"variance_type": "fixed_large", "prediction_type": "sample"}),
    ("DEISMultistepScheduler", KARRAS),
    ("DPMSolverMultistepScheduler", {**KARRAS, "algorithm_type": "sde-dpmsolver++"}),
    ("DPMSolverMultistepScheduler", {"use_lu_lambdas": True}),
    ("DPMSolverMultistepScheduler", {"solver_order": 3, "solver_type": "heun"}),
    ("DPMSolverSinglestepScheduler", {"prediction_type": "v_prediction"}),
    ("EulerDiscreteScheduler", KARRAS),
    ("EulerDiscreteScheduler", {"use_beta_sigmas": True, "timestep_spacing": "trailing"}),
    ("EulerDiscreteScheduler", {**ZERO, "prediction_type": "v_prediction"}),
    ("EulerDiscreteScheduler", {"timestep_spacing": "linspace", "final_sigmas_type": "sigma_min"}),
    ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}),
    ("HeunDiscreteScheduler", {"use_exponential_sigmas": True}),
    ("KDPM2DiscreteScheduler", KARRAS),
    ("KDPM2AncestralDiscreteScheduler", {"timestep_spacing": "trailing"}),
    ("LMSDiscreteScheduler", {"prediction_type": "v_prediction"}),
    ("LCMScheduler", {}),
    ("PNDMScheduler", {"skip_prk_steps": True}),
    ("PNDMScheduler", {}),
    ("SASolverScheduler", {}),
    ("TCDScheduler", {}),
    ("UniPCMultistepScheduler", {**KARRAS, "prediction_type": "v_prediction"}),
]


@pytest.fixture(scope="module")
def pair(text_pipeline):
    return Pair(text_pipeline)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_own_scheduler_is_diffusers_pipeline(pair, name, options) -> None:
    found = pair.compare({"_class_name": name, **options})
    assert not isinstance(found, str), found
    assert found <= 1


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler"])
def test_what_does_not_fit_is_refused_by_name(pair, name) -> None:
    assert f"class '{name}'" in str(pair.compare({"_class_name": name}))


@pytest.mark.parametrize("name", ["PNDMScheduler", "KDPM2DiscreteScheduler"])
def test_what_diffusers_itself_cannot_do_is_refused(pair, name) -> None:
    found = pair.compare({"_class_name": name, "prediction_type": "sample"})
    assert str(found).startswith(f"refused: {name} of diffusers cannot do this")


def test_a_variance_that_the_network_predicts_is_refused() -> None:
    with pytest.raises(BadFile, match="variance_type"):
        noise_of(_class_name="DDPMScheduler", variance_type="learned_range")


def test_a_pipeline_has_defaults_of_its_own(tmp_path) -> None:
    """Folders of 2022 lack `clip_sample`, and the class clips where its pipeline does not."""
    config = {key: value for key, value in SCHEDULER.items() if key != "clip_sample"}
    assert read_noise(config, tmp_path).clamp is not None
    assert read_noise(config, tmp_path, PIPELINE).clamp is None
    assert read_noise(config | {"steps_offset": 0}, tmp_path, PIPELINE).offset == 1
    assert read_noise(config, tmp_path, "DDPMPipeline").clamp is not None
    euler = config | {"_class_name": "EulerDiscreteScheduler"}
    assert read_noise(euler, tmp_path, "DDIMPipeline").name == "DDIMScheduler"


def test_xl_takes_zeros_for_no_prompt_where_its_index_says_nothing(xl_pipeline, tmp_path) -> None:
    import json
    import shutil

    from graftwerk.diffusion.pipeline import load_diffusion

    folder = shutil.copytree(xl_pipeline, tmp_path / "xl")
    index = json.loads((folder / "model_index.json").read_text())
    index.pop("force_zeros_for_empty_prompt", None)
    (folder / "model_index.json").write_text(json.dumps(index))
    reader = load_diffusion(str(folder), "cpu").reader
    assert not reader.read_nothing(reader.read(["a"])).states.any()


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "HeunDiscreteScheduler"])
def test_karras_levels_are_those_of_the_spaced_steps(name) -> None:
    """Not of the whole table, as DPM-Solver has them."""
    noise = noise_of(_class_name=name, use_karras_sigmas=True)
    scheduler = getattr(diffusers, name).from_config(SCHEDULER | KARRAS)
    scheduler.set_timesteps(7)
    levels = noise_levels(noise, 7, "model")
    assert levels == pytest.approx(scheduler.sigmas.unique_consecutive().tolist(), rel=1e-6)
    assert levels[0] < noise.sigmas[-1]


def gaussian(x, sigma):
    """The exact denoiser of data of unit variance: its flow is known."""
    return x / (1 + sigma**2)


LEVELS = [12.0, 6.0, 3.0, 1.5, 0.8, 0.4, 0.2, 0.1, 0.0]
DRAWING = ["euler_ancestral", "dpmpp_2m_sde", "dpmpp_sde", "lcm"]


@pytest.mark.parametrize("name", ["unipc", "dpmpp_2m", "tcd"])
def test_methods_follow_the_exact_flow(name) -> None:
    x = initial(torch.linspace(-2, 2, 16, dtype=torch.float64).view(1, 1, 4, 4), LEVELS[0])
    exact = x / (1 + LEVELS[0] ** 2) ** 0.5
    found = getattr(samplers, name)(gaussian, x, LEVELS)
    euler = sample_euler(gaussian, x, LEVELS)
    assert (found - exact).abs().max() <= (euler - exact).abs().max() + 1e-6
    assert (found - exact).abs().max() < (0.5 if name == "tcd" else 0.05)


@pytest.mark.parametrize("name", DRAWING)
def test_methods_with_noise_keep_the_variance(name) -> None:
    generator = torch.Generator().manual_seed(0)
    x = initial(torch.randn(1, 1, 128, 128, generator=generator), LEVELS[0])
    levels = torch.logspace(1.08, -2, 240).tolist()
    found = getattr(samplers, name)(gaussian, x, [*levels, 0.0], generators=generator)
    # consistency sampling is exact for a consistency function, which this is not
    assert found.std() == pytest.approx(1.0, abs=0.05 if name != "lcm" else 1.0)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_dpmpp_sde_is_diffusers_scheduler_on_the_same_path(pair, monkeypatch, prediction):
    """Its noise comes from `torchsde`, which is replaced by a path of known increments."""
    monkeypatch.setitem(sys.modules, "torchsde", types.ModuleType("torchsde"))
    found = importlib.import_module("diffusers.schedulers.scheduling_dpmsolver_sde")
    table = {key: SCHEDULER[key] for key in ("beta_start", "beta_end", "beta_schedule")}
    scheduler = found.DPMSolverSDEScheduler(
        **table, prediction_type=prediction, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(STEPS)
    noise = noise_of(prediction_type=prediction)
    sigmas = noise_levels(noise, STEPS, "trailing")
    generator, path = torch.Generator().manual_seed(7), []

    def increments(start, end):  # of the whole step right after its first half
        if not path:
            path.extend(torch.randn(pair.noise.shape, generator=generator) for _ in range(2))
            path.append(end.item())
            return path[0]
        first, rest, middle = path
        share = ((start - middle) / (start - end)).item()
        path.clear()
        return share**0.5 * first + (1 - share) ** 0.5 * rest

    scheduler.noise_sampler = increments
    network, texts = pair.model.unet, pair._texts
    with torch.inference_mode():
        x = expected = initial(pair.noise, sigmas[0])
        for time in scheduler.timesteps:
            scaled = scheduler.scale_model_input(expected, time)
            output = network(scaled, time, encoder_hidden_states=texts.states).sample
            expected = scheduler.step(output, time, expected).prev_sample
        denoise = NetworkDenoiser(network, noise, texts)
        seed = torch.Generator().manual_seed(7)
        ours = samplers.dpmpp_sde(denoise, x, sigmas, generators=seed)
    # images are 255 levels of a range of 2
    assert (ours - expected).abs().max() <= 1e-3 * expected.abs().max()


@pytest.mark.parametrize("steps", [1, 2, 4, 7])
def test_trailing_levels_are_those_of_diffusers(steps):
    scheduler = diffusers.EulerDiscreteScheduler.from_config(SCHEDULER, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    for options in ({}, {"_class_name": "DPMSolverMultistepScheduler"}):
        found = noise_levels(noise_of(**options), steps, "trailing")
        assert found == pytest.approx(scheduler.sigmas.tolist(), rel=1e-5)
        assert noise_levels(noise_of(**options), steps, "model") != found


@pytest.mark.parametrize("name", DRAWING)
def test_noise_is_of_the_row(name) -> None:
    x = initial(torch.ones(2, 1, 4, 4), LEVELS[0])
    rows = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    both = getattr(samplers, name)(gaussian, x, LEVELS, generators=rows)
    alone = getattr(samplers, name)(
        gaussian, x[1:], LEVELS, generators=[torch.Generator().manual_seed(2)]
    )
    assert torch.equal(both[1:], alone)
    assert not torch.equal(both[0], both[1])


def test_methods_end_at_the_last_level_and_tell_every_step() -> None:
    x = initial(torch.ones(1, 1, 2, 2), LEVELS[0])
    for name in ("unipc", "euler_ancestral", "dpmpp_2m_sde", "dpmpp_sde"):
        seen = []
        given = {} if name == "unipc" else {"generators": torch.Generator().manual_seed(1)}
        found = getattr(samplers, name)(gaussian, x, LEVELS[:5], watch=seen.append, **given)
        assert [step.sigma for step in seen] == LEVELS[:4]
        assert 0.1 < found.abs().mean() < 4  # noise of level .8 is still in it


def test_tcd_without_noise_is_ddim_and_with_all_of_it_consistency_sampling() -> None:
    x = initial(torch.ones(1, 1, 2, 2), LEVELS[0])
    assert torch.equal(samplers.tcd(gaussian, x, LEVELS), sample_ddim(gaussian, x, LEVELS))
    seeds = [torch.Generator().manual_seed(3) for _ in range(2)]
    one = samplers.tcd(gaussian, x, LEVELS, eta=1.0, generators=seeds[0])
    assert torch.allclose(one, samplers.lcm(gaussian, x, LEVELS, generators=seeds[1]))


def test_tcd_takes_a_share_of_the_time_as_diffusers_does(pair) -> None:
    """Gamma .3 and every step of the same random numbers."""
    scheduler = diffusers.TCDScheduler(set_alpha_to_one=False)
    scheduler.set_timesteps(4)
    noise = read_noise(dict(scheduler.config) | {"_class_name": "TCDScheduler"}, Path("x"))
    sigmas = own_levels(noise, 4)
    denoise = pair.model.denoiser(pair._texts)
    generator = torch.Generator().manual_seed(7)
    x, seen = pair.noise, []
    with torch.inference_mode():
        for time, sigma in zip(scheduler.timesteps, sigmas, strict=False):
            size = (1 + sigma**2) ** 0.5
            output = noise.output_of(x * size, denoise(x * size, sigma), sigma)
            x = scheduler.step(output, time, x, eta=0.3, generator=generator).prev_sample
            seen.append(x)
        run = find_sampler("tcd", torch.Generator().manual_seed(7), 0.3, noise)
        ours = []
        run(denoise, initial(pair.noise, sigmas[0]), sigmas, watch=lambda s: ours.append(s.x))
    for x, other, after in zip(ours[:-1], seen[:-1], sigmas[1:-1], strict=True):
        assert torch.allclose(x / (1 + after**2) ** 0.5, other, atol=2e-5)


def test_a_start_within_the_schedule_takes_its_last_steps(pair) -> None:
    """What a noised image needs: the same steps as the whole schedule from there on."""
    for name in ("DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"):
        noise = noise_of(_class_name=name)
        sigmas, seen, again = own_levels(noise, STEPS), [], []
        denoise = pair.model.denoiser(pair._texts)
        run = find_sampler("model", torch.Generator(), noise=noise, steps=STEPS)
        with torch.inference_mode():
            run(denoise, initial(pair.noise, sigmas[0]), sigmas, watch=seen.append)
            start = seen[2].x
            run(denoise, start, sigmas[3:], watch=again.append)
        if name != "DPMSolverMultistepScheduler":  # which begins again at first order
            assert torch.allclose(again[-1].x, seen[-1].x, atol=1e-4)
        assert len(again) == STEPS - 3


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_the_start_is_as_large_as_that_of_the_pipeline(spacing) -> None:
    """Noise of the highest level alone, or with an image in it: a difference of .2 %."""
    noise = noise_of(_class_name="EulerDiscreteScheduler", timestep_spacing=spacing)
    sigmas, seen = own_levels(noise, STEPS), []
    unit = torch.ones(1, 1, 2, 2)

    def denoise(x, sigma):
        seen.append(x)
        return gaussian(x, sigma)

    run = find_sampler("model", torch.Generator(), noise=noise, steps=STEPS)
    run(denoise, initial(unit, sigmas[0]), sigmas)
    expected = float(noise.scheduler(STEPS).init_noise_sigma)
    assert seen[0].flatten().tolist() == pytest.approx([expected] * 4, rel=1e-5)


def test_eta_and_steps_that_a_scheduler_does_not_take(pair) -> None:
    noise = noise_of(_class_name="EulerDiscreteScheduler")
    run = find_sampler("model", torch.Generator(), 0.5, noise, STEPS)
    with pytest.raises(BadInput, match="takes no eta"):
        run(gaussian, pair.noise, own_levels(noise, STEPS))
    with pytest.raises(BadInput, match="2,000 steps"):
        own_levels(noise_of(_class_name="DDIMScheduler"), 2000)


def test_every_class_that_is_read_is_one_of_diffusers() -> None:
    assert all(hasattr(diffusers, name) for name in SCHEDULERS)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("DPMSolverMultistepScheduler", "dpmsolver"),
        ("DPMSolverSinglestepScheduler", "sde-dpmsolver"),
        ("SASolverScheduler", "dpmsolver"),
        ("DEISMultistepScheduler", "sde-dpmsolver"),
    ],
)
def test_an_option_that_diffusers_refuses_is_an_error_of_the_input(name, kind) -> None:
    noise = noise_of(_class_name=name, algorithm_type=kind)
    with pytest.raises(BadInput, match=f"{name} of diffusers.*{kind}.*Take another `sampler`"):
        noise_levels(noise, STEPS, "model", "model")


def test_a_missing_library_is_named_in_one_line_with_what_goes_without_it() -> None:
    with pytest.raises(BadInput) as caught:
        noise_of(_class_name="DPMSolverSDEScheduler")
    expected = (
        "needs a library that is not installed: torchsde. Install it, or take `sampler` dpmpp"
    )
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"clip_sample": True}, {"thresholding": True}])
@pytest.mark.parametrize("steps", [25, 50])
def test_clipping_at_many_steps_is_that_of_diffusers(pixel_pipeline, options, steps) -> None:
    """In float64: an untrained network makes more of the last bits at each step that clips."""
    model = load_diffusion(str(pixel_pipeline), "cpu")
    noise = noise_of(_class_name="DDIMScheduler", **options)
    network = copy.deepcopy(model.unet).double()
    model = replace(model, noise=noise, unet=network)
    start = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    x, scheduler, clipped = start, noise.scheduler(steps), 0
    with torch.inference_mode():
        for time in scheduler.timesteps:
            step = scheduler.step(network(x, time).sample, time, x)
            x = step.prev_sample
            clipped += int((step.pred_original_sample.abs() == 1).sum())
        sigmas = own_levels(noise, steps)
        run = find_sampler("model", torch.Generator(), noise=noise, steps=steps)
        ours = run(model.denoiser(None), initial(start, sigmas[0]), sigmas)
    assert clipped > steps
    assert torch.allclose(ours, x, atol=1e-3)
