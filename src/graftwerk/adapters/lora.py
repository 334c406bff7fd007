"""The low-rank steer: for chosen layers a second, thin path beside the frozen one.

LoRA of Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021: a layer with the
weight `W` computes `W x + scale * (alpha / rank) * B A x`, where `A` has `rank` rows and `B`
begins at 0. The layers are peft's; they are saved in its own files.

    steer = install(network, Rank(8), generator)       # the network computes as before
    ...train steer.parameters()...
    steer.scale = 0.5                                  # half of what was learned
    steer.remove()                                     # the very modules of before

The layers of a low-rank steer: peft's, around those of a frozen network.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import folders
from ..errors import BadInput
from .lora_targets import find_targets, is_transposed, named_targets
from .manifest import RECORD, is_replaceable, read_bundle, require_base, write_bundle
from .peft_format import Adapter, join, read_adapter, require_fit, settle, write_adapter

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
        sampled = torch.rand(values.shape, generator=self.generator, device=values.device)
        return values * (sampled >= self._share) / (1 - self._share)


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


__all__ = ["LowRank", "Rank", "find_targets", "install", "load", "load_several", "named_targets"]

KIND = "low-rank"


class LowRank:
    """A low-rank steer on a network; made by `install` or `load`.

    While its scale is 0 the network holds its own modules and nothing else, so it computes what
    the frozen one does, bit for bit.

    Attributes:
        network: what it steers.
        base: fingerprint of the frozen network.
    """

    def __init__(
        self, network: nn.Module, layers: Mapping[str, Any], dropout: float, base: str
    ) -> None:
        self.network = network
        self.base = base
        self._layers = dict(layers)
        self._frozen = {path: network.get_submodule(path) for path in layers}
        self._scalings = {path: float(layer.scaling[NAME]) for path, layer in layers.items()}
        self._dropouts = [Dropout(dropout) for _ in layers] if dropout else []
        for layer, share in zip(self._layers.values(), self._dropouts, strict=False):
            layer.lora_dropout[NAME] = share
        self._needed = {name: p.requires_grad for name, p in network.named_parameters()}
        self._scale, self._installed = 1.0, False
        self._retained: dict[str, Tensor] = {}

    @property
    def scale(self) -> float:
        """Factor of everything learned; 0: the frozen network itself."""
        return self._scale

    @scale.setter
    def scale(self, value: float) -> None:
        """Set the factor.

        Raises:
            BadInput: it is no finite number, or the steer is merged.
        """
        if not math.isfinite(value):
            raise BadInput(f"scale {value} is no finite number.", "1 is what was learned, 0 none.")
        self._require_unmerged()
        self._scale = value
        for path, layer in self._layers.items():
            layer.scaling[NAME] = self._scalings[path] * value
        self._turn(self._installed and value != 0)

    @property
    def is_zero(self) -> bool:
        """True at scale 0, and before anything was learned."""
        return self._scale == 0 or not any(
            bool(layer.lora_B[NAME].weight.any()) for layer in self._layers.values()
        )

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is learned: `A` and `B` of every layer, by the names of peft's files."""
        return {
            f"{path}.lora_{half}.weight": getattr(layer, f"lora_{half}")[NAME].weight
            for path, layer in self._layers.items()
            for half in "AB"
        }

    def adapter(self) -> Adapter:
        """What is learned, as it is saved: without the present scale."""
        pairs = {
            path: (layer.lora_A[NAME].weight.detach(), layer.lora_B[NAME].weight.detach())
            for path, layer in self._layers.items()
        }
        transposed = any(is_transposed(module) for module in self._frozen.values())
        return Adapter(pairs, dict(self._scalings), transposed)

    def save(
        self, folder: Path, base_name: str, content: Mapping[str, Any], part: str | None = None
    ) -> None:
        """Write the steer into a folder of its own, whole or not at all.

        Args:
            folder: takes the place of what was there.
            base_name: the frozen model, as its users name it.
            content: whatever else `graft.json` is to keep.
            part: of a diffusion pipeline, `unet`; None: the model is no pipeline.

        Raises:
            BadFile, NoRoom: the folder holds something else, or cannot be written.
        """
        with folders.working_folder(folder, lambda path: is_replaceable(path, KIND)) as working:
            self.write_into(working, base_name, part)
            write_bundle(working, KIND, base_name, self.base, content)

    def write_into(self, folder: Path, base_name: str, part: str | None = None) -> None:
        """Write its files, all but `graft.json`, inside a `working_folder`; see `save`."""
        write_adapter(folder, self.adapter(), base_name, part)

    def drop_with(self, generator: torch.Generator | None) -> None:
        """Draw dropout from this generator until told otherwise; None: no dropout."""
        for dropout in self._dropouts:
            dropout.generator = generator

    def install(self) -> None:
        """Put the layers into the network and freeze everything else in it."""
        self._installed = True
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)
        for parameter in self.parameters().values():
            parameter.requires_grad_(True)
        self._turn(self._scale != 0)

    def apply(self, frozen: nn.Module) -> nn.Module:
        """Return a network with the layers that shares its weights with `frozen`.

        `frozen` itself stays as it is; at zero it is what is returned.

        Raises:
            ValueError: it is another network.
            BadInput: the steer is merged.
        """
        if frozen is not self.network:
            raise ValueError("a low-rank steer is made for one network object")
        self._require_unmerged()
        if self.is_zero:
            return frozen
        steered = share(frozen)
        for path, layer in self._layers.items():
            parent, _, name = path.rpartition(".")
            setattr(steered.get_submodule(parent), name, layer)
        return steered

    def remove(self, steered: nn.Module | None = None) -> nn.Module:  # noqa: ARG002
        """Return the frozen network, its own modules back in their places."""
        self.unmerge()
        self._turn(False)
        self._installed = False
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(self._needed.get(name, parameter.requires_grad))
        return self.network

    def merge(self) -> None:
        """Add what was learned to the frozen weights: no second path, so no time spent on it.

        The weights' own bytes are kept, for adding and taking away again would not restore them.

        Raises:
            BadInput: two of its layers share one weight.
        """
        if self._retained or self._scale == 0:
            return
        weights = {path: self._weight(path) for path in self._layers}
        if len({id(weight) for weight in weights.values()}) < len(weights):
            raise BadInput("layers of this network share a weight.", "Do not merge the steer.")
        with torch.no_grad():
            for path, weight in weights.items():
                self._retained[path] = weight.detach().clone()
                weight.add_(self._layers[path].get_delta_weight(NAME).to(weight.dtype))
        self._turn(False)

    def unmerge(self) -> None:
        """Put the bytes back that the frozen weights had before `merge`."""
        if not self._retained:
            return
        with torch.no_grad():
            for path, before in self._retained.items():
                self._weight(path).copy_(before)
        self._retained.clear()
        self._turn(self._installed and self._scale != 0)

    def _weight(self, path: str) -> Tensor:
        return self._frozen[path].weight  # type: ignore[return-value]

    def _require_unmerged(self) -> None:
        if self._retained:
            raise BadInput("the steer is merged.", "Unmerge it first.")

    def _turn(self, on: bool) -> None:
        for path in self._layers:
            parent, _, name = path.rpartition(".")
            module = self._layers[path] if on else self._frozen[path]
            setattr(self.network.get_submodule(parent), name, module)


