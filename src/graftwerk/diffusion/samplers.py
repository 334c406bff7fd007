"""Samplers: pure functions over `denoise(x, sigma)`, each written as in its paper.

All have the same first arguments: `denoise`, the starting point `x` at the first noise level, and
the noise levels, decreasing. They return `x` at the last level and call `watch` after every step;
it may raise to stop.
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

from ..errors import BadInput
from ..requests.generate import require_sampler
from ..types import Denoiser
from .noise_schedule import Noise

Batch = Float[Tensor, "b c h w"]
Generators = torch.Generator | Sequence[torch.Generator]


@dataclass(frozen=True, slots=True)
class Step:
    """One sampling step.

    Attributes:
        number: counted from 1.
        sigma: noise level before it.
        x: the batch after it.
        denoised: the clean image predicted before it.
    """

    number: int
    sigma: float
    x: Batch
    denoised: Batch


Watch = Callable[[Step], None]


def draw(generators: Generators, like: Batch) -> Batch:
    """Return unit noise with the shape, dtype and device of `like`.

    Args:
        generators: one for all rows, or one for each row, so that a row's noise is its own.
        like: a batch.
    """
    if isinstance(generators, torch.Generator):
        rows = torch.randn(
            like.shape, generator=generators, dtype=like.dtype, device=generators.device
        )
        return rows.to(like.device)
    sampled = [
        torch.randn(like.shape[1:], generator=g, dtype=like.dtype, device=g.device)
        for g in generators
    ]
    return torch.stack(sampled).to(like.device)


def sample_euler(
    denoise: Denoiser, x: Batch, sigmas: Sequence[float], *, watch: Watch | None = None
) -> Batch:
    """Sample with Euler's method on the probability-flow equation: first order.

    One evaluation per step. Algorithm 1 of Karras et al., "Elucidating the Design Space of
    Diffusion-Based Generative Models", 2022, without its second-order correction.
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
    """Sample with Heun's method: second order, two evaluations per step.

    A step that ends at 0 is Euler's. Algorithm 1 of Karras et al., "Elucidating the Design Space
    of Diffusion-Based Generative Models", 2022.
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
    """Sample with DPM-Solver++(2M): second order from the last two evaluations.

    One evaluation per step. Algorithm 2 of Lu, Zhou, Bao, Chen, Li, Zhu, "DPM-Solver++: Fast
    Solver for Guided Sampling of Diffusion Probabilistic Models", 2022; `h` is a step in the log-
    SNR, minus log sigma. The first step, and one that ends at 0, are first order.
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


def sample_dpmpp_sde(
    denoise: Denoiser,
    x: Batch,
    sigmas: Sequence[float],
    *,
    generators: Generators,
    watch: Watch | None = None,
) -> Batch:
    """Sample with DPM-Solver++ (SDE) of k-diffusion: second order, two evaluations per step.

    A step and its first half are ancestral, and their noise is that of one Brownian path in sigma:
    given the path, this equals `DPMSolverSDEScheduler` of diffusers, without its `torchsde`. A
    step that ends at 0 is Euler's. The arguments are those of `sample_ddpm`.
    """
    for number, (sigma, after) in enumerate(pairwise(sigmas), 1):
        ahead = denoised = denoise(x, sigma)
        if after > 0:
            middle = math.sqrt(sigma * after)
            share = (sigma - middle) / (sigma - after)
            first = draw(generators, x)
            noise = math.sqrt(share) * first + math.sqrt(1 - share) * draw(generators, x)
            halfway = denoise(_ancestral(x, denoised, sigma, middle, first), middle)
            ahead = _ancestral(x, halfway, sigma, after, noise)
        x = ahead
        if watch is not None:
            watch(Step(number, sigma, x, denoised))
    return x


def _ancestral(x: Batch, denoised: Batch, sigma: float, after: float, noise: Batch) -> Batch:
    share = (after / sigma) ** 2
    return (1 - share) * denoised + share * x + after * math.sqrt(1 - share) * noise


