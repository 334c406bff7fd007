"""Generate images in batches, decode them, and arrange them in a contact sheet; and go back.

Images of Pillow, arrays of bytes and tensors of values from 0 to 1 are converted here as well.

- `invert_ddim` goes from an image back to the noise that a sampler would generate it from.
- `residuals` measures how well a denoiser reconstructs an image from noised versions of it.
- `descend` is gradient descent on an input, the general but slow method to obtain a target output
  from a network. If the space of inputs is not well-behaved, it finds inputs that only the network
  takes for the target (Szegedy et al., "Intriguing properties of neural networks", 2013).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps
from torch import Tensor

from ..allocation import reused_memory
from ..errors import BadInput, Failure
from ..metrics.plots import image_sheet
from ..types import Denoiser
from .flow import guided_flow
from .guidance import Contrast, DenoiserWrapper, Guidance, compose
from .img2img import EditedImage, Regions, StartImage
from .noise_schedule import final
from .pipeline import DiffusionModel
from .prompts import TextStates, join
from .samplers import Watch, draw, find_sampler
from .unet import NetworkDenoiser

# Pixels of one batch. Small images use little of a machine when sampled one by one.
_BATCH_PIXELS = {"cpu": 2**18, "mps": 2**20, "cuda": 2**22}
_BATCH_IMAGES = {"cpu": 16, "mps": 16, "cuda": 64}


@runtime_checkable
class BatchController(Protocol):
    """Controls one batch while it is sampled."""

    def apply(self, frozen: NetworkDenoiser) -> NetworkDenoiser:
        """Return the controlled denoiser; at zero `frozen` itself."""
        ...


@runtime_checkable
class Controller(Protocol):
    """Controls every batch of a request."""

    def start(self, rows: int) -> BatchController:
        """Start sampling `rows` images; their rows come first if the U-Net sees more."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that determines an image, besides the model and the image's index.

    Attributes:
        away: states of the negative or empty prompt of guidance; None if it is inactive.
        control: of the U-Net between its encoder and decoder; None for none.
        pull: gradient guidance; None for none.
        steps: of the whole schedule, if the sampler is the model's own.
        perturbed: parts of the names of the layers that it perturbs.
        regions: prompts for parts of the image, instead of `texts`; None for one prompt.
    """

    texts: TextStates | None
    away: TextStates | None
    guidance: Guidance
    sampler: str
    eta: float
    sigmas: Sequence[float]
    shape: tuple[int, int, int]
    seed: int
    control: Controller | None = None
    pull: DenoiserWrapper | None = None
    start: StartImage | EditedImage | None = None
    steps: int = 0
    perturbation: float = 0.0
    perturbed: Sequence[str] = ("mid",)
    contrasts: tuple[Contrast, ...] = ()
    regions: Regions | None = None


def image_seed(seed: int, number: int) -> int:
    """Return the seed of one image's noise from the request's seed and the image's index."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)


def batches(count: int, width: int, height: int, device: str) -> list[range]:
    """Split the indices of `count` images into batches that the device processes at once."""
    size = _batch_size(width, height, device)
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def largest_batch(width: int, height: int) -> int:
    """Return the largest batch size for images of this size, over all devices."""
    return max(_batch_size(width, height, device) for device in _BATCH_IMAGES)


