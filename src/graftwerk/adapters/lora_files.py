"""Read LoRAs of diffusion models, in all common file formats.

The formats are folders of peft, `pytorch_lora_weights.safetensors` of diffusers with current names
and those of 2023, and single files of kohya, LyCORIS (LoCon) and sgm. Modules are looked up by
their path in the network itself, so a name that matches none is an error rather than a guess.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from .. import files
from ..errors import BadFile
from ..models.checkpoint import check_safetensors
from .lora_location import CONFIG, lora_file
from .lora_targets import is_projection
from .peft_format import (
    Adapter,
    adapter_fingerprint,
    read_adapter,
    require_finite,
    require_fit,
    scaling_of,
)

_PARTS = {
    "unet.": "unet",
    "transformer.": "transformer",
    "lora_unet_": "unet",
    "text_encoder.": "text_encoder",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
    "lora_te2_": "text_encoder_2",
}
_KEY = re.compile(
    r"(?P<module>.+?)(?:[._]lora(?:_linear_layer)?\.|\.lora_|\.)"
    r"(?P<kind>down|up|A|B|alpha|magnitude_vector|dora_scale)(?:\.default)?(?:\.weight)?"
)
_KINDS = {"down": "A", "up": "B", "magnitude_vector": "magnitude", "dora_scale": "magnitude"}
# Names of layers in sgm's U-Net and in diffusers; block numbers are mapped before.
_SGM_LAYERS = {
    "input_blocks_": "down_blocks_",
    "middle_block_": "mid_block_",
    "output_blocks_": "up_blocks_",
    "_in_layers_2": "_conv1",
    "_out_layers_3": "_conv2",
    "_emb_layers_1": "_time_emb_proj",
    "_skip_connection": "_conv_shortcut",
    "_downsamplers_0_op": "_downsamplers_0_conv",
}
_SGM_MODULES = {
    "input_blocks_0_0": "conv_in",
    "out_2": "conv_out",
    "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2",
    "label_emb_0_0": "add_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
}
_TEXT_LAYERS = {"_to_q": "_q_proj", "_to_k": "_k_proj", "_to_v": "_v_proj", "_to_out": "_out_proj"}
_HINT = "Known: peft folders, diffusers' pytorch_lora_weights.safetensors, kohya's LoRA and LoCon."


_Layer = dict[str, Tensor]  # of a file


def lora_fingerprint(path: Path) -> str:
    """Return the SHA-256 over the files that determine what a LoRA does.

    Raises:
        BadFile: one is missing.
    """
    file = lora_file(path)
    return adapter_fingerprint(path) if file is None else files.sha256_of_file(file)


def read_lora(path: Path, networks: Mapping[str, nn.Module], base_name: str) -> dict[str, Adapter]:
    """Read a LoRA in any known format and check that it fits.

    Args:
        path: a folder or a safetensors file.
        networks: of the pipeline, by the names of their parts.
        base_name: of the pipeline, for messages.

    Returns:
        The adapter of each part that the LoRA changes.

    Raises:
        BadFile: it is not a LoRA, is of an unknown format, or does not fit.
        Damaged: a file is truncated or contains values that are not finite.
    """
    file = lora_file(path)
    if file is None:
        part, adapter = _peft_part(path, _trunk(networks)), read_adapter(path)
        found = {part: adapter}
    else:
        check_safetensors(file)
        found = _read_file(file, networks, base_name)
    for part, adapter in found.items():
        if part not in networks:
            raise BadFile(
                f"{path} changes the {part} of a pipeline, and {base_name} has none.",
                "Name the model that it was made for.",
            )
        require_fit(adapter, path, networks[part], base_name)
    return found


def _trunk(networks: Mapping[str, nn.Module]) -> str:
    """Return the name of the U-Net or transformer, which is the first of the networks."""
    return next(iter(networks))


def _peft_part(folder: Path, trunk: str) -> str:
    config = files.read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    mapping = config.get("auto_mapping") if isinstance(config, dict) else None
    name = str((mapping or {}).get("base_model_class", "")) if isinstance(mapping, dict) else ""
    return {"CLIPTextModel": "text_encoder", "CLIPTextModelWithProjection": "text_encoder_2"}.get(
        name, trunk
    )


def _read_file(file: Path, networks: Mapping[str, nn.Module], base: str) -> dict[str, Adapter]:
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata() or {}
    state, trunk = load_file(file), _trunk(networks)
    if trunk == "unet":
        state = _with_diffusers_blocks(state, networks[trunk], file)
    layers: dict[str, dict[str, _Layer]] = {}
    for key, tensor in state.items():
        require_finite(tensor, key, file)
        prefix = next((p for p in _PARTS if key.startswith(p)), "")
        match = _KEY.fullmatch(key.removeprefix(prefix))
        if match is None:
            raise BadFile(f"{file} holds {key!r}, which is not part of a LoRA known here.", _HINT)
        part = _PARTS.get(prefix, trunk)
        kind = _KINDS.get(match["kind"], match["kind"])
        module = _module_of(match["module"], part)
        layers.setdefault(part, {}).setdefault(module, {})[kind] = tensor
    return {
        part: _adapter(file, found, networks.get(part), _config_of(metadata, part, file), base)
        for part, found in layers.items()
    }


def _with_diffusers_blocks(state: dict[str, Tensor], unet: Any, file: Path) -> dict[str, Tensor]:
    """Map the block numbers of sgm's U-Net, often used for SDXL, to those of diffusers."""
    if not any(key.startswith("lora_unet_") and "_blocks_" in key for key in state):
        return state
    from diffusers.loaders import lora_conversion_utils

    renamed: Any = lora_conversion_utils._maybe_map_sgm_blocks_to_diffusers
    try:
        return dict(renamed(dict(state), unet.config))
    except (ValueError, IndexError, TypeError) as error:
        raise BadFile(f"the names in {file} cannot be mapped: {error}", _HINT) from error


