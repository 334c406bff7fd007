"""The ControlNet branch: a copy of a U-Net's encoder and middle block that reads a control image.

ControlNet of Zhang, Rao, Agrawala, "Adding Conditional Control to Text-to-Image Diffusion Models",
2023. The copy reads the same noisy image as the frozen U-Net and, added after its first layer, the
encoded control image. Its outputs pass through 1 x 1 convolutions initialized to zero and are
added to the skip connections and the middle block of the frozen U-Net, so at first nothing
changes.

    branch = make_branch(unet, Shape(factor=8), generator)
    hint = branch.read(images)                       # once for all steps
    residuals = branch(x, times, hint, inputs)
    run_with(unet, x, times, inputs, residuals)      # of diffusion.unet

Paper and official code disagree on the encoder of the control image. The paper (section 3.3) has
four 4 x 4 convolutions with stride 2, ReLU, 16, 32, 64, 128 channels and Gaussian initialization.
The code and diffusers have 3 x 3 convolutions, SiLU, 16, 32, 96, 256 channels, three of them with
stride 2, and a zero-initialized last one, so that the copy starts with the activations of the
frozen encoder. The code's version is the default.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ..diffusion.unet import (
    Controllable,
    Handed,
    Inputs,
    Joint,
    PromptAttention,
    Residuals,
    encode_half,
    zero_convolutions_of,
)
from ..errors import BadInput
from ..training.state import initialise

HintKind = Literal["code", "paper"]
_CODE_WIDTHS, _PAPER_WIDTHS = (16, 32, 96, 256), (16, 32, 64, 128)
DEVIATION = 0.02  # of the paper's Gaussian first weights
# One over the mean of silu(z)^2 of a standard normal z. With it a condition's signal keeps its size
# through the layers; PyTorch's own first weights shrink it a thousandfold, and it is found late.
_SILU_GAIN = 2.81


class CodeHint(nn.Module):
    """The hint encoder of the official code; weights are named as in diffusers."""

    def __init__(self, widths: tuple[int, ...], channels: int, colours: int = 3) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(colours, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for width, after in pairwise(widths):
            self.blocks.append(nn.Conv2d(width, width, 3, padding=1))
            self.blocks.append(nn.Conv2d(width, after, 3, padding=1, stride=2))
        self.conv_out = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, images: Float[Tensor, "b k y x"]) -> Float[Tensor, "b c h w"]:
        """Encode control images with values from 0 to 1."""
        hidden = functional.silu(self.conv_in(images))
        for block in self.blocks:
            hidden = functional.silu(block(hidden))
        out: Tensor = self.conv_out(hidden)
        return out


class PaperHint(nn.Module):
    """The hint encoder described in the paper; its fourth convolution has stride 1.

    Latents have an eighth of an image's resolution, so four convolutions of stride 2 would be one
    too many; the paper's numbers only match if the last one keeps the size.
    """

    def __init__(self, widths: tuple[int, ...], channels: int, colours: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        before = colours
        for number, width in enumerate(widths):
            parts = number < len(widths) - 1
            self.layers.append(
                nn.Conv2d(before, width, 4 if parts else 3, 2 if parts else 1, padding=1)
            )
            before = width
        self.last = nn.Conv2d(before, channels, 1)

    def forward(self, images: Float[Tensor, "b k y x"]) -> Float[Tensor, "b c h w"]:
        """Encode control images with values from 0 to 1."""
        hidden = images
        for layer in self.layers:
            hidden = functional.relu(layer(hidden))
        out: Tensor = self.last(hidden)
        return out


def widths_for(kind: HintKind, factor: int) -> tuple[int, ...]:
    """Return the channels of a hint encoder for a U-Net whose values cover `factor` pixels."""
    widths = _CODE_WIDTHS if kind == "code" else _PAPER_WIDTHS
    halvings = int(math.log2(factor))
    return widths[: halvings + 1] + (widths[-1],) * (halvings + 1 - len(widths))


def make_hint(
    kind: HintKind, widths: tuple[int, ...], channels: int, generator: torch.Generator
) -> nn.Module:
    """Create a hint encoder."""
    made = CodeHint(widths, channels) if kind == "code" else PaperHint(widths, channels)
    with torch.no_grad():
        for layer in made.modules():
            if isinstance(layer, nn.Conv2d):
                inputs = layer.weight[0].numel()
                deviation = math.sqrt(_SILU_GAIN / inputs) if kind == "code" else DEVIATION
                layer.weight.normal_(0.0, deviation, generator=generator)
                layer.bias.zero_()  # type: ignore[union-attr]
        if isinstance(made, CodeHint):
            made.conv_out.weight.zero_()
    return made


Body = Literal["copy", "light"]
Start = Literal["zero", "gaussian"]
Learned = Literal["all", "convolutions"]
# What a copy can leave as the U-Net has it: a third of a small one, and it converges without.
_UNLEARNED = ("encoder.time_embedding.", ".transformer_blocks.")
_PARTS = (
    "conv_in",
    "time_proj",
    "time_embedding",
    "add_time_proj",
    "add_embedding",
    "down_blocks",
    "mid_block",
)


@dataclass(frozen=True, slots=True)
class Shape:
    """Architecture of a branch.

    Attributes:
        factor: pixels per value of the U-Net's input, along a side.
        body: a copy of the encoder and middle block, or the light one: one convolution per layer.
        start: initialization of the convolutions that connect it to the U-Net.
        hint: which hint encoder, see `make_hint`.
        hint_widths: its channels; None for those of the code or the paper.
        middle_only: whether it is connected only to the middle block.
        learned: everything, or only its convolutions, norms and connections; the rest stays as in
            the U-Net and is not saved.
    """

    factor: int
    body: Body = "copy"
    start: Start = "zero"
    hint: HintKind = "code"
    hint_widths: tuple[int, ...] | None = None
    middle_only: bool = False
    learned: Learned = "all"

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the hint encoder."""
        return self.hint_widths or widths_for(self.hint, self.factor)

    @property
    def is_plain(self) -> bool:
        """Whether diffusers' `ControlNetModel` has this architecture."""
        return self.body == "copy" and self.hint == "code" and not self.middle_only


