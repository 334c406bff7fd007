"""LoRA adapters: a trainable low-rank path in parallel to chosen layers of a frozen network.

LoRA of Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021: a layer with the
weight `W` computes `W x + scale * (alpha / rank) * B A x`, where `A` has `rank` rows and `B` is
initialized to 0. The layers are those of peft, and adapters are saved in its file format.

    steer = install(network, Rank(8), generator)       # the output does not change
    ...train steer.parameters()...
    steer.scale = 0.5                                  # half of the learned change
    steer.remove()                                     # restores the original modules
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
from ..errors import BadInput, finite
from .lora_targets import find_targets, is_transposed, named_targets
from .manifest import RECORD, is_replaceable, read_bundle, require_base, write_bundle
from .peft_format import Adapter, join, read_adapter, require_fit, settle, write_adapter

_HALF = (torch.float16, torch.bfloat16)  # too coarse for small training steps
NAME = "default"  # peft's name for an unnamed adapter


@dataclass(frozen=True, slots=True)
class Rank:
    """Hyperparameters of a LoRA adapter.

    Attributes:
        rank: rows of `A`.
        alpha: the learned change is scaled by `alpha / rank`.
        dropout: fraction of the inputs of `A` that is dropped in training.
        targets: names of layers, full paths or their ends; None to use `find_targets`.

    Raises:
        BadInput: a number is out of range.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise BadInput(f"rank {self.rank} is too small.", "Allowed: 1 or more.")
        if not 0 < self.alpha < math.inf:
            raise BadInput(f"alpha {self.alpha} is not a positive number.", "16 is usual.")
        if not 0 <= self.dropout < 1:
            raise BadInput(f"dropout {self.dropout} is not a share.", "Allowed: 0 to below 1.")


class Dropout(nn.Module):
    """Dropout with a random generator of its own; without one it is the identity."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.generator: torch.Generator | None = None
        self._share = share

    def forward(self, values: Tensor) -> Tensor:
        """Drop a fraction of the values and scale up the rest."""
        if self.generator is None:
            return values
        sampled = torch.rand(values.shape, generator=self.generator, device=values.device)
        return values * (sampled >= self._share) / (1 - self._share)


def make_layers(
    network: nn.Module, ranks: Mapping[str, int], scalings: Mapping[str, float]
) -> dict[str, Any]:
    """Create peft layers around layers of a network, which is not modified.

    The caller initializes or loads `A` and `B`.

    Args:
        network: contains the layers to wrap.
        ranks: rank of each layer, by path.
        scalings: factor of `B A` of each layer, by path.
    """
    from peft import LoraConfig
    from peft.tuners.lora import Conv2d, Linear

    layers = {}
    # peft initializes from PyTorch's global generator; the caller replaces these weights.
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
    """A LoRA adapter for one network; created by `install` or `load`.

    While its scale is 0, the network contains only its own modules, so its output equals that of
    the frozen network bit for bit.

    Attributes:
        network: the adapted network.
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
        """Factor of the learned change; 0 for the frozen network itself."""
        return self._scale

    @scale.setter
    def scale(self, value: float) -> None:
        """Set the factor.

        Raises:
            BadValue: it is not a finite number.
            BadInput: the adapter is merged.
        """
        value = finite("scale", value, "1 is what was learned, 0 none.")
        self._require_unmerged()
        self._scale = value
        for path, layer in self._layers.items():
            layer.scaling[NAME] = self._scalings[path] * value
        self._turn(self._installed and value != 0)

    @property
    def is_zero(self) -> bool:
        """Whether the scale is 0 or nothing has been learned yet."""
        return self._scale == 0 or not any(
            bool(layer.lora_B[NAME].weight.any()) for layer in self._layers.values()
        )

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the trained parameters, `A` and `B` of every layer, named as in peft's files."""
        return {
            f"{path}.lora_{half}.weight": getattr(layer, f"lora_{half}")[NAME].weight
            for path, layer in self._layers.items()
            for half in "AB"
        }

    def adapter(self) -> Adapter:
        """Return the learned weights as they are saved; the current scale is not applied."""
        pairs = {
            path: (layer.lora_A[NAME].weight.detach(), layer.lora_B[NAME].weight.detach())
            for path, layer in self._layers.items()
        }
        transposed = any(is_transposed(module) for module in self._frozen.values())
        return Adapter(pairs, dict(self._scalings), transposed)

    def save(
        self, folder: Path, base_name: str, content: Mapping[str, Any], part: str | None = None
    ) -> None:
        """Save the adapter to a folder of its own, atomically.

        Args:
            folder: replaced if it exists.
            base_name: the frozen model, as its users name it.
            content: further entries for `graft.json`.
            part: of a diffusion pipeline, `unet`; None if the model is not a pipeline.

        Raises:
            BadFile, NoRoom: the folder contains something else, or cannot be written.
        """
        with folders.working_folder(folder, lambda path: is_replaceable(path, KIND)) as working:
            self.write_into(working, base_name, part)
            write_bundle(working, KIND, base_name, self.base, content)

    def write_into(self, folder: Path, base_name: str, part: str | None = None) -> None:
        """Write all files but `graft.json` into a `working_folder`; see `save`."""
        write_adapter(folder, self.adapter(), base_name, part)

    def drop_with(self, generator: torch.Generator | None) -> None:
        """Use this generator for dropout from now on; None to disable dropout."""
        for dropout in self._dropouts:
            dropout.generator = generator

    def install(self) -> None:
        """Put the layers into the network and freeze all other parameters."""
        self._installed = True
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)
        for parameter in self.parameters().values():
            parameter.requires_grad_(True)
        self._turn(self._scale != 0)

    def apply(self, frozen: nn.Module) -> nn.Module:
        """Return an adapted network that shares its weights with `frozen`.

        `frozen` itself is not modified; at zero it is returned as it is.

        Raises:
            ValueError: the adapter belongs to another network.
            BadInput: the adapter is merged.
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
        """Put the network's own modules back and return it."""
        self.unmerge()
        self._turn(False)
        self._installed = False
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(self._needed.get(name, parameter.requires_grad))
        return self.network

    def merge(self) -> None:
        """Add the learned change to the frozen weights, so that it costs no extra time.

        A copy of the original weights is kept, because adding and subtracting would not restore
        them exactly.

        Raises:
            BadInput: two of its layers share a weight.
        """
        if self._retained or self._scale == 0:
            return
        weights = {path: self._weight(path) for path in self._layers}
        if len({id(weight) for weight in weights.values()}) < len(weights):
            raise BadInput("layers of this network share a weight.", "Do not merge the LoRA.")
        with torch.no_grad():
            for path, weight in weights.items():
                self._retained[path] = weight.detach().clone()
                weight.add_(self._layers[path].get_delta_weight(NAME).to(weight.dtype))
        self._turn(False)

    def unmerge(self) -> None:
        """Restore the frozen weights, bit for bit as they were before `merge`."""
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
            raise BadInput("the LoRA is merged.", "Unmerge it first.")

    def _turn(self, on: bool) -> None:
        for path in self._layers:
            parent, _, name = path.rpartition(".")
            module = self._layers[path] if on else self._frozen[path]
            setattr(self.network.get_submodule(parent), name, module)


