"""ControlNet branches on disk: folders of diffusers' `ControlNetModel`, and a format of our own.

A full copy for a `UNet2DConditionModel` is saved as a `ControlNetModel` folder, which diffusers
loads and which may come from there. Branches that this class cannot represent (for other U-Nets,
light, connected only to the middle block, or with parts that are not trained) are saved as
`config.json` and `model.safetensors` with only the trained weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file, save
from torch import Tensor, nn

from .. import files
from ..adapters.manifest import RECORD, read_bundle, require_base
from ..diffusion.pipeline import DiffusionModel, load_part
from ..diffusion.transformer import is_transformer
from ..diffusion.unet import Controllable, keep_prompts, zero_convolutions_of
from ..errors import BadFile, WrongBase
from ..models.checkpoint import check_safetensors, fingerprint, read_object
from .branch import Branch, CopiedEncoder, Shape, make_branch, set_weights, weights_of
from .spec import require_branch_folder
from .transformer import NAMES, TransformerBranch, read_transformer_branch

KIND = "control"
_MODEL_TYPE = "graftwerk-branch"
_OWN, _THEIRS = "model.safetensors", "diffusion_pytorch_model.safetensors"
_NAMES = {"hint_encoder": "controlnet_cond_embedding", "joins": "controlnet_down_blocks"}
_LAST = "controlnet_mid_block"
_MUST_FIT = ("in_channels", "block_out_channels", "cross_attention_dim", "addition_embed_type")


def is_controlnet(branch: Branch, network: Any) -> bool:
    """Whether a ControlNet class of diffusers can represent it."""
    if isinstance(branch, TransformerBranch):
        return True
    conditional = not isinstance(network, Controllable) and hasattr(
        network.config, "cross_attention_dim"
    )
    return bool(conditional and branch.shape.is_plain)


def write_controlnet(folder: Path, branch: Branch, network: Any) -> None:
    """Write a complete `ControlNetModel` inside a `working_folder`.

    Raises:
        BadFile: that class cannot represent the branch.
    """
    if not is_controlnet(branch, network):
        raise BadFile(
            "this branch is not a ControlNetModel: it is light, joined to the middle alone, has "
            "another hint encoder or belongs to a U-Net without prompts.",
            "Keep it in graftwerk's own form.",
        )
    if isinstance(branch, TransformerBranch):
        state, config = branch.net.state_dict(), branch.net.to_json_string()
    else:
        state = {_their_name(name, branch): value for name, value in branch.state_dict().items()}
        config = _their_config(branch.shape, network)
    state = {name: value.cpu().contiguous() for name, value in state.items()}
    files.write_plain(folder / _THEIRS, save(state, {"format": "pt"}))
    files.write_text(folder / "config.json", config)


def write_own(folder: Path, branch: Branch, base: Mapping[str, str], condition: str | None) -> None:
    """Write the trained weights in Graftwerk's own format inside a `working_folder`."""
    learned = {n: w.detach().cpu().contiguous() for n, w in weights_of(branch).items()}
    files.write_plain(folder / _OWN, save(learned, {"format": "pt"}))
    config = {
        "model_type": _MODEL_TYPE,
        "shape": asdict(branch.shape),
        "base": dict(base),
        "condition": condition,
    }
    files.write_json(folder / "config.json", config)


def _their_config(shape: Shape, network: Any) -> str:
    make: Any = ControlNetModel
    with torch.device("meta"):
        empty = make.from_unet(
            network, conditioning_embedding_out_channels=shape.widths, load_weights_from_unet=False
        )
    return str(empty.to_json_string())


def _their_name(name: str, branch: Branch) -> str:
    first, _, rest = name.partition(".")
    if first == "encoder":
        return rest
    number, _, kind = rest.partition(".")
    if first == "joins" and int(number) == len(branch.joins) - 1:
        return f"{_LAST}.{kind}"
    return f"{_NAMES[first]}.{rest}"


def open_branch(folder: Path, model: DiffusionModel) -> Branch:
    """Load a branch for the U-Net or transformer of a model; see `read_branch`.

    Raises:
        WrongBase: it belongs to another model; both are named.
        BadFile: it is not a branch, or its parts do not match.
        BadInput: it is of a transformer, and the model cannot be controlled by it.
        Damaged: a file is truncated or was changed.
    """
    config = read_object(folder / "config.json") if (folder / "config.json").is_file() else {}
    if config.get("_class_name") in NAMES.values():
        require_branch_folder(folder)
        _require_recorded_base(folder, model.name, model.bases)
        return read_transformer_branch(folder, config, model)
    if is_transformer(model.unet) and config:
        kind = type(model.unet).__name__
        raise WrongBase(
            f"the control in {folder}",
            "a U-Net",
            f"{model.name}, which has a {kind}",
            f"Name a {NAMES.get(kind, 'branch')} of diffusers or what `graft control train` wrote "
            "for it.",
        )
    twice = model.space.is_double
    return read_branch(folder, model.unet, model.factor, model.name, *model.bases, twice=twice)


def _require_recorded_base(folder: Path, name: str, fingerprints: Sequence[str]) -> None:
    if (folder / RECORD).is_file() and read_object(folder / RECORD).get("kind") == KIND:
        require_base(read_bundle(folder, KIND), name, *fingerprints)


