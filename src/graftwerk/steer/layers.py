"""The layers of a low-rank steer: peft's, around those of a frozen network."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadInput
from .projections import is_transposed

_HALF = (torch.float16, torch.bfloat16)  # too coarse for small steps of a training
NAME = "default"  # peft's own name of an adapter that has none


@dataclass(frozen=True, slots=True)
class Rank:
    """How much a low-rank steer can change.

    Attributes:
        rank: rows of `A`.
        alpha: what is learned is scaled by `alpha / rank`.
        dropout: share of the inputs of `A` that is left out in training.
        targets: names of layers, whole or their ends; None: found by `find_targets`.

    Raises:
        BadInput: a number outside of its range.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise BadInput(f"rank {self.rank} is too small.", "Allowed: 1 or more.")
        if not 0 < self.alpha < math.inf:
            raise BadInput(f"alpha {self.alpha} is no positive number.", "16 is usual.")
        if not 0 <= self.dropout < 1:
            raise BadInput(f"dropout {self.dropout} is no share.", "Allowed: 0 to below 1.")


class Dropout(nn.Module):
    """Dropout that draws from a generator of its own, and does nothing without one."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.generator: torch.Generator | None = None
        self._share = share

    def forward(self, values: Tensor) -> Tensor:
        """Leave out a share of the values and scale up the rest."""
        if self.generator is None:
            return values
        drawn = torch.rand(values.shape, generator=self.generator, device=values.device)
        return values * (drawn >= self._share) / (1 - self._share)


def make_layers(
    network: nn.Module, ranks: Mapping[str, int], scalings: Mapping[str, float]
) -> dict[str, Any]:
    """Layers around those of the network, which is not changed; their `A` is not drawn yet.

    Args:
        network: holds the layers that are wrapped.
        ranks: of each, by its path.
        scalings: factor of `B A`, in the same way.
    """
    from peft import LoraConfig
    from peft.tuners.lora import Conv2d, Linear

    layers = {}
    # peft draws first weights from PyTorch's own generator; they are replaced afterwards.
    with torch.random.fork_rng(devices=[]):
        for path, rank in ranks.items():
            module = network.get_submodule(path)
            transposed = is_transposed(module)
            config = LoraConfig(fan_in_fan_out=transposed)
            layer: Any
            if isinstance(module, nn.Conv2d):
                make: Any = Conv2d
                layer = make(module, NAME, config, rank)
            else:
                layer = Linear(module, NAME, config, rank, is_target_conv_1d_layer=transposed)
            layer.scaling[NAME] = scalings[path]
            if module.weight.dtype in _HALF:
                layer.lora_A.float()
                layer.lora_B.float()
            layers[path] = layer
    return layers
