"""A classifier of noisy latents: which labels apply to the clean image behind the noise.

It is the encoder of a denoiser with attention pooling in place of the decoder, as in Dhariwal and
Nichol, "Diffusion Models Beat GANs on Image Synthesis", 2021, section 4.1. Since an image may
contain several objects, each label has its own query and its own probability.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UnknownName
from ..models.checkpoint import NOISE_AWARE, fingerprint
from ..models.trainable import load_own
from ..models.transformers import choose_device
from .noise_schedule import Sigma

_TIME_SCALE = 100.0  # so that the sinusoidal embedding separates similar noise levels
_GROUPS = 8  # of channels, for group normalization


class NoiseAwareNetwork(nn.Module):
    """Logits of labels from noisy latents and their noise level.

    Args:
        config: `channels` and `side` of the latents, `widths` and `layers` of the encoder, `heads`
            of its attention, the list `labels`, and `latents`, the identity of the latent space
            (`LatentSpace.identity`). Optionally `groups`, the sizes of groups of consecutive
            labels that are alternatives of one attribute, such as the four grounds.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        import diffusers

        super().__init__()
        self.config = dict(config)
        groups = [int(count) for count in config.get("groups", ())]
        if groups and (sum(groups) != len(config["labels"]) or min(groups) < 1):
            raise ValueError(f"groups {groups} are not those of {len(config['labels'])} labels")
        widths, heads = tuple(config["widths"]), int(config["heads"])
        make: Any = diffusers.UNet2DModel
        whole: Any = make(
            sample_size=config["side"],
            in_channels=config["channels"],
            out_channels=config["channels"],
            block_out_channels=widths,
            down_block_types=("AttnDownBlock2D",) * len(widths),
            up_block_types=("AttnUpBlock2D",) * len(widths),
            layers_per_block=config["layers"],
            attention_head_dim=min(widths) // heads,
            norm_num_groups=_GROUPS,
        )
        self.conv_in, self.down_blocks = whole.conv_in, whole.down_blocks
        self.time_proj, self.time_embedding = whole.time_proj, whole.time_embedding
        self.mid_block = whole.mid_block
        self.norm = nn.GroupNorm(_GROUPS, widths[-1])
        self.pool = LabelPooling(widths[-1], len(config["labels"]), heads)

    def forward(self, x: Float[Tensor, "b c h w"], sigma: Sigma) -> Float[Tensor, "b labels"]:
        """Return logits for latents `x = x0 + sigma * noise`; `x0` has unit variance."""
        levels = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))
        times = self.time_embedding(self.time_proj(levels.log() * _TIME_SCALE).to(x.dtype))
        seen = self.conv_in(x / (1 + levels**2).sqrt().view(-1, 1, 1, 1))
        for block in self.down_blocks:
            seen, _ = block(seen, times)
        seen = functional.silu(self.norm(self.mid_block(seen, times)))
        logits: Tensor = self.pool(seen.flatten(2).transpose(1, 2))
        return logits


class LabelPooling(nn.Module):
    """Attention pooling over all locations with one query and one logit per label."""

    def __init__(self, width: int, labels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, labels, bias=False)  # its rows are the queries
        self.key_value = nn.Linear(width, 2 * width)
        self.answer = nn.Linear(width, labels)  # each label reads the result of its own query

    def forward(self, locations: Float[Tensor, "b n d"]) -> Float[Tensor, "b labels"]:
        """Pool locations to logits."""
        batch, _, width = locations.shape
        each = width // self.heads
        keys, values = (
            part.view(batch, -1, self.heads, each).transpose(1, 2)
            for part in self.key_value(locations).chunk(2, dim=-1)
        )
        queries = self.query.weight.view(1, -1, self.heads, each).transpose(1, 2)
        found = functional.scaled_dot_product_attention(
            queries.expand(batch, -1, -1, -1), keys, values
        )
        found = found.transpose(1, 2).flatten(2)  # b labels d
        scale = 1 / math.sqrt(self.heads)
        return (found * self.answer.weight).sum(dim=-1) * scale + self.answer.bias