def read_branch(
    folder: Path,
    network: Any,
    factor: int,
    base_name: str,
    *base_fingerprints: str,
    twice: bool = False,
) -> Branch:
    """Load a branch and check that it fits its U-Net.

    Args:
        folder: of the branch.
        network: the U-Net.
        factor: pixels of an image per value of the U-Net's input, along a side.
        base_name: of the model.
        base_fingerprints: that the branch may have recorded.
        twice: whether the branch's control images may have half the size of the images.

    Raises:
        WrongBase: it belongs to another model; both are named.
        BadFile: it is not a branch, or its parts do not match.
        Damaged: a file is truncated or was changed.
    """
    require_branch_folder(folder)
    config = read_object(folder / "config.json") if (folder / "config.json").is_file() else {}
    _require_recorded_base(folder, base_name, base_fingerprints)
    if config.get("_class_name") == "ControlNetModel":
        own = 2 ** (len(config.get("conditioning_embedding_out_channels") or ()) - 1)
        factor = factor // 2 if twice and 2 * own == factor else factor
        return _read_theirs(folder, config, network, factor, base_name)
    if config.get("model_type") == _MODEL_TYPE:
        _require_own_base(folder, config, base_name, base_fingerprints)
        return _read_own(folder, config, network)
    inside = folder / "branch"
    raise BadFile(
        f"{folder} contains no control branch.",
        f"It holds one in {inside}: name that."
        if inside.is_dir()
        else "Name the folder OUT/branch of `graft control train`, a ControlNetModel of diffusers, "
        "or a built-in one (graft models list).",
    )


def _require_own_base(
    folder: Path, config: Mapping[str, Any], base_name: str, base_fingerprints: Sequence[str]
) -> None:
    base = config.get("base")
    made_on = dict(base) if isinstance(base, dict) else {}
    if made_on.get("fingerprint") not in base_fingerprints:
        raise WrongBase(
            f"the control in {folder}",
            f"{made_on.get('name')} with fingerprint {str(made_on.get('fingerprint'))[:12]}",
            f"{base_name} with fingerprint {base_fingerprints[0][:12]}",
            "Name the model that it was made on, or train it again on this one.",
        )


def branch_fingerprint(folder: Path) -> str:
    """Return the SHA-256 of weights and configuration."""
    return fingerprint(folder, {})


def _read_theirs(
    folder: Path, config: Mapping[str, Any], network: Any, factor: int, base_name: str
) -> Branch:
    base = {} if isinstance(network, Controllable) else dict(network.config)
    for key in _MUST_FIT:
        there, here = config.get(key), base.get(key)
        if _plain(there) != _plain(here):
            raise WrongBase(
                f"the control in {folder}",
                f"a U-Net with {key} {_plain(there)}",
                f"{base_name}, which has {_plain(here)}",
                "Name the model that it was made for, or a control made for this one.",
            )
    found: Any = load_part(folder)
    widths = tuple(config.get("conditioning_embedding_out_channels") or ())
    if 2 ** (len(widths) - 1) != factor:
        raise WrongBase(
            f"the control in {folder}",
            f"a model with {2 ** max(len(widths) - 1, 0)} pixels to a side of a latent",
            f"{base_name}, which has {factor}",
            "Name the model that it was made for.",
        )
    keeps = keep_prompts(found)
    shape = Shape(factor, hint_widths=widths)
    order = config.get("controlnet_conditioning_channel_order", "rgb")
    channels = config.get("conditioning_channels", 3)
    if order not in {"rgb", "bgr"} or channels not in {1, 3, 4}:
        raise BadFile(
            f"{folder} reads {channels} channels in the order {order!r}.",
            "Known: 1, 3 or 4 channels, rgb or bgr.",
        )
    branch = Branch(
        CopiedEncoder(found), found.controlnet_cond_embedding,
        zero_convolutions_of(found_like(found)), shape, turns_colours=order == "bgr",
        pools=bool(config.get("global_pool_conditions", False)),
    )  # fmt: skip
    branch.joins = nn.ModuleList([*found.controlnet_down_blocks, found.controlnet_mid_block])
    branch.keeps_prompts = keeps
    device = next(iter(network.parameters())).device
    return branch.eval().to(device).requires_grad_(False)


def found_like(controlnet: Any) -> Any:
    """Present a `ControlNetModel` as a U-Net to `zero_convolutions_of`: it has no decoder."""
    controlnet.up_blocks = nn.ModuleList()
    return controlnet


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value


def _read_own(folder: Path, config: Mapping[str, Any], network: Any) -> Branch:
    path = folder / _OWN
    if not path.is_file():
        raise BadFile(f"{folder} lacks its weights {path.name}.", "Copy the whole folder again.")
    check_safetensors(path)
    try:
        known = dict(config["shape"])
        if known.get("hint_widths") is not None:
            known["hint_widths"] = tuple(known["hint_widths"])
        shape = Shape(**known)
        branch = make_branch(network, shape, torch.Generator().manual_seed(0))
        found: dict[str, Tensor] = {k: v.float() for k, v in load_file(path).items()}
        requested = {name: weight.shape for name, weight in weights_of(branch).items()}
        if {name: value.shape for name, value in found.items()} != requested:
            raise ValueError("names or shapes of its weights are not those of this U-Net.")
        set_weights(branch, found)
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise BadFile(
            f"the weights in {folder} do not fit its config.json and its U-Net: {error}",
            "Name the model that it was made for, or copy the whole folder again.",
        ) from error
    return branch.eval().requires_grad_(False)
