"""The zero law asked of adapters that ask a model of their own, and of control branches."""

import pytest
import torch
from PIL import Image
from tests import networks, pipelines

import graftwerk as gw
from graftwerk import folders
from graftwerk.adapters.manifest import Adapter, write_bundle
from graftwerk.controlnet.branch import Shape, weights_of
from graftwerk.controlnet.checkpoint import write_controlnet
from graftwerk.controlnet.transformer import new_branch
from graftwerk.errors import WrongBase

LOOK = Image.linear_gradient("L").resize((16, 16)).convert("RGB")
# a new adapter that asks a model joins with one line
BUILT_IN = {
    "class": lambda scale: gw.ClassGuide("red cube", scale),
    "text": lambda scale: gw.TextGuide("a red cube", scale),
    "image": lambda scale: gw.ImageGuide(LOOK, scale),
    "control": lambda scale: gw.ControlNet("builtin/blocks-canny")(LOOK, weight=scale),
}


@pytest.fixture(scope="module", params=["text", "sd3"])
def folder(tmp_path_factory, request):
    write = getattr(pipelines, f"write_{request.param}_pipeline")
    return write(tmp_path_factory.mktemp("law") / "pipeline")


@pytest.fixture(scope="module")
def branches(folder, tmp_path_factory):
    """Folders of a branch as it is initialized, and of one that has learned something."""
    model = gw.Pipeline(folder, device="cpu").steered.frozen
    locations = tmp_path_factory.mktemp("branches")
    generator = torch.Generator().manual_seed(4)
    branch = new_branch(model, Shape(model.factor), generator)
    for name in ("initial", "trained"):
        with folders.working_folder(locations / name) as working:
            write_controlnet(working, branch, model.unet)
            write_bundle(working, "control", model.name, model.fingerprint, {"condition": "canny"})
        with torch.no_grad():
            for weight in weights_of(branch).values():
                weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return {name: locations / name for name in ("initial", "trained")}


def latents(pipe):
    return pipe.generate("a red cube", n=2, steps=3, seed=5, cfg=3.0, check=False).latents


def hash_of(pipe):
    model = pipe.steered.frozen
    return [networks.hash_of(one) for one in (model.unet, model.decoder)]


def test_a_branch_at_initialization_is_the_frozen_model(folder, branches):
    pipe = gw.Pipeline(folder, device="cpu")
    initial = gw.ControlNet(branches["initial"])(LOOK)
    trained = gw.ControlNet(branches["trained"])(LOOK)
    frozen = latents(pipe)
    assert torch.equal(latents(pipe.with_(initial)), frozen)
    assert not torch.equal(latents(pipe.with_(trained)), frozen)


@pytest.fixture(scope="module")
def blocks():
    return gw.Pipeline("builtin/blocks", device="cpu")


@pytest.mark.parametrize("kind", BUILT_IN)
def test_the_zero_law_of_adapters_that_ask_a_model(blocks, kind):
    weights, frozen = hash_of(blocks), latents(blocks)
    zero, work = (BUILT_IN[kind](scale) for scale in (0.0, 1.0))
    assert isinstance(work, Adapter) and zero.is_zero and not work.is_zero
    assert torch.equal(latents(blocks.with_(zero)), frozen)
    steered = blocks.with_(work)
    assert not torch.equal(latents(steered), frozen)
    assert torch.equal(latents(work.remove(steered)), frozen)
    assert hash_of(blocks) == weights


def test_at_zero_a_denoiser_is_the_frozen_one(blocks):
    x = blocks.noise(2, seed=3)
    plain = blocks.denoiser("a red cube", cfg=1.0)
    zeros = blocks.with_(*(make(0.0) for make in BUILT_IN.values()))
    with torch.inference_mode():
        assert torch.equal(zeros.denoiser("a red cube", cfg=1.0)(x, 2.0), plain(x, 2.0))
    assert gw.guided(plain, lambda x, sigma: x.sum(dim=(1, 2, 3)), 0.0) is plain


def test_another_base_is_refused_by_name(tmp_path, folder, branches):
    unet = pipelines.tiny_unet()
    with torch.no_grad():
        for weight in unet.parameters():
            weight.add_(0.01)
    other = gw.Pipeline(pipelines.write_text_pipeline(tmp_path / "other", unet=unet), device="cpu")
    with pytest.raises(WrongBase) as caught:
        other.with_(gw.ControlNet(branches["trained"])(LOOK, weight=0.0))
    for pipe in (other, gw.Pipeline(folder, device="cpu")):
        assert pipe.fingerprint[:12] in str(caught.value)


def test_a_classifier_of_another_latent_space_is_refused_by_name(folder):
    with pytest.raises(WrongBase, match="latent space") as caught:
        gw.Pipeline(folder, device="cpu").with_(gw.ClassGuide("red cube", 0.0))
    assert str(folder) in str(caught.value)
