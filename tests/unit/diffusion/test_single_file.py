"""Checkpoints in one file, and folders whose weights are a variant."""

import json
import re
import shutil

import diffusers
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests import pipelines

import graftwerk as gw
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


def unet_key(key, layers=1, attentive=()):
    """The name that a weight of a U-Net with so many layers a block had in the first code."""
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
    number, inner = int(block[-1]) * (layers + 1), {"resnets": 0, "attentions": 1}.get(kind)
    if block.startswith("down"):
        place = f"input_blocks.{number + 1 + (layers if kind == 'downsamplers' else int(layer))}"
        name = f"{place}.0.op.{rest[5:]}" if inner is None else f"{place}.{inner}.{rest}"
    else:
        # an upsampler follows the resnet and the attention of its block's last layer
        place = f"output_blocks.{number + (layers if inner is None else int(layer))}"
        follows = 1 + (block in attentive)
        name = f"{place}.{follows if inner is None else inner}.{rest}"
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


def test_without_a_tokenizer_it_is_said_what_is_missing(single, bare) -> None:
    shutil.rmtree(single.with_suffix(""))
    with pytest.raises(BadFile, match=r"no tokenizer"):
        open_pipeline(single)
    file = bare("v1")
    shutil.rmtree(file.with_suffix(""))
    with pytest.raises(BadFile, match=r"no tokenizer is in .*stable-diffusion-v1-5"):
        open_pipeline(file)


def as_open_clip(state, prefix):
    """The weights of a text encoder under open_clip's names."""
    found = {}
    for key, value in state.items():
        name = key.removeprefix("text_model.").replace("encoder.layers.", "transformer.resblocks.")
        for here, there in (
            ("embeddings.token_embedding", "token_embedding"),
            ("embeddings.position_embedding.weight", "positional_embedding"),
            ("final_layer_norm", "ln_final"), ("layer_norm", "ln_"), ("fc1", "c_fc"),
            ("fc2", "c_proj"), ("self_attn.out_proj", "attn.out_proj"),
            ("text_projection.weight", "text_projection"),
        ):  # fmt: skip
            name = name.replace(here, there)
        if match := re.fullmatch(r"(.*)self_attn\.([qkv])_proj\.(weight|bias)", name):
            found.setdefault(f"{match[1]}attn.in_proj_{match[3]}", {})[match[2]] = value
        else:
            found[name] = value.T.contiguous() if name == "text_projection" else value
    joined = {
        name: torch.cat([value[part] for part in "qkv"]) if isinstance(value, dict) else value
        for name, value in found.items()
    }
    return {f"{prefix}{name}": value for name, value in joined.items()}


def encoder(vocabulary, width, kind="CLIPTextModel", layers=2, **options):
    made = transformers.CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=64,
        num_hidden_layers=layers, num_attention_heads=width // 64, max_position_embeddings=16, bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1, **options,
    )  # fmt: skip
    return pipelines.random_network(lambda: getattr(transformers, kind)(made))


@pytest.fixture
def bare(tmp_path):
    """Makes a single file with nothing but a tokenizer beside it, and its folder of diffusers."""

    def make(kind):
        context = {"v1": 768, "v2": 1024, "xl_base": 2048}[kind]
        xl, linear = kind == "xl_base", kind != "v1"
        more = {
            "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 20,
            "transformer_layers_per_block": [1, 2],
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        } if xl else {}  # fmt: skip
        unet = pipelines.tiny_unet(
            block_out_channels=(64, 128), norm_num_groups=32, cross_attention_dim=context,
            attention_head_dim=[1, 2] if linear else 8, use_linear_projection=linear,
            sample_size=128 if xl else 64, layers_per_block=LAYERS[kind], **more,
        )  # fmt: skip
        vae = pipelines.random_network(
            lambda: diffusers.AutoencoderKL(
                block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, sample_size=128,
                scaling_factor=0.13025 if xl else 0.18215,
            )
        )  # fmt: skip
        tokenizer, padded = pipelines.tiny_tokenizer(), pipelines.tiny_tokenizer()
        padded.pad_token = "a"
        words = len(tokenizer)
        common = {"unet": unet, "vae": vae, "tokenizer": padded if kind == "v2" else tokenizer}
        if xl:
            pipe = diffusers.StableDiffusionXLPipeline(
                **common, scheduler=diffusers.EulerDiscreteScheduler(**SCALED, **TIMES),
                text_encoder=encoder(words, 1984, layers=1), tokenizer_2=padded,
                text_encoder_2=encoder(words, 64, "CLIPTextModelWithProjection", 10,
                                       hidden_act="gelu", projection_dim=20),
            )  # fmt: skip
        else:
            kinds = {"v1": diffusers.PNDMScheduler, "v2": diffusers.DDIMScheduler}
            steps = {"skip_prk_steps": True} if kind == "v1" else {"clip_sample": False}
            act = {} if kind == "v1" else {"hidden_act": "gelu"}
            pipe = diffusers.StableDiffusionPipeline(
                **common, text_encoder=encoder(words, context, **act), safety_checker=None,
                scheduler=kinds[kind](**SCALED, **TIMES, **steps, set_alpha_to_one=False),
                feature_extractor=None, requires_safety_checker=False,
            )  # fmt: skip
        pipe.save_pretrained(tmp_path / "whole")
        file = tmp_path / "style.safetensors"
        write_bare(pipe, kind, file)
        shutil.copytree(tmp_path / "whole" / "tokenizer", tmp_path / "style" / "tokenizer")
        if kind == "v2":
            shutil.copytree(tmp_path / "whole" / "scheduler", tmp_path / "style" / "scheduler")
        if kind != "v1":  # what is found beside it is that of the first encoder
            tokenizer.save_pretrained(tmp_path / "style" / "tokenizer")
        return file

    return make


