"""Building the networks of a pipeline from their configurations and safetensors files."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import BadFile
from .folder import read_config, weight_files

# Decoders of 2022 were saved before these layers had their present names.
_FORMER_NAMES = {
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}
# Options of a U-Net that ask for an input that no prompt gives.
_UNET_REFUSED = ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type")


def load_part(folder: Path) -> nn.Module:
    """Load a U-Net, an autoencoder or a control branch in float32, ready to run, on the CPU.

    Its class comes from a table by the name that its configuration gives.

    Raises:
        BadFile: a class that is not known, or weights that do not fit the configuration.
        Damaged: a weight file is cut short or malformed.
    """
    config = read_config(folder)
    network_class = _network_class(folder, config)
    state = _read_weights(folder)
    try:
        with _quiet(), torch.device("meta"):  # takes no memory before the weights are known to fit
            network: nn.Module = network_class.from_config(config)
        wanted = network.state_dict()
        state = {_present_name(key, wanted): value for key, value in state.items()}
        network.load_state_dict(state, assign=True)
    except (RuntimeError, ValueError, TypeError, KeyError, ArithmeticError) as error:
        raise BadFile(
            f"the weights in {folder} do not fit its config.json: {error}",
            "Copy the whole folder again.",
        ) from error
    return network.eval().requires_grad_(False)


def _network_class(folder: Path, config: Mapping[str, Any]) -> Any:
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel, UNet2DModel

    known = (UNet2DConditionModel, UNet2DModel, AutoencoderKL, ControlNetModel)
    classes = {c.__name__: c for c in known}
    name = config.get("_class_name")
    if name not in classes:
        raise BadFile(
            f"{folder / 'config.json'} is of the class {name!r}, which is not known here.",
            f"Known: {', '.join(classes)}.",
        )
    return classes[name]


def _read_weights(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    state: dict[str, Tensor] = {}
    for file in weight_files(folder):
        state |= {key: value.float() for key, value in load_file(file).items()}
    return state


def _present_name(key: str, wanted: Mapping[str, Tensor]) -> str:
    """The name that a weight has in the library's present code."""
    if key in wanted:
        return key
    module, _, kind = key.rpartition(".")
    parent, _, layer = module.rpartition(".")
    return f"{parent}.{_FORMER_NAMES.get(layer, layer)}.{kind}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the diffusers library from writing to the terminal."""
    from diffusers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def check_unet(network: Any, folder: Path) -> None:
    """Refuse a U-Net that wants more than a noisy picture, a time and a prompt.

    Raises:
        BadFile: it does.
    """
    config = network.config
    reasons = [key for key in _UNET_REFUSED if config.get(key) is not None]
    if config.get("addition_embed_type") not in {None, "text_time"}:
        reasons.append("addition_embed_type")
    if config.get("time_cond_proj_dim") is not None:
        reasons.append("time_cond_proj_dim")
    if config.get("time_embedding_type", "positional") != "positional":
        reasons.append("time_embedding_type")
    if config.out_channels not in {config.in_channels, 2 * config.in_channels}:
        reasons.append("in_channels")
    if reasons:
        raise BadFile(
            f"the U-Net in {folder} is of a kind that is not known here ({', '.join(reasons)}).",
            "Take a model that draws from noise and a prompt alone.",
        )
