"""Pictures to the values that a U-Net draws, and back."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL.Image import Image
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
        """Pixels to a side of one value."""
        if self.network is None:
            return 1
        return int(2 ** (len(self.network.config.block_out_channels) - 1))

    @cached_property
    def identity(self) -> str:
        """Hash of all that decides the latents; `pixels` without an autoencoder."""
        if self.network is None:
            return "pixels"
        digest = hashlib.sha256(repr(self.network.config.scaling_factor).encode())
        for name, weight in sorted(self.network.state_dict().items()):
            if is_encoder(name):
                digest.update(f"{name}\0".encode() + weight.half().cpu().numpy().tobytes())
        return digest.hexdigest()

    def encode(self, pictures: Float[Tensor, "b k y x"]) -> Float[Tensor, "b c h w"]:
        """Pictures, values 0 to 1, as what the U-Net draws; of a latent the most likely value."""
        values = pictures * 2 - 1
        if self.network is None:
            return values
        latents: Tensor = self.network.encode(values).latent_dist.mode()
        scale, mean, std = self._scale(latents)
        return (latents - mean) / std * scale

    def decode(self, drawn: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k y x"]:
        """What the U-Net drew as pictures, values 0 to 1."""
        if self.network is not None:
            scale, mean, std = self._scale(drawn)
            drawn = self.network.decode(drawn * std / scale + mean, return_dict=False)[0]
        pictures: Tensor = (drawn / 2 + 0.5).clamp(0, 1)
        return pictures

    def _scale(self, like: Tensor) -> tuple[float, Tensor | float, Tensor | float]:
        """Scaling factor of the latents, and their mean and spread where the decoder has them."""
        config = self.network.config
        scale = float(config.scaling_factor)
        if config.latents_mean is None or config.latents_std is None:
            return scale, 0.0, 1.0
        mean, std = (
            torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)
            for values in (config.latents_mean, config.latents_std)
        )
        return scale, mean, std


def values_of(pictures: UInt8[np.ndarray, "b y x 3"]) -> Float[Tensor, "b 3 y x"]:
    """Bytes as values from 0 to 1."""
    # a copy, for what PIL gives is not writable, of which PyTorch warns the user
    return torch.from_numpy(np.array(pictures, order="C")).permute(0, 3, 1, 2).float() / 255


def is_encoder(name: str) -> bool:
    """Whether a weight of this name decides an autoencoder's latents."""
    return name.startswith(("encoder.", "quant_conv."))


def as_squares(pictures: "tuple[Image, ...]", width: int, height: int) -> "Tensor":
    """The middles of pictures, scaled to one size: [n 3 height width], values 0 to 1."""
    import numpy as np
    from PIL import Image, ImageOps

    from ..diffusion.latents import values_of

    rows = [
        np.asarray(ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS))
        for picture in pictures
    ]
    return values_of(np.stack(rows))
