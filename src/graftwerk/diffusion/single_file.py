"""A Stable Diffusion checkpoint in one safetensors file, the form in which most are shared.

Its weights are named as in the original code; the converters of diffusers rename them for its
networks. The architecture is read from configurations next to the file, or inferred from the
shapes of its weights. The file never holds a tokenizer.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from .. import files, folders
from ..errors import BadFile
from ..models.checkpoint import ModelFolder, read_object, refuse_unsafe
from ..models.transformers import build_config
from ..settings import settings

Shapes = Mapping[str, Sequence[int]]
_KNOWN = ("v1", "v2", "xl_base")
_TRANSFORMERS = {"joint_blocks.0.": "StableDiffusion3Pipeline", "double_blocks.0.": "FluxPipeline"}


def _converters() -> Any:
    from diffusers.loaders import single_file_utils

    return single_file_utils


def shapes_of(file: Path) -> Shapes:
    """Return the shapes of the weights in a file, without reading them."""
    with safe_open(str(file), framework="pt") as opened:
        return {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118


def kind_of(file: Path, shapes: Shapes) -> tuple[str, str]:
    """Return the kind of a single file, and the hub id of its base pipeline.

    Raises:
        BadFile: the kind of pipeline is not supported.
    """
    for part, pipeline in _TRANSFORMERS.items():
        if any(part in name for name in shapes):
            refuse_transformer(file, pipeline)
    utils = _converters()
    empty = {name: torch.empty(tuple(shape), device="meta") for name, shape in shapes.items()}
    kind = str(utils.infer_diffusers_model_type(empty))
    if kind not in _KNOWN or _UNET + "input_blocks.0.0.weight" not in shapes:
        raise BadFile(
            f"{file} is not a checkpoint of a kind that is known here"
            + (f" ({kind})." if kind not in _KNOWN else "."),
            "Known: Stable Diffusion 1, 2 and XL. A LoRA is named by --lora.",
        )
    return kind, str(utils.DIFFUSERS_DEFAULT_PIPELINE_PATHS[kind]["pretrained_model_name_or_path"])


def refuse_transformer(file: Path, pipeline: str) -> NoReturn:
    """Refuse a single file of a diffusion transformer.

    Raises:
        BadFile: always; it says how to make a folder of it.
    """
    folder = str(file.with_suffix(""))
    raise BadFile(
        f"{file} has the weights of a {pipeline}, which is read as a folder alone.",
        f"Save it as one: diffusers.{pipeline}.from_single_file({str(file)!r})"
        f".save_pretrained({folder!r}), and name that.",
    )


def cached_configuration(repository: str) -> Path | None:
    """Return a pipeline's folder in the hub's cache, or None; nothing is downloaded."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repository, local_files_only=True))
    except (OSError, ValueError):
        return None
    return folder if (folder / "model_index.json").is_file() else None


def read_parts(
    file: Path, folder: Path, encoders: Mapping[str, str]
) -> dict[str, dict[str, Tensor]]:
    """Return the weights of each part, named as in its network."""
    utils, state = _converters(), load_file(file)
    state = {key: value.float() for key, value in state.items() if value.is_floating_point()}
    try:
        parts = {
            "unet": utils.convert_ldm_unet_checkpoint(dict(state), _config(folder / "unet")),
            "vae": utils.convert_ldm_vae_checkpoint(dict(state), _config(folder / "vae")),
        }
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise BadFile(
            f"{file} cannot be converted with the configurations of {folder}: {error}",
            "Put those of its own base model beside it.",
        ) from error
    texts = {name: _text_weights(state, name, kind, folder) for name, kind in encoders.items()}
    return {**parts, **texts}


def _config(folder: Path) -> dict[str, Any]:
    return read_object(folder / "config.json")


def _text_weights(
    state: Mapping[str, Tensor], name: str, kind: str, folder: Path
) -> dict[str, Tensor]:
    utils = _converters()
    open_clip = {"text_encoder": "cond_stage_model.model.", "text_encoder_2": _SECOND}[name]
    if any(key.startswith(open_clip) for key in state):
        made = empty_encoder(folder / name, kind)
        found = utils.convert_open_clip_checkpoint(made, dict(state), prefix=open_clip)
    else:
        found = utils.convert_ldm_clip_checkpoint(dict(state))
    return dict(found)


