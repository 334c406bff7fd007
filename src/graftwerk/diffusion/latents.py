"""Encode images into the values that a U-Net generates, and decode them."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class LatentSpace:
    """An autoencoder and the scale of its latents; without one, pixels from -1 to 1.

    Attributes:
        network: an `AutoencoderKL` of diffusers, or None.
    """

    network: Any

    @property
    def factor(self) -> int:
        """Pixels per value along a side."""
        if self.network is None:
            return 1
        return int(2 ** (len(self.network.config.block_out_channels) - 1))

    @cached_property
    def identity(self) -> str:
        """Hash of everything that determines the latents; `pixels` without an autoencoder."""
        if self.network is None:
            return "pixels"
        digest = hashlib.sha256(repr(self.network.config.scaling_factor).encode())
        if shift := self.network.config.get("shift_factor"):
            digest.update(repr(shift).encode())
        for name, weight in sorted(self.network.state_dict().items()):
            if is_encoder(name):
                digest.update(f"{name}\0".encode() + weight.half().cpu().numpy().tobytes())
        return digest.hexdigest()

    def encode(self, images: Float[Tensor, "b k y x"]) -> Float[Tensor, "b c h w"]:
        """Encode images with values from 0 to 1; latents are the mode of their distribution."""
        values = images * 2 - 1
        if self.network is None:
            return values
        latents: Tensor = self.network.encode(values.to(self.network.dtype)).latent_dist.mode()
        latents = latents.float()
        scale, mean, std = self._scale(latents)
        return (latents - mean) / std * scale

    def decode(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k y x"]:
        """Decode generated values to images with values from 0 to 1."""
        values = latents
        if self.network is not None:
            scale, mean, std = self._scale(latents)
            values = (latents * std / scale + mean).to(self.network.dtype)
            values = self.network.decode(values, return_dict=False)[0].float()
        images: Tensor = (values / 2 + 0.5).clamp(0, 1)
        return images

    def _scale(self, like: Tensor) -> tuple[float, Tensor | float, Tensor | float]:
        config = self.network.config
        scale = float(config.scaling_factor)
        if config.latents_mean is None or config.latents_std is None:
            return scale, float(config.get("shift_factor") or 0.0), 1.0
        mean, std = (
            torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)
            for values in (config.latents_mean, config.latents_std)
        )
        return scale, mean, std


def is_encoder(name: str) -> bool:
    """Whether a weight of this name affects an autoencoder's latents."""
    return name.startswith(("encoder.", "quant_conv."))
