"""Image-to-image sampling (img2img) and inpainting.

Neither needs another sampler. Img2img starts at `x0 + sigma * noise` at a level below the highest
(SDEdit: Meng et al., "Guided Image Synthesis and Editing with Stochastic Differential Equations",
2021). Inpainting wraps `denoise(x, sigma)` in a function that returns the known image outside of a
mask.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from ..errors import BadInput
from ..types import Denoiser
from .noise_schedule import Noise, Sigma
from .prompts import TextStates

Batch = Float[Tensor, "b c h w"]
Mask = Bool[Tensor, "1 1 h w"]


def last_steps(sigmas: Sequence[float], strength: float, up: bool = False) -> list[float]:
    """Return the noise levels of the last share of the steps, as many as diffusers takes.

    A strength of 0 takes no steps. With `up`, as diffusers does for flow matching, part of a step
    counts as a step.
    """
    steps = len(sigmas) - 1
    taken = min(int(steps * strength), steps)
    if up:
        taken = steps - int(max(steps - steps * strength, 0))
    return list(sigmas[steps - taken :]) if taken else [0.0]


def inpainted(
    denoise: Denoiser,
    clean: Float[Tensor, "r c h w"],
    mask: Tensor,
    noise: Batch,
    below: float = math.inf,
    flows: bool = False,
) -> Denoiser:
    """Repaint where the mask is true; elsewhere the clean image is known.

    The network sees the known part with noise of the current level, always the same noise, and its
    prediction for that part is discarded. With samplers that do not add noise this equals
    `StableDiffusionInpaintPipeline` of diffusers with a U-Net of four channels, which restores the
    known part after each step. If the mask is true everywhere, the result is identical bit for bit.

    Args:
        denoise: the denoiser to wrap.
        clean: latents of the image, one row for all or one each.
        mask: true where it is repainted.
        noise: unit noise of the known part.
        below: noise level from which on `x` is passed on unchanged, because it is pure noise that
            contains no image.
        flows: whether the model is one of flow matching, whose `x` is `(1 - sigma) * x0 + sigma *
            noise`.

    Raises:
        BadInput: the mask is not boolean, or of another size than the latents.

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
        known = ((1 - levels) * clean if flows else clean) + levels * noise
        shown = torch.where(mask, x, known) if level < below else x
        return torch.where(mask, denoise(shown, sigma), clean)

    return denoise_inpainted


def edit_mask(
    source: Denoiser, target: Denoiser, clean: Float[Tensor, "1 c h w"], sigma: float, seed: int
) -> Mask:
    """Return where two prompts differ on an image: what an edit from one to the other changes.

    The difference of the predictions on noised images, averaged over noise, scaled to 0 to 1 and
    thresholded (Couairon, Verbeek, Schwenk, Cord, "DiffEdit", 2022).
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(_MASK_DRAWS, *clean.shape[1:], generator=generator).to(clean)
    noised = clean + sigma * noise
    apart = (target(noised, sigma) - source(noised, sigma)).abs().mean(dim=(0, 1), keepdim=True)
    low, high = apart.amin(), apart.amax()
    differs = ((apart - low) > _MASK_THRESHOLD * (high - low)).float()
    # latents at the edges of the area show it too
    return functional.max_pool2d(differs, 3, stride=1, padding=1) > 0


_MASK_DRAWS, _MASK_THRESHOLD = 16, 0.3


@dataclass(frozen=True, slots=True, eq=False)
class EditedImage:
    """An image that is edited by prompt-to-prompt on its DDIM inversion; see `StartImage`.

    Hertz et al., "Prompt-to-Prompt Image Editing with Cross Attention Control", 2022, on the exact
    inversion of `inversion.invert_ddim`. The image with its prompt and the edited one are sampled
    side by side from the same noise, and the edit attends as the image does. Outside of the mask
    both are equal. It is guided away from the image's own prompt.

    Attributes:
        held: predicts three rows: the image, the edit with its prompt and with the image's prompt,
            with the attention of the first.
        free: the same with their own attention.
    """

    clean: Float[Tensor, "1 c h w"]
    noise: Float[Tensor, "1 c h w"]
    mask: Mask
    held: Denoiser
    free: Denoiser
    lowest: float
    weight: float

    def begin(self, *_: object) -> Float[Tensor, "2 c h w"]:
        """Return the starting point: two rows of the same noise."""
        return self.noise.repeat(2, 1, 1, 1)

    def wrap(self, *_: object) -> Denoiser:
        """Return the denoiser of the two rows."""

        def denoise(x: Batch, sigma: Sigma) -> Batch:
            level = float(sigma.max()) if isinstance(sigma, Tensor) else sigma
            network = self.held if level >= self.lowest else self.free
            image, edit, away = network(x[[0, 1, 1]], level).chunk(3)
            guided = edit + (self.weight - 1) * (edit - away)
            return torch.cat([image, torch.where(self.mask, guided, image)])

        return denoise

    def end(self, x: Float[Tensor, "2 c h w"]) -> Float[Tensor, "1 c h w"]:
        """Return the edited image alone, with the image itself outside of the mask."""
        return torch.where(self.mask, x[1:], self.clean)


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Prompts for parts of an image.

    Attributes:
        shares: share of each prompt in each latent; they add up to 1.
    """

    texts: TextStates
    shares: Float[Tensor, "n 1 h w"]

    def wrap(self, network: Denoiser, away: bool) -> Denoiser:
        """Blend the predictions of a network that is bound to these prompts.

        Args:
            network: predicts for all prompts in one batch.
            away: whether a negative or empty prompt follows them; its rows are returned, too, as
                `guidance.classifier_free` expects, whose `x` then holds each row twice.
        """
        count = len(self.texts) + away

        def denoise_regions(x: Batch, sigma: Sigma) -> Batch:
            if away:
                x = x[: len(x) // 2]
            if isinstance(sigma, Tensor):
                sigma = sigma[: len(x)].repeat(count)
            parts = network(x.repeat(count, 1, 1, 1), sigma).chunk(count)
            pairs = zip(parts, self.shares, strict=False)
            mixed = torch.stack([part * share for part, share in pairs]).sum(dim=0)
            return torch.cat([mixed, parts[-1]]) if away else mixed

        return denoise_regions


@dataclass(frozen=True, slots=True, eq=False)
class StartImage:
    """An image that sampling starts from.

    Attributes:
        mask: true where it is repainted; None for everywhere.
        from_noise: whether sampling starts from noise that does not contain the image: inpainting
            with all steps, which knows the image outside of its mask anyway.
    """

    clean: Float[Tensor, "1 c h w"]
    mask: Mask | None = None
    from_noise: bool = False

    def begin(self, form: Noise, noise: Batch, sigma: float) -> Batch:
        """Return the starting point of a sampler whose first level is `sigma`."""
        return form.start(noise, sigma) if self.from_noise else form.mixed(self.clean, noise, sigma)

    def wrap(self, denoise: Denoiser, form: Noise, noise: Batch, sigma: float) -> Denoiser:
        """Return a denoiser that knows the part that is not repainted.

        Without a mask, `denoise` itself is returned.
        """
        if self.mask is None:
            return denoise
        below = sigma if self.from_noise else math.inf
        return inpainted(denoise, self.clean, self.mask, noise, below, form.flows)

    def end(self, x: Batch) -> Batch:
        """Return the sampler's result, with the image itself outside of the mask."""
        return x if self.mask is None else torch.where(self.mask, x, self.clean)
