"""Unlocked decoders, activations that are computed twice, and several processes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.pipelines import control_request

from graftwerk.commands import condition, generate
from graftwerk.controlnet.checkpoint import read_branch
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.errors import BadInput, WrongBase
from graftwerk.requests.generate import Generate
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).parents[3]
WEIGHTS = "diffusion_pytorch_model.safetensors"


def test_an_unlocked_decoder_is_a_new_model(tmp_path, captioned_images, text_pipeline):
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

    requested = control_request(captioned_images, text_pipeline, tmp_path / "a", unlock=True)
    before = load_diffusion(str(text_pipeline), "cpu").fingerprint
    report = condition.run_control_train(requested, Silent())
    assert report.unlocked == str(tmp_path / "a" / "model")
    assert load_diffusion(str(text_pipeline), "cpu").fingerprint == before
    old, new = (load_file(f / "unet" / WEIGHTS) for f in (text_pipeline, tmp_path / "a" / "model"))
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed and all(
        n.startswith(("up_blocks.", "conv_norm_out.", "conv_out.")) for n in changed
    )
    again = condition.run_control_train(requested, Silent())
    assert again.steps == 4
    same = load_file(tmp_path / "a" / "model" / "unet" / WEIGHTS)
    assert all(torch.equal(new[name], same[name]) for name in new)

    pipeline = StableDiffusionControlNetPipeline.from_pretrained(
        tmp_path / "a" / "model",
        controlnet=ControlNetModel.from_pretrained(tmp_path / "a" / "branch"),
        safety_checker=None,
        requires_safety_checker=False,
    )
    assert torch.equal(pipeline.unet.conv_out.weight, new["conv_out.weight"])

    image, branch = captioned_images / "0.png", tmp_path / "a" / "branch"
    sampled = {
        "control": [f"canny={image}"],
        "branch": [f"canny={branch}"],
        "out": tmp_path / "drawn",
        "steps": 1,
        "device": "cpu",
    }
    assert generate.run_generate(Generate(model=report.unlocked, **sampled), Silent()).pictures
    with pytest.raises(WrongBase, match="was made on"):
        generate.run_generate(Generate(model=str(text_pipeline), **sampled), Silent())


def test_activations_computed_twice_give_the_same_bits(
    tmp_path, captioned_images, text_pipeline, monkeypatch
):
    from graftwerk.controlnet import task

    layers = []

    def counted(function, *inputs, **options):
        layers.append(function)
        return torch.utils.checkpoint.checkpoint(function, *inputs, **options)

    monkeypatch.setattr(task, "checkpoint", counted)
    found = []
    for name, twice in (("a", False), ("b", True)):
        requested = control_request(
            captioned_images, text_pipeline, tmp_path / name, checkpointing=twice
        )
        report = condition.run_control_train(requested, Silent())
        assert report.unlocked is None and not (tmp_path / name / "model").exists()
        found.append(load_file(tmp_path / name / "branch" / WEIGHTS))
        assert bool(layers) == twice
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_a_network_of_ones_own_is_not_unlocked():
    from graftwerk.controlnet.task import save_memory, unlock

    class OwnUNet:
        encoder, joints = torch.nn.Identity(), ()

        def decode(self, skips, middle, times, inputs):
            return middle

    with pytest.raises(BadInput, match="U-Nets of diffusers"):
        unlock(OwnUNet())
    with pytest.raises(BadInput, match="recompute"):
        save_memory(OwnUNet(), "cpu", "float32")


def test_joined_to_the_middle_alone(tmp_path, captioned_images, text_pipeline):
    requested = control_request(captioned_images, text_pipeline, tmp_path / "a", middle_only=True)
    assert not condition.run_control_train(requested, Silent()).controlnet
    model = load_diffusion(str(text_pipeline), "cpu")
    branch = read_branch(
        tmp_path / "a" / "branch", model.unet, model.factor, model.name, *model.bases
    )
    assert branch.shape.middle_only
    assert branch.joins[-1].weight.any() and not branch.joins[0].weight.any()


@pytest.mark.slow
def test_two_processes_train_one_branch(tmp_path, captioned_images, text_pipeline):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    options = "--condition canny --steps 3 --batch 4 --held-out 4 --measurements 2 --device cpu"
    done = subprocess.run(
        [
            sys.executable,
            *launch,
            *("-m", "graftwerk", "control", "train", str(captioned_images)),
            *("--model", str(text_pipeline), "--out", str(tmp_path / "two")),
            *options.split(),
            *("--precision", "float32", "--json"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"verdict"') == 1  # only the first process speaks
    requested = control_request(captioned_images, text_pipeline, tmp_path / "one", batch=4)
    condition.run_control_train(requested, Silent())
    one, two = (load_file(tmp_path / n / "branch" / WEIGHTS) for n in ("one", "two"))
    # the processes draw noise of their own, so the weights are near, not equal; both moved
    assert one.keys() == two.keys()
    assert all(bool(weights["controlnet_mid_block.weight"].any()) for weights in (one, two))
    log = (tmp_path / "two" / "log.jsonl").read_text().splitlines()
    assert len(log) == 3
