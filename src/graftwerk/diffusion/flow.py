"""Flow matching: the schedule of its noise levels, and its place among the other models.

A model of flow matching was trained on `x = (1 - sigma) * x0 + sigma * noise`, with `sigma` from 0
to 1, and predicts the velocity `v = noise - x0`, so `x0 = x - sigma * v` (Lipman et al., "Flow
Matching for Generative Modeling", 2022; Liu, Gong, Liu, "Flow Straight and Fast", 2022). Euler's
and Heun's methods read `denoise(x, sigma)` in this form as in any other. Samplers and gradient
guides that are written for `x0 + sigma * noise` see the model in that form: `x / (1 - sigma)` at
the level `sigma / (1 - sigma)`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import BadFile
from ..types import Denoiser
from .guidance import DenoiserWrapper
from .noise_schedule import Noise, Sigma, flow_levels, make_scheduler, scheduler_options
from .samplers import Batch, Sampler, Step, Watch, sample_euler

_SCHEDULER = "FlowMatchEulerDiscreteScheduler"


def read_flow(config: Mapping[str, Any], path: Path, pipeline: str) -> Noise:
    """Parse the scheduler of a pipeline that was trained by flow matching.

    Its options all shape the levels, so unlike in other files one that is not known is refused.

    Raises:
        BadFile: another class, an option that is not known, or one that makes no sense.
    """
    name = str(config.get("_class_name"))
    if name != _SCHEDULER:
        raise BadFile(
            f"{path} is of the class {name!r}, which is not known here for a {pipeline}.",
            f"Known: {_SCHEDULER}.",
        )
    options = scheduler_options(name, config)
    unknown = [key for key in config if not key.startswith("_") and key not in options]
    if unknown or options["invert_sigmas"]:
        raise BadFile(
            f"{path} sets {', '.join(unknown) or 'invert_sigmas'}, which is not known here.",
            f"Known: {', '.join(sorted(set(options) - {'invert_sigmas'}))}.",
        )
    try:
        made = make_scheduler(name, options)
        sigmas = made.sigmas.double().numpy()[::-1].copy()
        if not 2 <= len(sigmas) <= 100_000 or not 0 < sigmas[0] < sigmas[-1] <= 1:
            raise ValueError("its noise does not rise from step to step")
        even = pipeline == "FluxPipeline"
        noise = Noise(
            sigmas=sigmas, prediction="flow", spacing="linspace", offset=0, one_more=False,
            usable=len(sigmas), last=0.0, clamp=None, name=name, options=options, even=even,
        )  # fmt: skip
        flow_levels(shifted(noise, int(options["base_image_seq_len"])), 2)
    except (TypeError, ValueError, OverflowError, ArithmeticError) as error:
        raise BadFile(f"{path} makes no sense: {error}.", "Copy the whole folder again.") from error
    return noise


def shifted(noise: Noise, tokens: int) -> Noise:
    """Return the noise for images of this many tokens, if their size shifts the levels.

    The shift is linear in the number of tokens (`calculate_shift` of diffusers' pipelines).
    """
    options = noise.options
    if not (noise.flows and options["use_dynamic_shifting"]):
        return noise
    fewest, most = options["base_image_seq_len"], options["max_image_seq_len"]
    slope = (options["max_shift"] - options["base_shift"]) / (most - fewest)
    return replace(noise, shift=tokens * slope + options["base_shift"] - slope * fewest)


def exploding(denoise: Denoiser) -> Denoiser:
    """Return a model of flow matching as one of `x0 + sigma * noise`."""

    def denoise_exploding(x: Batch, sigma: Sigma) -> Batch:
        rows = sigma.view(-1, 1, 1, 1) if isinstance(sigma, Tensor) else sigma
        return denoise(x / (1 + rows), sigma / (1 + sigma))

    return denoise_exploding


def guided_flow(pull: DenoiserWrapper, denoise: Denoiser) -> Denoiser:
    """Guide a model of flow matching by gradients; at zero, `denoise` itself is returned.

    At level 1, where there is nothing but noise, the gradient does not act.
    """
    inner = exploding(denoise)
    guided = pull(inner)
    if guided is inner:
        return denoise

    def denoise_guided(x: Batch, sigma: Sigma) -> Batch:
        levels = torch.as_tensor(sigma)
        if bool((levels >= 1).any()):
            return denoise(x, sigma)
        rows = sigma.view(-1, 1, 1, 1) if isinstance(sigma, Tensor) else sigma
        return guided(x / (1 - rows), sigma / (1 - sigma))

    return denoise_guided


def on_flow(sampler: Sampler) -> Sampler:
    """Return a sampler that is written for `x0 + sigma * noise` as one for flow matching.

    From pure noise, whose level is infinite in that form, the first step is Euler's.
    """

    def sample(
        denoise: Denoiser, x: Batch, sigmas: Sequence[float], *, watch: Watch | None = None
    ) -> Batch:
        first = int(sigmas[0] >= 1)
        if first:
            x = sample_euler(denoise, x, sigmas[:2], watch=watch)
        levels = [sigma / (1 - sigma) for sigma in sigmas[first:]]
        if len(levels) == 1:
            return x

        def shown(step: Step) -> None:
            after = 1 + levels[step.number]
            level = step.sigma / (1 + step.sigma)
            if watch is not None:
                watch(Step(step.number + first, level, step.x / after, step.denoised))

        y = sampler(exploding(denoise), x * (1 + levels[0]), levels, watch=shown)
        return y / (1 + levels[-1])

    return sample
