"""Estimate depth, normals, segmentation and key points of an image.

`config.json` lists the classes and key points that the network knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional

from ..models.checkpoint import fingerprint
from ..models.trainable import load_own
from ..models.transformers import choose_device
from .judge import Pyramid, as_input

MODEL_TYPE = "graftwerk-perception"
_BATCH = 32
_SURE = 0.3  # score from which a place is a joint
_MOST = 16  # places of one joint that are looked for


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """Raw output of the perception network.

    Attributes:
        depth: 1 over the distance.
        normals: right, up, towards the camera; not normalized.
        classes: logits.
        joints: logits of each key point's location.
    """

    depth: Float[Tensor, "b h w"]
    normals: Float[Tensor, "b 3 h w"]
    classes: Float[Tensor, "b k h w"]
    joints: Float[Tensor, "b j h w"]


class PerceptionNetwork(nn.Module):
    """One network that estimates all maps.

    Args:
        config: `widths`, and the lists `classes` and `joints`.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)
        self.channels = [1, 3, len(config["classes"]), len(config["joints"])]
        self.pyramid = Pyramid(config["widths"], 1, sum(self.channels))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Views:
        """Run on images with values from -1 to 1."""
        maps, _ = self.pyramid(images)
        depth, normals, classes, joints = maps.split(self.channels, dim=1)
        return Views(depth[:, 0], normals, classes, joints)


@dataclass(frozen=True, slots=True, eq=False)
class Perceived:
    """What was estimated from one image.

    Attributes:
        depth: 1 over the distance in scene units.
        normals: unit vectors: right, up, towards the camera.
        classes: indices into the list of classes.
        joints: candidates for each key point, most confident first: x, y in pixels and a score.
    """

    depth: Float32[np.ndarray, "h w"]
    normals: Float32[np.ndarray, "h w 3"]
    classes: UInt8[np.ndarray, "h w"]
    joints: tuple[tuple[tuple[float, float, float], ...], ...]


@dataclass(frozen=True)
class Perception:
    """A frozen network that estimates maps from images."""

    network: PerceptionNetwork
    device: str
    fingerprint: str

    def look(self, images: UInt8[np.ndarray, "n h w 3"]) -> list[Perceived]:
        """Estimate the maps of each image; sides must be multiples of 8."""
        found = []
        for start in range(0, len(images), _BATCH):
            batch = np.ascontiguousarray(images[start : start + _BATCH])
            with torch.inference_mode():
                views = self.network(as_input(torch.from_numpy(batch).to(self.device)))
            found += _read(views)
        return found


def _read(views: Views) -> list[Perceived]:
    depth = views.depth.cpu().numpy()
    normals = functional.normalize(views.normals, dim=1).permute(0, 2, 3, 1).cpu().numpy()
    classes = views.classes.argmax(dim=1).to(torch.uint8).cpu().numpy()
    scores = views.joints.float().sigmoid()
    peaks = functional.max_pool2d(scores, 5, stride=1, padding=2) == scores
    columns = scores.shape[3]
    most = min(_MOST, scores.shape[2] * columns)
    best = torch.where(peaks, scores, 0.0).flatten(2).topk(most, dim=2)
    found = [
        tuple(
            tuple(
                (location % columns + 0.5, location // columns + 0.5, score)
                for score, location in zip(values, locations, strict=True)
                if score >= _SURE
            )
            for values, locations in zip(*joints, strict=True)
        )
        for joints in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]
    return [
        Perceived(one, facing, kinds, joints)
        for one, facing, kinds, joints in zip(depth, normals, classes, found, strict=True)
    ]


def load_perception(folder: Path, device: str = "auto") -> Perception:
    """Load a network trained by `graft recipe run perception`.

    Raises:
        BadFile: the folder contains something else, or its parts do not match.
        Damaged: the weight file is truncated.
    """
    location = choose_device(device)
    network = load_own(folder, MODEL_TYPE, PerceptionNetwork)
    return Perception(network.to(location), location, fingerprint(folder, {}))
