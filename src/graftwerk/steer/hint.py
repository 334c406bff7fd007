"""Encoders of a control picture: from its pixels to the size of what a U-Net draws.

The paper and its own code disagree. The paper (Zhang, Rao, Agrawala, "Adding Conditional Control
to Text-to-Image Diffusion Models", 2023, section 3.3) says four convolutions of 4 x 4 with stride
2, ReLU, 16, 32, 64, 128 channels, Gaussian first weights. Its code and diffusers have
convolutions of 3 x 3, SiLU, 16, 32, 96, 256 channels, three of stride 2, and a last one of zeros,
so that the copy starts from the very activations of the frozen encoder. The code's is the default.
"""

import math
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

HintKind = Literal["code", "paper"]
_CODE_WIDTHS, _PAPER_WIDTHS = (16, 32, 96, 256), (16, 32, 64, 128)
_SPREAD = 0.02  # of the paper's Gaussian first weights
# One over the mean of silu(z)^2 of a standard normal z. With it a condition's signal keeps its size
# through the layers; PyTorch's own first weights shrink it a thousandfold, and it is found late.
_SILU_GAIN = 2.81


class CodeHint(nn.Module):
    """The hint encoder of the official code; its weights are named as diffusers names them.

    Args:
        halvings: of the picture's sides.
        channels: that it gives.
        widths: one more than there are halvings.
        colours: channels of the picture.
    """

    def __init__(self, widths: tuple[int, ...], channels: int, colours: int = 3) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(colours, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for width, after in pairwise(widths):
            self.blocks.append(nn.Conv2d(width, width, 3, padding=1))
            self.blocks.append(nn.Conv2d(width, after, 3, padding=1, stride=2))
        self.conv_out = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, pictures: Float[Tensor, "b k y x"]) -> Float[Tensor, "b c h w"]:
        """Encode control pictures with values from 0 to 1."""
        hidden = functional.silu(self.conv_in(pictures))
        for block in self.blocks:
            hidden = functional.silu(block(hidden))
        out: Tensor = self.conv_out(hidden)
        return out


class PaperHint(nn.Module):
    """The hint encoder that the paper describes; its fourth convolution halves nothing more.

    Latents have an eighth of a picture's sides, so four of stride 2 would be one too many: the
    paper's own figures fit only where the last one keeps the size.
    """

    def __init__(self, widths: tuple[int, ...], channels: int, colours: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        before = colours
        for number, width in enumerate(widths):
            halves = number < len(widths) - 1
            self.layers.append(
                nn.Conv2d(before, width, 4 if halves else 3, 2 if halves else 1, padding=1)
            )
            before = width
        self.last = nn.Conv2d(before, channels, 1)

    def forward(self, pictures: Float[Tensor, "b k y x"]) -> Float[Tensor, "b c h w"]:
        """Encode control pictures with values from 0 to 1."""
        hidden = pictures
        for layer in self.layers:
            hidden = functional.relu(layer(hidden))
        out: Tensor = self.last(hidden)
        return out


def widths_for(kind: HintKind, factor: int) -> tuple[int, ...]:
    """Channels of a hint encoder for a U-Net that draws `factor` pixels to a side of one value."""
    widths = _CODE_WIDTHS if kind == "code" else _PAPER_WIDTHS
    halvings = int(math.log2(factor))
    return widths[: halvings + 1] + (widths[-1],) * (halvings + 1 - len(widths))


def make_hint(
    kind: HintKind, widths: tuple[int, ...], channels: int, generator: torch.Generator
) -> nn.Module:
    """A hint encoder with first weights from a generator.

    Args:
        kind: the code's, which begins with an output of zeros, or the paper's.
        widths: see `widths_for`.
        channels: that the U-Net's first layer gives.
        generator: of the first weights, on the CPU.
    """
    made = CodeHint(widths, channels) if kind == "code" else PaperHint(widths, channels)
    with torch.no_grad():
        for layer in made.modules():
            if isinstance(layer, nn.Conv2d):
                inputs = layer.weight[0].numel()
                spread = math.sqrt(_SILU_GAIN / inputs) if kind == "code" else _SPREAD
                layer.weight.normal_(0.0, spread, generator=generator)
                layer.bias.zero_()  # type: ignore[union-attr]
        if isinstance(made, CodeHint):
            made.conv_out.weight.zero_()
    return made
