"""Double the resolution of a finished autoencoder without changing its latents.

Encoder and decoder get one more level each: the new encoder level downsamples the image for the
finished levels, the new decoder level upsamples what they return. The latents stay those of the
finished autoencoder for the downsampled image, so whatever was trained on them stays valid and
generates images of twice the side.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ..diffusion.pipeline import LATENTS_OF
from ..training.state import initialise


def doubled(finished: Any, identity: str, generator: torch.Generator) -> Any:
    """Return an `AutoencoderKL` for images of twice the side, with the finished one's weights.

    Its new decoder level starts by repeating each pixel; its new encoder level starts at random.

    Args:
        finished: the finished `AutoencoderKL`.
        identity: of the latents.
        generator: for the initial weights, on the CPU.
    """
    config = dict(finished.config)
    widths = (config["block_out_channels"][0], *config["block_out_channels"])
    levels = len(widths)
    network: Any = type(finished).from_config(
        config
        | {
            "block_out_channels": widths,
            "down_block_types": ("DownEncoderBlock2D",) * levels,
            "up_block_types": ("UpDecoderBlock2D",) * levels,
            "sample_size": 2 * config["sample_size"],
            LATENTS_OF: identity,
        }
    )
    initialise(network, generator)
    own = network.state_dict()
    for name, weight in finished.state_dict().items():
        if not name.startswith("encoder.conv_in."):
            own[_moved(name)] = weight
    last = f"decoder.up_blocks.{levels - 1}.resnets."
    for name in own:
        if name.startswith(last) and ".conv2." in name:
            own[name] = torch.zeros_like(own[name])
    doubling = f"decoder.up_blocks.{levels - 2}.upsamplers.0.conv"
    own[f"{doubling}.bias"] = torch.zeros_like(own[f"{doubling}.bias"])
    own[f"{doubling}.weight"] = _passing_on(own[f"{doubling}.weight"])
    network.load_state_dict(own)
    return network


def _moved(name: str) -> str:
    """Return the name that a weight of the finished autoencoder has in the doubled one."""
    start = "encoder.down_blocks."
    if not name.startswith(start):
        return name
    number, _, rest = name.removeprefix(start).partition(".")
    return f"{start}{int(number) + 1}.{rest}"


def _passing_on(like: Float[Tensor, "o i 3 3"]) -> Float[Tensor, "o i 3 3"]:
    weight = torch.zeros_like(like)
    for channel in range(min(like.shape[:2])):
        weight[channel, channel, 1, 1] = 1.0
    return weight


def is_half_size(finished: Any, side: int) -> bool:
    """Whether a finished autoencoder is for images of half this side."""
    return bool(side == 2 * int(finished.config.sample_size))


def moments_of(network: Any, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b m y x"]:
    """Return the means and the logarithms of the variances of latents."""
    moments: Tensor = network.quant_conv(network.encoder(images)).float()
    return moments


_VARIANCES = 0.02  # weight of the error of the variances, which only sampled latents use


def distillation_loss(
    found: Float[Tensor, "b m y x"], requested: Float[Tensor, "b m y x"], scale: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the loss of an encoder distilled from another, and its error as a share of variance.

    Args:
        found: moments of the encoder in training.
        requested: moments of the teacher.
        scale: factor that gives latents unit variance.
    """
    mean, variance = found.chunk(2, dim=1)
    mean_requested, variance_requested = requested.chunk(2, dim=1)
    error = functional.mse_loss(scale * mean, scale * mean_requested)
    variances = functional.l1_loss(variance, variance_requested)
    return error + _VARIANCES * variances, error
