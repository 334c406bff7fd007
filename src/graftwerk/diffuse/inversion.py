"""From a picture back to the noise that a sampler would draw it from."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor

from ..contracts import Denoiser

Batch = Float[Tensor, "b c h w"]


def invert_ddim(
    denoise: Denoiser,
    x: Batch,
    sigmas: Sequence[float],
    *,
    refinements: int = 3,
    advance: Callable[[], None] | None = None,
) -> Batch:
    """Noise that `samplers.sample_ddim` (eta 0) leads back to `x`.

    DDIM inversion (Song, Meng, Ermon, "Denoising Diffusion Implicit Models", 2020, section 4.3)
    goes up the probability-flow equation with Euler's method, and takes the slope where a step
    begins; the sampler takes it where the step ends. So each step is refined: the slope is
    computed anew where the last try led, which comes to the step whose inverse is the sampler's
    (a fixed-point iteration, as in Pan et al., "Effective Real Image Editing with Accelerated
    Iterative Diffusion Inversion", 2023).

    Args:
        denoise: the model.
        x: clean pictures or latents.
        sigmas: levels of the sampler, falling to 0; they are walked backwards.
        refinements: further evaluations a step; 0 is the plain inversion.
        advance: told of every step; it may raise to stop.
    """
    for before, sigma in pairwise(reversed(sigmas)):
        # at level 0 there is no slope yet: take that of the next level
        slope = (x - denoise(x, before or sigma)) / (before or sigma)
        ahead = x + slope * (sigma - before)
        for _ in range(refinements):
            ahead = x + (ahead - denoise(ahead, sigma)) / sigma * (sigma - before)
        x = ahead
        if advance is not None:
            advance()
    return x
