"""A U-Net whose decoder is trained along with its branch: a new model, no longer the frozen one.

The official code calls it `sd_locked = False`. What comes out is a pipeline with a U-Net of its
own and a branch that belongs to that U-Net alone.
"""

import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import BadInput
from ..frozen.diffusion.folder import open_pipeline
from ..frozen.diffusion.halves import Controllable
from ..train.arithmetic import arithmetic
from ..train.session import Precision

SHARE = 0.1  # of the branch's learning rate: the decoder knows what it does, the branch does not
_PREFIX = "unet."
_DECODER = ("up_blocks.", "conv_norm_out.", "conv_out.")


def unlock(network: Any) -> dict[str, nn.Parameter]:
    """Let a U-Net's decoder be trained; gives its weights by name.

    Raises:
        BadInput: a U-Net of one's own, whose decoder has no names here.
    """
    if isinstance(network, Controllable):
        raise BadInput("only U-Nets of diffusers can be unlocked.", "Train the branch alone.")
    found = {}
    for name, weight in network.named_parameters():
        if name.startswith(_DECODER):
            weight.requires_grad_(True)
            found[_PREFIX + name] = weight
    return found


def put_back(unlocked: Mapping[str, nn.Parameter], weights: Mapping[str, Tensor]) -> None:
    """Put what was learned into an unlocked decoder, and lock it."""
    with torch.no_grad():
        for name, weight in unlocked.items():
            weight.copy_(weights[name])
            weight.requires_grad_(False)


def write_pipeline(folder: Path, base: Path, network: Any) -> None:
    """Write a pipeline with another U-Net, inside a `working_folder`: all else is copied.

    Args:
        folder: holds nothing yet.
        base: the pipeline that the U-Net was of.
        network: the U-Net.
    """
    index = open_pipeline(base).index
    shutil.copyfile(base / "model_index.json", folder / "model_index.json")
    for part, value in index.items():
        if part != "unet" and isinstance(value, list) and (base / part).is_dir():
            shutil.copytree(base / part, folder / part)
    network.save_pretrained(folder / "unet")


def save_memory(network: Any, device: str, precision: Precision) -> None:
    """Keep only the inputs of a U-Net's layers for the way back, and compute the rest again.

    To be called before the branch is made: a copy of the encoder does the same.

    Raises:
        BadInput: the U-Net has no such option.
    """
    if isinstance(network, Controllable) or not hasattr(network, "enable_gradient_checkpointing"):
        raise BadInput("this U-Net cannot recompute its layers.", "Leave --checkpointing out.")

    def again(layer: nn.Module, *inputs: Any) -> Any:
        def contexts() -> tuple[Any, Any]:  # attention is computed again by the same kernel
            return nullcontext(), arithmetic(device, precision)

        return checkpoint(layer.__call__, *inputs, use_reentrant=False, context_fn=contexts)

    network.enable_gradient_checkpointing(again)