def share(network: nn.Module) -> nn.Module:
    """A second network of the same weights: modules of its own, parameters and buffers shared."""
    tensors = (*network.parameters(), *network.buffers())
    return copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})


def install(
    network: nn.Module, rank: Rank, generator: torch.Generator, base_fingerprint: str = ""
) -> LowRank:
    """Put a zero-initialized low-rank steer into a network; the network's output stays as it is.

    Args:
        network: frozen by this; `remove` undoes that too.
        rank: how much it can change.
        generator: `A` is drawn from it, on its own device.
        base_fingerprint: of the network, for what is saved.

    Raises:
        BadInput: no layer to change is found, or one of those named is not there.
    """
    if rank.targets is None:
        targets = find_targets(network)
    else:
        targets = named_targets(network, rank.targets)
    ranks = dict.fromkeys(targets, rank.rank)
    layers = make_layers(network, ranks, dict.fromkeys(targets, rank.alpha / rank.rank))
    for layer in layers.values():
        first = layer.lora_A[NAME].weight
        bound = 1 / math.sqrt(first[0].numel())  # as PyTorch begins a linear layer
        sampled = torch.rand(first.shape, generator=generator, device=generator.device)
        with torch.no_grad():
            first.copy_((2 * sampled - 1) * bound)
    steer = LowRank(network, layers, rank.dropout, base_fingerprint)
    steer.install()
    return steer


def make_low_rank(network: nn.Module, adapter: Adapter, base_fingerprint: str = "") -> LowRank:
    """What was learned before, for a network that has layers of these paths and shapes.

    The network stays as it is; see `LowRank.apply` and `install_adapter`.
    """
    ranks = {path: len(first) for path, (first, _) in adapter.pairs.items()}
    layers = make_layers(network, ranks, adapter.scalings)
    with torch.no_grad():
        for path, (first, second) in adapter.pairs.items():
            for own, value in ((layers[path].lora_A, first), (layers[path].lora_B, second)):
                own[NAME].weight.copy_(value.view(own[NAME].weight.shape))
    steer = LowRank(network, layers, 0.0, base_fingerprint)
    for parameter in steer.parameters().values():
        parameter.requires_grad_(False)
    return steer


def install_adapter(network: nn.Module, adapter: Adapter, base_fingerprint: str = "") -> LowRank:
    """Put what was learned before into a network that has layers of these paths and shapes."""
    steer = make_low_rank(network, adapter, base_fingerprint)
    steer.install()
    return steer


def load(folder: Path, network: nn.Module, base_name: str, base_fingerprint: str) -> LowRank:
    """Put a saved steer into the network that it was made on.

    Raises:
        WrongBase: it was made on another one; both are named.
        BadFile: it is no adapter, not a plain low-rank one, or does not fit the network.
        Damaged: a file is cut short, was changed, or holds values that are no numbers.
    """
    return load_several([(folder, 1.0)], network, base_name, base_fingerprint)


def load_several(
    folders: Sequence[tuple[Path, float]],
    network: nn.Module,
    base_name: str,
    base_fingerprint: str,
) -> LowRank:
    """Put the sum of saved steers, each with its scale, into the network; see `load`."""
    found = []
    for folder, scale in folders:
        if (folder / RECORD).is_file():
            require_base(read_bundle(folder, KIND), base_name, base_fingerprint)
        adapter = read_adapter(folder)
        require_fit(adapter, folder, network, base_name)
        found.append((settle(adapter, network, scale), 1.0))
    return install_adapter(network, join(found), base_fingerprint)
