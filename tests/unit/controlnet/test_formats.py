"""`ControlNetModel` folders of every configuration give what diffusers computes with them."""

import pytest
import torch
from diffusers import ControlNetModel
from tests.pipelines import random_network

from graftwerk.controlnet.branch import as_channels
from graftwerk.controlnet.checkpoint import read_branch
from graftwerk.controlnet.control import Controls, Term
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.errors import BadFile

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(text_pipeline):
    return load_diffusion(str(text_pipeline), "cpu")


def write(model, folder, **options):
    """A random ControlNet of the model's U-Net, saved by diffusers."""
    widths = (8, 16)

    def make():
        made = ControlNetModel.from_unet(
            model.unet,
            conditioning_embedding_out_channels=widths,
            conditioning_channels=options.pop("conditioning_channels", 3),
        )
        made.register_to_config(**options)
        return made

    network = random_network(make)
    network.save_pretrained(folder)
    return network


def inputs():
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(2, 4, 8, 8, generator=generator)
    states = torch.randn(2, 5, 32, generator=generator)
    return x, torch.tensor([20.0, 700.0]), states, torch.rand(2, 3, 16, 16, generator=generator)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"global_pool_conditions": True},
        {"conditioning_channels": 1},
        {"conditioning_channels": 4},
        {"controlnet_conditioning_channel_order": "bgr"},
    ],
)
def test_residuals_are_those_of_diffusers(model, tmp_path, options) -> None:
    network = write(model, tmp_path / "branch", **options)
    x, times, states, images = inputs()
    channels = options.get("conditioning_channels", 3)
    condition = as_channels(images, channels)
    assert condition.shape[1] == channels
    given = {"encoder_hidden_states": states}
    with torch.inference_mode():
        skips, middle = network(
            x, times, controlnet_cond=condition, return_dict=False, conditioning_scale=0.7, **given
        )
        branch = read_branch(tmp_path / "branch", model.unet, model.factor, "x", "y")
        controls = Controls((Term(branch, branch.read(images), 0.7),)).start(2)
        found = controls(x, times, 1.0, given)
        for ours, theirs in zip((*found.skips, found.middle), (*skips, middle), strict=True):
            assert torch.allclose(ours, theirs.expand_as(ours), atol=1e-5)
    # without a prompt small skips count more, but where they are pooled
    guessed = Controls((Term(branch, branch.read(images), 0.7),), by_size=True).start(2)
    with torch.inference_mode():
        again = guessed(x, times, 1.0, given)
    assert torch.equal(again.middle, found.middle) == branch.pools


def test_gray_is_that_of_pillow_and_a_fourth_channel_is_opaque() -> None:
    images = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1)
    gray = 0.299 * 0.2 + 0.587 * 0.5 + 0.114 * 0.9
    assert as_channels(images, 1).item() == pytest.approx(gray)
    assert as_channels(images, 4).flatten().tolist() == pytest.approx([0.2, 0.5, 0.9, 1.0])


@pytest.mark.parametrize(
    "options", [{"conditioning_channels": 5}, {"controlnet_conditioning_channel_order": "gbr"}]
)
def test_other_channels_are_refused(model, tmp_path, options) -> None:
    write(model, tmp_path / "branch", **options)
    with pytest.raises(BadFile, match="channels in the order"):
        read_branch(tmp_path / "branch", model.unet, model.factor, "x", "y")


@pytest.mark.parametrize(
    ("suffix", "line"),
    [("bin", r"from_pretrained\(.*save_pretrained"), ("pth", "from_single_file")],
)
def test_a_pickle_is_refused_with_the_line_that_converts(model, tmp_path, suffix, line) -> None:
    write(model, tmp_path / "branch")
    file = tmp_path / "branch" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_suffix(f".{suffix}"))
    with pytest.raises(BadFile, match=line):
        read_branch(tmp_path / "branch", model.unet, model.factor, "x", "y")
