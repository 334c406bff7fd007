"""Perception: depth, normals, segmentation and key points of an image, in one network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn
from torch.nn import functional

from ..blocks.geometry import JOINTS
from ..blocks.maps import CLASSES
from ..blocks.networks import (
    PERCEPTION_TYPE,
    Perceived,
    PerceptionNetwork,
    as_input,
    load_perception,
)
from ..training.session import Plan
from ..training.state import Loss, in_order
from .registry import Setting
from .result import NetworkTask
from .scenes import Scenes, as_tensors, other_rows, training_scenes

_DEPTH, _JOINTS = 20.0, 100.0  # weights that bring the parts of the loss to one size
_RARE = -5.0  # logit of the chance that a pixel holds a joint
_DEVIATION = 1.5  # of the target around a joint, in pixels
_NEAR = 0.1  # share of a person's longer side within which a joint counts as found


@dataclass(frozen=True, slots=True)
class Sizes:
    """Hyperparameters; see `Pyramid` for the widths."""

    plan: Plan
    scenes: int
    widths: tuple[int, ...]


REAL = Sizes(
    plan=Plan(steps=4_000, batch=32, learning_rate=2e-3, warm_up=500),
    scenes=30_000,
    widths=(24, 48, 96, 128),
)
LARGE = {"widths": (24, 48, 96, 128, 128)}
TINY = Sizes(plan=Plan(steps=4, batch=4, learning_rate=2e-3, warm_up=2), scenes=12, widths=(8, 16))


class SceneTask(NetworkTask):
    """Training of a network that reads stored scenes."""

    def __init__(
        self, network: nn.Module, config: dict[str, Any], scenes: Scenes, setting: Setting
    ) -> None:
        super().__init__(network, config, setting)
        self._scenes = scenes
        # shares the network's memory
        self._bias = self._network.state_dict()["pyramid.head.bias"]

    def batch(self, first: int, count: int) -> dict[str, Tensor]:
        """Stored scenes."""
        scenes = in_order(len(self._scenes), first, count, self._setting.seed)
        return as_tensors(self._scenes.rows(scenes))


def total_of(parts: Mapping[str, Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Return the sum of the parts of a loss, and the parts to log."""
    total = torch.stack(list(parts.values())).sum()
    return total, {f"loss_{name}": value.detach() for name, value in parts.items()}


class Work(SceneTask):
    """Estimates all maps of an image."""

    def __init__(self, sizes: Sizes, scenes: Scenes, setting: Setting) -> None:
        config = {
            "model_type": PERCEPTION_TYPE,
            "widths": list(sizes.widths),
            "classes": list(CLASSES),
            "joints": list(JOINTS),
        }
        super().__init__(PerceptionNetwork(config), config, scenes, setting)
        self._bias[-len(JOINTS) :] = _RARE

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Loss:  # noqa: ARG002
        """Sum of the losses of all maps."""
        scene = {name: value.to(self._setting.device) for name, value in batch.items()}
        views = self._network(as_input(scene["picture"]))
        normals = scene["normals"].permute(0, 3, 1, 2).float() / 127
        solid = normals.square().sum(dim=1) > 0.5
        turned = 1 - functional.cosine_similarity(views.normals.float(), normals, dim=1)
        heat = heat_of(scene["joints"], scene["picture"].shape[1])
        parts = {
            "depth": _DEPTH * functional.l1_loss(views.depth.float(), scene["depth"].float()),
            "normals": (turned * solid).sum() / solid.sum().clamp(min=1),
            "classes": functional.cross_entropy(views.classes.float(), scene["classes"].long()),
            "joints": _JOINTS * _heat_loss(views.joints.float(), heat),
        }
        return total_of(parts)


def heat_of(joints: Float[Tensor, "b o j 3"], side: int) -> Float[Tensor, "b j h w"]:
    """Return bumps of height 1 at visible key points (x, y in pixels, and 1 if visible)."""
    pixels = torch.arange(side, device=joints.device) + 0.5
    deviation = 2 * _DEVIATION**2
    across = torch.exp(-((pixels - joints[..., 0, None]) ** 2) / deviation)  # b o j w
    down = torch.exp(-((pixels - joints[..., 1, None]) ** 2) / deviation)  # b o j h
    bumps = joints[..., 2, None, None] * down[..., :, None] * across[..., None, :]
    return bumps.amax(dim=1)


def _heat_loss(logits: Float[Tensor, "b j h w"], heat: Tensor) -> Float[Tensor, ""]:
    least = functional.binary_cross_entropy(heat, heat)
    return functional.binary_cross_entropy_with_logits(logits, heat) - least


def prepare(sizes: Sizes, setting: Setting) -> Work:
    """Render the scenes with their maps and create the network."""
    return Work(sizes, training_scenes("maps", sizes.scenes, setting), setting)


def evaluate(folder: Path, count: int, setting: Setting) -> dict[str, float]:
    """Measure the errors of the maps of held-out scenes.

    `mean_iou` is over the classes that occur; `depth_rmse_percent` is of 1 over the distance, in
    percent of its range; `normals_degrees` is the mean angle where there is a surface;
    `keypoints_pck` is the share of visible key points found within a tenth of the person's longer
    side.
    """
    perception = load_perception(folder, setting.device)
    rows = other_rows("maps", count, setting)
    seen = perception.look(rows["picture"])
    classes = np.stack([one.classes for one in seen])
    depth, requested = np.stack([one.depth for one in seen]), rows["depth"].astype(np.float32)
    normals = rows["normals"].astype(np.float32) / 127
    lengths = np.linalg.norm(normals, axis=-1)
    solid = lengths > 0.5  # the sky has none
    predicted = np.stack([one.normals for one in seen])[solid]
    cosines = np.sum(predicted * normals[solid], axis=-1) / lengths[solid]
    found = [_find_joints(row["joints"], one) for row, one in zip(rows, seen, strict=True)]
    joints = sum(total for _, total in found)
    return {
        "mean_iou": _mean_iou(classes.astype(np.int64), rows["classes"].astype(np.int64)),
        "depth_rmse_percent": float(
            100 * np.sqrt(np.mean((depth - requested) ** 2)) / np.ptp(requested)
        ),
        "normals_degrees": float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).mean()),
        "keypoints_pck": sum(hits for hits, _ in found) / max(joints, 1),
    }


def _mean_iou(
    predicted: Int64[np.ndarray, "n h w"], requested: Int64[np.ndarray, "n h w"]
) -> float:
    kinds = len(CLASSES)
    table = np.bincount((requested * kinds + predicted).ravel(), minlength=kinds**2).reshape(
        kinds, kinds
    )
    both, either = np.diag(table), table.sum(axis=0) + table.sum(axis=1) - np.diag(table)
    return float((both / np.maximum(either, 1))[table.sum(axis=1) > 0].mean())


def _find_joints(people: Float32[np.ndarray, "o j 3"], seen: Perceived) -> tuple[int, int]:
    """Count visible key points that were found, and all visible ones.

    For each key point, only as many candidates count as there are people.
    """
    shown = [person for person in people if person[:, 2].any()]
    hits = total = 0
    for person in shown:
        reach = _NEAR * float(np.ptp(person[:, :2], axis=0).max())
        for joint, (x, y, visible) in enumerate(person):
            if visible:
                surest = seen.joints[joint][: len(shown)]
                hits += any(np.hypot(a - x, b - y) <= reach for a, b, _ in surest)
                total += 1
    return hits, total
