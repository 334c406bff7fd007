"""Start sampling at an image (img2img), and repaint a part of one (inpainting).

A sampler needs nothing new for either: img2img is another start, `x0 + sigma * noise` at a level
below the highest (SDEdit: Meng et al., "Guided Image Synthesis and Editing with Stochastic
Differential Equations", 2021), and inpainting is a function from `denoise(x, sigma)` to
`denoise(x, sigma)` that knows the answer outside of a mask.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import BadInput
from ..types import Denoiser
from .noise_schedule import Sigma, initial

Batch = Float[Tensor, "b c h w"]
Mask = Bool[Tensor, "1 1 h w"]


def last_steps(sigmas: Sequence[float], strength: float) -> list[float]:
    """The noise levels of the last share of the steps, as many as diffusers takes; at 0 none."""
    steps = len(sigmas) - 1
    taken = min(int(steps * strength), steps)
    return list(sigmas[steps - taken :]) if taken else [0.0]


def inpainted(
    denoise: Denoiser,
    clean: Float[Tensor, "r c h w"],
    mask: Tensor,
    noise: Batch,
    below: float = math.inf,
) -> Denoiser:
    """Repaint where the mask is true; elsewhere the clean image is known.

    The network sees the known part behind noise of the level that the rest has, always the same
    noise, and what it says of that part is not used. With samplers that add no noise of their own
    this is `StableDiffusionInpaintPipeline` of diffusers on a U-Net of four channels, which puts
    the known part back behind each step. A mask that is true everywhere changes no bit.

    Args:
        denoise: what is wrapped.
        clean: latents of the image, one row for all or one each.
        mask: true where it is repainted.
        noise: unit noise of the known part.
        below: level from which on `x` is shown as it is, where it is noise that no image is in.

    Raises:
        BadInput: the mask is not true and false, or of another size than the latents.

    >>> import torch
    >>> clean, noise = torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1, 2)
    >>> mask = torch.tensor([[[[True, False]]]])
    >>> inpainted(lambda x, sigma: x / 2, clean, mask, noise)(4 * noise, 3.0)
    tensor([[[[2., 0.]]]])
    """
    if mask.dtype != torch.bool or mask.shape[-2:] != clean.shape[-2:]:
        raise BadInput(
            f"a mask of {mask.dtype} of {tuple(mask.shape[-2:])} for latents of "
            f"{tuple(clean.shape[-2:])}.",
            "Give True where it is repainted, for each latent: [1, 1, height, width].",
        )

    def denoise_inpainted(x: Batch, sigma: Sigma) -> Batch:
        levels = sigma.view(-1, 1, 1, 1) if isinstance(sigma, Tensor) else sigma
        level = float(sigma.max()) if isinstance(sigma, Tensor) else sigma
        shown = torch.where(mask, x, clean + levels * noise) if level < below else x
        return torch.where(mask, denoise(shown, sigma), clean)

    return denoise_inpainted


@dataclass(frozen=True, slots=True, eq=False)
class StartImage:
    """An image that sampling starts at.

    Attributes:
        clean: its latents.
        mask: true where it is repainted; None: everywhere.
        from_noise: whether sampling starts at noise without the image in it: inpainting with all
            steps, which outside of its mask knows the image anyway.
    """

    clean: Float[Tensor, "1 c h w"]
    mask: Mask | None = None
    from_noise: bool = False

    def begin(self, noise: Batch, sigma: float) -> Batch:
        """Where a sampler starts whose first level is `sigma`."""
        return initial(noise, sigma) if self.from_noise else self.clean + sigma * noise

    def wrap(self, denoise: Denoiser, noise: Batch, sigma: float) -> Denoiser:
        """The denoiser that knows what is not repainted; without a mask `denoise` itself."""
        if self.mask is None:
            return denoise
        below = sigma if self.from_noise else math.inf
        return inpainted(denoise, self.clean, self.mask, noise, below)

    def end(self, x: Batch) -> Batch:
        """What a sampler ended with; outside of the mask the image itself."""
        return x if self.mask is None else torch.where(self.mask, x, self.clean)
