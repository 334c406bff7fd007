"""What wraps a denoiser, and the one order in which it does.

Everything here is a function from `denoise(x, sigma)` to `denoise(x, sigma)`, so a sampler never
learns of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Denoiser
from ..frozen.diffusion.noise import Clamp, Sigma

Batch = Float[Tensor, "b c h w"]
Pull = Callable[[Denoiser], Denoiser]


@dataclass(frozen=True, slots=True)
class Guidance:
    """Classifier-free guidance.

    Attributes:
        weight: 1 is the prompt alone, above 1 exaggerates it, 0 ignores it.
        lowest: noise level below which it does not act.
        highest: noise level above which it does not act.
    """

    weight: float
    lowest: float = 0.0
    highest: float = inf


def compose(
    conditional: Denoiser,
    both: Denoiser | None = None,
    guidance: Guidance | None = None,
    clamp: Clamp | None = None,
    pull: Pull | None = None,
) -> Denoiser:
    """Wrap a model for drawing: guided by the prompt first, then by gradients, kept in range last.

    What changes the network's evaluation (control) belongs inside `conditional` and `both`.

    Args:
        conditional: the model with its prompt.
        both: the model with its prompt and with the prompt to get away from, see `guided`.
        guidance: None for none.
        clamp: None for none.
        pull: what guides by gradients (`steer.gradient`); None for none.
    """
    denoise = conditional
    if both is not None and guidance is not None:
        denoise = guided(conditional, both, guidance)
    if pull is not None:
        denoise = pull(denoise)
    return denoise if clamp is None else clamped(denoise, clamp)


def guided(conditional: Denoiser, both: Denoiser, guidance: Guidance) -> Denoiser:
    """Classifier-free guidance (Ho and Salimans, 2022), within an interval of noise levels.

    Outside the interval (Kynkäänniemi et al., "Applying Guidance in a Limited Interval Improves
    Sample and Distribution Quality in Diffusion Models", 2024) the second evaluation is not made.
    A weight of 1 gives `conditional` itself back.

    Args:
        conditional: the model with its prompt, for `b` rows.
        both: the same for `2 b` rows, the first half with the prompt, the second half with what to
            get away from: an empty or a negative prompt.
        guidance: weight and interval.
    """
    if guidance.weight == 1:
        return conditional

    def denoise(x: Batch, sigma: Sigma) -> Batch:
        lowest, highest = guidance.lowest, guidance.highest
        excess: float | Tensor = guidance.weight - 1
        levels = sigma
        if isinstance(sigma, Tensor):
            inside = (lowest <= sigma) & (sigma <= highest)
            excess = torch.where(inside, excess, 0.0).to(x).view(-1, 1, 1, 1)
            acts, levels = bool(inside.any()), torch.cat([sigma, sigma])
        else:
            acts = lowest <= sigma <= highest
        if not acts:
            return conditional(x, sigma)
        with_prompt, without = both(torch.cat([x, x]), levels).chunk(2)
        # Not u + w (c - u), which at w = 1 is not c in floating point.
        return with_prompt + excess * (with_prompt - without)

    return denoise


def clamped(denoise: Denoiser, clamp: Clamp) -> Denoiser:
    """Keep the expected picture in range.

    A plain cut at the limit, or dynamic thresholding: a row whose values exceed 1 beyond the
    clamp's ratio is scaled back into it (Saharia et al., "Photorealistic Text-to-Image Diffusion
    Models with Deep Language Understanding", 2022).
    """

    def denoise_clamped(x: Batch, sigma: Sigma) -> Batch:
        denoised = denoise(x, sigma)
        if clamp.ratio is None:
            return denoised.clamp(-clamp.limit, clamp.limit)
        sizes = denoised.flatten(1).abs()
        bound = sizes.quantile(clamp.ratio, dim=1).clamp(1, max(clamp.limit, 1)).view(-1, 1, 1, 1)
        return denoised.clamp(-bound, bound) / bound

    return denoise_clamped
