"""The autoencoder: images to latents at an eighth of their resolution, and back.

The decoder of a finished autoencoder can be trained further alone. Its latents do not change, so
models trained on them stay valid while images become sharper.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ..blocks.judge import as_input
from ..diffusion.latents import LatentSpace, is_encoder
from ..diffusion.pipeline import load_part
from ..training.session import Plan
from ..training.state import generator_for, initialise
from .arrays import Chunks
from .cached import encode_rows, open_latents
from .registry import HELD_OUT_WORLD, SIDE, TRAINING_WORLD, Setting
from .result import put
from .scenes import Scenes, as_tensors, in_order, open_scenes

_EDGES = 0.25  # weight of the differences between neighbouring pixels
_DEVIATION = 2e-6  # weight of the distance of the latents from unit noise
_MEASURED = 1024  # scenes on which the scale of the latents is measured
_BATCH = 64


@dataclass(frozen=True, slots=True)
class Sizes:
    """Hyperparameters: `channels` of the latents, `widths` from image to latents."""

    plan: Plan
    scenes: int
    channels: int
    widths: tuple[int, ...]


REAL = Sizes(
    plan=Plan(steps=8_500, batch=16, learning_rate=1e-3, warm_up=300, weight_decay=0.0),
    scenes=100_000,
    channels=16,
    widths=(16, 32, 64, 128),
)
TINY = Sizes(
    plan=Plan(steps=4, batch=4, learning_rate=1e-3, warm_up=2),
    scenes=12,
    channels=4,
    widths=(8, 8, 8, 8),
)


class Work:
    """Reconstructs images; see `training.session.Task`."""

    def __init__(self, sizes: Sizes, scenes: Scenes, setting: Setting) -> None:
        self._scenes, self._setting = scenes, setting
        self._network = _network(sizes)
        initialise(self._network, generator_for(setting.seed, 0, "cpu"))
        self._network.to(setting.device)

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """All weights."""
        return dict(self._network.named_parameters())

    def batch(self, first: int, count: int) -> dict[str, Tensor]:
        """Images."""
        scenes = in_order(len(self._scenes), first, count, self._setting.seed)
        return {"picture": as_tensors(self._scenes.rows(scenes))["picture"]}

    def loss(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """L1 error of pixels and of their differences, and the KL divergence of the latents."""
        images = as_input(batch["picture"].to(self._setting.device))
        code = self._network.encode(images).latent_dist
        mean, deviation = code.mean.float(), code.logvar.float()
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        latents = mean + (deviation / 2).exp() * noise
        sampled = self._network.decode(latents).sample.float()
        error = functional.l1_loss(sampled, images)
        edges = sum(
            functional.l1_loss(sampled.diff(dim=axis), images.diff(dim=axis)) for axis in (2, 3)
        )
        excess = 0.5 * (mean**2 + deviation.exp() - 1 - deviation).sum(dim=(1, 2, 3)).mean()
        figures = {
            "error": error.detach(),
            "divergence": excess.detach(),
            "psnr_db": _psnr(sampled.detach(), images).mean(),
        }
        return error + _EDGES * edges + _DEVIATION * excess, figures

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write an `AutoencoderKL` whose scaling factor normalizes latents to unit variance."""
        put(self._network, weights)
        count = min(_MEASURED, len(self._scenes))
        rows = self._scenes.rows(np.arange(count))
        latents = encode_rows(self._network, rows, self._setting.device)
        self._network.register_to_config(scaling_factor=round(1 / float(latents.std()), 5))
        self._network.save_pretrained(folder)


def _network(sizes: Sizes) -> Any:
    import diffusers

    make: Any = diffusers.AutoencoderKL
    steps = len(sizes.widths)
    return make(
        block_out_channels=sizes.widths,
        down_block_types=("DownEncoderBlock2D",) * steps,
        up_block_types=("UpDecoderBlock2D",) * steps,
        layers_per_block=1,
        latent_channels=sizes.channels,
        norm_num_groups=8,
        sample_size=SIDE,
        mid_block_add_attention=False,
    )


def _psnr(
    sampled: Float[Tensor, "b 3 h w"], requested: Float[Tensor, "b 3 h w"]
) -> Float[Tensor, " b"]:
    error = (sampled.clamp(-1, 1) - requested).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(4 / error.clamp(min=1e-12))


class DecoderWork:
    """Reconstructs images from the latents of a frozen encoder; see `training.session.Task`."""

    def __init__(self, network: Any, scenes: Scenes, latents: Chunks, setting: Setting) -> None:
        self._network, self._scenes, self._latents = network, scenes, latents
        self._setting = setting
        for name, parameter in self._network.named_parameters():
            parameter.requires_grad_(not is_encoder(name))

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The weights of the decoder."""
        return {n: p for n, p in self._network.named_parameters() if not is_encoder(n)}

    def batch(self, first: int, count: int) -> dict[str, Tensor]:
        """Images and their latents."""
        numbers = in_order(len(self._scenes), first, count, self._setting.seed)
        images = as_tensors(self._scenes.rows(numbers))["picture"]
        return {"picture": images, "latents": self._latents.of(numbers)}

    def loss(
        self,
        batch: Mapping[str, Tensor],
        generator: torch.Generator,  # noqa: ARG002
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Mean squared error of pixels."""
        images = as_input(batch["picture"].to(self._setting.device))
        latents = batch["latents"].to(self._setting.device) / self._network.config.scaling_factor
        sampled = self._network.decode(latents).sample.float()
        return functional.mse_loss(sampled, images), {
            "psnr_db": _psnr(sampled.detach(), images).mean()
        }

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the whole `AutoencoderKL`."""
        put(self._network, weights)
        self._network.save_pretrained(folder)


def latents_identity(folder: Path) -> str:
    """Return a hash of everything that determines the latents of a saved autoencoder."""
    return LatentSpace(load_part(folder)).identity


def prepare(sizes: Sizes, setting: Setting) -> Work | DecoderWork:
    """Render the scenes, and create the network or load the one to train further."""
    scenes = open_scenes("pictures", TRAINING_WORLD, sizes.scenes, SIDE, setting.monitor)
    finished = setting.dependencies.get("autoencoder")
    if finished is None:
        return Work(sizes, scenes, setting)
    network: Any = load_part(finished).to(setting.device)
    identity = latents_identity(finished)
    latents = open_latents(network, identity, scenes, setting.device, setting.monitor)
    return DecoderWork(network, scenes, latents, setting)


def complete(folder: Path, setting: Setting) -> None:
    """Nothing is added."""


def evaluate(folder: Path, count: int, setting: Setting) -> dict[str, float]:
    """Measure the PSNR of held-out images: the mean, and the worst five percent."""
    network: Any = load_part(folder).to(setting.device)
    scenes = open_scenes("pictures", HELD_OUT_WORLD, count, SIDE, setting.monitor)
    images = as_tensors(scenes.rows(np.arange(count)))["picture"]
    found = []
    for part in torch.split(images, _BATCH):
        requested = as_input(part.to(setting.device))
        with torch.inference_mode():
            sampled = network.decode(network.encode(requested).latent_dist.mean).sample
        found.append(_psnr(sampled, requested).cpu())
    decibels = torch.cat(found)
    return {
        "psnr_db": float(decibels.mean()),
        "psnr_db_worst_twentieth": float(decibels.quantile(0.05)),
        "scaling_factor": float(network.config.scaling_factor),
    }
