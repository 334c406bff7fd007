"""Trainable and tuned networks as encoders of items, and their folders."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .. import files
from ..adapters.manifest import Bundle
from ..data.dataset import ImageArray, Item, Kind, OpenedData
from ..errors import BadInput, Damaged
from ..models.trainable import Inputs, Trainable, load_trainable
from ..models.transformers import choose_device, quiet
from ..types import Vectors
from .base_model import Advance, Base

if TYPE_CHECKING:
    from ..adapters.lora import LowRank


MODEL, ADAPTER = "model", "adapter"
_BATCH = 32
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx")
_CONFIG = "config.json"


def load_network(base: Base, kind: Kind) -> Trainable:
    """Load the base as a network that can be trained on items of this kind."""
    device = choose_device("cpu" if base.device == "auto" else base.device)
    return load_trainable(base.root, kind, base.layer, device)


def inputs_of(trainable: Trainable, items: Sequence[Item]) -> Inputs:
    """Return the network's inputs for items, opening images."""
    opened: list[Any] = [
        item.open() if isinstance(item, ImageArray | OpenedData) else item for item in items
    ]
    return trainable.prepare(opened)


def encode(trainable: Trainable, items: Sequence[Item], advance: Advance) -> Vectors:
    """Return the items' unit vectors in order; texts of similar length share a batch."""
    order = sorted(range(len(items)), key=lambda n: -_length(items[n]))
    found: list[np.ndarray] = []
    for start in range(0, len(items), _BATCH):
        part = order[start : start + _BATCH]
        with torch.inference_mode():
            tensor = trainable.encode(inputs_of(trainable, [items[n] for n in part]))
        found.append(tensor.float().cpu().numpy())
        advance(len(part))
    everything = np.concatenate(found)
    if not np.isfinite(everything).all():
        raise Damaged(
            f"the network in {trainable.root} gives vectors that are not finite.",
            "Its weights are damaged; make it again.",
        )
    vectors = np.empty_like(everything)
    vectors[order] = everything
    return vectors


class NetworkEncoder:
    """A network as an encoder, with its LoRA merged if it has one; see `Encode`.

    Attributes:
        trainable: the network.
        steer: its LoRA adapter; None for a network without one.
    """

    def __init__(self, trainable: Trainable, steer: "LowRank | None" = None) -> None:
        self.trainable, self.steer = trainable, steer

    def scale_to(self, scale: float) -> None:
        """Merge the LoRA weights times `scale`; at 0 the network has its own weights."""
        if self.steer is not None:
            if scale != self.steer.scale:
                self.steer.unmerge()
                self.steer.scale = scale
            self.steer.merge()
        elif scale != 1:
            raise BadInput(
                f"scale {scale:g} needs an adapter, and full fine-tuning made a new model.",
                'Fit with method="lora" or "linear", or leave the scale at 1.',
            )

    def __call__(
        self,
        items: Sequence[Item],
        advance: Advance,
        unusual: Advance | None = None,  # noqa: ARG002  no statistics apply to a tuned network
    ) -> Vectors:
        """Encode items."""
        return encode(self.trainable, items, advance)


def load_tuned(bundle: Bundle, base: Base) -> NetworkEncoder:
    """Load the encoder of a fit by LoRA or full fine-tuning."""
    device = choose_device("cpu" if base.device == "auto" else base.device)
    reads = bundle.content["reads"]
    if bundle.kind == "full":
        root = bundle.folder / MODEL
        return NetworkEncoder(load_trainable(root, reads, base.layer, device))
    from ..adapters import lora

    trainable = load_trainable(base.root, reads, base.layer, device)
    steer = lora.load(bundle.folder / ADAPTER, trainable.tower, base.name, base.fingerprint)
    return NetworkEncoder(trainable, steer)


def save_full(folder: Path, trainable: Trainable) -> None:
    """Write the network with its current weights as a model folder, inside a working folder.

    All other files are copied from the base, so that it is read in the same way.
    """
    target = folder / MODEL

    def left_out(path: str, names: list[str]) -> set[str]:
        here = Path(path) == trainable.place
        return {n for n in names if here and (n.endswith(_WEIGHTS) or n.endswith(".index.json"))}

    shutil.copytree(trainable.root, target, ignore=left_out)
    location = target / trainable.place.relative_to(trainable.root)
    config = (location / _CONFIG).read_bytes()
    network: Any = trainable.network
    with quiet():
        network.save_pretrained(location, max_shard_size="100GB")
    files.write_plain(location / _CONFIG, config)


def _length(item: Item) -> int:
    return len(item) if isinstance(item, str) else 0
