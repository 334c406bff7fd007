"""Checkpoints in one file, and folders whose weights are a variant."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from graftwerk.diffusion.checkpoint import locate_pipeline, open_pipeline
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.errors import BadFile, Damaged

pytestmark = pytest.mark.usefixtures("one_thread")
UNET = "diffusion_pytorch_model"
# Layers of a residual block, of the first code's U-Net and of its autoencoder.
RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
          "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}  # fmt: skip
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def renamed(name, layers):
    for here, there in layers.items():
        name = re.sub(rf"\.{re.escape(here)}\.", f".{there}.", name)
    return name


def unet_key(key):
    """The name that a weight of the tiny U-Net had in the first code."""
    for here, there in (
        ("conv_in.", "input_blocks.0.0."),
        ("time_embedding.linear_1.", "time_embed.0."),
        ("time_embedding.linear_2.", "time_embed.2."),
        ("conv_norm_out.", "out.0."),
        ("conv_out.", "out.2."),
        ("mid_block.resnets.0.", "middle_block.0."),
        ("mid_block.attentions.0.", "middle_block.1."),
        ("mid_block.resnets.1.", "middle_block.2."),
    ):
        if key.startswith(here):
            return renamed(key.replace(here, there), RESNET if "resnets" in key else {})
    block, kind, layer, rest = re.fullmatch(
        r"(\w+_blocks\.\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", key
    ).groups()
    number, inner = int(block[-1]), {"resnets": 0, "attentions": 1}.get(kind)
    if block.startswith("down"):
        place = f"input_blocks.{2 * number + 1 + (kind == 'downsamplers')}"
        name = f"{place}.0.op.{rest[5:]}" if inner is None else f"{place}.{inner}.{rest}"
    else:
        # an upsampler follows the resnet and the attention of its block's last layer
        place = f"output_blocks.{2 * number + (1 if inner is None else int(layer))}"
        name = f"{place}.{1 if inner is None else inner}.{rest}"
    return renamed(name, RESNET if kind == "resnets" else {})


def vae_key(key):
    last = 1  # of two blocks
    key = re.sub(r"up_blocks\.(\d)", lambda m: f"up.{last - int(m[1])}", key)
    key = re.sub(r"down_blocks\.(\d)", r"down.\1", key)
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    key = key.replace("mid_block.attentions.0", "mid.attn_1").replace("conv_norm_out", "norm_out")
    key = key.replace("resnets.", "block.").replace("conv_shortcut", "nin_shortcut")
    key = key.replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")
    return renamed(key, ATTENTION) if "attn_1" in key else key


def write_single(pipeline, file):
    """The weights of a pipeline under the names of the first code."""
    parts = {
        part: load_file(pipeline / part / f"{'model' if 'text' in part else UNET}.safetensors")
        for part in ("unet", "vae", "text_encoder")
    }
    state = {f"model.diffusion_model.{unet_key(k)}": v for k, v in parts["unet"].items()}
    for key, value in parts["vae"].items():
        if "mid.attn_1" in vae_key(key) and value.ndim == 2:
            value = value[:, :, None, None]  # convolutions then
        state[f"first_stage_model.{vae_key(key)}"] = value
    for key, value in parts["text_encoder"].items():
        name = key if key.startswith("text_model.") else f"text_model.{key}"
        state[f"cond_stage_model.transformer.{name}"] = value
    save_file({key: value.contiguous() for key, value in state.items()}, file)


@pytest.fixture
def single(text_pipeline, tmp_path):
    """A single file, and the configurations of its networks in a folder of its name."""
    shutil.copytree(
        text_pipeline, tmp_path / "style", ignore=shutil.ignore_patterns("*.safetensors")
    )
    write_single(text_pipeline, tmp_path / "style.safetensors")
    return tmp_path / "style.safetensors"


def require_equal(model, other):
    assert model.networks.keys() == other.networks.keys()
    for network, its in [*zip(model.networks.values(), other.networks.values(), strict=True),
                         (model.decoder, other.decoder)]:  # fmt: skip
        one, two = network.state_dict(), its.state_dict()
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
    texts, same = (m.reader.read(["a red cube"]) for m in (model, other))
    assert torch.equal(texts.states, same.states)


def test_a_single_file_is_the_folder(text_pipeline, single) -> None:
    require_equal(load_diffusion(str(single), "cpu"), load_diffusion(str(text_pipeline), "cpu"))


def test_configurations_may_lie_beside_the_file(text_pipeline, single) -> None:
    for path in (single.parent / "style").iterdir():
        path.rename(single.parent / path.name)
    require_equal(load_diffusion(str(single), "cpu"), load_diffusion(str(text_pipeline), "cpu"))


def test_its_fingerprint_is_of_weights_and_configurations(single) -> None:
    first = open_pipeline(locate_pipeline(str(single))).fingerprint()
    state = load_file(single)
    save_file({k: v + 1 for k, v in state.items()}, single)
    assert open_pipeline(single).fingerprint() != first


def test_without_configurations_it_is_said_what_is_missing(single) -> None:
    shutil.rmtree(single.with_suffix(""))
    with pytest.raises(BadFile, match=r"stable-diffusion.*model_index\.json"):
        open_pipeline(single)


def test_a_single_file_that_is_cut_or_of_another_size(single) -> None:
    config = single.with_suffix("") / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"cross_attention_dim": 16}))
    with pytest.raises(BadFile, match="do not fit"):
        load_diffusion(str(single), "cpu")
    single.write_bytes(single.read_bytes()[:1000])
    with pytest.raises(Damaged):
        load_diffusion(str(single), "cpu")


def halve(folder, variant, pieces=False):
    """Save a pipeline's weights as a variant, whole or in two pieces, and no other."""
    for part, stem in (("unet", UNET), ("vae", UNET), ("text_encoder", "model")):
        plain = folder / part / f"{stem}.safetensors"
        state = {key: value.half() for key, value in load_file(plain).items()}
        plain.unlink()
        if not pieces:
            save_file(state, folder / part / f"{stem}.{variant}.safetensors", {"format": "pt"})
            continue
        names = sorted(state)
        chunks = {f"{stem}.{variant}-0000{n + 1}-of-00002.safetensors": names[n::2] for n in (0, 1)}
        for file, keys in chunks.items():
            save_file({k: state[k] for k in keys}, folder / part / file, {"format": "pt"})
        index = {"metadata": {}, "weight_map": {k: f for f, keys in chunks.items() for k in keys}}
        (folder / part / f"{stem}.safetensors.index.{variant}.json").write_text(json.dumps(index))


