"""A Stable Diffusion checkpoint in one safetensors file, the form in which most are shared.

Its weights are named as in the original code; the converters of diffusers rename them for its
networks. The architecture is read from configurations next to the file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import BadFile
from ..models.checkpoint import ModelFolder, read_object, refuse_unsafe
from ..models.transformers import build_config

_KNOWN = ("v1", "v2", "xl_base", "controlnet")


def _converters() -> Any:
    from diffusers.loaders import single_file_utils

    return single_file_utils


def kind_of(file: Path) -> str:
    """Return the hub id of the base pipeline of a single file, inferred from its tensors.

    Raises:
        BadFile: the kind of pipeline is not supported.
    """
    from safetensors.torch import load_file

    utils = _converters()
    kind = utils.infer_diffusers_model_type(load_file(file))
    if kind not in _KNOWN:
        raise BadFile(
            f"{file} is a checkpoint of the kind {kind!r}, which is not known here.",
            "Known: Stable Diffusion 1, 2 and XL.",
        )
    return str(utils.DIFFUSERS_DEFAULT_PIPELINE_PATHS[kind]["pretrained_model_name_or_path"])


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
    """Return the weights of each part, named as in its network.

    Args:
        file: contains all weights.
        folder: of the configurations.
        encoders: classes of the pipeline's text encoders.
    """
    from safetensors.torch import load_file

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
    import torch
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
        numbers.copy_(_counted(buffer.shape))
        made.get_submodule(parent).register_buffer(own, numbers, persistent=False)
    network: nn.Module = made.eval().requires_grad_(False)
    return network


def _counted(shape: Any) -> Tensor:
    import torch

    return torch.arange(shape[-1]).expand(shape)
