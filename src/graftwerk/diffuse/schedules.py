"""Which noise levels a sampler visits: falling, one more than there are steps."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import BadInput
from ..frozen.diffusion.noise import Noise

Schedule = Literal["karras", "model"]
_RHO = 7.0  # of the paper


def noise_levels(noise: Noise, steps: int, schedule: Schedule) -> list[float]:
    """The levels of `steps` steps on a model's noise.

    Args:
        noise: of the model.
        steps: at least 1.
        schedule: `karras` goes through the model's whole range to 0; `model` takes the steps that
            the model's own configuration asks for.

    Raises:
        BadInput: the model's own schedule has fewer steps.
    """
    if schedule == "karras":
        return karras(float(noise.sigmas[0]), float(noise.sigmas[-1]), steps)
    if noise.karras:
        levels = karras(float(noise.sigmas[0]), float(noise.sigmas[-1]), steps)
        return [*levels[:-1], noise.last]
    return [*noise.sigmas[own_times(noise, steps)].tolist(), noise.last]


def karras(lowest: float, highest: float, steps: int) -> list[float]:
    """`steps` levels from `highest` to `lowest`, then 0.

    Equation 5 of Karras, Aittala, Aila, Laine, "Elucidating the Design Space of Diffusion-Based
    Generative Models", 2022.
    """
    ramp = np.linspace(0, 1, steps)
    high, low = highest ** (1 / _RHO), lowest ** (1 / _RHO)
    levels: list[float] = ((high + ramp * (low - high)) ** _RHO).tolist()
    return [*levels, 0.0]


def own_times(noise: Noise, steps: int) -> list[int]:
    """The training steps, falling, that a model's own configuration picks.

    The three spacings of table 2 in Lin, Liu, Li, Yang, "Common Diffusion Noise Schedules and
    Sample Steps are Flawed", 2023, rounded as diffusers' DDIM and DPM-Solver round them.

    Raises:
        BadInput: there are fewer training steps than that.
    """
    count = steps + noise.one_more
    total = noise.usable
    if count > total:
        raise BadInput(
            f"{steps} steps are more than the model's own schedule of {total} can give.",
            "Take fewer steps, or --schedule karras.",
        )
    if noise.spacing == "trailing":  # here diffusers leaves no step out
        step = len(noise.sigmas) / steps
        places = np.round(np.arange(total, 0, -step))[:steps] - 1
    elif noise.spacing == "linspace":
        places = np.round(np.linspace(0, total - 1, count))[::-1][:steps]
    else:
        rising = np.arange(count) * (total // count)
        offset = min(noise.offset, total - 1 - int(rising[-1]))
        places = rising[::-1][:steps] + offset
    return [int(place) for place in places]


def initial(noise: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
    """Where a sampler starts: unit noise at the highest level, a picture of unit variance in it.

    That is the unit noise of a variance-preserving model; at high levels hardly more than
    `sigma * noise`.
    """
    return noise * math.sqrt(1 + sigma**2)


def final(x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
    """What a sampler ended with, scaled as the network knows it; itself where it ended at 0."""
    return x if sigma == 0 else x / math.sqrt(1 + sigma**2)


def draw(
    generators: torch.Generator | Sequence[torch.Generator], like: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b c h w"]:
    """Unit noise of the shape, precision and place of `like`.

    Args:
        generators: one for all rows, or one for each row, so that a row's noise is its own.
        like: a batch.
    """
    if isinstance(generators, torch.Generator):
        rows = torch.randn(
            like.shape, generator=generators, dtype=like.dtype, device=generators.device
        )
        return rows.to(like.device)
    drawn = [
        torch.randn(like.shape[1:], generator=g, dtype=like.dtype, device=g.device)
        for g in generators
    ]
    return torch.stack(drawn).to(like.device)
