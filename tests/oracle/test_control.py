"""Control branches beside diffusers: the same weights, forward and whole pipelines, both ways.

What is left are the last bits of float32: guidance is written another way here, and the branch's
keys and values of a prompt are computed once.
"""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from tests.pipelines import random_network, tiny_unet

import graftwerk
from graftwerk import folders
from graftwerk.controlnet.branch import Shape, make_branch, weights_of
from graftwerk.controlnet.checkpoint import read_branch, write_controlnet
from graftwerk.controlnet.control import Controls, Term
from graftwerk.diffusion.guidance import Guidance
from graftwerk.diffusion.noise_schedule import noise_levels
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.diffusion.sampling import Plan, sample_batch
from graftwerk.diffusion.unet import run_with

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
STEPS, SIDE = 6, 16
FORWARD, LATENTS = 1e-5, 1e-3


def controlnet_of(unet, seed):
    """A ControlNet with random weights, its zeros too."""
    from diffusers import ControlNetModel

    def make():
        return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8))

    return random_network(make, seed)


def pictures(seed, side=SIDE):
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed))


def read(folder, network, factor=2):
    return read_branch(folder, network, factor, "tiny", "")


def compare_forward(unet, controlnet, folder, sample, states, added=None, factor=2):
    controlnet.save_pretrained(folder)
    branch = read(folder, unet, factor)
    hint = pictures(4, factor * sample.shape[-1])
    times = torch.tensor([7.0, 321.0])
    inputs = {"encoder_hidden_states": states}
    if added is not None:
        inputs["added_cond_kwargs"] = added
    with torch.inference_mode():
        down, middle = controlnet(
            sample, times, states, hint, added_cond_kwargs=added, return_dict=False
        )
        found = branch(sample, times, branch.read(hint), inputs)
    assert len(down) == len(found.skips)
    for theirs, ours in zip((*down, middle), (*found.skips, found.middle), strict=True):
        assert (theirs - ours).abs().max() <= FORWARD * max(1.0, float(theirs.abs().max()))
        assert theirs.abs().max() > 0


def test_forward_of_a_published_one(tmp_path):
    unet = tiny_unet()
    sample = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    states = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(2))
    compare_forward(unet, controlnet_of(unet, 3), tmp_path / "c", sample, states)


@pytest.mark.slow  # 5 GB of weights
def test_forward_of_the_size_of_stable_diffusion(tmp_path):
    from diffusers import ControlNetModel, UNet2DConditionModel

    unet = random_network(lambda: UNet2DConditionModel(sample_size=8, cross_attention_dim=768), 1)
    controlnet = random_network(lambda: ControlNetModel.from_unet(unet), 3)
    draw = torch.Generator().manual_seed(1)
    sample, states = (
        torch.randn(2, 4, 8, 8, generator=draw),
        torch.randn(2, 77, 768, generator=draw),
    )
    compare_forward(unet, controlnet, tmp_path / "c", sample, states, factor=8)


def test_forward_of_the_xl_kind(tmp_path, xl_pipeline):
    unet = load_diffusion(str(xl_pipeline), "cpu").unet
    draw = torch.Generator().manual_seed(1)
    sample, states = torch.randn(2, 4, 8, 8, generator=draw), torch.randn(2, 5, 56, generator=draw)
    added = {
        "text_embeds": torch.randn(2, 20, generator=draw),
        "time_ids": torch.tensor([[16.0, 16, 0, 0, 16, 16]] * 2),
    }
    compare_forward(unet, controlnet_of(unet, 3), tmp_path / "c", sample, states, added)


def test_ours_loads_there(tmp_path, text_pipeline):
    from diffusers import ControlNetModel

    unet = load_diffusion(str(text_pipeline), "cpu").unet
    generator = torch.Generator().manual_seed(5)
    branch = make_branch(unet, Shape(2, hint_widths=(4, 8)), generator)
    with torch.no_grad():
        for weight in weights_of(branch).values():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    with folders.working_folder(tmp_path / "ours") as folder:
        write_controlnet(folder, branch, unet)
    theirs, report = ControlNetModel.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    sample, states = torch.randn(2, 4, 8, 8), torch.randn(2, 5, 32)
    times = torch.tensor([3.0, 900.0])
    with torch.inference_mode():
        down, middle = theirs(sample, times, states, pictures(1), return_dict=False)
        found = branch(sample, times, branch.read(pictures(1)), {"encoder_hidden_states": states})
        again = read(tmp_path / "ours", unet)
        back = again(sample, times, again.read(pictures(1)), {"encoder_hidden_states": states})
    for one, two, three in zip(
        (*down, middle), (*found.skips, found.middle), (*back.skips, back.middle), strict=True
    ):
        assert (one - two).abs().max() <= FORWARD
        assert torch.equal(two, three)


