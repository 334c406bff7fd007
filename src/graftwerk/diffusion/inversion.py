"""Inversion of samplers and networks, and the error of a denoiser.

- `invert_ddim` goes from an image back to the noise that a sampler would generate it from. -
`residuals` measures how well a denoiser reconstructs an image from noised versions of it. -
`descend` is gradient descent on an input, the general but slow method to obtain a target output
from a network. If the space of inputs is not well-behaved, it finds inputs that only the network
takes for the target (Szegedy et al., "Intriguing properties of neural networks", 2013).
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from ..allocation import reused_memory
from ..errors import BadInput
from ..types import Denoiser

Batch = Float[Tensor, "b c h w"]


def invert_ddim(
    denoise: Denoiser,
    x: Batch,
    sigmas: Sequence[float],
    *,
    refinements: int = 3,
    advance: Callable[[], None] | None = None,
) -> Batch:
    """Return the noise from which `samplers.sample_ddim` (eta 0) generates `x`.

    DDIM inversion (Song, Meng, Ermon, "Denoising Diffusion Implicit Models", 2020, section 4.3)
    follows the probability-flow equation upwards with Euler's method and takes the slope at the
    start of a step; the sampler takes it at the step's other end. So each step is refined: the
    slope is computed again at the previous estimate, which converges to the inverse of the
    sampler's step (a fixed-point iteration, as in Pan et al., "Effective Real Image Editing with
    Accelerated Iterative Diffusion Inversion", 2023).

    Args:
        denoise: the model.
        x: clean images or latents.
        sigmas: noise levels of the sampler, decreasing to 0; they are traversed backwards.
        refinements: additional evaluations per step; 0 is the plain inversion.
        advance: called after every step; it may raise to stop.
    """
    for before, sigma in pairwise(reversed(sigmas)):
        # there is no slope at level 0: use that of the next level
        slope = (x - denoise(x, before or sigma)) / (before or sigma)
        ahead = x + slope * (sigma - before)
        for _ in range(refinements):
            ahead = x + (ahead - denoise(ahead, sigma)) / sigma * (sigma - before)
        x = ahead
        if advance is not None:
            advance()
    return x


def residuals(
    denoise: Denoiser,
    clean: Float[Tensor, "b c h w"],
    sigmas: Sequence[float],
    generator: torch.Generator,
    draws: int = 2,
) -> Float[Tensor, "b levels"]:
    """Return the log mean squared error of the denoiser on each row, at each noise level.

    With these, a diffusion model is also a classifier (Li et al., "Your Diffusion Model is Secretly
    a Zero-Shot Classifier", 2023): its error is small on images like those it was trained on.
    """
    found = []
    with torch.no_grad():
        for sigma in sigmas:
            errors = []
            for _ in range(draws):
                noise = torch.randn(clean.shape[1:], generator=generator).to(clean)
                error = denoise(clean + sigma * noise, sigma) - clean
                errors.append(error.square().mean(dim=(1, 2, 3)))
            found.append(torch.stack(errors).mean(dim=0).log())
    return torch.stack(found, dim=1)


Loss = Callable[[Batch], Float[Tensor, " b"]]


def descend(
    start: Batch,
    loss: Loss,
    steps: int,
    rate: float,
    *,
    bounds: tuple[float, float] | None = None,
    watch: Callable[[int, Batch, Float[Tensor, " b"]], None] | None = None,
) -> Batch:
    """Minimize the loss of each row independently with Adam.

    Args:
        start: initial input.
        loss: one number per row, differentiable.
        steps: gradient steps.
        rate: learning rate.
        bounds: minimum and maximum value; None for none.
        watch: called with the step's number from 0, the input and its losses, and once more after
            the last step; it may raise to stop.

    Raises:
        BadInput: the loss is not finite or has no gradient.
    """
    with torch.inference_mode(False), torch.enable_grad(), reused_memory():
        x = start.clone().detach().requires_grad_()
        optimizer = torch.optim.Adam([x], lr=rate)
        for number in range(steps + 1):
            values = loss(x)
            if not bool(torch.isfinite(values).all()):
                raise BadInput(
                    f"the loss is not finite at step {number}.", "Take a smaller --rate."
                )
            if watch is not None:
                watch(number, x.detach(), values.detach())
            if number == steps:
                break
            if not values.requires_grad:
                raise BadInput(
                    "the loss has no gradient: it does not depend on the input in a way that "
                    "PyTorch can differentiate.",
                    "Compute it with PyTorch's operations alone.",
                )
            optimizer.zero_grad()
            torch.autograd.backward(values.sum())
            optimizer.step()
            if bounds is not None:
                with torch.no_grad():
                    x.clamp_(*bounds)
    return x.detach()
