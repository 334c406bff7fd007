"""First weights from an explicit generator."""

import math

import torch
from torch import nn

_TABLE_SPREAD = 0.02  # of embeddings and of free parameters, as in CLIP and GPT-2


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights of a network anew; the library's own draw is from the global generator.

    Linear layers and convolutions get uniform weights of variance 1 / (3 * inputs) and no bias,
    tables and free vectors normal ones; norms and single numbers stay as they are.
    """
    with torch.no_grad():
        for module in network.modules():
            for name, parameter in module.named_parameters(recurse=False):
                _draw(module, name, parameter, generator)


def _draw(
    module: nn.Module, name: str, parameter: nn.Parameter, generator: torch.Generator
) -> None:
    if isinstance(module, nn.GroupNorm | nn.LayerNorm) or parameter.ndim == 0:
        return
    if not isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        parameter.normal_(0.0, _TABLE_SPREAD, generator=generator)
    elif name == "bias":
        parameter.zero_()
    else:
        bound = 1 / math.sqrt(parameter[0].numel())
        parameter.uniform_(-bound, bound, generator=generator)
