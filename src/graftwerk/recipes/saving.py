"""Putting the result of a training into a folder, in half precision."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import files
from ..frozen.own import WEIGHTS


def put(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put weights into a network that has parameters of these names."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])


def save_own(folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Write a network of this package inside a working folder; see `frozen.own`."""
    from safetensors.torch import save

    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    files.write_plain(folder / WEIGHTS, content)
    files.write_json(folder / "config.json", dict(config))


def store_in_half(folder: Path) -> None:
    """Write all floating-point weights below a working folder anew as float16.

    Their configurations go on saying float32: that is what every library then computes in.
    """
    from safetensors import safe_open
    from safetensors.torch import save

    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, framework="pt") as stored:
            about = stored.metadata()
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        smaller = {
            name: tensor.half() if tensor.is_floating_point() else tensor
            for name, tensor in tensors.items()
        }
        files.write_plain(path, save(smaller, about))
