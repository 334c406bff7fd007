"""The noise that a discrete-time diffusion model was trained with, read from its configuration.

Diffusers writes it to `scheduler/scheduler_config.json`. It is read as data here; no scheduler of
that library is built. In the variance-exploding form used throughout, an image at noise level
`sigma` is `x0 + sigma * noise`; the network itself saw `x / sqrt(1 + sigma**2)`.

Which noise levels a sampler visits: falling, one more than there are steps.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ..errors import BadFile, BadInput

Prediction = Literal["epsilon", "v_prediction", "sample"]
Spacing = Literal["leading", "trailing", "linspace"]
Sigma = float | Float[Tensor, " b"]

# In place of zero, where a schedule ends in pure noise, as the schedulers of diffusers do.
_LEAST_SIGNAL = 2.0**-24
_PREDICTIONS = ("epsilon", "v_prediction", "sample")
_SPACINGS = ("leading", "trailing", "linspace")
# A spacing or a noise that is not computed here, and what it is.
_OUT_OF_DISTRIBUTION = {
    "use_dynamic_shifting": "flow matching",
    "use_flow_sigmas": "flow matching",
    "use_exponential_sigmas": "exponential spacing",
    "use_beta_sigmas": "beta spacing",
    "use_lu_lambdas": "uniform spacing of the log-SNR",
}


_PLAIN = (
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "LMSDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
)
# These space one step more than they take and leave the last out.
_ONE_MORE = (
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
)
SCHEDULERS = _PLAIN + _ONE_MORE


@dataclass(frozen=True, slots=True)
class Clamp:
    """How a model wants its image kept in range while it is drawn.

    Attributes:
        limit: largest magnitude of a value.
        ratio: share of values that may lie within the range that is then scaled back to 1
            (dynamic thresholding); None for a plain cut at `limit`.
    """

    limit: float
    ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise levels of a model.

    Attributes:
        sigmas: level of each training step, rising; the index is the step that the network knows.
        prediction: what the network predicts.
        spacing: how the model's own schedule picks its steps.
        offset: added to the steps of `leading` spacing.
        one_more: whether the own schedule spaces one step more and leaves the last out.
        usable: number of training steps that the own schedule uses.
        last: the level at which the own schedule ends: 0, or the smallest of the table.
        karras: whether the own schedule is spaced after Karras.
        clamp: how values are kept in range; None for latents.
    """

    sigmas: Float64[np.ndarray, " steps"]
    prediction: Prediction
    spacing: Spacing
    offset: int
    one_more: bool
    usable: int
    last: float
    karras: bool
    clamp: Clamp | None

    def time_of(self, sigma: float) -> float:
        """The network's time at a noise level: interpolated in log sigma, exact at the table's.

        Levels outside the table take its ends (`DiscreteSchedule.sigma_to_t` of k-diffusion).
        """
        time = float(
            np.interp(math.log(max(sigma, 1e-10)), np.log(self.sigmas), np.arange(len(self.sigmas)))
        )
        nearest = round(time)
        # float32 tells neighbours of every table apart by far more than this
        return float(nearest) if abs(self.sigmas[nearest] - sigma) <= 1e-6 * sigma else time

    def times_of(self, sigma: Sigma, like: Tensor) -> Float[Tensor, " n"]:
        """The network's times, one, or one for each row, where and as precise as `like`."""
        levels = sigma.tolist() if isinstance(sigma, Tensor) else [sigma]
        return torch.tensor([self.time_of(s) for s in levels], dtype=like.dtype, device=like.device)

    def x0_of(
        self,
        x: Float[Tensor, "b c h w"],
        output: Float[Tensor, "b c h w"],
        sigma: float | Float[Tensor, "b 1 1 1"],
    ) -> Float[Tensor, "b c h w"]:
        """The clean image that the network's output means; `x` is not scaled."""
        match self.prediction:
            case "epsilon":
                return x - sigma * output
            case "v_prediction":
                variance = 1 + sigma**2
                return x / variance - output * (sigma / variance**0.5)
            case "sample":
                return output


def read_noise(config: Mapping[str, Any], path: Path) -> Noise:
    """Read the content of a `scheduler_config.json`.

    Args:
        config: its content.
        path: where it lies, for messages.

    Raises:
        BadFile: a kind of noise or schedule that is not known here, or values that make no sense.
    """
    name = str(config.get("_class_name"))
    if name not in SCHEDULERS:
        raise BadFile(
            f"{path} is of the class {name!r}, which is not known here.",
            f"Known: {', '.join(SCHEDULERS)}.",
        )
    options = _options(name, config)
    for key, meaning in _OUT_OF_DISTRIBUTION.items():
        if options.get(key):
            raise BadFile(f"{path} asks for {meaning} ({key}).", "Take another scheduler's file.")
    if options.get("timestep_type", "discrete") != "discrete":
        raise BadFile(f"{path} asks for continuous time.", "Take another scheduler's file.")
    try:
        sigmas = _sigmas(options)
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
            karras=bool(options.get("use_karras_sigmas", False)),
            clamp=_clamp(options),
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise BadFile(f"{path} makes no sense: {error}.", "Copy the whole folder again.") from error


