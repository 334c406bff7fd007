"""A ControlNet on a diffusion transformer: trained here, opened by diffusers, and back."""

import json
from dataclasses import replace

import diffusers
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from tests import networks
from tests.pipelines import (
    control_request,
    random_network,
    tiny_sd3,
    write_dit_pipeline,
    write_flux_pipeline,
    write_sd3_pipeline,
)

import graftwerk as gw
from graftwerk.controlnet.branch import Shape
from graftwerk.controlnet.transformer import new_branch
from graftwerk.diffusion import checkpoint
from graftwerk.errors import BadFile, BadInput, WrongBase

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed`:FutureWarning"),  # of diffusers' own code
    pytest.mark.usefixtures("one_thread"),
]
LOOK = Image.radial_gradient("L").resize((16, 16)).convert("RGB")
PROMPT, STEPS, SEED = "a red cube", 4, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sd3_pipeline(tmp_path_factory.mktemp("flow") / "sd3")


@pytest.fixture(scope="module")
def pipe(folder):
    return gw.Pipeline(folder, device="cpu")


@pytest.fixture(autouse=True)
def modes(monkeypatch):
    """diffusers samples the latents of a condition, without a generator."""
    mode = DiagonalGaussianDistribution.mode
    monkeypatch.setattr(
        DiagonalGaussianDistribution, "sample", lambda self, generator=None: mode(self)
    )


def theirs(folder, branch, noise, scale):
    """Latents of diffusers' pipeline with a ControlNet."""
    control = diffusers.SD3ControlNetModel.from_pretrained(branch)
    pipe = diffusers.StableDiffusion3ControlNetPipeline.from_pretrained(folder, controlnet=control)
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        PROMPT, control_image=LOOK, controlnet_conditioning_scale=scale, latents=noise, height=16,
        width=16, num_inference_steps=STEPS, guidance_scale=3.0, output_type="latent",
    ).images  # fmt: skip


def ours(pipe, branch, scale, **options):
    control = gw.ControlNet(branch, condition="depth")(LOOK, weight=scale, is_map=True)
    asked = {"n": 1, "seed": SEED, "steps": STEPS, "cfg": 3.0} | options
    return pipe.with_(control).generate(PROMPT, **asked).latents


def difference(pipe, folder, branch, scale=0.7):
    found = theirs(folder, branch, pipe.noise(1, seed=SEED), scale)
    steered = ours(pipe, branch, scale)
    frozen = pipe.generate(PROMPT, n=1, seed=SEED, steps=STEPS, cfg=3.0).latents
    assert (steered - frozen).abs().max() > 1e-2  # it does something
    return (steered - found).abs().max()


def random_branch(place, **changes):
    settings = {
        "sample_size": 8, "patch_size": 2, "in_channels": 4, "out_channels": 4, "num_layers": 3,
        "attention_head_dim": 8, "num_attention_heads": 4, "joint_attention_dim": 48,
        "caption_projection_dim": 32, "pooled_projection_dim": 36, "pos_embed_max_size": 16,
    } | changes  # fmt: skip
    make = diffusers.SD3ControlNetModel
    random_network(lambda: make(**settings)).save_pretrained(place)
    return place


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"force_zeros_for_pooled_projection": False},
        {"joint_attention_dim": None, "use_pos_embed": False},
    ],
    ids=["zero pooled", "own pooled", "blocks without text"],
)
def test_a_control_of_diffusers_is_diffusers_pipeline(folder, pipe, tmp_path, changes) -> None:
    if changes.get("use_pos_embed") is False:
        changes = changes | {"force_zeros_for_pooled_projection": False}
    assert difference(pipe, folder, random_branch(tmp_path / "branch", **changes)) < 1e-3


def test_what_is_trained_opens_in_diffusers(folder, pipe, captioned_images, tmp_path) -> None:
    before = networks.hash_of(pipe.steered.frozen.unet)
    asked = {"steps": 6, "learning_rate": 3e-2}
    report = gw.run(control_request(captioned_images, folder, tmp_path / "out", **asked))
    assert report.controlnet and report.steps == 6 and report.norm > 0
    assert networks.hash_of(gw.Pipeline(folder, device="cpu").steered.frozen.unet) == before
    branch = tmp_path / "out" / "branch"
    config = json.loads((branch / "config.json").read_text())
    assert (config["_class_name"], config["num_layers"]) == ("SD3ControlNetModel", 2)
    assert difference(pipe, folder, branch) < 1e-3
    assert gw.ControlNet(branch).condition == "canny"


def test_a_new_branch_changes_nothing_and_copies_the_first_blocks(pipe) -> None:
    model = pipe.steered.frozen
    branch = new_branch(model, Shape(model.factor), torch.Generator().manual_seed(0))
    assert branch.is_zero_initialized and len(branch.joins) == 2
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    texts = model.reader.read([PROMPT])
    from graftwerk.diffusion.unet import prompt_inputs, run_with

    inputs, times = prompt_inputs(model.unet, texts, x, model.factor), torch.full((2,), 500.0)
    hint = branch.read(torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2)))
    with torch.no_grad():
        added = branch(x, times, hint, inputs)
        frozen = run_with(model.unet, x, times, inputs, None)
        assert torch.equal(run_with(model.unet, x, times, inputs, added), frozen)
    own, copied = branch.net.transformer_blocks, model.unet.transformer_blocks
    for mine, base in zip(own, copied, strict=False):
        assert networks.hash_of(mine) == networks.hash_of(base)


def test_a_masked_control_acts_in_its_region(pipe, tmp_path) -> None:
    """Tokens are held as maps, so masks by place apply; attention carries on the rest."""
    branch = random_branch(tmp_path / "branch")
    left = Image.new("L", (16, 16))
    left.paste(255, (0, 0, 8, 16))
    control = gw.ControlNet(branch, condition="depth")
    whole = ours(pipe, branch, 1.0)
    half = pipe.with_(control(LOOK, is_map=True, mask=left))
    masked = half.generate(PROMPT, n=1, seed=SEED, steps=STEPS, cfg=3.0).latents
    assert not torch.equal(masked, whole)


def test_what_is_refused(pipe, captioned_images, tmp_path) -> None:
    branch = random_branch(tmp_path / "wide", num_attention_heads=2, caption_projection_dim=16)
    with pytest.raises(WrongBase, match="num_attention_heads 2"):
        ours(pipe, branch, 1.0)
    with pytest.raises(BadFile, match="1 channels beside the condition image"):
        ours(pipe, random_branch(tmp_path / "extra", extra_conditioning_channels=1), 1.0)
    unet = tmp_path / "unet"
    diffusers.ControlNetModel(
        block_out_channels=(32, 32), down_block_types=("DownBlock2D",) * 2, layers_per_block=1
    ).save_pretrained(unet)
    with pytest.raises(WrongBase, match="a U-Net"):
        ours(pipe, unet, 1.0)
    single = write_sd3_pipeline(tmp_path / "one", transformer=tiny_sd3(num_layers=1))
    for folder, options, message in (
        (pipe.name, {"body": "light"}, "copy of the first half"),
        (pipe.name, {"hint": "paper"}, "copy of the first half"),
        (pipe.name, {"unlock": True}, "only U-Nets"),
        (single, {}, "two blocks or more"),
        (write_dit_pipeline(tmp_path / "dit"), {}, "for which diffusers has no ControlNet"),
    ):
        request = control_request(captioned_images, folder, tmp_path / "out", **options)
        with pytest.raises(BadInput, match=message):
            gw.run(request)


@pytest.fixture(scope="module", params=[True, False], ids=["distilled", "not distilled"])
def flux(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow") / "flux"
    return write_flux_pipeline(folder, distilled=request.param, layers=(3, 2))


def of_flux(folder, branch, noise, scale):
    """Latents of diffusers' pipeline with a ControlNet on Flux."""
    control = diffusers.FluxControlNetModel.from_pretrained(branch)
    pipe = diffusers.FluxControlNetPipeline.from_pretrained(folder, controlnet=control)
    pipe.set_progress_bar_config(disable=True)
    latents = pipe(
        PROMPT, control_image=LOOK, controlnet_conditioning_scale=scale, guidance_scale=3.0,
        latents=pipe._pack_latents(noise, *noise.shape), height=16, width=16,
        num_inference_steps=STEPS, output_type="latent",
    ).images  # fmt: skip
    return pipe._unpack_latents(latents, 16, 16, pipe.vae_scale_factor)


def flux_difference(folder, branch):
    pipe = gw.Pipeline(folder, device="cpu")
    size = {"width": 16, "height": 16}
    # true guidance is left out: diffusers gives its half without the prompt what was computed with
    # the prompt, where here each half has its own, as in the pipelines of SD3 and of U-Nets
    size |= {"cfg": 3.0 if pipe.steered.frozen.guides_itself else 1.0}
    found = of_flux(folder, branch, pipe.noise(1, seed=SEED, width=16, height=16), 0.7)
    steered = ours(pipe, branch, 0.7, **size)
    frozen = pipe.generate(PROMPT, n=1, seed=SEED, steps=STEPS, **size).latents
    assert (steered - frozen).abs().max() > 1e-2
    return (steered - found).abs().max()


FLUX = {
    "in_channels": 16, "attention_head_dim": 16, "num_attention_heads": 2, "patch_size": 1,
    "joint_attention_dim": 32, "pooled_projection_dim": 24, "axes_dims_rope": [4, 4, 8],
}  # fmt: skip


def random_flux_branch(place, **changes):
    make = diffusers.FluxControlNetModel
    settings = {**FLUX, "num_layers": 2, "num_single_layers": 1} | changes
    random_network(lambda: make(**settings)).save_pretrained(place)
    return place


@pytest.mark.parametrize("singles", [0, 1, 2])
def test_a_control_of_flux_is_diffusers_pipeline(flux, tmp_path, singles) -> None:
    branch = random_flux_branch(tmp_path / "branch", num_single_layers=singles)
    assert flux_difference(flux, branch) < 1e-3


def test_what_is_trained_on_flux_opens_in_diffusers(
    flux, captioned_images, tmp_path, monkeypatch
) -> None:
    layout = replace(checkpoint.PIPELINES["FluxPipeline"], side=8)  # of latents
    monkeypatch.setitem(checkpoint.PIPELINES, "FluxPipeline", layout)
    model = gw.Pipeline(flux, device="cpu").steered.frozen
    branch = new_branch(model, Shape(model.factor), torch.Generator().manual_seed(0))
    assert branch.is_zero_initialized and len(branch.joins) == 1 + 1
    asked = {"steps": 6, "learning_rate": 3e-2}
    report = gw.run(control_request(captioned_images, flux, tmp_path / "out", **asked))
    assert report.controlnet and report.steps == 6 and report.norm > 0
    before = networks.hash_of(model.unet)
    assert networks.hash_of(gw.Pipeline(flux, device="cpu").steered.frozen.unet) == before
    trained = tmp_path / "out" / "branch"
    config = json.loads((trained / "config.json").read_text())
    assert (config["num_layers"], config["num_single_layers"]) == (1, 1)
    assert flux_difference(flux, trained) < 1e-3


def test_what_of_flux_is_refused(flux, pipe, tmp_path) -> None:
    steered = gw.Pipeline(flux, device="cpu")
    asked = {"width": 16, "height": 16}
    for changes, kind, message in (
        ({"num_mode": 3}, BadFile, "union"),
        ({"conditioning_embedding_channels": 16}, BadFile, "hint encoder of its own"),
        ({"attention_head_dim": 8, "axes_dims_rope": [2, 2, 4]}, WrongBase, "attention_head_dim 8"),
    ):
        branch = random_flux_branch(tmp_path / message[:5], **changes)
        with pytest.raises(kind, match=message):
            ours(steered, branch, 1.0, **asked)
    with pytest.raises(WrongBase, match=r"FluxTransformer2DModel.*SD3Transformer2DModel"):
        ours(pipe, random_flux_branch(tmp_path / "flux"), 1.0)
    two = [random_flux_branch(tmp_path / str(n), num_layers=n) for n in (1, 2)]
    controls = [gw.ControlNet(one, condition="depth")(LOOK, is_map=True) for one in two]
    with pytest.raises(BadInput, match="unlike numbers of connections"):
        steered.with_(*controls).generate(PROMPT, n=1, steps=2, **asked)
