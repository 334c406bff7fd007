"""Noise schedules: the noise levels of a model's training, and those that a sampler visits.

The schedule that a discrete-time diffusion model was trained with is read from
`scheduler/scheduler_config.json`, as diffusers writes it. In the variance-exploding form used
throughout, an image at noise level `sigma` is `x0 + sigma * noise`; the network itself was trained
on `x / sqrt(1 + sigma**2)`. A sampler visits decreasing noise levels, one more than it takes steps.
Flow matching has another form, `(1 - sigma) * x0 + sigma * noise`, with levels up to 1; see `flow`.
"""

import inspect
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ..errors import BadFile, BadInput
from ..text_safety import counted

Prediction = Literal["epsilon", "v_prediction", "sample", "flow"]
Spacing = Literal["leading", "trailing", "linspace"]
Sigma = float | Float[Tensor, " b"]

# Replaces zero if a schedule ends in pure noise, as in the schedulers of diffusers.
_LEAST_SIGNAL = 2.0**-24
_PREDICTIONS = ("epsilon", "v_prediction", "sample")
_SPACINGS = ("leading", "trailing", "linspace")
_OTHER_SPACINGS = (
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
)
_OF_THE_TABLE = ("num_train_timesteps", "beta_schedule", "trained_betas", "rescale_betas_zero_snr")
# Options that make a class do something that `denoise(x, sigma)` cannot express.
_REFUSED: Mapping[str, tuple[Any, str]] = {
    "use_dynamic_shifting": (True, "flow matching"),
    "use_flow_sigmas": (True, "flow matching"),
    "timestep_type": ("continuous", "continuous time"),
    "variance_type": (("learned", "learned_range"), "the variance that its network predicts"),
}

# Schedulers whose `x` is `x0 + sigma * noise`; others divide it by `sqrt(1 + sigma**2)`.
EXPLODING = (
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "LMSDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DPMSolverSDEScheduler",
)
_PRESERVING = (
    "DDIMScheduler",
    "DDIMParallelScheduler",
    "DDPMScheduler",
    "DDPMParallelScheduler",
    "PNDMScheduler",
    "LCMScheduler",
    "TCDScheduler",
)
# Schedulers that space one step more than they take and omit the last one.
_ONE_MORE = (
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
    "SASolverScheduler",
)
SCHEDULERS = _PRESERVING + EXPLODING + _ONE_MORE
# Options that a pipeline of diffusers sets itself, whatever its scheduler's file contains.
_PIPELINE_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "StableDiffusionPipeline": {"steps_offset": 1, "clip_sample": False}
}
_PIPELINE_CLASSES = {"DDIMPipeline": "DDIMScheduler"}