SCALED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
TIMES = {"steps_offset": 1, "timestep_spacing": "leading"}
LAYERS = {"v1": 1, "v2": 2, "xl_base": 1}  # diffusers knows the second by a layer of this place
ADDED = {"linear_1": "0.0", "linear_2": "0.2"}


def write_bare(pipe, kind, file):
    state, types = {}, pipe.unet.config.up_block_types
    attentive = [f"up_blocks.{n}" for n, name in enumerate(types) if name.startswith("Cross")]
    for key, value in pipe.unet.state_dict().items():
        added = re.fullmatch(r"add_embedding\.(linear_\d)\.(\w+)", key)
        name = (
            f"label_emb.{ADDED[added[1]]}.{added[2]}"
            if added
            else unet_key(key, LAYERS[kind], attentive)
        )
        state[f"model.diffusion_model.{name}"] = value
    for key, value in pipe.vae.state_dict().items():
        square = "mid.attn_1" in vae_key(key) and value.ndim == 2
        state[f"first_stage_model.{vae_key(key)}"] = value[:, :, None, None] if square else value
    texts = {f"text_model.{k.removeprefix('text_model.')}": v
             for k, v in pipe.text_encoder.state_dict().items()}  # fmt: skip
    if kind == "v2":
        state |= as_open_clip(texts, "cond_stage_model.model.")
    else:
        prefix = "conditioner.embedders.0" if kind == "xl_base" else "cond_stage_model"
        state |= {f"{prefix}.transformer.{key}": value for key, value in texts.items()}
    if kind == "xl_base":
        state |= as_open_clip(pipe.text_encoder_2.state_dict(), "conditioner.embedders.1.model.")
    save_file({key: value.contiguous() for key, value in state.items()}, file)


@pytest.mark.parametrize("kind", ["v1", "v2", "xl_base"])
def test_its_configurations_follow_from_its_shapes(bare, tmp_path, kind) -> None:
    file = bare(kind)
    found = load_diffusion(str(file), "cpu")
    whole = load_diffusion(str(tmp_path / "whole"), "cpu")
    require_equal(found, whole)
    assert found.noise.options == whole.noise.options and found.size == whole.size
    for part, network in found.networks.items():
        given, same = (
            n.config.to_dict() if "text" in part else dict(n.config)
            for n in (network, whole.networks[part])
        )
        for key in (
            "hidden_act", "num_attention_heads", "attention_head_dim", "layers_per_block",
            "down_block_types", "sample_size",
        ):  # fmt: skip
            assert given.get(key) == same.get(key), (part, key)
    assert found.space.identity == whole.space.identity
    options = {"n": 1, "steps": 2, "width": 32, "height": 32}
    made, expected = (gw.Pipeline(one).generate("a red cube", **options) for one in (found, whole))
    assert torch.equal(made.latents, expected.latents)


def test_a_stable_diffusion_2_must_say_what_it_predicts(bare, tmp_path) -> None:
    file = bare("v2")
    shutil.rmtree(tmp_path / "style" / "scheduler")
    with pytest.raises(BadFile, match=r"do not say whether it predicts v.*v_prediction"):
        open_pipeline(file)


@pytest.mark.parametrize("pipeline", ["StableDiffusion3Pipeline", "FluxPipeline"])
def test_a_transformer_is_refused_with_the_line_that_makes_a_folder(tmp_path, pipeline) -> None:
    part = {"StableDiffusion3Pipeline": "joint_blocks", "FluxPipeline": "double_blocks"}[pipeline]
    save_file({f"model.diffusion_model.{part}.0.a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(BadFile, match=rf"{pipeline}\.from_single_file\('.*a.safetensors'\)"):
        open_pipeline(tmp_path / "a.safetensors")


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