@dataclass(frozen=True)
class NoiseAwareClassifier:
    """A frozen classifier of noisy latents."""

    name: str
    network: NoiseAwareNetwork
    fingerprint: str

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels."""
        return tuple(self.network.config["labels"])

    @property
    def latents(self) -> str:
        """Identity of the latent space that it reads."""
        return str(self.network.config["latents"])

    def location_of(self, label: str) -> int:
        """Return the index of a label.

        Raises:
            UnknownName: the classifier does not know that label.
        """
        if label not in self.labels:
            raise UnknownName("class", label, self.labels)
        return self.labels.index(label)

    def log_prob(
        self, x: Float[Tensor, "b c h w"], sigma: Sigma, *labels: str, temperature: float = 1.0
    ) -> Float[Tensor, " b"]:
        """Return log p(label | x) of each row, differentiable in `x`.

        Args:
            x: noisy latents.
            sigma: their noise level.
            labels: one for all rows, or one for each.
            temperature: divides the logits for the gradient only, see `softened`. Unless it is 1,
                and if there are groups, the gradient is that of the softmax within the label's
                group: the log-probability that an object sampled from the scene has this label and
                no other of its group. As in ADM, whose classes are mutually exclusive, adding
                objects with other labels does not increase it.

        Raises:
            UnknownName: the classifier does not know a label.
        """
        locations = torch.tensor([self.location_of(label) for label in labels], device=x.device)
        logits, own = self.network(x, sigma), locations.expand(len(x))[:, None]
        value = functional.logsigmoid(logits.gather(1, own)[:, 0])
        if temperature == 1:
            return value
        groups = self.network.config.get("groups")
        if not groups:
            return softened(functional.logsigmoid, logits.gather(1, own)[:, 0], temperature)
        numbers = torch.arange(len(groups), device=x.device)
        group = numbers.repeat_interleave(torch.tensor(groups, device=x.device))
        others = logits.masked_fill(group != group[own], -math.inf)

        def log_of_own(rivals: Tensor) -> Tensor:
            return functional.log_softmax(rivals, dim=-1).gather(1, own)[:, 0]

        soft = softened(log_of_own, others, temperature)
        return value.detach() + soft - soft.detach()


def load_noise_aware(name: str, folder: Path, device: str = "auto") -> NoiseAwareClassifier:
    """Load a classifier that was trained by `graft recipe run noisy-classifier`.

    Raises:
        BadFile: the folder contains something else, or its parts do not fit.
        Damaged: the weight file is truncated.
    """
    network = load_own(folder, NOISE_AWARE, NoiseAwareNetwork)
    return NoiseAwareClassifier(name, network.to(choose_device(device)), fingerprint(folder, {}))


def softened(log_prob: Callable[[Tensor], Tensor], logits: Tensor, temperature: float) -> Tensor:
    """Return `log_prob(logits)` with its gradient taken at a temperature.

    The gradient is that of `temperature * log_prob(logits / temperature)`: about the same while
    the classifier is uncertain, but it does not vanish when the classifier is confident.
    """
    value = log_prob(logits)
    if temperature == 1:
        return value
    soft = temperature * log_prob(logits / temperature)
    return soft + (value - soft).detach()


_MOVE = 0.15  # maximum, as a fraction of half the image's side
_ZOOM = 0.1  # maximum, as a fraction of the image's size
_GRAIN = 0.03  # standard deviation, for values from 0 to 1


def views(
    images: Float[Tensor, "b k y x"], count: int, seed: int
) -> list[Float[Tensor, "b k y x"]]:
    """Return slightly shifted, zoomed and noisy copies of each image, with a gradient.

    Borders are mirrored. Athalye, Engstrom, Ilyas, Kwok, "Synthesizing Robust Adversarial
    Examples", 2018, section 2.1: the expectation over transformations.

    Args:
        images: with values from 0 to 1.
        count: number of views; each is the same for all images.
        seed: of the random transformations.
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        zoom, *move = (2 * torch.rand(3, generator=generator) - 1).tolist()
        moved = torch.tensor(
            [[1 + _ZOOM * zoom, 0.0, _MOVE * move[0]], [0.0, 1 + _ZOOM * zoom, _MOVE * move[1]]]
        ).to(images)
        grid = functional.affine_grid(
            moved.expand(len(images), 2, 3), list(images.shape), align_corners=False
        )
        seen = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
        grain = torch.randn(images.shape[1:], generator=generator).to(images)
        found.append(seen + _GRAIN * grain)
    return found