class CopiedEncoder(nn.Module):
    """Encoder and middle block of a diffusers U-Net, with the library's own names.

    Args:
        source: a U-Net or a `ControlNetModel`; its modules are used, not copied.
    """

    def __init__(self, source: Any) -> None:
        super().__init__()
        for name in _PARTS:
            part = getattr(source, name, None)
            if part is not None:
                setattr(self, name, part)
        self.centres = bool(source.config.get("center_input_sample", False))

    def forward(self, x: Tensor, times: Tensor, hint: Tensor | None, inputs: Inputs) -> Handed:
        """Return the encoder's outputs; see `diffusion.unet`."""
        return encode_half(self, 2 * x - 1 if self.centres else x, times, hint, inputs)[0]


class LightEncoder(nn.Module):
    """One convolution per layer: ControlNet-lite of the paper's ablation."""

    def __init__(self, first: nn.Module, joints: Sequence[Joint]) -> None:
        super().__init__()
        self.conv_in = first
        pairs = pairwise(joints)
        self.layers = nn.ModuleList(
            nn.Conv2d(a.channels, b.channels, 3, 2 ** (b.halvings - a.halvings), 1)
            for a, b in pairs
        )

    def forward(
        self,
        x: Tensor,
        times: Tensor,  # noqa: ARG002
        hint: Tensor | None,
        inputs: Inputs,  # noqa: ARG002
    ) -> Handed:
        """Return outputs in place of the encoder's; time and prompt are ignored."""
        hidden = self.conv_in(x)
        if hint is not None:
            hidden = hidden + hint
        handed = [hidden]
        for layer in self.layers:
            hidden = functional.silu(layer(hidden))
            handed.append(hidden)
        return tuple(handed[:-1]), handed[-1]


