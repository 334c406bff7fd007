"""Targets of `graft invert`, and the ways to them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..data.images import read_image
from ..data.pixels import stretch, to_images, to_levels, to_values
from ..diffusion.inversion import descend, invert_ddim
from ..diffusion.noise_schedule import draw, initial, noise_levels
from ..diffusion.pipeline import DiffusionModel
from ..diffusion.samplers import sample_ddim
from ..diffusion.sampling import Picture, decode, picture_seed
from ..metrics.distributions import psnr
from ..requests.guide import Invert
from ..types import Denoiser, Monitor
from .authenticity import Pictures, encode
from .guide_spec import Guide
from .guides import GuideModels, Settings

_FILM = 8  # pictures of the strip, at most


@dataclass(frozen=True)
class Target:
    """What an input is moved to.

    Attributes:
        model: the diffusion model whose input it is.
        models: what asks classes and sentences.
        label: the class; None for another target.
        picture: the picture; None for another target.
        loss: of pictures, values 0 to 1; one number a row.
        latent_loss: the same of latents, where the target is asked there.
        slug: what names of files call it.
    """

    model: DiffusionModel
    models: GuideModels
    label: str | None
    picture: Pictures | None
    loss: Callable[[Tensor], Tensor]
    latent_loss: Callable[[Tensor], Tensor] | None
    slug: str


@dataclass(frozen=True)
class Found:
    """What came of it.

    Attributes:
        pictures: at the end.
        film: pictures of the first row on the way, from the start to the end.
        losses: mean over the rows, at each step.
        psnr_db: of the picture that came back, where one was given.
        psnr_db_of_decoder: of what the autoencoder alone gives back of it.
    """

    pictures: list[Picture]
    film: list[Picture]
    losses: list[float]
    psnr_db: float | None = None
    psnr_db_of_decoder: float | None = None


def open_target(request: Invert, model: DiffusionModel) -> Target:
    """Read what is wanted.

    Raises:
        UnknownName: a class that the classifier does not have.
        BadFile: the picture cannot be read.
    """
    settings = Settings(request.guide_model, tuple(request.guide_labels), request.guide_encoder)
    models = GuideModels(settings, model)
    aim, equals, what = request.to.partition("=")
    slug = "-".join("".join(c if c.isalnum() else " " for c in request.to).split())[:40]
    if not equals or Path(request.to).exists():
        picture = stretch([read_image(request.to)], model.size)
        wanted = to_values(picture).to(model.device)

        def difference(pictures: Tensor) -> Tensor:
            return (pictures - wanted).square().mean(dim=(1, 2, 3))

        return Target(model, models, None, picture, difference, None, Path(request.to).stem[:40])
    guide = Guide("class" if aim == "class" else "text", what.strip(), 1.0)
    log_prob, clean, _ = models.log_prob(guide)
    ask = models.of_pictures(guide)
    least = float(model.noise.sigmas[0])
    return Target(
        model,
        models,
        label=guide.what if aim == "class" else None,
        picture=None,
        # a cosine is best at 1
        loss=(lambda pictures: -ask(pictures))
        if aim == "class"
        else (lambda pictures: 1 - ask(pictures)),
        latent_loss=None if clean else (lambda latents: -log_prob(latents, least)),
        slug=slug,
    )


def descend_to(
    request: Invert, model: DiffusionModel, target: Target, sampled: int, monitor: Monitor
) -> Found:
    """Move latents, pixels or noise down the loss.

    Args:
        request: what is wanted.
        model: the diffusion model.
        target: what it is moved to.
        sampled: steps of the sampler that a descent on noise goes through.
        monitor: told of every step; it may raise to stop.
    """
    shown = _shower(request, model, sampled)
    latent_loss = target.latent_loss

    def loss(x: Tensor) -> Tensor:
        if request.space == "pixel":
            return target.loss(x)
        latents = shown.latents(x)
        return target.loss(model.decode(latents)) if latent_loss is None else latent_loss(latents)

    losses: list[float] = []
    film: list[Picture] = []
    every = max(1, -(-request.steps // (_FILM - 1)))

    def watch(number: int, x: Tensor, values: Tensor) -> None:
        losses.append(float(values.mean()))
        if number % every == 0 or number == request.steps:
            film.append(shown.pictures(x[:1])[0])
        if number:
            monitor.advance()

    start = _start(request, model)
    monitor.start("descending", request.steps)
    bounds = (0.0, 1.0) if request.space == "pixel" else None
    end = descend(start, loss, request.steps, request.rate, bounds=bounds, watch=watch)
    return Found(shown.pictures(end), film, losses)


@dataclass(frozen=True)
class Shower:
    """From what is moved to latents and pictures."""

    latents: Callable[[Tensor], Tensor]
    pictures: Callable[[Tensor], list[Picture]]


def _shower(request: Invert, model: DiffusionModel, sampled: int) -> Shower:
    if request.space == "pixel":
        return Shower(model.space.encode, lambda values: to_images(to_levels(values)))
    if request.space == "latent":
        return Shower(lambda x: x, lambda x: decode(model, x))
    denoise, sigmas = _denoiser(model), noise_levels(model.noise, sampled, "karras")

    def latents(x: Tensor) -> Tensor:
        return sample_ddim(denoise, initial(x, sigmas[0]), sigmas)

    def pictures(x: Tensor) -> list[Picture]:
        with torch.no_grad():
            return decode(model, latents(x))

    return Shower(latents, pictures)


def _start(request: Invert, model: DiffusionModel) -> Float[Tensor, "b c h w"]:
    """Noise of each row's own seed, or a picture."""
    width, height = model.size
    if request.start is not None:
        picture = stretch([read_image(request.start)], model.size)
        row = to_values(picture) if request.space == "pixel" else encode(model, picture)
        return row.expand(request.count, -1, -1, -1).clone().to(model.device)
    seeds = [picture_seed(request.seed, number) for number in range(request.count)]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    shape = (3, height, width) if request.space == "pixel" else model.shape(width, height)
    noise = draw(generators, torch.empty(request.count, *shape))
    # faint noise on grey
    start = (0.5 + 0.1 * noise).clamp(0, 1) if request.space == "pixel" else noise
    return start.to(model.device)


def invert_picture(model: DiffusionModel, target: Target, steps: int, monitor: Monitor) -> Found:
    """A picture to its noise by DDIM inversion, and back."""
    if target.picture is None:
        raise ValueError("only a picture has a noise that leads back to it")
    sigmas = noise_levels(model.noise, steps, "karras")
    denoise = _denoiser(model)
    monitor.start("inverting", 2 * steps)
    with torch.no_grad():
        clean = encode(model, target.picture)
        noise = invert_ddim(denoise, clean, sigmas, advance=monitor.advance)
        states: list[Tensor] = []

        def watch(step: Any) -> None:
            states.append(step.denoised)
            monitor.advance()

        drawn = sample_ddim(denoise, noise, sigmas, watch=watch)
    chosen = [states[round(place)] for place in torch.linspace(0, len(states) - 1, _FILM).tolist()]
    back, alone = decode(model, drawn), decode(model, clean)
    return Found(
        back,
        [decode(model, state)[0] for state in chosen],
        [],
        psnr_db=float(psnr(stretch(back, model.size), target.picture)[0]),
        psnr_db_of_decoder=float(psnr(stretch(alone, model.size), target.picture)[0]),
    )


def _denoiser(model: DiffusionModel) -> Denoiser:
    """The model without a prompt."""
    return model.denoiser(None if model.reader is None else model.reader.read([""]))
