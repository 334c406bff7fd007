"""The built-in forecaster: a small patch transformer on top of simple forecasts.

Patches of the past, one token of facts and patches of the leads pass through one encoder. For each
lead, the head returns weights of the simple forecasts, a correction, and the spacing of the
quantiles.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from .candidates import CONTEXT, FACTS, LEADS, NAMES, PATCH, Example

MODEL_TYPE = "graftwerk-series"
QUANTILES = tuple(round(level / 10, 1) for level in range(1, 10))
_CHANNELS = 4  # of the past; see `Example`
_FIRST_WEIGHT = 2.0  # logit of "as one season ago" in an untrained network
_WIDEST, _DEEPEST = 8_192, 128
_SPACING = -1.0  # of quantiles before training, input of the softplus


def spaced(center: Tensor, gaps: Tensor) -> Tensor:
    """Return quantiles that never cross, from the median and the gaps between neighbors."""
    half = gaps.shape[-1] // 2
    down = gaps[..., :half].flip(-1).cumsum(-1).flip(-1)
    up = gaps[..., half:].cumsum(-1)
    middle = center.unsqueeze(-1)
    return torch.cat([middle - down, middle, middle + up], dim=-1)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, states: Float[Tensor, "b t d"], mask: Tensor) -> Float[Tensor, "b t d"]:
        batch, tokens, width = states.shape
        parts = self.query_key_value(self.norm1(states))
        parts = parts.view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        states = states + self.output(mixed.transpose(1, 2).flatten(2))
        found: Tensor = states + self.down(functional.gelu(self.up(self.norm2(states))))
        return found


class SeriesForecaster(nn.Module):
    """The network of this module, built from its configuration alone."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)
        width, heads, layers = (int(config[name]) for name in ("width", "heads", "layers"))
        if not (1 <= heads <= width <= _WIDEST and width % heads == 0 and 1 <= layers <= _DEEPEST):
            raise ValueError(
                f"a width of {width}, {heads} heads and {layers} layers cannot be built"
            )
        self.past = nn.Linear(_CHANNELS * PATCH, width)
        self.ahead = nn.Linear((len(NAMES) + 1) * PATCH, width)
        self.facts = nn.Linear(FACTS, width)
        self.place = nn.Parameter(torch.zeros(1, CONTEXT // PATCH + 1 + LEADS // PATCH, width))
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, PATCH * (len(NAMES) + 1 + len(QUANTILES) - 1))

    def start(self) -> None:
        """Initialize the network to forecast the last season again."""
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            bias = self.head.bias.view(PATCH, -1)
            bias.zero_()
            bias[:, NAMES.index("season")] = _FIRST_WEIGHT
            bias[:, len(NAMES) + 1 :] = _SPACING

    def encode(self, inputs: Mapping[str, Tensor]) -> Float[Tensor, "b p d"]:
        """Return the hidden states of the patches of leads, which are the input of the head."""
        past = _patches(inputs["past"])
        ahead = torch.asinh(inputs["ahead"])
        leads = torch.arange(1, ahead.shape[-1] + 1, device=ahead.device)
        place = leads.log().div(5).expand(len(ahead), 1, -1)
        patches = _patches(torch.cat([ahead, place], dim=1))
        tokens = [self.past(past), self.facts(inputs["facts"]).unsqueeze(1), self.ahead(patches)]
        states = torch.cat(tokens, dim=1)
        states = states + self.place[:, : states.shape[1]]
        there = inputs["past"][:, 2].reshape(len(ahead), -1, PATCH).amax(-1) > 0
        rest = there.new_ones((len(there), states.shape[1] - there.shape[1]))
        mask = torch.cat([there, rest], 1)[:, None, None]
        for block in self.blocks:
            states = block(states, mask)
        found: Tensor = self.norm(states[:, there.shape[1] + 1 :])
        return found

    def forward(self, inputs: Mapping[str, Tensor]) -> Float[Tensor, "b h q"]:
        """Return quantiles of each lead, in units of each example's scale around its level."""
        parts = self.head(self.encode(inputs)).float()
        parts = parts.view(len(parts), parts.shape[1] * PATCH, -1)
        logits, correction, gaps = parts.split([len(NAMES), 1, len(QUANTILES) - 1], dim=-1)
        forecasts = inputs["ahead"].transpose(1, 2)
        center = (logits.softmax(-1) * forecasts).sum(-1) + correction.squeeze(-1)
        return spaced(center, functional.softplus(gaps))


def _patches(channels: Float[Tensor, "b c t"]) -> Float[Tensor, "b p d"]:
    batch, count, length = channels.shape
    parts = channels.reshape(batch, count, length // PATCH, PATCH)
    return parts.transpose(1, 2).flatten(2)


def as_inputs(examples: Sequence[Example]) -> dict[str, Tensor]:
    """Stack examples into the network's input."""
    return {
        name: torch.from_numpy(np.stack([getattr(one, name) for one in examples])).float()
        for name in ("past", "ahead", "facts")
    }


def pinball(
    quantiles: Float[Tensor, "b h q"], target: Float[Tensor, "b h"], levels: Sequence[float]
) -> Float[Tensor, "b h"]:
    """Return twice the mean quantile loss, which approximates the CRPS."""
    error = target.unsqueeze(-1) - quantiles
    at = torch.tensor(levels, device=error.device)
    return 2 * torch.maximum(at * error, (at - 1) * error).mean(-1)