_SECOND = "conditioner.embedders.1.model."


def empty_encoder(folder: Path, kind: str) -> Any:
    """Create a text encoder of a class, without weights, from its configuration."""
    import transformers

    refuse_unsafe(folder / "config.json")
    config = build_config(ModelFolder(folder, _config(folder), ()))
    with torch.device("meta"):
        return getattr(transformers, kind)(config)


def build_encoder(folder: Path, kind: str, state: Mapping[str, Tensor]) -> nn.Module:
    """Create a text encoder with the weights of a single file, in evaluation mode.

    Raises:
        BadFile: they do not fit its configuration.
    """
    made = empty_encoder(folder, kind)
    requested = made.state_dict()
    fitting = {}
    for key, value in state.items():
        for name in (key, key.removeprefix("text_model."), f"text_model.{key}"):
            if name in requested:
                fitting[name] = value
    try:
        made.load_state_dict(fitting, assign=True)
    except RuntimeError as error:
        raise BadFile(
            f"the single file's weights do not fit {folder / 'config.json'}: {error}",
            "Put the configurations of its own base model beside it.",
        ) from error
    positions = {n: b for n, b in made.named_buffers() if b.is_meta}
    for name, buffer in positions.items():  # position indices are not saved
        parent, _, own = name.rpartition(".")
        numbers = buffer.new_empty(buffer.shape, device="cpu")
        numbers.copy_(torch.arange(buffer.shape[-1]).expand(buffer.shape))
        made.get_submodule(parent).register_buffer(own, numbers, persistent=False)
    network: nn.Module = made.eval().requires_grad_(False)
    return network


_UNET, _VAE, _FIRST = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."
_PLAIN_SECOND = "conditioner.embedders.0."
_SCALED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
_TIMES = {"num_train_timesteps": 1000, "steps_offset": 1, "timestep_spacing": "leading"}
_CONTEXTS = {768: "v1", 1024: "v2", 2048: "xl_base"}
_SIDES = {"v1": 64, "v2": 64, "xl_base": 128}  # of latents


def inferred_folder(file: Path, shapes: Shapes, kind: str, near: Sequence[Path]) -> Path | None:
    """Return a folder in the cache with the configurations of a single file.

    They follow from the shapes of its weights, besides those that lie in one of the folders
    `near`. Heads of attention follow from the width of the text, as in the base models.

    Args:
        file: the single file.
        shapes: of its weights.
        kind: see `kind_of`.
        near: folders that may hold parts: a tokenizer, a scheduler, ...

    Returns:
        None if there is no tokenizer.

    Raises:
        BadFile: the shapes are of no known kind, or do not say what the network predicts.
    """
    tokenizer = _found(near, "tokenizer", *_WORDS) or _cached_tokenizer()
    if tokenizer is None:
        return None
    try:
        made = _configurations(file, shapes, kind, near)
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise BadFile(
            f"the architecture of {file} does not follow from its weights: {error}.",
            "Put the configurations of its base model beside it.",
        ) from error
    contents = {"tokenizer": _tokenizer_files(tokenizer)}
    if kind == "xl_base":
        second = _found(near, "tokenizer_2", *_WORDS)
        contents["tokenizer_2"] = _tokenizer_files(second or tokenizer)
    if kind != "v1":  # all encoders of open_clip read prompts that are padded by the token 0
        last = [*contents][-1]
        contents[last] = _padded_by_zero(contents[last])
    digest = files.sha256_of_json([made, contents])
    target = settings().cache / "single-file" / digest[:32]
    if not target.is_dir():
        with folders.working_folder(target, lambda _: True) as working:
            for path, content in made.items():
                files.write_json(working / path, content)
            for name, texts in contents.items():
                for path, text in texts.items():
                    files.write_text(working / name / path, text)
    return target


_WORDS = ("vocab.json", "tokenizer.json")  # either will do


def _found(near: Sequence[Path], part: str, *names: str) -> Path | None:
    found = (place / part for place in near for name in names if (place / part / name).is_file())
    return next(found, None)


def _cached_tokenizer() -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache("openai/clip-vit-large-patch14", "vocab.json")
    folder = Path(found).parent if isinstance(found, str) else None
    return folder if folder is not None and (folder / "merges.txt").is_file() else None


