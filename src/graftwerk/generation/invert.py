"""Inversion: targets, and the methods that move an input towards them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..data.images import open_image
from ..diffusion.noise_schedule import noise_levels
from ..diffusion.pipeline import DiffusionModel
from ..diffusion.samplers import draw, sample_ddim
from ..diffusion.sampling import (
    ImageArray,
    decode,
    descend,
    encode,
    image_seed,
    invert_ddim,
    stretch,
    to_images,
    to_levels,
    to_values,
)
from ..errors import BadFile, BadInput, UnknownName
from ..metrics.distributions import psnr
from ..models.trainable import own_size
from ..models.transformers import choose_device
from ..requests.control import Invert
from ..types import Denoiser, Monitor
from .authenticity import ImageBatch
from .guides import GuideModels, Settings
from .spec import Guide

_FILM = 8  # maximum number of images of the film strip
_STEPS, _STEPS_AND_BACK = 50, 10  # of the sampler: forward only, and with backpropagation


@dataclass(frozen=True)
class Target:
    """Target of an inversion.

    Attributes:
        given: the diffusion model whose input is optimized; None if only pixels are optimized.
        loss: loss of images with values 0 to 1; one number per row.
        latent_loss: loss of latents; None if the target is evaluated on images.
    """

    given: DiffusionModel | None
    models: GuideModels
    size: tuple[int, int]
    label: str | None
    picture: ImageBatch | None
    loss: Callable[[Tensor], Tensor]
    latent_loss: Callable[[Tensor], Tensor] | None

    @property
    def model(self) -> DiffusionModel:
        """The diffusion model, if the inversion needs one."""
        if self.given is None:
            raise TypeError("pixels are moved without a diffusion model")
        return self.given


@dataclass(frozen=True)
class Found:
    """Result of an inversion.

    Attributes:
        losses: mean loss over the rows at each step; empty for DDIM inversion.
        psnr_db: PSNR of the image sampled from its noise, for DDIM inversion; else None.
        psnr_db_of_decoder: PSNR of the image reconstructed by the autoencoder alone; else None.
    """

    pictures: list[ImageArray]
    film: list[ImageArray]
    losses: list[float]
    psnr_db: float | None = None
    psnr_db_of_decoder: float | None = None


def parse_target(to: str) -> Guide:
    """Parse `class=NAME`, `text=SENTENCE` or the path of an image, which is decoded.

    Raises:
        UnknownName: another kind of target.
        BadFile: the image cannot be read.
    """
    aim, equals, what = to.partition("=")
    if Path(to).exists():
        return Guide("image", to, 1.0, open_image(to))
    if not equals:
        raise BadFile(
            f"--to {to!r} is not an image that exists.",
            f'Write "class={to}", "text={to}", or the path of an image.',
        )
    if aim not in {"class", "text"}:
        raise UnknownName("target", aim, ["class", "text"])
    if not what.strip():
        raise BadInput(f"--to {to!r} names nothing.", f'Write, for example, "{aim}=a red cube".')
    return Guide("class" if aim == "class" else "text", what.strip(), 1.0)


def open_target(aim: Guide, settings: Settings, model: DiffusionModel) -> Target:
    """Load the models that measure the distance to a target.

    Raises:
        UnknownName: a class that the classifier does not have.
    """
    models = GuideModels(settings, model)
    if aim.image is not None:
        image = stretch([aim.image.image], model.size)
        requested = to_values(image).to(model.device)

        def difference(images: Tensor) -> Tensor:
            return (images - requested).square().mean(dim=(1, 2, 3))

        return Target(model, models, model.size, None, image, difference, None)
    log_prob, clean, _ = models.log_prob(aim)
    ask = models.of_images(aim)
    least = float(model.noise.sigmas[0])
    # the best cosine is 1, the best log-probability 0
    best = 0 if aim.aim == "class" else 1
    return Target(
        model,
        models,
        model.size,
        label=aim.what if aim.aim == "class" else None,
        picture=None,
        loss=lambda images: best - ask(images),
        latent_loss=None if clean else (lambda latents: -log_prob(latents, least)),
    )


def open_head_target(label: str, settings: Settings, device: str) -> Target:
    """Load a class of an image classifier as a target, without a diffusion model.

    The pixels that the classifier reads are optimized.

    Raises:
        UnknownName: a class that the classifier does not have.
        BadInput: it is not an image classifier, or its preprocessing is not supported.
    """
    models = GuideModels(settings, None, device=choose_device(device))
    head = models.networks.head(settings.classifier)
    if head is None:
        raise BadInput(
            f"{settings.classifier!r} has no classes of its own.", "Name an image classifier."
        )
    ask, _ = models.clean(Guide("class", label, 1.0))
    return Target(
        None,
        models,
        own_size(head.encoder),
        label=label,
        picture=None,
        loss=lambda images: -ask(images),
        latent_loss=None,
    )


def descend_to(
    request: Invert, target: Target, start: ImageArray | None, monitor: Monitor
) -> Found:
    """Move latents, pixels or noise to the target by gradient descent."""
    shown = _shower(request, target)
    latent_loss = target.latent_loss

    def loss(x: Tensor) -> Tensor:
        if request.space == "pixel":
            return target.loss(x)
        latents = shown.latents(x)
        if latent_loss is None:
            return target.loss(target.model.decode(latents))
        return latent_loss(latents)

    losses: list[float] = []
    film: list[ImageArray] = []
    every = max(1, -(-request.steps // (_FILM - 1)))

    def watch(number: int, x: Tensor, values: Tensor) -> None:
        losses.append(float(values.mean()))
        if number % every == 0 or number == request.steps:
            film.append(shown.pictures(x[:1])[0])
        if number:
            monitor.advance()

    begin = _start(request, target, start)
    monitor.start("descending", request.steps)
    bounds = (0.0, 1.0) if request.space == "pixel" else None
    end = descend(begin, loss, request.steps, request.rate, bounds=bounds, watch=watch)
    return Found(shown.pictures(end), film, losses)


@dataclass(frozen=True)
class Shower:
    """Maps the optimized variable to latents and to images."""

    latents: Callable[[Tensor], Tensor]
    pictures: Callable[[Tensor], list[ImageArray]]


def _shower(request: Invert, target: Target) -> Shower:
    if request.space == "pixel":  # values 0 to 1, on which the loss is computed
        return Shower(lambda x: x, lambda values: to_images(to_levels(values)))
    model = target.model
    if request.space == "latent":
        return Shower(lambda x: x, lambda x: decode(model, x))
    steps = request.sampling_steps or _STEPS_AND_BACK
    denoise, sigmas = _denoiser(model), noise_levels(model.noise_at(*model.size), steps, "karras")

    def latents(x: Tensor) -> Tensor:
        return sample_ddim(denoise, model.noise.start(x, sigmas[0]), sigmas)

    def pictures(x: Tensor) -> list[ImageArray]:
        with torch.no_grad():
            return decode(model, latents(x))

    return Shower(latents, pictures)


def _start(request: Invert, target: Target, given: ImageArray | None) -> Float[Tensor, "b c h w"]:
    (width, height), pixels = target.size, request.space == "pixel"
    device = target.models.device
    if given is not None:
        image = stretch([given], target.size)
        row = to_values(image) if pixels else encode(target.model, image)
        return row.expand(request.count, -1, -1, -1).clone().to(device)
    seeds = [image_seed(request.seed, number) for number in range(request.count)]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    shape = (3, height, width) if pixels else target.model.shape(width, height)
    noise = draw(generators, torch.empty(request.count, *shape))
    # faint noise on gray
    start = (0.5 + 0.1 * noise).clamp(0, 1) if pixels else noise
    return start.to(device)


def invert_image(request: Invert, target: Target, monitor: Monitor) -> Found:
    """Find the noise of an image by DDIM inversion, and sample it back."""
    if target.picture is None:
        raise ValueError("only an image has a noise that leads back to it")
    model, steps = target.model, request.sampling_steps or _STEPS
    sigmas = noise_levels(model.noise_at(*model.size), steps, "karras")
    denoise = _denoiser(model)
    monitor.start("inverting", 2 * steps)
    with torch.no_grad():
        clean = encode(model, target.picture)
        noise = invert_ddim(denoise, clean, sigmas, advance=monitor.advance)
        states: list[Tensor] = []

        def watch(step: Any) -> None:
            states.append(step.denoised)
            monitor.advance()

        sampled = sample_ddim(denoise, noise, sigmas, watch=watch)
    chosen = [
        states[round(location)] for location in torch.linspace(0, len(states) - 1, _FILM).tolist()
    ]
    back, alone = decode(model, sampled), decode(model, clean)
    return Found(
        back,
        [decode(model, state)[0] for state in chosen],
        [],
        psnr_db=float(psnr(stretch(back, model.size), target.picture)[0]),
        psnr_db_of_decoder=float(psnr(stretch(alone, model.size), target.picture)[0]),
    )


def _denoiser(model: DiffusionModel) -> Denoiser:
    return model.denoiser(None if model.reader is None else model.reader.read([""]))