def share(network: nn.Module) -> nn.Module:
    """Return a copy of a network with its own modules but shared parameters and buffers."""
    tensors = (*network.parameters(), *network.buffers())
    return copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})


def install(
    network: nn.Module, rank: Rank, generator: torch.Generator, base_fingerprint: str = ""
) -> LowRank:
    """Put a zero-initialized LoRA adapter into a network, whose output does not change.

    Args:
        network: is frozen by this; `remove` undoes that as well.
        rank: hyperparameters of the adapter.
        generator: for the initialization of `A`, on its own device.
        base_fingerprint: of the network, to be saved with the adapter.

    Raises:
        BadInput: no layer to adapt is found, or one of the named layers does not exist.
    """
    if rank.targets is None:
        targets = find_targets(network)
    else:
        targets = named_targets(network, rank.targets)
    ranks = dict.fromkeys(targets, rank.rank)
    layers = make_layers(network, ranks, dict.fromkeys(targets, rank.alpha / rank.rank))
    for layer in layers.values():
        first = layer.lora_A[NAME].weight
        bound = 1 / math.sqrt(first[0].numel())  # as in PyTorch's linear layers
        sampled = torch.rand(first.shape, generator=generator, device=generator.device)
        with torch.no_grad():
            first.copy_((2 * sampled - 1) * bound)
    steer = LowRank(network, layers, rank.dropout, base_fingerprint)
    steer.install()
    return steer


def make_low_rank(network: nn.Module, adapter: Adapter, base_fingerprint: str = "") -> LowRank:
    """Create a LoRA adapter from saved weights for a network with layers of these shapes.

    The network is not modified; see `LowRank.apply` and `install_adapter`.
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
    """Put a LoRA adapter with saved weights into a network with layers of these shapes."""
    steer = make_low_rank(network, adapter, base_fingerprint)
    steer.install()
    return steer


def load(folder: Path, network: nn.Module, base_name: str, base_fingerprint: str) -> LowRank:
    """Load a saved LoRA adapter into the network that it was trained on.

    Raises:
        WrongBase: it was trained on another network; the message names both.
        BadFile: it is not an adapter, not a plain LoRA, or does not fit the network.
        Damaged: a file is truncated, was modified, or contains values that are not finite.
    """
    return load_several([(folder, 1.0)], network, base_name, base_fingerprint)


def load_several(
    folders: Sequence[tuple[Path, float]], network: nn.Module, base_name: str, base_fingerprint: str
) -> LowRank:
    """Load the weighted sum of saved LoRA adapters into a network; see `load`."""
    found = []
    for folder, scale in folders:
        if (folder / RECORD).is_file():
            require_base(read_bundle(folder, KIND), base_name, base_fingerprint)
        adapter = read_adapter(folder)
        require_fit(adapter, folder, network, base_name)
        found.append((settle(adapter, network, scale), 1.0))
    return install_adapter(network, join(found), base_fingerprint)