def _tokenizer_files(folder: Path) -> dict[str, str]:
    names = (*_WORDS, "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
    return {name: (folder / name).read_text("utf-8") for name in names if (folder / name).is_file()}


def _padded_by_zero(texts: Mapping[str, str]) -> dict[str, str]:
    try:
        whole = files.parse_json(texts.get("tokenizer.json", "{}"))
        words = whole["model"]["vocab"] if whole else files.parse_json(texts["vocab.json"])
        first = next(word for word, number in words.items() if number == 0)
        config = files.parse_json(texts.get("tokenizer_config.json", "{}")) | {"pad_token": first}
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise BadFile(
            "the tokenizer of the second text encoder has no vocabulary that can be read.",
            "Copy the folder tokenizer_2 of its base model next to the file.",
        ) from error
    others = {name: text for name, text in texts.items() if name != "special_tokens_map.json"}
    return {**others, "tokenizer_config.json": json.dumps(config)}


def _configurations(
    file: Path, shapes: Shapes, kind: str, near: Sequence[Path]
) -> dict[str, dict[str, Any]]:
    """Return the configuration of each part by its path."""
    place = _found(near, "scheduler", "scheduler_config.json")
    if place is not None:
        scheduler = read_object(place / "scheduler_config.json")
    else:
        scheduler = _scheduler(file, shapes, kind)
    is_v = scheduler.get("prediction_type") == "v_prediction"
    side = 96 if kind == "v2" and is_v else _SIDES[kind]
    found = {"unet": _unet(shapes, side), "vae": _vae(shapes, kind, side)}
    index: dict[str, Any] = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", scheduler["_class_name"]],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    }
    if kind == "xl_base":
        found["text_encoder"] = _clip(shapes, _PLAIN_SECOND + "transformer.text_model.")
        found["text_encoder_2"] = _open_clip(shapes, _SECOND)
        index |= {"_class_name": "StableDiffusionXLPipeline"}
        index |= {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}
        index |= {"tokenizer_2": index["tokenizer"], "force_zeros_for_empty_prompt": True}
        # of six numbers; the rest is the pooled text
        pooled = found["text_encoder_2"]["projection_dim"]
        inputs = shapes[f"{_UNET}label_emb.0.0.weight"][1]
        found["unet"] |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": (inputs - pooled) // 6,
            "projection_class_embeddings_input_dim": inputs,
        }
    elif kind == "v2":
        found["text_encoder"] = _open_clip(shapes, _FIRST + "model.")
    else:
        found["text_encoder"] = _clip(shapes, _FIRST + "transformer.text_model.")
    for part in found:
        if (own := _found(near, part, "config.json")) is not None:
            found[part] = read_object(own / "config.json")
    made = {f"{part}/config.json": config for part, config in found.items()}
    return {**made, "scheduler/scheduler_config.json": scheduler, "model_index.json": index}


def _scheduler(file: Path, shapes: Shapes, kind: str) -> dict[str, Any]:
    """Return the scheduler of the base model."""
    if kind == "xl_base":
        # marks that fine-tunes carry, as ComfyUI reads them
        predicted = "v_prediction" if "v_pred" in shapes else "epsilon"
        zero = {"rescale_betas_zero_snr": True} if "ztsnr" in shapes else {}
        kind_of_steps = {"_class_name": "EulerDiscreteScheduler", "prediction_type": predicted}
        return {**kind_of_steps, **_SCALED, **_TIMES, **zero}
    if kind == "v2":
        place = file.with_suffix("") / "scheduler" / "scheduler_config.json"
        example = {"_class_name": "DDIMScheduler", **_SCALED, "set_alpha_to_one": False}
        example |= {"clip_sample": False, "steps_offset": 1, "prediction_type": "v_prediction"}
        raise BadFile(
            f"{file} is a Stable Diffusion 2, whose weights do not say whether it predicts v "
            "(those for 768 pixels) or noise (the base model, for 512).",
            f"Write it into {place}: {json.dumps(example)}, or with epsilon.",
        )
    own = {"skip_prk_steps": True, "set_alpha_to_one": False, "prediction_type": "epsilon"}
    return {"_class_name": "PNDMScheduler", **_SCALED, **_TIMES, **own}


def _count(shapes: Shapes, prefix: str) -> int:
    """Return how many numbers follow a prefix in names of weights."""
    pattern = re.compile(rf"{re.escape(prefix)}(\d+)\.")
    found = {int(match[1]) for name in shapes if (match := pattern.match(name))}
    return max(found, default=-1) + 1


