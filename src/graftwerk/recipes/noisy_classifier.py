"""The noise-aware classifier: labels of noisy latents at every noise level.

Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", 2021, section 4.1, for scenes
with several objects: a label says that the scene contains such an object, so several can be true.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from ..blocks.scene import COLOURS, GROUNDS, KINDS, TIMES
from ..diffusion.noisy_classifier import NoiseAwareNetwork, load_noise_aware
from ..diffusion.pipeline import LatentSpace, load_part
from ..errors import WrongBase
from ..models.checkpoint import NOISE_AWARE
from ..training.session import Plan
from ..training.state import Loss, in_order
from . import diffusion
from .autoencoder import latents_identity
from .cached import open_latents
from .diffusion import Sizes
from .registry import HELD_OUT_WORLD, Setting
from .result import NetworkTask
from .scenes import ABSENT, Chunks, Scenes, open_scenes, training_scenes

PAIRS = tuple(f"{colour} {kind}" for colour in COLOURS for kind in KINDS)
_GROUPS = (PAIRS, KINDS, COLOURS, GROUNDS, TIMES)
LABELS = tuple(label for group in _GROUPS for label in group)
# of Stable Diffusion's noise, from which the levels are drawn evenly in the logarithm
_LEAST, _MOST = 0.029, 14.7
_MEASURED = (0.1, 0.5, 1.0, 2.0, 5.0)  # noise levels of the card
_BATCH = 64
_RARE = 0.01


REAL = Sizes(
    plan=Plan(steps=4_500, batch=64, learning_rate=2e-3, warm_up=300),
    scenes=100_000,
    widths=(128, 160),
    layers=1,
    heads=4,
)
LARGE = {"widths": (64, 128, 128)}
TINY = diffusion.TINY


class Work(NetworkTask):
    """Classifies noisy latents."""

    def __init__(self, sizes: Sizes, scenes: Scenes, latents: Chunks, setting: Setting) -> None:
        space = LatentSpace(load_part(setting.dependencies["autoencoder"]))
        config = {
            "model_type": NOISE_AWARE,
            "channels": int(space.network.config.latent_channels),
            "side": setting.side // space.factor,
            "widths": list(sizes.widths),
            "layers": sizes.layers,
            "heads": sizes.heads,
            "labels": list(LABELS),
            "groups": [len(group) for group in _GROUPS],
            "latents": space.identity,
        }
        super().__init__(NoiseAwareNetwork(config), config, setting)
        self._latents = latents
        self._labels = torch.from_numpy(labels_of(scenes))
        share = self._labels.float().mean(dim=0).clamp(_RARE, 1 - _RARE)
        bias = self._network.state_dict()["pool.answer.bias"]  # shares the network's memory
        bias.copy_(share.logit())  # most labels are rare; to learn that takes thousands of steps

    def batch(self, first: int, count: int) -> dict[str, Tensor]:
        """Latents and their labels."""
        numbers = in_order(len(self._labels), first, count, self._setting.seed)
        return {"latents": self._latents.of(numbers), "labels": self._labels[numbers]}

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Loss:
        """Binary cross-entropy, averaged over the labels."""
        device = self._setting.device
        latents = batch["latents"].to(device)
        noise = torch.randn(latents.shape, generator=generator, device=device)
        location = torch.rand(len(latents), generator=generator, device=device)
        sigma = _LEAST * torch.exp(location * math.log(_MOST / _LEAST))
        logits = self._network(latents + sigma.view(-1, 1, 1, 1) * noise, sigma)
        labels = batch["labels"].to(device).float()
        return functional.binary_cross_entropy_with_logits(logits.float(), labels), {}


def labels_of(scenes: Scenes) -> Bool[np.ndarray, "n l"]:
    """Return which of `LABELS` are true for each scene."""
    kinds, colours = scenes.column("kind"), scenes.column("colour")
    there = kinds != ABSENT
    kind = there[..., None] & (kinds[..., None] == np.arange(len(KINDS)))  # n o k
    colour = there[..., None] & (colours[..., None] == np.arange(len(COLOURS)))  # n o c
    pair = (colour[..., None] & kind[..., None, :]).any(axis=1)  # n c k
    ground = scenes.column("ground")[:, None] == np.arange(len(GROUNDS))
    time = scenes.column("time")[:, None] == np.arange(len(TIMES))
    parts = [pair.reshape(len(kinds), -1), kind.any(axis=1), colour.any(axis=1), ground, time]
    labels: Bool[np.ndarray, "n l"] = np.concatenate(parts, axis=1)
    return labels


def prepare(sizes: Sizes, setting: Setting) -> Work:
    """Render and encode the scenes, and create the network."""
    folder = setting.dependencies["autoencoder"]
    scenes = training_scenes("pictures", sizes.scenes, setting)
    return Work(sizes, scenes, _latents(scenes, folder, setting), setting)


def _latents(scenes: Scenes, folder: Path, setting: Setting) -> Chunks:
    network: Any = load_part(folder).to(setting.device)
    return open_latents(
        network, LatentSpace(network).identity, scenes, setting.device, setting.monitor
    )


def evaluate(folder: Path, count: int, setting: Setting) -> dict[str, float]:
    """Measure accuracy at several noise levels.

    `accuracy_at_X` is the share of held-out scenes with one object whose kind and color, of 40
    pairs, get the highest score at noise level X; `precision_at_X` is the average precision over
    the 40 pairs in scenes of one to four objects.
    """
    autoencoder = setting.dependencies["autoencoder"]
    classifier = load_noise_aware(str(folder), folder, setting.device)
    identity = latents_identity(autoencoder)
    if identity != classifier.latents:
        raise WrongBase(
            str(folder),
            made_on=f"latents {classifier.latents[:12]}",
            received=f"those of {autoencoder} ({identity[:12]})",
            hint="Measure it beside the autoencoder that it was trained with.",
        )
    figures: dict[str, float] = {}
    for name, objects in (("accuracy", 1), ("precision", None)):
        scenes = open_scenes(
            "pictures", HELD_OUT_WORLD, count, setting.side, setting.monitor, objects=objects
        )
        latents = _latents(scenes, autoencoder, setting).of(np.arange(count))
        truth = labels_of(scenes)[:, : len(PAIRS)]
        for level in _MEASURED:
            predicted = _say(classifier.network, latents, level, setting)[:, : len(PAIRS)]
            measure = _accuracy if objects == 1 else _average_precision
            figures[f"{name}_at_{level:g}"] = measure(predicted, truth)
    return figures


def _say(
    network: NoiseAwareNetwork, latents: Float[Tensor, "n c y x"], level: float, setting: Setting
) -> Float[np.ndarray, "n l"]:
    generator = torch.Generator().manual_seed(setting.seed)
    noisy = latents + level * torch.randn(latents.shape, generator=generator)
    with torch.inference_mode():
        predicted = [
            network(part.to(setting.device), level).cpu() for part in torch.split(noisy, _BATCH)
        ]
    logits: Float[np.ndarray, "n l"] = torch.cat(predicted).numpy()
    return logits


def _accuracy(predicted: Float[np.ndarray, "n l"], truth: Bool[np.ndarray, "n l"]) -> float:
    return float(truth[np.arange(len(predicted)), predicted.argmax(axis=1)].mean())


def _average_precision(
    predicted: Float[np.ndarray, "n l"], truth: Bool[np.ndarray, "n l"]
) -> float:
    from sklearn.metrics import average_precision_score

    held = truth.any(axis=0)
    return float(average_precision_score(truth[:, held], predicted[:, held], average="macro"))
