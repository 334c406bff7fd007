"""Schedulers of diffusers as samplers over `denoise(x, sigma)`.

One loop has two uses: a model's own scheduler, which computes the same steps as diffusers'
pipeline (`--sampler model`), and a scheduler's method on arbitrary noise levels
(`euler_ancestral`, ...).
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import BadInput, Failure
from ..types import Denoiser
from .noise_schedule import EXPLODING, Noise, make_scheduler
from .samplers import Generators, Step, Watch

Batch = Float[Tensor, "b c h w"]


@dataclass(frozen=True, slots=True)
class _Run:
    """A scheduler that is ready to step.

    Attributes:
        levels: noise level of the network's evaluation at each timestep, and the last one.
        exploding: whether its `x` is `x0 + sigma * noise`.
        output: maps `x`, the clean image and the level to the input of the scheduler.
    """

    scheduler: Any
    levels: Sequence[float]
    exploding: bool
    output: Callable[[Batch, Batch, float], Batch]
    extra: dict[str, Any]

    def __call__(self, denoise: Denoiser, x: Batch, watch: Watch | None) -> Batch:
        """Run all steps; `x` is on the scheduler's own scale before and after."""
        times = self.scheduler.timesteps
        steps = zip(times, pairwise(self.levels), strict=True)
        for number, (time, (level, after)) in enumerate(steps, 1):
            size = math.sqrt(1 + level**2)
            exploded = self.scheduler.scale_model_input(x, time) * size
            denoised = denoise(exploded, level)
            output = self.output(exploded, denoised, level)
            try:
                x = self.scheduler.step(output, time, x, **self.extra).prev_sample
            except IndexError as error:
                raise Failure(
                    f"{type(self.scheduler).__name__} meets one time twice in "
                    f"{len(times)} steps: {error}.",
                    "Take fewer steps, or another --sampler.",
                ) from error
            except (NotImplementedError, ValueError, AssertionError) as error:
                reason = str(error) or "its steps do not follow each other"
                raise BadInput(
                    f"{type(self.scheduler).__name__} of diffusers cannot do this: {reason}.",
                    "Take another --sampler.",
                ) from error
            if watch is not None:
                shown = x if self.exploding else x * math.sqrt(1 + after**2)
                watch(Step(number, level, shown, denoised))
        return x


def sample_own(
    denoise: Denoiser,
    x: Batch,
    sigmas: Sequence[float],
    *,
    noise: Noise,
    steps: int,
    generators: Generators,
    eta: float = 0.0,
    watch: Watch | None = None,
) -> Batch:
    """Sample with the model's own scheduler, as diffusers' pipeline does.

    Args:
        denoise: the model, not clamped: the scheduler does that itself.
        x: the starting point.
        sigmas: of `own_levels`, or its last part to start from an image with that much noise.
        noise: of the model.
        steps: of the whole schedule.
        generators: for the added noise.
        eta: of DDIM and TCD.
        watch: called after every evaluation.

    Raises:
        BadInput: the scheduler does not support `eta`.
    """
    scheduler = noise.scheduler(steps)
    skipped = len(scheduler.timesteps) - (len(sigmas) - 1)
    exploding = noise.name in EXPLODING
    if skipped:
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(skipped)
        scheduler.timesteps = scheduler.timesteps[skipped:]
    elif exploding:  # diffusers starts from noise of exactly this scale
        x = x * (float(scheduler.init_noise_sigma) / math.sqrt(1 + sigmas[0] ** 2))
    if not exploding:
        x = x / math.sqrt(1 + sigmas[0] ** 2)
    extra = _extra(scheduler, generators, eta)
    return _Run(scheduler, sigmas, exploding, noise.output_of, extra)(denoise, x, watch)


def _extra(scheduler: Any, generators: Generators | None, eta: float) -> dict[str, Any]:
    """Return the further arguments of a step, as diffusers' pipelines pass them."""
    taken = inspect.signature(scheduler.step).parameters
    if eta and "eta" not in taken:
        raise BadInput(f"{type(scheduler).__name__} takes no eta ({eta}).", "Leave --eta out.")
    rows = generators if isinstance(generators, torch.Generator | None) else list(generators)
    given = {"generator": rows, "eta": eta}
    return {key: value for key, value in given.items() if key in taken}


def _method(
    name: str,
    denoise: Denoiser,
    x: Batch,
    sigmas: Sequence[float],
    generators: Generators | None,
    watch: Watch | None,
    **options: Any,
) -> Batch:
    """Sample with the method of a scheduler's class on arbitrary decreasing noise levels."""
    exploding = name in EXPLODING
    # not all classes accept the clean image itself
    predicted = "epsilon" if exploding else "sample"
    scheduler = make_scheduler(name, {"prediction_type": predicted} | options)
    count = len(sigmas) - 1
    # any decreasing timesteps: a step depends on the noise levels only
    scheduler.timesteps = torch.arange(count, 0, -1, dtype=torch.float32)
    scheduler.num_inference_steps = count
    scheduler.sigmas = torch.tensor(list(sigmas), dtype=torch.float32)
    scheduler._step_index = None
    if not exploding:
        x = x / math.sqrt(1 + sigmas[0] ** 2)
    extra = _extra(scheduler, generators, 0.0)
    output = _noise_of if exploding else _clean_image
    x = _Run(scheduler, sigmas, exploding, output, extra)(denoise, x, watch)
    return x if exploding else x * math.sqrt(1 + sigmas[-1] ** 2)


def _noise_of(x: Batch, denoised: Batch, sigma: float) -> Batch:
    return (x - denoised) / sigma


def _clean_image(x: Batch, denoised: Batch, sigma: float) -> Batch:  # noqa: ARG001
    return denoised


def sample_euler_ancestral(
    denoise: Denoiser,
    x: Batch,
    sigmas: Sequence[float],
    *,
    generators: Generators,
    watch: Watch | None = None,
) -> Batch:
    """Sample with Euler's method plus the noise of ancestral sampling, as in k-diffusion.

    The arguments are those of `sample_ddpm`.
    """
    return _method("EulerAncestralDiscreteScheduler", denoise, x, sigmas, generators, watch)


def sample_dpmpp_2m_sde(
    denoise: Denoiser,
    x: Batch,
    sigmas: Sequence[float],
    *,
    generators: Generators,
    watch: Watch | None = None,
) -> Batch:
    """Sample with SDE-DPM-Solver++(2M): `sample_dpmpp_2m` with noise added in each step.

    Appendix of Lu et al., "DPM-Solver++", 2022. The arguments are those of `sample_ddpm`.
    """
    options = {"algorithm_type": "sde-dpmsolver++"}
    return _method("DPMSolverMultistepScheduler", denoise, x, sigmas, generators, watch, **options)


def sample_unipc(
    denoise: Denoiser, x: Batch, sigmas: Sequence[float], *, watch: Watch | None = None
) -> Batch:
    """Sample with UniPC: predictor and corrector from the same evaluations, second order.

    Zhao, Bai, Rao, Zhou, Lu, "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of
    Diffusion Models", 2023.
    """
    return _method("UniPCMultistepScheduler", denoise, x, sigmas, None, watch)