def _unet(shapes: Shapes, side: int) -> dict[str, Any]:
    blocks: list[list[str]] = [[]]
    for number in range(1, _count(shapes, f"{_UNET}input_blocks.")):
        layer = f"{_UNET}input_blocks.{number}."
        if f"{layer}0.op.weight" in shapes:
            blocks.append([])
        else:
            blocks[-1].append(layer)
    widths = [shapes[f"{layers[0]}0.out_layers.3.weight"][0] for layers in blocks]
    depths = [_count(shapes, f"{layers[0]}1.transformer_blocks.") for layers in blocks]
    middle = f"{_UNET}middle_block.1."
    context = shapes[f"{middle}transformer_blocks.0.attn2.to_k.weight"][1]
    kind = _CONTEXTS[context]
    each = {len(layers) for layers in blocks}
    if len(each) > 1:
        raise ValueError("its blocks have unlike numbers of layers")
    layered = [
        *(depth or 1 for depth in depths[:-1]),
        _count(shapes, f"{middle}transformer_blocks."),
    ]
    return {
        "_class_name": "UNet2DConditionModel", "sample_size": side,
        "in_channels": shapes[f"{_UNET}input_blocks.0.0.weight"][1],
        "out_channels": shapes[f"{_UNET}out.2.weight"][0],
        "block_out_channels": widths, "layers_per_block": each.pop(),
        "down_block_types": ["CrossAttnDownBlock2D" if d else "DownBlock2D" for d in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if d else "UpBlock2D" for d in depths[::-1]],
        "cross_attention_dim": context, "transformer_layers_per_block": layered,
        "use_linear_projection": len(shapes[f"{middle}proj_in.weight"]) == 2,
        # diffusers' name for the number of heads
        "attention_head_dim": 8 if kind == "v1" else [width // 64 for width in widths],
    }  # fmt: skip


def _vae(shapes: Shapes, kind: str, side: int) -> dict[str, Any]:
    down = f"{_VAE}encoder.down."
    count = _count(shapes, down)
    widths = [shapes[f"{down}{number}.block.0.conv1.weight"][0] for number in range(count)]
    return {
        "_class_name": "AutoencoderKL", "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * count,
        "up_block_types": ["UpDecoderBlock2D"] * count,
        "layers_per_block": _count(shapes, f"{down}0.block."),
        "latent_channels": shapes[f"{_VAE}decoder.conv_in.weight"][1],
        "sample_size": side * 2 ** (count - 1),
        "scaling_factor": 0.13025 if kind == "xl_base" else 0.18215,
    }  # fmt: skip


def _text(width: int, layers: int, inner: int, words: Sequence[int], most: int) -> dict[str, Any]:
    return {
        "model_type": "clip_text_model", "hidden_size": width, "num_attention_heads": width // 64,
        "num_hidden_layers": layers, "intermediate_size": inner, "vocab_size": words[0],
        "max_position_embeddings": most, "projection_dim": width,
        "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip


def _clip(shapes: Shapes, prefix: str) -> dict[str, Any]:
    words = shapes[f"{prefix}embeddings.token_embedding.weight"]
    most = shapes[f"{prefix}embeddings.position_embedding.weight"][0]
    layers = f"{prefix}encoder.layers."
    inner = shapes[f"{layers}0.mlp.fc1.weight"][0]
    found = _text(words[1], _count(shapes, layers), inner, words, most)
    return {**found, "hidden_act": "quick_gelu"}


def _open_clip(shapes: Shapes, prefix: str) -> dict[str, Any]:
    words = shapes[f"{prefix}token_embedding.weight"]
    most = shapes[f"{prefix}positional_embedding"][0]
    layers = f"{prefix}transformer.resblocks."
    inner = shapes[f"{layers}0.mlp.c_fc.weight"][0]
    # version 2 reads the states before its last of 24 layers, which diffusers leaves out
    count = min(_count(shapes, layers), 23 if prefix.startswith(_FIRST) else 1000)
    found = _text(words[1], count, inner, words, most)
    projected = shapes.get(f"{prefix}text_projection", (0, words[1]))[1]
    return {**found, "hidden_act": "gelu", "projection_dim": projected}
