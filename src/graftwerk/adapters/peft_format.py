"""The learned weights of a LoRA adapter, in the file format of peft.

`adapter_config.json` and `adapter_model.safetensors` are read by peft. For a part of a diffusion
pipeline the same tensors are also saved in `pytorch_lora_weights.safetensors`, under the names
that `load_lora_weights` of diffusers expects.
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from .. import files
from ..errors import BadFile, Damaged
from ..folders import hint_for
from ..models.checkpoint import check_safetensors
from .lora_location import CONFIG, PIPELINE_WEIGHTS, WEIGHTS
from .lora_targets import is_projection

_PREFIX = "base_model.model."
_KEY = re.compile(
    r"(?P<path>.+)\.lora_(?:(?P<half>[AB])\.weight|(?P<magnitude>magnitude_vector)(?:\.weight)?)"
)
# Initializations that leave the frozen layer as it is, or that can be recomputed from it.
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
_TAKEN_STARTS = ("pissa", "olora")
# A nested quantifier takes exponential time on some names.
_PATTERN = 500  # characters
_SLOW = re.compile(r"\([^)]*[+*}][^)]*\)[+*{]")
# With any of these, an adapter is more than A and B in parallel to frozen layers.
_REFUSED = (
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
    """The learned weights of a LoRA adapter.

    Attributes:
        pairs: `A` and `B` of each layer, by path.
        scalings: factor of `B A` of each layer, by path.
        transposed: whether its layers store their weights transposed (Conv1D of GPT-2).
        magnitudes: of DoRA, one value for each output of a layer, by path.
        start: `pissa` or `olora` if `A` and `B` were initialized from the frozen weight.
    """

    pairs: Mapping[str, tuple[Tensor, Tensor]]
    scalings: Mapping[str, float]
    transposed: bool = False
    magnitudes: Mapping[str, Tensor] = field(default_factory=dict)
    start: str = ""


def settle(adapter: Adapter, network: nn.Module, scale: float = 1.0) -> Adapter:
    """Convert an adapter to plain low-rank pairs for the weights of a network, at a scale.

    - PiSSA and OLoRA train a pair that was first subtracted from the frozen weight, and peft
    subtracts it again when it loads them: here the initial pair is subtracted from the learned
    one. - DoRA (Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", 2024) gives the row of
    every output in `W + B A` a learned norm: here the difference to `W` is the pair, of full rank.
    """
    pairs, scalings = {}, {}
    for path, (first, second) in adapter.pairs.items():
        module: Any = network.get_submodule(path)
        factor = adapter.scalings[path] * scale
        weight = module.weight.detach().float()
        if adapter.transposed:
            weight = weight.T
        if path in adapter.magnitudes:
            pair, factor = _lengthened(weight, first, second, factor, adapter.magnitudes[path]), 1.0
        elif adapter.start:
            a, b = _first_pair(adapter.start, weight, len(first), adapter.scalings[path])
            pair = torch.cat([first, a]), torch.cat([second, -b], dim=1)
        else:
            pair = first, second
        pairs[path], scalings[path] = pair, factor
    return Adapter(pairs, scalings, adapter.transposed)


def _first_pair(start: str, weight: Tensor, rank: int, scaling: float) -> tuple[Tensor, Tensor]:
    """Return the initial `A` and `B` of PiSSA or OLoRA.

    Meng, Wang, Zhang, "PiSSA", 2024; Büyükakyüz, "OLoRA", 2024.
    """
    if start == "olora":
        q, r = torch.linalg.qr(weight)
        return r[:rank], q[:, :rank]
    left, sizes, right = torch.linalg.svd(weight, full_matrices=False)
    root = (sizes[:rank] / scaling).sqrt()
    return root[:, None] * right[:rank], left[:, :rank] * root


def _lengthened(
    weight: Tensor, first: Tensor, second: Tensor, factor: float, magnitude: Tensor
) -> tuple[Tensor, Tensor]:
    change = (second.flatten(1) @ first.flatten(1)).view(weight.shape) * factor
    rows = (weight + change).flatten(1)
    length = magnitude.flatten().to(rows) / rows.norm(dim=1)
    difference = (rows * length[:, None]).view(weight.shape) - weight
    identity = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
    return difference, identity.view(*identity.shape, *(1,) * (weight.ndim - 2))


def join(parts: Sequence[tuple[Adapter, float]]) -> Adapter:
    """Return one adapter that is the sum of several, each at its own scale."""
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
    """Write the files of peft, and of diffusers if `part` is given, into a `working_folder`."""
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
        # a single entry, because safetensors writes several in random order
        metadata = {
            "lora_adapter_metadata": json.dumps({f"{part}.{k}": v for k, v in config.items()})
        }
        files.write_plain(folder / PIPELINE_WEIGHTS, to_bytes(named, metadata=metadata))


def _config_of(adapter: Adapter, base_name: str) -> dict[str, Any]:
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


def _part(folder: Path, name: str) -> Path:
    if not folder.exists():
        raise BadFile(f"there is no folder {folder}.", "Name the folder of an adapter.")
    if not (folder / name).is_file():
        raise BadFile(
            f"{folder} has no {name}, so it is not an adapter.",
            hint_for(folder, "Name the folder of an adapter."),
        )
    return folder / name


def adapter_fingerprint(folder: Path) -> str:
    """Return the SHA-256 over the files that determine what an adapter does.

    Raises:
        BadFile: one is missing.
    """
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        digest.update(files.sha256_of_file(_part(folder, name)).encode())
    return digest.hexdigest()


def read_adapter(folder: Path) -> Adapter:
    """Read the files of peft.

    Raises:
        BadFile: they are missing, or ask for more than plain low-rank layers.
        Damaged: the weights are truncated or contain values that are not finite.
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

    parts: dict[str, dict[str, Tensor]] = {}
    magnitudes = {}
    for key, tensor in load_file(weights).items():
        match = _KEY.fullmatch(key.removeprefix(_PREFIX))
        if match is None or (match["magnitude"] and not config.get("use_dora")):
            raise BadFile(
                f"{weights} holds {key!r}, which is not a low-rank pair.",
                "Only LoRA and DoRA adapters of peft are read.",
            )
        require_finite(tensor, key, weights)
        if match["magnitude"]:
            magnitudes[match["path"]] = tensor
        else:
            parts.setdefault(match["path"], {})[match["half"]] = tensor
    single = [path for path, pair in parts.items() if set(pair) != {"A", "B"}]
    if single or not parts:
        what = f"only one half of {single[0]!r}" if single else "no tensor"
        raise BadFile(f"{weights} holds {what}.", "Copy the whole folder again.")
    if set(magnitudes) != (set(parts) if config.get("use_dora") else set()):
        raise BadFile(
            f"{folder} asks for use_dora, and {WEIGHTS} lacks its magnitudes.",
            "Copy the whole folder again.",
        )
    pairs = {path: (pair["A"], pair["B"]) for path, pair in parts.items()}
    scalings = {path: scaling_of(config, path, len(a)) for path, (a, _) in pairs.items()}
    start = str(config.get("init_lora_weights")).lower()
    return Adapter(
        pairs,
        scalings,
        bool(config.get("fan_in_fan_out")),
        magnitudes,
        start if start in _TAKEN_STARTS else "",
    )


def require_finite(tensor: Tensor, key: str, path: Path) -> None:
    """Refuse a tensor with values that are not finite.

    Raises:
        Damaged: it has one.
    """
    if not bool(torch.isfinite(tensor).all()):
        raise Damaged(
            f"{key!r} in {path} holds values that are not numbers.",
            "Its training diverged, or the file was changed; make it again.",
        )


def _read_config(folder: Path) -> dict[str, Any]:
    path = _part(folder, CONFIG)
    config = files.read_json(path)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise BadFile(f"{path} is not of a LoRA adapter.", "Only LoRA adapters of peft are read.")
    refused = [key for key in _REFUSED if config.get(key)]
    if config.get("bias", "none") != "none":
        refused.append("bias")
    start = config.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS and str(start).lower() not in _TAKEN_STARTS:
        # CorDA and LoRA-GA need the data of their initialization, LoftQ a quantized base, and
        # fast PiSSA (pissa_niter_N) a randomized decomposition
        refused.append(f"init_lora_weights={start!r}, first weights that cannot be made again")
    if refused:
        raise BadFile(
            f"{path} asks for {', '.join(refused)}.",
            "Only LoRA and DoRA adapters of peft are read; peft converts others to plain ones "
            "(save_pretrained with path_initial_model_for_weight_conversion).",
        )
    return config


def scaling_of(config: Mapping[str, Any], path: str, rank: int) -> float:
    """Return the factor of `B A` of a layer.

    The names in `alpha_pattern` are regular expressions, as in peft.

    Raises:
        BadFile: an alpha is not a number, or a pattern is invalid or could be slow.
    """
    from peft.utils.other import get_pattern_key

    try:
        patterns = config.get("alpha_pattern") or {}
        slow = [name for name in patterns if len(name) > _PATTERN or _SLOW.search(name)]
        if slow:
            raise BadFile(
                f"{CONFIG} has the pattern {slow[0][:60]!r}, which could take for ever.",
                "Write the layers' names out.",
            )
        alpha = float(
            patterns.get(get_pattern_key(list(patterns), path), config.get("lora_alpha", 8))
        )
    except re.error as error:
        raise BadFile(f"{CONFIG} has a pattern that cannot be read: {error}.", "Fix it.") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise BadFile(f"{CONFIG} has an alpha that is not a number.", "Fix it.") from error
    factor = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    if not math.isfinite(factor):
        raise BadFile(f"{CONFIG} has the alpha {alpha}.", "Fix it.")
    return factor


def require_fit(adapter: Adapter, folder: Path, network: nn.Module, base_name: str) -> None:
    """Refuse an adapter with layers that the network does not have in these shapes.

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
        module: Any = modules[path]
        requested = _sides(module)
        found = (first.shape[1] if first.ndim > 1 else 0, len(second))
        kernel = tuple(first.shape[2:]) or (1, 1)
        fits = kernel == tuple(getattr(module, "kernel_size", (1, 1)))
        magnitude = adapter.magnitudes.get(path)
        fits &= magnitude is None or magnitude.numel() == max(magnitude.shape) == len(second)
        if adapter.start and not isinstance(module, nn.Linear):
            raise BadFile(
                f"{folder} was started from a {type(module).__name__} ({adapter.start}), for which "
                "peft has no such start.",
                hint,
            )
        if found != requested or second.shape[1] != len(first) or not fits:
            raise BadFile(
                f"{folder} changes {path!r} as a layer of {found[0]} to {found[1]} values; in "
                f"{base_name} it has {requested[0]} to {requested[1]}.",
                hint,
            )


def _sides(module: nn.Module) -> tuple[int, int]:
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, nn.Conv2d):
        return module.in_channels, module.out_channels
    weight: Any = module.weight
    return int(weight.shape[0]), int(weight.shape[1])
