"""What a low-rank steer has learned, in the files of peft.

`adapter_config.json` and `adapter_model.safetensors` are what peft reads. For a part of a
diffusion pipeline the same tensors lie once more in `pytorch_lora_weights.safetensors`, under the
names that `load_lora_weights` of diffusers looks for.
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import files
from ..errors import BadFile, Damaged
from ..models.checkpoint import check_safetensors
from .lora_targets import is_projection

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PIPELINE_WEIGHTS = "pytorch_lora_weights.safetensors"
_PREFIX = "base_model.model."
_KEY = re.compile(r"(?P<path>.+)\.lora_(?P<half>[AB])\.weight")
# Each makes an adapter something else than A and B beside frozen layers.
_REFUSED = (
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "modules_to_save",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "velora_config",
    "monteclora_config",
)


@dataclass(frozen=True)
class Adapter:
    """What a low-rank steer has learned.

    Attributes:
        pairs: `A` and `B` of each layer, by its path.
        scalings: factor of `B A` of each layer.
        transposed: whether its layers keep their weights the other way round (Conv1D of GPT-2).
    """

    pairs: Mapping[str, tuple[Tensor, Tensor]]
    scalings: Mapping[str, float]
    transposed: bool = False


def join(parts: Sequence[tuple[Adapter, float]]) -> Adapter:
    """One adapter that changes every layer by the sum of what these do, each at its own scale."""
    if len(parts) == 1 and parts[0][1] == 1:
        return parts[0][0]
    paths = dict.fromkeys(path for adapter, _ in parts for path in adapter.pairs)
    pairs = {}
    for path in paths:
        own = [(a.pairs[path], a.scalings[path] * scale) for a, scale in parts if path in a.pairs]
        first = torch.cat([a for (a, _), _ in own])
        second = torch.cat([b * factor for (_, b), factor in own], dim=1)
        pairs[path] = (first, second)
    transposed = any(adapter.transposed for adapter, _ in parts)
    return Adapter(pairs, dict.fromkeys(paths, 1.0), transposed)


def write_adapter(folder: Path, adapter: Adapter, base_name: str, part: str | None = None) -> None:
    """Write the files of peft, and of diffusers, inside a `working_folder`."""
    from safetensors.torch import save as to_bytes

    tensors = {
        f"{path}.lora_{half}.weight": tensor.detach().cpu().contiguous()
        for path, pair in adapter.pairs.items()
        for half, tensor in zip("AB", pair, strict=True)
    }
    config = _config_of(adapter, base_name)
    peft = {f"{_PREFIX}{key}": tensor for key, tensor in tensors.items()}
    files.write_json(folder / CONFIG, config)
    files.write_plain(folder / WEIGHTS, to_bytes(peft, metadata={"format": "pt"}))
    if part is not None:
        named = {f"{part}.{key}": tensor for key, tensor in tensors.items()}
        # one entry, for safetensors writes several in an order of chance
        metadata = {
            "lora_adapter_metadata": json.dumps({f"{part}.{k}": v for k, v in config.items()})
        }
        files.write_plain(folder / PIPELINE_WEIGHTS, to_bytes(named, metadata=metadata))


def _config_of(adapter: Adapter, base_name: str) -> dict[str, Any]:
    """The content of `adapter_config.json`."""
    from peft import LoraConfig

    ranks = {path: len(first) for path, (first, _) in adapter.pairs.items()}
    alphas = {path: adapter.scalings[path] * rank for path, rank in ranks.items()}
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] for values in (ranks, alphas))
    make: Any = LoraConfig
    config = make(
        r=rank,
        lora_alpha=alpha,
        target_modules=sorted(ranks),
        rank_pattern={path: own for path, own in ranks.items() if own != rank},
        alpha_pattern={path: own for path, own in alphas.items() if own != alpha},
        fan_in_fan_out=adapter.transposed,
        base_model_name_or_path=base_name,
        inference_mode=True,
    ).to_dict()
    config["target_modules"] = sorted(ranks)
    return {key: sorted(v) if isinstance(v, set) else v for key, v in config.items()}


def adapter_fingerprint(folder: Path) -> str:
    """SHA-256 over the files that decide what an adapter does.

    Raises:
        BadFile: one is missing.
    """
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise BadFile(f"{folder} has no {name}, so it is no adapter.", "Pass another folder.")
        digest.update(files.sha256_of_file(folder / name).encode())
    return digest.hexdigest()


def read_adapter(folder: Path) -> Adapter:
    """Read the files of peft.

    Raises:
        BadFile: they are missing, or ask for more than plain low-rank layers.
        Damaged: the weights are cut short or hold values that are no numbers.
    """
    config = _read_config(folder)
    weights = folder / WEIGHTS
    if not weights.is_file():
        pickled = (folder / "adapter_model.bin").exists()
        reason = "holds its weights as a pickle, which can run code" if pickled else "has none"
        raise BadFile(
            f"{folder} has no {WEIGHTS}; it {reason}.", "Save the adapter again with peft."
        )
    check_safetensors(weights)

    from safetensors.torch import load_file

    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load_file(weights).items():
        match = _KEY.fullmatch(key.removeprefix(_PREFIX))
        if match is None:
            raise BadFile(
                f"{weights} holds {key!r}, which is no low-rank pair.",
                "Only plain LoRA adapters of peft are read.",
            )
        if not bool(torch.isfinite(tensor).all()):
            raise Damaged(
                f"{key!r} in {weights} holds values that are no numbers.",
                "Its training diverged, or the file was changed; make it again.",
            )
        parts.setdefault(match["path"], {})[match["half"]] = tensor
    single = [path for path, pair in parts.items() if set(pair) != {"A", "B"}]
    if single or not parts:
        what = f"only one half of {single[0]!r}" if single else "no tensor"
        raise BadFile(f"{weights} holds {what}.", "Copy the whole folder again.")
    pairs = {path: (pair["A"], pair["B"]) for path, pair in parts.items()}
    scalings = {path: _scaling(config, path, len(a)) for path, (a, _) in pairs.items()}
    return Adapter(pairs, scalings, bool(config.get("fan_in_fan_out")))


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise BadFile(f"{folder} has no {CONFIG}, so it is no adapter.", "Name an adapter folder.")
    config = files.read_json(path)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise BadFile(f"{path} is not of a LoRA adapter.", "Only LoRA adapters of peft are read.")
    refused = [key for key in _REFUSED if config.get(key)]
    if config.get("bias", "none") != "none":
        refused.append("bias")
    if refused:
        raise BadFile(
            f"{path} asks for {', '.join(refused)}.", "Only plain LoRA adapters of peft are read."
        )
    return config


def _scaling(config: Mapping[str, Any], path: str, rank: int) -> float:
    """Factor of `B A`; in `alpha_pattern` names stand for themselves and for ends of paths."""
    try:
        alpha = float(config.get("lora_alpha", 8))
        for name, own in (config.get("alpha_pattern") or {}).items():
            if f".{path}".endswith(f".{name}"):
                alpha = float(own)
                break
    except (TypeError, ValueError, AttributeError) as error:
        raise BadFile(f"{CONFIG} has an alpha that is no number.", "Fix it.") from error
    factor = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    if not math.isfinite(factor):
        raise BadFile(f"{CONFIG} has the alpha {alpha}.", "Fix it.")
    return factor


def require_fit(adapter: Adapter, folder: Path, network: nn.Module, base_name: str) -> None:
    """Refuse an adapter some of whose layers the network does not have, in these shapes.

    Raises:
        BadFile: says how many fit, and which one does not.
    """
    modules = {path: m for path, m in network.named_modules() if is_projection(m)}
    misfits = [path for path in adapter.pairs if path not in modules]
    total = len(adapter.pairs)
    hint = "Name the model that it was made on."
    if len(misfits) == total:
        raise BadFile(
            f"none of the {total} layers that {folder} changes is in {base_name}; the first is "
            f"{misfits[0]!r}.",
            hint,
        )
    if misfits:
        raise BadFile(
            f"only {total - len(misfits)} of the {total} layers that {folder} changes are in "
            f"{base_name}; {misfits[0]!r} is not.",
            hint,
        )
    for path, (first, second) in adapter.pairs.items():
        requested = _sides(modules[path])
        found = (first.shape[1] if first.ndim > 1 else 0, len(second))
        if found != requested or second.shape[1] != len(first):
            raise BadFile(
                f"{folder} changes {path!r} as a layer of {found[0]} to {found[1]} values; in "
                f"{base_name} it has {requested[0]} to {requested[1]}.",
                hint,
            )


def _sides(module: nn.Module) -> tuple[int, int]:
    """Values that a layer takes and gives."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, nn.Conv2d):
        return module.in_channels, module.out_channels
    weight: Any = module.weight
    return int(weight.shape[0]), int(weight.shape[1])
