"""How well a denoiser knows a picture: what it makes of it behind noise."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Denoiser


def residuals(
    denoise: Denoiser,
    clean: Float[Tensor, "b c h w"],
    sigmas: Sequence[float],
    generator: torch.Generator,
    draws: int = 2,
) -> Float[Tensor, "b levels"]:
    """Logarithm of the mean squared error of the denoiser on each row, at each noise level.

    By this a diffusion model is a classifier too (Li et al., "Your Diffusion Model is Secretly a
    Zero-Shot Classifier", 2023): its error is small where its training had such pictures.

    Args:
        denoise: the model.
        clean: pictures or latents.
        sigmas: noise levels.
        generator: of the noise, which is the same for all rows.
        draws: noises at each level.
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