def _options(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What the scheduler's class takes from its configuration, with its own defaults.

    Files made from another class's often hold keys that theirs does not look at.
    """
    import diffusers

    taken = inspect.signature(getattr(diffusers, name).__init__).parameters.values()
    defaults = {p.name: p.default for p in taken if p.default is not inspect.Parameter.empty}
    return {key: config.get(key, default) for key, default in defaults.items()}


def _choice(options: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> Any:
    value = options[key]
    if value not in allowed:
        raise ValueError(f"{key} is {value!r}; known are {', '.join(allowed)}")
    return value


def _sigmas(options: Mapping[str, Any]) -> Float64[np.ndarray, " steps"]:
    """The noise level of each training step, from signal shares in the float32 that models saw."""
    steps = int(options["num_train_timesteps"])
    if not 2 <= steps <= 100_000:
        raise ValueError(f"num_train_timesteps is {steps}")
    start, end = float(options["beta_start"]), float(options["beta_end"])
    kind = options["beta_schedule"]
    if options["trained_betas"] is not None:
        betas = torch.tensor(options["trained_betas"], dtype=torch.float32)
    elif kind == "linear":
        betas = torch.linspace(start, end, steps, dtype=torch.float32)
    elif kind == "scaled_linear":
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float32) ** 2
    elif kind == "squaredcos_cap_v2":
        betas = _cosine_betas(steps)
    else:
        raise ValueError(f"beta_schedule is {kind!r}")
    signal = torch.cumprod(1.0 - betas, dim=0)
    if options.get("rescale_betas_zero_snr"):
        root = signal.sqrt()
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
        signal = root**2
        signal[-1] = _LEAST_SIGNAL
    share = signal.double().numpy()
    if not ((share > 0) & (share < 1)).all() or not (np.diff(share) < 0).all():
        raise ValueError("its noise does not rise from step to step")
    sigmas: Float64[np.ndarray, " steps"] = np.sqrt((1 - share) / share)
    return sigmas


def _cosine_betas(steps: int) -> Float[Tensor, " steps"]:
    """The cosine schedule of Nichol and Dhariwal, "Improved Denoising Diffusion", 2021."""

    def signal(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    ratios = [signal((step + 1) / steps) / signal(step / steps) for step in range(steps)]
    return torch.tensor([min(1 - ratio, 0.999) for ratio in ratios], dtype=torch.float32)


def _clamp(options: Mapping[str, Any]) -> Clamp | None:
    if options.get("thresholding"):
        ratio = float(options["dynamic_thresholding_ratio"])
        return Clamp(float(options["sample_max_value"]), ratio)
    if options.get("clip_sample"):
        return Clamp(float(options["clip_sample_range"]))
    return None


Schedule = Literal["karras", "model"]
_RHO = 7.0  # of the paper


def noise_levels(noise: Noise, steps: int, schedule: Schedule) -> list[float]:
    """The levels of `steps` steps on a model's noise.

    Args:
        noise: of the model.
        steps: at least 1.
        schedule: `karras` goes through the model's whole range to 0; `model` takes the steps that
            the model's own configuration asks for.

    Raises:
        BadInput: the model's own schedule has fewer steps.
    """
    if schedule == "karras":
        return karras(float(noise.sigmas[0]), float(noise.sigmas[-1]), steps)
    if noise.karras:
        levels = karras(float(noise.sigmas[0]), float(noise.sigmas[-1]), steps)
        return [*levels[:-1], noise.last]
    return [*noise.sigmas[own_times(noise, steps)].tolist(), noise.last]


def karras(lowest: float, highest: float, steps: int) -> list[float]:
    """`steps` levels from `highest` to `lowest`, then 0.

    Equation 5 of Karras, Aittala, Aila, Laine, "Elucidating the Design Space of Diffusion-Based
    Generative Models", 2022.
    """
    ramp = np.linspace(0, 1, steps)
    high, low = highest ** (1 / _RHO), lowest ** (1 / _RHO)
    levels: list[float] = ((high + ramp * (low - high)) ** _RHO).tolist()
    return [*levels, 0.0]


def own_times(noise: Noise, steps: int) -> list[int]:
    """The training steps, falling, that a model's own configuration picks.

    The three spacings of table 2 in Lin, Liu, Li, Yang, "Common Diffusion Noise Schedules and
    Sample Steps are Flawed", 2023, rounded as diffusers' DDIM and DPM-Solver round them.

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
    if noise.spacing == "trailing":  # here diffusers leaves no step out
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
    """Where a sampler starts: unit noise at the highest level, an image of unit variance in it.

    That is the unit noise of a variance-preserving model; at high levels hardly more than
    `sigma * noise`.
    """
    return noise * math.sqrt(1 + sigma**2)


def final(x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
    """What a sampler ended with, scaled as the network knows it; itself where it ended at 0."""
    return x if sigma == 0 else x / math.sqrt(1 + sigma**2)


def draw(
    generators: torch.Generator | Sequence[torch.Generator], like: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b c h w"]:
    """Unit noise of the shape, precision and place of `like`.

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