def _module_of(name: str, part: str) -> str:
    """Return a module's name without format-specific affixes, and with underscores for dots."""
    name = name.replace(".processor.", ".").replace(".", "_")
    name = re.sub(r"_lora$", "", name)
    if part == "unet" and name in _SGM_MODULES:
        return _SGM_MODULES[name]
    if part == "transformer":
        return name
    for there, here in (_SGM_LAYERS if part == "unet" else _TEXT_LAYERS).items():
        name = name.replace(there, here)
    return name if part == "unet" else name.removeprefix("text_model_")


def _config_of(metadata: Mapping[str, str], part: str, file: Path) -> dict[str, Any]:
    """Return the peft configuration that diffusers stores in the metadata; empty without one."""
    try:
        content = files.parse_json(metadata.get("lora_adapter_metadata", "{}"))
        return {
            k.removeprefix(f"{part}."): v for k, v in content.items() if k.startswith(f"{part}.")
        }
    except (ValueError, AttributeError) as error:
        raise BadFile(
            f"{file} holds metadata (lora_adapter_metadata) that is not a JSON object.",
            "Save the LoRA again with diffusers.",
        ) from error


def _adapter(
    file: Path,
    layers: Mapping[str, _Layer],
    network: nn.Module | None,
    config: Mapping[str, Any],
    base: str,
) -> Adapter:
    paths = {}
    for path, module in network.named_modules() if network is not None else ():
        if is_projection(module):
            paths[path.replace(".", "_").removeprefix("text_model_")] = path
    pairs, scalings, magnitudes = {}, {}, {}
    for name, layer in layers.items():
        # in 2023, attention layers named their last projection `to_out`
        path = paths.get(name) or paths.get(f"{name}_0") or name
        if network is not None and path not in paths.values():
            known = sum(n in paths or f"{n}_0" in paths for n in layers)
            raise BadFile(
                f"{known or 'none'} of the {len(layers)} layers that {file} changes "
                f"are in {base}; {name!r} is not.",
                "Name the model that it was made on.",
            )
        if not {"A", "B"} <= set(layer):
            raise BadFile(f"{file} holds only {', '.join(layer)} of {name!r}.", "Copy it again.")
        pairs[path] = (layer["A"].float(), layer["B"].float())
        rank = len(layer["A"])
        alpha = float(layer["alpha"]) if "alpha" in layer else None
        scalings[path] = (
            scaling_of(config, path, rank)
            if alpha is None and config
            else (rank if alpha is None else alpha) / rank
        )
        if "magnitude" in layer:
            magnitudes[path] = layer["magnitude"].float()
    return Adapter(pairs, scalings, magnitudes=magnitudes)