def _batch_size(width: int, height: int, device: str) -> int:
    return max(1, min(_BATCH_IMAGES[device], _BATCH_PIXELS[device] // (width * height)))


def row_generators(seed: int, numbers: Sequence[int]) -> list[torch.Generator]:
    """Return one generator per image.

    They are on the CPU, so that a seed means the same on every device.
    """
    return [torch.Generator().manual_seed(image_seed(seed, number)) for number in numbers]


def starting_noise(
    model: DiffusionModel,
    shape: tuple[int, int, int],
    sigma: float,
    generators: Sequence[torch.Generator],
) -> Float[Tensor, "b c h w"]:
    """Return the starting point of a sampler: noise of the highest level."""
    return model.noise.start(_unit_noise(model, shape, generators), sigma)


def _unit_noise(
    model: DiffusionModel, shape: tuple[int, int, int], generators: Sequence[torch.Generator]
) -> Float[Tensor, "b c h w"]:
    return draw(generators, torch.empty(len(generators), *shape, device=model.device))


def build_denoiser(model: DiffusionModel, plan: Plan, rows: int) -> Denoiser:
    """Return the model as `denoise(x, sigma)` for `rows` images, with guidance and control."""
    regions, texts, contrasts = plan.regions, plan.texts, list(plan.contrasts)
    if regions is not None:
        texts, rows = regions.texts, rows * len(regions.texts)
    conditional, both = model.denoiser(texts), None
    if texts is not None and plan.away is not None:
        both = model.denoiser(join(texts, plan.away))

    def placed(network: NetworkDenoiser, away: bool = False) -> Denoiser:
        return network if regions is None else regions.wrap(network, away)

    if plan.perturbation != 0:
        worse = conditional.perturb(plan.perturbed)
        if plan.control is not None:  # with a cache of its own for the branch's output
            worse = plan.control.start(rows).apply(worse)
        contrasts.append(Contrast(placed(worse), plan.perturbation))
    if plan.control is not None:
        control = plan.control.start(rows)
        conditional = control.apply(conditional)
        both = None if both is None else control.apply(both)
    # the model's own scheduler does its own clamping
    clamp = None if plan.sampler == "model" else model.noise.clamp
    pull = plan.pull
    if pull is not None and model.noise.flows:
        pull = partial(guided_flow, pull)
    prompted = None if both is None else placed(both, away=True)
    return compose(
        placed(conditional), prompted, plan.guidance, clamp, pull, contrasts, model.noise
    )


def sample_batch(
    model: DiffusionModel, plan: Plan, numbers: Sequence[int], watch: Watch | None = None
) -> Float[Tensor, "b c h w"]:
    """Sample the images with these indices in one batch, without decoding them.

    An image's noise depends only on the seed and its index. The batch size changes the order of
    sums, so the last bits (about 1e-6) of an image depend on the batch too.

    Raises:
        Failure: the model's output is not finite.
    """
    generators = row_generators(plan.seed, numbers)
    sampler = find_sampler(plan.sampler, generators, plan.eta, model.noise, plan.steps)
    with torch.inference_mode():
        denoise = build_denoiser(model, plan, len(numbers))
        noise, first, start = _unit_noise(model, plan.shape, generators), plan.sigmas[0], plan.start
        if start is None:
            x = model.noise.start(noise, first)
        else:
            x = start.begin(model.noise, noise, first)
            denoise = start.wrap(denoise, model.noise, noise, first)
        sampled = final(sampler(denoise, x, plan.sigmas, watch=watch), plan.sigmas[-1])
        sampled = sampled if start is None else start.end(sampled)
    if not bool(torch.isfinite(sampled).all()):
        raise Failure(
            f"model {model.name!r} generated values that are not finite.",
            "Try more steps, a smaller --cfg, or check the model with its own library.",
        )
    return sampled


ImageArray: TypeAlias = Image.Image
# A decoder needs several KB of memory per pixel.
_DECODED_PIXELS = 2**19
_SHEET_SIDE = 4096  # pixels at most
_SHEET_GAP = 4


def encode(model: DiffusionModel, images: UInt8[np.ndarray, "n h w 3"]) -> Float[Tensor, "n c y x"]:
    """Encode images into the values that the model would generate for them."""
    values = to_values(images)
    if model.decoder is None and model.channels == 1:
        values = values.mean(dim=1, keepdim=True)
    with torch.no_grad():
        found = [model.space.encode(part.to(model.device)) for part in torch.split(values, 32)]
    return torch.cat(found)


def decode(model: DiffusionModel, latents: Float[Tensor, "b c h w"]) -> list[ImageArray]:
    """Decode sampled values to images with 8 bits per channel.

    Raises:
        Failure: an image has a single color, or its values are not finite.
    """
    with torch.inference_mode():
        rows = max(1, _DECODED_PIXELS // (latents.shape[2] * latents.shape[3] * model.factor**2))
        decoded = torch.cat([model.decode(some) for some in torch.split(latents, rows)])
        _require_images(model, decoded)
        return to_images(to_levels(decoded))


def _require_images(model: DiffusionModel, decoded: Float[Tensor, "b k y x"]) -> None:
    """Refuse invalid images: NaN would become black, so the result would look finished."""
    if not bool(torch.isfinite(decoded).all()):
        raise Failure(
            f"model {model.name!r} made an image with values that are not finite.",
            "Check its autoencoder (vae), and the scaling_factor in its config.json.",
        )
    flat = decoded.flatten(1)
    several = flat.shape[1] > decoded.shape[1]  # more than one pixel
    if several and bool((decoded.amax(dim=(2, 3)) == decoded.amin(dim=(2, 3))).all(dim=1).any()):
        raise Failure(
            f"model {model.name!r} made an image of a single color.",
            "Its weights may be damaged; try another --cfg, or check it with its own library.",
        )


def contact_sheet(images: Sequence[ImageArray]) -> ImageArray:
    """Arrange images of one size in a grid on white, scaled down if it would be too large."""
    columns = math.ceil(math.sqrt(len(images)))
    room = _SHEET_SIDE // columns - _SHEET_GAP
    scale = min(1.0, room / max(images[0].size))
    width, height = (max(1, round(side * scale)) for side in images[0].size)
    tiles = [
        image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS) for image in images
    ]
    return image_sheet(tiles, columns, gap=_SHEET_GAP)


def film_strip(images: Sequence[ImageArray]) -> ImageArray:
    """Arrange images of one size in one row on white."""
    return image_sheet(images, len(images), gap=_SHEET_GAP)


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


def to_values(levels: UInt8[np.ndarray, "b y x 3"]) -> Float[Tensor, "b 3 y x"]:
    """Convert bytes to values from 0 to 1, channels first."""
    # a copy, as arrays from Pillow are not writable and PyTorch warns about them
    return torch.from_numpy(np.array(levels, order="C")).permute(0, 3, 1, 2).float() / 255


def to_levels(values: Float[Tensor, "b k y x"]) -> UInt8[np.ndarray, "b y x k"]:
    """Convert values from 0 to 1 to the nearest bytes, channels last."""
    levels = (values * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return np.ascontiguousarray(levels.cpu().numpy())


def to_images(levels: UInt8[np.ndarray, "b y x k"]) -> list[Image.Image]:
    """Convert arrays to images; arrays with one channel become gray images."""
    return [Image.fromarray(row[..., 0] if row.shape[-1] == 1 else row) for row in levels]


def stack(images: Sequence[Image.Image]) -> UInt8[np.ndarray, "b y x 3"]:
    """Stack images of equal size, in RGB."""
    return np.stack([np.asarray(image.convert("RGB")) for image in images])


def fit(image: Image.Image, width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """Center-crop an image to the aspect ratio of a size, and scale it to that size."""
    size = (width, height)
    return np.asarray(ImageOps.fit(image.convert("RGB"), size, Image.Resampling.LANCZOS))


def stretch(
    images: Sequence[Image.Image], size: tuple[int, int], crop: bool = False
) -> UInt8[np.ndarray, "b y x 3"]:
    """Scale images to one width and height; center-crop them first, or ignore aspect ratios."""
    rows, how = [image.convert("RGB") for image in images], Image.Resampling.BICUBIC
    if crop:
        return stack([row if row.size == size else ImageOps.fit(row, size, how) for row in rows])
    return stack([row if row.size == size else row.resize(size, how) for row in rows])