@pytest.mark.parametrize("count", [1, 2])
def test_pipelines(tmp_path, text_pipeline, count):
    from diffusers import ControlNetModel, DDIMScheduler, StableDiffusionControlNetPipeline

    model = load_diffusion(str(text_pipeline), "cpu")
    folders = [tmp_path / f"control-{n}" for n in range(count)]
    for number, folder in enumerate(folders):
        controlnet_of(model.unet, 10 + number).save_pretrained(folder)
    weights, maps = [0.8, 0.5][:count], [pictures(20 + n) for n in range(count)]

    theirs = StableDiffusionControlNetPipeline.from_pretrained(
        text_pipeline,
        controlnet=[ControlNetModel.from_pretrained(folder) for folder in folders],
        safety_checker=None,
    )
    theirs.scheduler = DDIMScheduler.from_config(theirs.scheduler.config)
    theirs.set_progress_bar_config(disable=True)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    expected = theirs(
        "a red cube on grass",
        image=maps,
        num_inference_steps=STEPS,
        guidance_scale=4.0,
        num_images_per_prompt=2,
        latents=noise,
        controlnet_conditioning_scale=weights,
        control_guidance_end=[1.0, 0.5][:count],
        output_type="latent",
    ).images

    branches = [read(folder, model.unet) for folder in folders]
    sigmas = noise_levels(model.noise, STEPS, "model")
    terms = []
    for number, branch in enumerate(branches):
        lowest = 0.0 if number == 0 else sigmas[STEPS // 2 - 1]
        hint = branch.read(maps[number]).detach()
        terms.append(Term(branch, hint, weights[number], lowest))
    reader = model.reader
    texts = reader.read(["a red cube on grass"])
    plan = Plan(
        texts=texts,
        away=reader.read([""]),
        guidance=Guidance(4.0),
        sampler="ddim",
        eta=0.0,
        sigmas=sigmas,
        shape=(4, 8, 8),
        seed=0,
        control=Controls(tuple(terms)),
    )
    ours = drawn_from(model, plan, noise)
    alone = drawn_from(model, dataclasses.replace(plan, control=None), noise)
    assert (ours - expected).abs().max() <= LATENTS
    assert (ours - alone).abs().max() > 0.1  # the controls do something


@pytest.mark.parametrize("cfg", [1.0, 3.0])
@pytest.mark.parametrize("pools", [(True,), (True, True), (False, True)])
def test_branches_that_pool_act_on_the_conditional_half(tmp_path, text_pipeline, pools, cfg):
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

    unet = load_diffusion(str(text_pipeline), "cpu").unet
    maps, folders = [], [tmp_path / str(n) for n in range(len(pools))]
    for number, folder in enumerate(folders):
        network = controlnet_of(unet, 10 + number)
        network.register_to_config(global_pool_conditions=pools[number])
        network.save_pretrained(folder)
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE), np.uint8)
        maps.append(Image.fromarray(pixels).convert("RGB"))
    ours = graftwerk.Pipeline(str(text_pipeline), device="cpu")
    noise = ours.noise(1, seed=5) / ours.sigmas(25)[0]
    for folder, image in zip(folders, maps, strict=True):
        branch = graftwerk.ControlNet(folder, condition="depth")
        ours = ours.with_(branch(image, is_map=True))
    options = {"steps": STEPS, "cfg": cfg, "seed": 5, "check": False}
    found = ours.generate("a red cube", n=1, sampler="model", schedule="model", **options)
    theirs = StableDiffusionControlNetPipeline.from_pretrained(
        text_pipeline, controlnet=[ControlNetModel.from_pretrained(folder) for folder in folders]
    )
    theirs.set_progress_bar_config(disable=True)
    expected = theirs(
        "a red cube", image=maps, num_inference_steps=STEPS, guidance_scale=cfg, latents=noise
    ).images[0]
    difference = np.asarray(found.images[0]).astype(int) - np.asarray(expected)
    assert np.abs(difference).max() <= 1


def drawn_from(model, plan, noise):
    """A batch drawn from given noise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graftwerk.diffusion.sampling.draw", lambda generators, like: noise)
        return sample_batch(model, plan, [0, 1])


def test_an_unconditional_unet_runs_alike_with_nothing_added(pixel_pipeline):
    """diffusers has no way to add anything to a `UNet2DModel`; ours must be the same without."""
    unet = load_diffusion(str(pixel_pipeline), "cpu").unet
    branch = make_branch(unet, Shape(1), torch.Generator().manual_seed(1))
    x, times = torch.randn(2, 3, 8, 8), torch.tensor([5.0, 700.0])
    with torch.inference_mode():
        residuals = branch(x, times, branch.read(torch.rand(1, 3, 8, 8)), {})
        assert torch.equal(run_with(unet, x, times, {}, residuals), unet(x, times).sample)
        assert np.isfinite(residuals.middle.numpy()).all()