def sample_ddim(
    denoise: Denoiser,
    x: Batch,
    sigmas: Sequence[float],
    *,
    generators: Generators | None = None,
    eta: float = 0.0,
    watch: Watch | None = None,
) -> Batch:
    """Sample with DDIM.

    An `eta` of 0 follows the probability-flow equation, 1 is the ancestral DDPM. Equations 12 and
    16 of Song, Meng, Ermon, "Denoising Diffusion Implicit Models", 2020, with both sides divided
    by the root of the signal; at `eta` 0 that is Euler's step in sigma.

    Args:
        denoise: the model.
        x: the starting point.
        sigmas: noise levels.
        generators: for the added noise; required if `eta` is above 0.
        eta: share of the ancestral noise, 0 to 1.
        watch: called after every step.
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
    """Sample with ancestral DDPM: each step samples the posterior of the noising process.

    Algorithm 2 of Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020, with the
    posterior's own variance (equation 7); both sides divided by the root of the signal.

    Args:
        denoise: the model.
        x: the starting point.
        sigmas: noise levels.
        generators: for the added noise.
        watch: called after every step.
    """
    for number, (sigma, after) in enumerate(pairwise(sigmas), 1):
        denoised = denoise(x, sigma)
        x = _ancestral(x, denoised, sigma, after, draw(generators, x)) if after > 0 else denoised
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
    """Sample with a consistency model: predict the clean image, then add noise again.

    It is meant for distilled models and 2 to 8 steps. Algorithm 1 of Song, Dhariwal, Chen,
    Sutskever, "Consistency Models", 2023, as used by Luo et al., "Latent Consistency Models",
    2023. The arguments are those of `sample_ddpm`.
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
    """Sample with trajectory consistency: step below the next level, then add noise up to it.

    Zheng et al., "Trajectory Consistency Distillation", 2024, whose gamma is `eta`.

    Args:
        denoise: the model.
        x: the starting point.
        sigmas: noise levels.
        generators: for the added noise; required if `eta` is above 0.
        eta: 0 follows the trajectory, 1 goes to the clean image and adds noise again.
        retained: maps the next level to the one below it; by default `sqrt(1 - eta**2)` times the
            level (Kim et al., "Consistency Trajectory Models", 2023). TCD takes `1 - eta` of its
            timestep.
        watch: called after every step.
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
    """A sampler with its own options bound."""

    def __call__(
        self, denoise: Denoiser, x: Batch, sigmas: Sequence[float], *, watch: Watch | None = None
    ) -> Batch:
        """Sample from the starting point `x`."""
        ...


_PLAIN: Mapping[str, Sampler] = {
    "euler": sample_euler,
    "heun": sample_heun,
    "dpmpp_2m": sample_dpmpp_2m,
}


def find_sampler(
    name: str, generators: Generators, eta: float = 0.0, noise: Noise | None = None, steps: int = 0
) -> Sampler:
    """Return the sampler with this name.

    Args:
        name: one of `options.SAMPLERS`.
        generators: for the noise of those samplers that add any.
        eta: of DDIM and TCD.
        noise: of the model; required by `model` and for the timesteps of TCD.
        steps: of the whole schedule, for `model`.

    Raises:
        UnknownName: there is no such sampler.
        BadInput: it does not support `eta`.
    """
    from . import schedulers

    require_sampler(name, eta)
    if noise is not None and noise.flows:
        return _find_on_flow(name, generators, eta, noise)
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
        "dpmpp_sde": sample_dpmpp_sde,
        "lcm": sample_lcm,
        "euler_ancestral": schedulers.sample_euler_ancestral,
        "dpmpp_2m_sde": schedulers.sample_dpmpp_2m_sde,
    }
    if name in drawing:
        return partial(drawing[name], generators=generators)
    return schedulers.sample_unipc if name == "unipc" else _PLAIN[name]


def _find_on_flow(name: str, generators: Generators, eta: float, noise: Noise) -> Sampler:
    from .flow import on_flow

    if name == "tcd" or (name == "model" and eta):
        raise BadInput(
            f"sampler {name!r}{f' with eta {eta:g}' if eta else ''} is not for flow matching.",
            "Take --sampler euler, heun or dpmpp_2m.",
        )
    if name == "model":
        name = "lcm" if noise.options["stochastic_sampling"] else "euler"
    return (
        _PLAIN[name] if name in {"euler", "heun"} else on_flow(find_sampler(name, generators, eta))
    )


def _level_below(noise: Noise, eta: float, level: float) -> float:
    """Return the level at `1 - eta` of a level's timestep, rounded down as in `TCDScheduler`."""
    return min(level, noise.level_at(float(math.floor((1 - eta) * noise.time_of(level)))))