@dataclass(frozen=True, slots=True)
class Clamp:
    """How a model keeps its predicted image in range during sampling.

    Attributes:
        limit: largest magnitude of a value.
        ratio: quantile of the magnitudes that is scaled back to 1 if it exceeds 1 (dynamic
            thresholding); None to clip at `limit`.
    """

    limit: float
    ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise levels of a model.

    Attributes:
        sigmas: noise level of each training step, increasing; the index is the network's timestep.
        spacing: how the model's own schedule selects its timesteps.
        offset: added to the timesteps of `leading` spacing.
        one_more: whether the own schedule spaces one step more and omits the last one.
        usable: number of training steps that the own schedule uses.
        last: noise level at which the own schedule ends: 0, or the smallest of the table.
        name: class of its scheduler in diffusers.
        even: for flow matching, whether the pipeline spaces the levels evenly from 1 itself (Flux).
        shift: for flow matching, the `mu` of an image size, by which its levels are shifted.
    """

    sigmas: Float64[np.ndarray, " steps"]
    prediction: Prediction
    spacing: Spacing
    offset: int
    one_more: bool
    usable: int
    last: float
    clamp: Clamp | None
    name: str
    options: Mapping[str, Any]
    even: bool = False
    shift: float | None = None

    @property
    def flows(self) -> bool:
        """Whether it was trained by flow matching: `x = (1 - sigma) * x0 + sigma * noise`."""
        return self.prediction == "flow"

    def mixed(self, clean: Tensor, noise: Tensor, sigma: float | Tensor) -> Tensor:
        """Return an image with unit noise of a level."""
        return (1 - sigma) * clean + sigma * noise if self.flows else clean + sigma * noise

    def scaled(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Return what the network reads of `x`."""
        return x if self.flows else x / (1 + sigma**2) ** 0.5

    def start(self, noise: Tensor, sigma: float) -> Tensor:
        """Return the starting point of a sampler at a level that is the highest."""
        return sigma * noise if self.flows else initial(noise, sigma)

    def error_weight(self, sigma: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Return the factor from a squared error of the image to one of the network's prediction.

        An image `x0 = x - sigma eps` errs by `sigma` times the noise (flow matching alike); with
        `x0 = x / (1 + sigma^2) - sigma v / sqrt(1 + sigma^2)` by `sigma / sqrt(1 + sigma^2)` times
        `v`.
        """
        match self.prediction:
            case "epsilon" | "flow":
                return 1 / sigma**2
            case "v_prediction":
                return (1 + sigma**2) / sigma**2
            case "sample":
                return torch.ones_like(sigma)

    def scheduler(self, steps: int) -> Any:
        """Return the diffusers scheduler of the model's configuration, set to `steps` steps.

        Raises:
            BadInput: it does not support that many, or an option of its own configuration.
        """
        try:
            made = make_scheduler(self.name, self.options)
        except (ValueError, NotImplementedError) as error:
            raise BadInput(
                f"{self.name} of diffusers cannot do this: {str(error).rstrip('.')}.",
                "Take another --sampler.",
            ) from error
        spaced = np.linspace(1.0, 1 / steps, steps) if self.even else None
        asked = {"mu": self.shift, "sigmas": spaced} if self.flows else {}
        try:
            with _quiet():
                made.set_timesteps(steps, **asked)
        except (ValueError, IndexError, ZeroDivisionError, AssertionError) as error:
            raise BadInput(
                f"{self.name} cannot take {counted(steps, 'step')}: {error}",
                "Take fewer steps, or another --sampler.",
            ) from error
        return made

    def level_at(self, time: float) -> float:
        """Return the noise level at a timestep of the network, the inverse of `time_of`."""
        if self.flows:
            return time / len(self.sigmas)
        if float(time).is_integer() and 0 <= time < len(self.sigmas):
            return float(self.sigmas[int(time)])
        return math.exp(np.interp(time, np.arange(len(self.sigmas)), np.log(self.sigmas)))

    def output_of(
        self,
        x: Float[Tensor, "b c h w"],
        x0: Float[Tensor, "b c h w"],
        sigma: float | Float[Tensor, "b 1 1 1"],
    ) -> Float[Tensor, "b c h w"]:
        """Return the network output that means this clean image, the inverse of `x0_of`."""
        match self.prediction:
            case "epsilon" | "flow":
                return (x - x0) / sigma
            case "v_prediction":
                return (x / (1 + sigma**2) - x0) * ((1 + sigma**2) ** 0.5 / sigma)
            case "sample":
                return x0

    def time_of(self, sigma: float) -> float:
        """Return the network's timestep at a noise level, exact for levels of the table.

        Others are interpolated in log sigma; levels outside the table are clipped to its ends
        (`DiscreteSchedule.sigma_to_t` of k-diffusion). With flow matching, it is a multiple.
        """
        if self.flows:
            return sigma * len(self.sigmas)
        time = float(
            np.interp(math.log(max(sigma, 1e-10)), np.log(self.sigmas), np.arange(len(self.sigmas)))
        )
        nearest = round(time)
        # neighbors in every table differ by far more than this, even in float32
        return float(nearest) if abs(self.sigmas[nearest] - sigma) <= 1e-6 * sigma else time

    def times_of(self, sigma: Sigma, like: Tensor) -> Float[Tensor, " n"]:
        """Return the network's timesteps, with the device and dtype of `like`.

        There is one for a single noise level, or one for each row.
        """
        levels = sigma.tolist() if isinstance(sigma, Tensor) else [sigma]
        return torch.tensor([self.time_of(s) for s in levels], dtype=like.dtype, device=like.device)

    def x0_of(
        self,
        x: Float[Tensor, "b c h w"],
        output: Float[Tensor, "b c h w"],
        sigma: float | Float[Tensor, "b 1 1 1"],
    ) -> Float[Tensor, "b c h w"]:
        """Return the clean image that the network's output corresponds to; `x` is not scaled."""
        match self.prediction:
            case "epsilon" | "flow":
                return x - sigma * output
            case "v_prediction":
                variance = 1 + sigma**2
                return x / variance - output * (sigma / variance**0.5)
            case "sample":
                return output


def read_noise(config: Mapping[str, Any], path: Path, pipeline: str = "") -> Noise:
    """Parse the content of a `scheduler_config.json`.

    Raises:
        BadFile: the kind of noise or schedule is not supported, or its values are invalid.
    """
    name = _PIPELINE_CLASSES.get(pipeline, str(config.get("_class_name")))
    if name not in SCHEDULERS:
        raise BadFile(
            f"{path} is of the class {name!r}, which is not known here.",
            f"Known: {', '.join(SCHEDULERS)}.",
        )
    options = scheduler_options(name, config)
    if not options:  # a placeholder for a class that needs another library
        make_scheduler(name, {})
    options |= {k: v for k, v in _PIPELINE_OPTIONS.get(pipeline, {}).items() if k in options}
    for key, (refused, meaning) in _REFUSED.items():
        if options.get(key) in (refused if isinstance(refused, tuple) else (refused,)):
            raise BadFile(f"{path} asks for {meaning} ({key}).", "Take another scheduler's file.")
    try:
        sigmas = _sigmas(name, options)
        # lambda is minus the logarithm of sigma
        least_lambda = float(options.get("lambda_min_clipped", -math.inf))
        ends_at_zero = options.get("set_alpha_to_one", True) and (
            options.get("final_sigmas_type", "zero") == "zero"
        )
        return Noise(
            sigmas=sigmas,
            prediction=_choice(options, "prediction_type", _PREDICTIONS),
            spacing=_choice(
                {"timestep_spacing": "linspace"} | options, "timestep_spacing", _SPACINGS
            ),
            offset=int(options.get("steps_offset", 0)),
            one_more=name in _ONE_MORE,
            usable=int((-np.log(sigmas) >= least_lambda).sum()),
            last=0.0 if ends_at_zero else float(sigmas[0]),
            clamp=_clamp(options),
            name=name,
            options=options,
        )
    except (TypeError, ValueError, OverflowError, NotImplementedError) as error:
        raise BadFile(f"{path} makes no sense: {error}.", "Copy the whole folder again.") from error


def scheduler_options(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the scheduler's class from its configuration, with its defaults.

    Files written for another class often contain keys that this class ignores.
    """
    import diffusers

    taken = inspect.signature(getattr(diffusers, name).__init__).parameters.values()
    defaults = {p.name: p.default for p in taken if p.default is not inspect.Parameter.empty}
    return {key: config.get(key, default) for key, default in defaults.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def make_scheduler(name: str, options: Mapping[str, Any]) -> Any:
    """Create a scheduler of diffusers by the name of its class.

    Raises:
        BadInput: it needs a library that is not installed.
    """
    import diffusers

    try:
        with _quiet():
            return getattr(diffusers, name)(**options)
    except ImportError as error:
        library = re.search(r"requires the (\S+) library", str(error))
        other = "--sampler dpmpp_sde, the same method without it"
        raise BadInput(
            f"{name} needs a library that is not installed: "
            f"{error.name or (library[1] if library else str(error).strip())}.",
            f"Install it, or take {other if 'SDE' in name else 'another --sampler'}.",
        ) from error


def _choice(options: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> Any:
    value = options[key]
    if value not in allowed:
        raise ValueError(f"{key} is {value!r}; known are {', '.join(allowed)}")
    return value


def _sigmas(name: str, options: Mapping[str, Any]) -> Float64[np.ndarray, " steps"]:
    """Return the noise level of each training step.

    They are computed from signal shares in float32, as used in training.
    """
    steps = int(options["num_train_timesteps"])
    if not 2 <= steps <= 100_000:
        raise ValueError(f"num_train_timesteps is {steps}")
    plain = {key: options[key] for key in _OF_THE_TABLE if key in options}
    plain |= {key: float(options[key]) for key in ("beta_start", "beta_end")}
    try:
        share = make_scheduler(name, plain).alphas_cumprod.double().numpy()
    except NotImplementedError as error:
        raise ValueError(f"beta_schedule is {options['beta_schedule']!r}") from error
    if options.get("rescale_betas_zero_snr"):
        share[-1] = max(share[-1], _LEAST_SIGNAL)
    if not ((share > 0) & (share < 1)).all() or not (np.diff(share) < 0).all():
        raise ValueError("its noise does not rise from step to step")
    sigmas: Float64[np.ndarray, " steps"] = np.sqrt((1 - share) / share)
    return sigmas


def _clamp(options: Mapping[str, Any]) -> Clamp | None:
    if options.get("thresholding"):
        ratio = float(options["dynamic_thresholding_ratio"])
        return Clamp(float(options["sample_max_value"]), ratio)
    if options.get("clip_sample"):
        return Clamp(float(options["clip_sample_range"]))
    return None


Schedule = Literal["karras", "model", "trailing"]
_RHO = 7.0  # as in the paper


def noise_levels(noise: Noise, steps: int, schedule: Schedule, sampler: str = "") -> list[float]:
    """Return the noise levels of `steps` steps for a model.

    Args:
        noise: of the model.
        steps: at least 1.
        schedule: `karras` covers the model's whole range down to 0; `model` uses the timesteps of
            the model's own configuration, as flow matching always does; `trailing` spaces timesteps
            evenly from the last one, as few-step models expect it ("SGM uniform").
        sampler: with `model`, the levels are those of the model's own scheduler, whatever the
            schedule.

    Raises:
        BadInput: the model's own schedule has fewer steps.
    """
    if noise.flows:
        return flow_levels(noise, steps)
    if sampler == "model":
        return own_levels(noise, steps)
    if schedule == "karras":
        return karras(float(noise.sigmas[0]), float(noise.sigmas[-1]), steps)
    if schedule == "trailing":
        plain = replace(noise, spacing="trailing", usable=len(noise.sigmas))
        return [*noise.sigmas[own_times(plain, steps)].tolist(), 0.0]
    if noise.name in EXPLODING or any(noise.options.get(key) for key in _OTHER_SPACINGS):
        found = noise.scheduler(steps).sigmas.unique_consecutive().double().tolist()
        if len(found) != steps + 1 or any(after >= level for level, after in pairwise(found)):
            raise BadInput(
                f"{steps} steps are more than the model's own schedule of {noise.usable} can give.",
                "Take fewer steps, or --schedule karras.",
            )
        return [_snapped(noise, level) for level in found]
    return [*noise.sigmas[own_times(noise, steps)].tolist(), noise.last]


def flow_levels(noise: Noise, steps: int) -> list[float]:
    """Return the levels of a model of flow matching, as its scheduler in diffusers has them.

    Raises:
        BadInput: it does not support that many steps.
    """
    levels: list[float] = noise.scheduler(steps).sigmas.double().tolist()
    if any(not after < level for level, after in pairwise(levels)):
        raise BadInput(
            f"{noise.name} gives noise levels that do not fall in {counted(steps, 'step')}.",
            "Take another number of --steps.",
        )
    return levels


def own_levels(noise: Noise, steps: int) -> list[float]:
    """Return the levels at which a model's own scheduler evaluates the network, then 0.

    Raises:
        BadInput: it does not support that many steps.
    """
    times = noise.scheduler(steps).timesteps.tolist()
    if not all(0 <= time < len(noise.sigmas) for time in times):
        raise BadInput(
            f"{noise.name} with {counted(steps, 'step')} leaves its table of "
            f"{counted(len(noise.sigmas), 'time')}.",
            "Take fewer steps, or another --sampler.",
        )
    return [*(noise.level_at(float(time)) for time in times), 0.0]


def _snapped(noise: Noise, level: float) -> float:
    """Return a float32 level of diffusers as the table has it; others are unchanged."""
    nearest = float(noise.sigmas[round(noise.time_of(level))])
    return nearest if abs(nearest - level) <= 1e-6 * level else level


def karras(lowest: float, highest: float, steps: int) -> list[float]:
    """Return `steps` levels from `highest` to `lowest`, then 0.

    Equation 5 of Karras, Aittala, Aila, Laine, "Elucidating the Design Space of Diffusion-Based
    Generative Models", 2022.
    """
    ramp = np.linspace(0, 1, steps)
    high, low = highest ** (1 / _RHO), lowest ** (1 / _RHO)
    levels: list[float] = ((high + ramp * (low - high)) ** _RHO).tolist()
    return [*levels, 0.0]


def own_times(noise: Noise, steps: int) -> list[int]:
    """Return the timesteps, decreasing, that a model's own configuration selects.

    The three spacings of table 2 in Lin, Liu, Li, Yang, "Common Diffusion Noise Schedules and
    Sample Steps are Flawed", 2023, rounded as in diffusers' DDIM and DPM-Solver.

    Raises:
        BadInput: there are fewer training steps than that.
    """
    count = steps + noise.one_more
    total = noise.usable
    if count > total:
        raise BadInput(
            f"{steps} steps are more than the model's own schedule of {total} can give.",
            "Take fewer steps, or --schedule karras.",
        )
    if noise.spacing == "trailing":  # here diffusers omits no step
        step = len(noise.sigmas) / steps
        locations = np.round(np.arange(total, 0, -step))[:steps] - 1
    elif noise.spacing == "linspace":
        locations = np.round(np.linspace(0, total - 1, count))[::-1][:steps]
    else:
        rising = np.arange(count) * (total // count)
        offset = min(noise.offset, total - 1 - int(rising[-1]))
        locations = rising[::-1][:steps] + offset
    return [int(location) for location in locations]


def initial(noise: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
    """Return the starting point of a sampler, unit noise scaled to the highest level.

    The scale includes an image of unit variance. In the variance-preserving form this is unit
    noise; at high levels it hardly exceeds `sigma * noise`.
    """
    return noise * math.sqrt(1 + sigma**2)


def final(x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
    """Return a sampler's result on the network's own scale; unchanged if it ended at level 0."""
    return x if sigma == 0 else x / math.sqrt(1 + sigma**2)
