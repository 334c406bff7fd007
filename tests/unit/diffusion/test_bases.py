"""A LoRA or a branch fits a model whose decoder is another: decoders come after what they steer."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import graftwerk as gw
from graftwerk.controlnet.branch import Shape, make_branch
from graftwerk.controlnet.checkpoint import open_branch, write_own
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.errors import WrongBase


def changed(folder, to, kind):
    """Copy a pipeline with one weight of the autoencoder changed: an encoder's or a decoder's."""
    shutil.copytree(folder, to)
    [file] = (to / "vae").glob("*.safetensors")
    state = load_file(file)
    name = next(key for key in sorted(state) if key.startswith(kind))
    save_file(state | {name: state[name] + 0.5}, file)
    return load_diffusion(str(to), "cpu")


def saved_branch(model, folder):
    branch = make_branch(model.unet, Shape(model.factor), torch.Generator().manual_seed(0))
    folder.mkdir()
    base = {"name": model.name, "fingerprint": model.denoiser_fingerprint}
    write_own(folder, branch, base, "canny")
    return folder


def test_a_branch_opens_with_another_decoder_and_not_with_another_encoder(text_pipeline, tmp_path):
    model = load_diffusion(str(text_pipeline), "cpu")
    branch = saved_branch(model, tmp_path / "branch")
    assert open_branch(branch, model)
    other = changed(text_pipeline, tmp_path / "decoder", "decoder.")
    assert other.fingerprint != model.fingerprint
    assert open_branch(branch, other)
    with pytest.raises(WrongBase, match=model.denoiser_fingerprint[:12]):
        open_branch(branch, changed(text_pipeline, tmp_path / "encoder", "encoder."))


def test_a_replaced_decoder_is_named_by_the_model(text_pipeline, tmp_path):
    model = load_diffusion(str(text_pipeline), "cpu")
    branch = make_branch(model.unet, Shape(model.factor), torch.Generator().manual_seed(0))
    (tmp_path / "branch").mkdir()
    write_own(tmp_path / "branch", branch, {"name": "m", "fingerprint": model.fingerprint}, "canny")
    changed(text_pipeline, tmp_path / "other", "decoder.")
    with pytest.raises(WrongBase):
        open_branch(tmp_path / "branch", load_diffusion(str(tmp_path / "other"), "cpu"))
    index = tmp_path / "other" / "model_index.json"
    content = json.loads(index.read_text()) | {"_former_fingerprints": model.fingerprint}
    index.write_text(json.dumps(content))
    assert open_branch(tmp_path / "branch", load_diffusion(str(tmp_path / "other"), "cpu"))


def test_a_trained_lora_steers_the_model_with_another_decoder(text_pipeline, tmp_path):
    from graftwerk.adapters.lora import Rank, install

    model = load_diffusion(str(text_pipeline), "cpu")
    generator = torch.Generator().manual_seed(0)
    lora = install(model.unet, Rank(2), generator, model.denoiser_fingerprint)
    lora.save(tmp_path / "lora", str(text_pipeline), {"parameters": 1})
    changed(text_pipeline, tmp_path / "other", "decoder.")
    pipe = gw.Pipeline(tmp_path / "other", device="cpu")
    assert pipe.with_(gw.Lora(tmp_path / "lora")).generate("a cube", steps=1, seed=0).images


def test_rounded_weights_have_the_latents_of_the_file(text_pipeline):
    models = [load_diffusion(str(text_pipeline), "cpu", None, p) for p in ("float32", "bfloat16")]
    assert models[0].space.identity == models[1].space.identity
    assert models[0].denoiser_fingerprint == models[1].denoiser_fingerprint