@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize("variant", ["fp16", "non_ema"])
def test_a_variant_alone_is_read(text_pipeline, tmp_path, variant, pieces) -> None:
    folder = shutil.copytree(text_pipeline, tmp_path / "pipeline")
    halve(folder, variant, pieces)
    found = load_diffusion(str(folder), "cpu")
    for part, network in load_diffusion(str(text_pipeline), "cpu").networks.items():
        other = found.networks[part].state_dict()
        for key, value in network.state_dict().items():
            assert torch.equal(other[key], value.half().float())


def test_the_plain_weights_come_first(text_pipeline, tmp_path) -> None:
    folder = shutil.copytree(text_pipeline, tmp_path / "pipeline")
    halve(shutil.copytree(text_pipeline, tmp_path / "half"), "non_ema")
    for part in ("unet", "vae", "text_encoder"):
        for file in (tmp_path / "half" / part).glob("*.non_ema.safetensors"):
            shutil.copy(file, folder / part)
    require_equal(load_diffusion(str(folder), "cpu"), load_diffusion(str(text_pipeline), "cpu"))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_piece_of_a_variant_is_missing(text_pipeline, tmp_path, part) -> None:
    folder = shutil.copytree(text_pipeline, tmp_path / "pipeline")
    halve(folder, "fp16", pieces=True)
    next((folder / part).glob("*00002-of*")).unlink()
    with pytest.raises(BadFile, match=rf"{part} lacks its weights .*00002-of-00002"):
        load_diffusion(str(folder), "cpu")


def test_a_pickle_alone_is_refused_with_the_line_that_converts(text_pipeline, tmp_path) -> None:
    folder = shutil.copytree(text_pipeline, tmp_path / "pipeline")
    (folder / "vae" / f"{UNET}.safetensors").rename(folder / "vae" / f"{UNET}.bin")
    with pytest.raises(BadFile, match=r"AutoencoderKL\.from_pretrained\(.*vae.*save_pretrained"):
        load_diffusion(str(folder), "cpu")
