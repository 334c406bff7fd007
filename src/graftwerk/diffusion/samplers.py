"""Samplers: pure functions over `denoise(x, sigma)`, each as its paper writes it.

All take the same arguments first: `denoise`, the start `x` at the first level, and the levels,
falling. They return `x` at the last level, and tell `watch` of every step; it may raise to stop.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ..types import Denoiser
from .noise_schedule import Noise, draw
from .options import require_sampler

Batch = Float[Tensor, "b c h w"]
Generators = torch.Generator | Sequence[torch.Generator]


@dataclass(frozen=True, slots=True)
class Step:
    """One step that was taken.

    Attributes:
        number: from 1.
        sigma: noise level before it.
        x: the batch after it.
        denoised: the clean image as it was expected before it.
    """

    number: int
    sigma: float
    x: Batch
    denoised: Batch


Watch = Callable[[Step], None]


def sample_euler(
    denoise: Denoiser, x: Batch, sigmas: Sequence[float], *, watch: Watch | None = None
) -> Batch:
    """Euler's method on the probability-flow equation: first order, one evaluation a step.

    Algorithm 1 of Karras et al., "Elucidating the Design Space of Diffusion-Based Generative
    Models", 2022, without its second-order correction.
    """
    for number, (sigma, after) in enumerate(pairwise(sigmas), 1):
        denoised = denoise(x, sigma)
        slope = (x - denoised) / sigma
        x = x + slope * (after - sigma)
        if watch is not None:
            watch(Step(number, sigma, x, denoised))
    return x


def sample_heun(
    denoise: Denoiser, x: Batch, sigmas: Sequence[float], *, watch: Watch | None = None
) -> Batch:
    """Heun's method: second order, two evaluations a step; Euler's where a step ends at 0.

    Algorithm 1 of Karras et al., "Elucidating the Design Space of Diffusion-Based Generative
    Models", 2022.
    """
    for number, (sigma, after) in enumerate(pairwise(sigmas), 1):
        denoised = denoise(x, sigma)
        slope = (x - denoised) / sigma
        ahead = x + slope * (after - sigma)
        if after > 0:
            slope_ahead = (ahead - denoise(ahead, after)) / after
            ahead = x + (slope + slope_ahead) / 2 * (after - sigma)
        x = ahead
        if watch is not None:
            watch(Step(number, sigma, x, denoised))
    return x


def sample_dpmpp_2m(
    denoise: Denoiser, x: Batch, sigmas: Sequence[float], *, watch: Watch | None = None
) -> Batch:
    """DPM-Solver++(2M): second order from the last two evaluations, one evaluation a step.

    Algorithm 2 of Lu, Zhou, Bao, Chen, Li, Zhu, "DPM-Solver++: Fast Solver for Guided Sampling of
    Diffusion Probabilistic Models", 2022; `h` is a step in the log-SNR, minus log sigma. First
    order in its first step and in one that ends at 0.
    """
    former: Batch | None = None
    former_h = 0.0
    for number, (sigma, after) in enumerate(pairwise(sigmas), 1):
        denoised = denoise(x, sigma)
        h = math.log(sigma / after) if after > 0 else math.inf
        target = denoised
        if former is not None and after > 0:
            r = former_h / h
            target = denoised + (denoised - former) / (2 * r)
        x = (after / sigma) * x - math.expm1(-h) * target
        former, former_h = denoised, h
        if watch is not None:
            watch(Step(number, sigma, x, denoised))
    return x


def sample_ddim(
    denoise: Denoiser,
    x: Batch,
    sigmas: Sequence[float],
    *,
    generators: Generators | None = None,
    eta: float = 0.0,
    watch: Watch | None = None,
) -> Batch:
    """DDIM: `eta` 0 follows the probability-flow equation, 1 is the ancestral DDPM.

    Equations 12 and 16 of Song, Meng, Ermon, "Denoising Diffusion Implicit Models", 2020, with
    both sides divided by the root of the signal; at `eta` 0 that is Euler's step in sigma.

    Args:
        denoise: the model.
        x: the start.
        sigmas: noise levels.
        generators: of the fresh noise; needed where `eta` is above 0.
        eta: share of the ancestral noise, 0 to 1.
        watch: informed of every step.
    """
    for number, (sigma, after) in enumerate(pairwise(sigmas), 1):
        denoised = denoise(x, sigma)
        fresh = eta * after * math.sqrt(1 - (after / sigma) ** 2)
        retained = math.sqrt(after**2 - fresh**2)
        x = denoised + (retained / sigma) * (x - denoised)
        if fresh > 0:
            x = x + fresh * draw(_needed(generators), x)
        if watch is not None:
            watch(Step(number, sigma, x, denoised))
    return x


def sample_ddpm(
    denoise: Denoiser,
    x: Batch,
    sigmas: Sequence[float],
    *,
    generators: Generators,
    watch: Watch | None = None,
) -> Batch:
    """Ancestral sampling: each step draws from the posterior of the noising process.

    Algorithm 2 of Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020, with the
    posterior's own variance (equation 7); both sides divided by the root of the signal.

    Args:
        denoise: the model.
        x: the start.
        sigmas: noise levels.
        generators: of the fresh noise.
        watch: informed of every step.
    """
    for number, (sigma, after) in enumerate(pairwise(sigmas), 1):
        denoised = denoise(x, sigma)
        share = (after / sigma) ** 2
        mean = (1 - share) * denoised + share * x
        deviation = after * math.sqrt(1 - share)
        x = mean + deviation * draw(generators, x) if after > 0 else mean
        if watch is not None:
            watch(Step(number, sigma, x, denoised))
    return x


def sample_lcm(
    denoise: Denoiser,
    x: Batch,
    sigmas: Sequence[float],
    *,
    generators: Generators,
    watch: Watch | None = None,
) -> Batch:
    """Consistency sampling: the clean image, then noise again; for distilled models, 2 to 8 steps.

    Algorithm 1 of Song, Dhariwal, Chen, Sutskever, "Consistency Models", 2023, as Luo et al.,
    "Latent Consistency Models", 2023, use it. The arguments are those of `sample_ddpm`.
    """
    for number, (sigma, after) in enumerate(pairwise(sigmas), 1):
        denoised = denoise(x, sigma)
        x = denoised + after * draw(generators, x) if after > 0 else denoised
        if watch is not None:
            watch(Step(number, sigma, x, denoised))
    return x


def sample_tcd(
    denoise: Denoiser,
    x: Batch,
    sigmas: Sequence[float],
    *,
    generators: Generators | None = None,
    eta: float = 0.0,
    retained: Callable[[float], float] | None = None,
    watch: Watch | None = None,
) -> Batch:
    """Trajectory consistency: along the trajectory below the next level, then noise up to it.

    Zheng et al., "Trajectory Consistency Distillation", 2024, whose gamma is `eta`.

    Args:
        denoise: the model.
        x: the start.
        sigmas: noise levels.
        generators: of the fresh noise; needed where `eta` is above 0.
        eta: 0 follows the trajectory, 1 goes to the clean image and noises it again.
        retained: from the next level to the one below it; default: `sqrt(1 - eta**2)` of it (Kim
            et al., "Consistency Trajectory Models", 2023). TCD takes `1 - eta` of its time.
        watch: informed of every step.
    """
    for number, (sigma, after) in enumerate(pairwise(sigmas), 1):
        denoised = denoise(x, sigma)
        level = after
        if eta and after > 0:
            level = retained(after) if retained is not None else after * math.sqrt(1 - eta**2)
        x = denoised + (level / sigma) * (x - denoised)
        if level < after:
            x = x + math.sqrt(after**2 - level**2) * draw(_needed(generators), x)
        if watch is not None:
            watch(Step(number, sigma, x, denoised))
    return x


def _needed(generators: Generators | None) -> Generators:
    if generators is None:
        raise ValueError("fresh noise needs generators")
    return generators


@runtime_checkable
class Sampler(Protocol):
    """A sampler with its own choices made."""

    def __call__(
        self, denoise: Denoiser, x: Batch, sigmas: Sequence[float], *, watch: Watch | None = None
    ) -> Batch:
        """Draw."""
        ...


_PLAIN: Mapping[str, Sampler] = {
    "euler": sample_euler,
    "heun": sample_heun,
    "dpmpp_2m": sample_dpmpp_2m,
}


def find_sampler(
    name: str,
    generators: Generators,
    eta: float = 0.0,
    noise: Noise | None = None,
    steps: int = 0,
) -> Sampler:
    """The sampler of this name.

    Args:
        name: one of `options.SAMPLERS`.
        generators: of fresh noise, for those that draw any.
        eta: of DDIM and TCD.
        noise: of the model; `model` and TCD's times need it.
        steps: of the whole schedule, for `model`.

    Raises:
        UnknownName: there is no such sampler.
        BadInput: it takes no `eta`.
    """
    from . import schedulers

    require_sampler(name, eta)
    if name == "model" and noise is not None:
        return partial(
            schedulers.sample_own, noise=noise, steps=steps, generators=generators, eta=eta
        )
    if name == "ddim":
        return partial(sample_ddim, generators=generators, eta=eta)
    if name == "tcd":
        below = None if noise is None else partial(_level_below, noise, eta)
        return partial(sample_tcd, generators=generators, eta=eta, retained=below)
    drawing = {
        "ddpm": sample_ddpm,
        "lcm": sample_lcm,
        "euler_ancestral": schedulers.sample_euler_ancestral,
        "dpmpp_2m_sde": schedulers.sample_dpmpp_2m_sde,
    }
    if name in drawing:
        return partial(drawing[name], generators=generators)
    return schedulers.sample_unipc if name == "unipc" else _PLAIN[name]


def _level_below(noise: Noise, eta: float, level: float) -> float:
    """The level at a share `1 - eta` of a level's time, whole as `TCDScheduler` has it."""
    return min(level, noise.level_at(float(math.floor((1 - eta) * noise.time_of(level)))))