class Branch(nn.Module):
    """A ControlNet branch, created by `make_branch` or loaded by `checkpoint.read_branch`.

    Args:
        encoder: takes image, time, hint and prompt, and has the outputs of the U-Net's encoder.
        hint_encoder: from a control image to what is added after the first layer.
        joints: of the U-Net.
        shape: how it is built.
        turns_colours: whether the control image's channels are turned round first, as some
            published branches want it (blue before red).
        pools: whether what it hands over is the mean over all places, as the branch that keeps
            a shuffled image's colors wants it (`global_pool_conditions`).
    """

    def __init__(
        self,
        encoder: nn.Module,
        hint_encoder: nn.Module,
        joints: Sequence[Joint],
        shape: Shape,
        turns_colours: bool = False,
        pools: bool = False,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.places = tuple(joints)
        self.turns_colours = turns_colours
        self.pools = pools
        self.keeps_prompts = False
        self.encoder = encoder
        self.hint_encoder = hint_encoder
        self.joins = nn.ModuleList(nn.Conv2d(j.channels, j.channels, 1) for j in joints)

    def read(self, images: Float[Tensor, "b k y x"]) -> Float[Tensor, "b c h w"]:
        """Encode control images with values from 0 to 1; the result is the same at every step."""
        channels = next(iter(self.hint_encoder.parameters())).shape[1]
        if self.turns_colours:
            images = images.flip(1)
        hint: Tensor = self.hint_encoder(as_channels(images, channels))
        return hint

    def size_of_maps(self, size: tuple[int, int], factor: int) -> tuple[int, int]:
        """Return width and height of the control images for images of this size.

        They are smaller than the images if the branch was trained before the autoencoder's
        resolution was doubled.

        Args:
            size: width and height of the images.
            factor: pixels of an image per value of the U-Net's input, along a side.
        """
        width, height = (side * self.shape.factor // factor for side in size)
        return width, height

    def forward(
        self, x: Float[Tensor, "b c h w"], times: Float[Tensor, " b"], hint: Tensor, inputs: Inputs
    ) -> Residuals:
        """Return what is added to the U-Net's skip connections and middle block."""
        if not self.keeps_prompts and "cross_attention_kwargs" in inputs:
            inputs = {key: inputs[key] for key in inputs if key != "cross_attention_kwargs"}
        skips, middle = self.encoder(x, times, hint, inputs)
        if self.pools:
            return self._pooled(skips, middle)
        *joins, last = self.joins
        if self.shape.middle_only:
            return Residuals(tuple(torch.zeros_like(skip) for skip in skips), last(middle))
        pairs = zip(joins, skips, strict=True)
        return Residuals(tuple(join(skip) for join, skip in pairs), last(middle))

    def _pooled(self, skips: tuple[Tensor, ...], middle: Tensor) -> Residuals:
        """What is added where every place gets the mean."""
        joined = [j(part) for j, part in zip(self.joins, (*skips, middle), strict=True)]
        # spread again, for weights and masks by place look at its size
        found = [part.mean(dim=(2, 3), keepdim=True).expand_as(part) for part in joined]
        return Residuals(tuple(found[:-1]), found[-1])

    @property
    def is_zero_initialized(self) -> bool:
        """Whether nothing has been learned yet: all connections to the U-Net are zero."""
        return not any(bool(weight.any()) for weight in self.joins.parameters())


def as_channels(images: Float[Tensor, "b 3 y x"], channels: int) -> Float[Tensor, "b channels y x"]:
    """Control images with the channels that a branch reads: 1 is gray, a 4th is opacity."""
    if channels == images.shape[1]:
        return images
    if channels == 1:  # as Pillow's "L"
        weights = torch.tensor([0.299, 0.587, 0.114], dtype=images.dtype, device=images.device)
        return (images * weights.view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    return torch.cat([images, torch.ones_like(images[:, :1])], dim=1)


def make_branch(
    network: Any, shape: Shape, generator: torch.Generator, first: nn.Module | None = None
) -> Branch:
    """Create a zero-initialized branch for a U-Net, which does not change.

    Args:
        network: a `UNet2DConditionModel`, a `UNet2DModel` or a `Controllable`.
        shape: architecture.
        generator: for the initial weights, on the CPU.
        first: first layer of a `Controllable`, which a light branch copies.

    Raises:
        BadInput: another kind of U-Net.
    """
    joints = zero_convolutions_of(network)
    if shape.body == "light":
        own = first if isinstance(network, Controllable) else network.conv_in
        if own is None:
            raise BadInput("a light branch of one's own U-Net needs its first layer.", "Name it.")
        encoder: nn.Module = LightEncoder(copy.deepcopy(own), joints)
        initialise(encoder.layers, generator)  # type: ignore[arg-type]
    elif isinstance(network, Controllable):
        encoder = copy.deepcopy(network.encoder)
    else:
        encoder = copy.deepcopy(CopiedEncoder(network))
    hint_encoder = make_hint(shape.hint, shape.widths, joints[0].channels, generator)
    branch = Branch(encoder, hint_encoder, joints, shape)
    with torch.no_grad():
        for join in branch.joins:
            for weight in join.parameters():
                weight.zero_()
            if shape.start == "gaussian":
                join.weight.normal_(0.0, DEVIATION, generator=generator)  # type: ignore[operator]
    branch.keeps_prompts = isinstance(encoder, CopiedEncoder) and _keeps(encoder)
    device = next(iter(network.parameters())).device
    branch.to(device).requires_grad_(False)
    for weight in weights_of(branch).values():
        weight.requires_grad_(True)
    return branch


def _keeps(encoder: nn.Module) -> bool:
    found = [m for name, m in encoder.named_modules() if name.endswith(".attn2")]
    return bool(found) and all(isinstance(m.processor, PromptAttention) for m in found)


def weights_of(branch: Branch) -> dict[str, nn.Parameter]:
    """Return the trained weights by name."""
    return {
        name: weight
        for name, weight in branch.named_parameters()
        if branch.shape.learned == "all" or not any(part in name for part in _UNLEARNED)
    }


def set_weights(branch: Branch, weights: Mapping[str, Tensor]) -> None:
    """Load trained weights into a branch of the same shape."""
    own = dict(branch.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)
