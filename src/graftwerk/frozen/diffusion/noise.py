"""The noise that a discrete-time diffusion model was trained with, read from its configuration.

Diffusers writes it to `scheduler/scheduler_config.json`. It is read as data here; no scheduler of
that library is built. In the variance-exploding form used throughout, a picture at noise level
`sigma` is `x0 + sigma * noise`; the network itself saw `x / sqrt(1 + sigma**2)`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ...errors import BadFile

Prediction = Literal["epsilon", "v_prediction", "sample"]
Spacing = Literal["leading", "trailing", "linspace"]
Sigma = float | Float[Tensor, " b"]

# In place of zero, where a schedule ends in pure noise, as the schedulers of diffusers do.
_LEAST_SIGNAL = 2.0**-24
_PREDICTIONS = ("epsilon", "v_prediction", "sample")
_SPACINGS = ("leading", "trailing", "linspace")
# A spacing or a noise that is not computed here, and what it is.
_FOREIGN = {
    "use_flow_sigmas": "flow matching",
    "use_exponential_sigmas": "exponential spacing",
    "use_beta_sigmas": "beta spacing",
    "use_lu_lambdas": "uniform spacing of the log-SNR",
}


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a class of schedulers takes where its configuration says nothing."""

    spacing: Spacing
    clip_sample: bool | None = None  # None: it never does
    one_more: bool = False  # spaces one step more and leaves the last out
    ends_at_zero: bool = True
    beta_start: float = 0.0001
    beta_end: float = 0.02


_KARRAS_STYLE = Defaults("linspace")
_MULTISTEP = Defaults("linspace", one_more=True)
SCHEDULERS: Mapping[str, Defaults] = {
    "DDIMScheduler": Defaults("leading", clip_sample=True),
    "DDPMScheduler": Defaults("leading", clip_sample=True),
    "PNDMScheduler": Defaults("leading", ends_at_zero=False),
    "EulerDiscreteScheduler": _KARRAS_STYLE,
    "EulerAncestralDiscreteScheduler": _KARRAS_STYLE,
    "LMSDiscreteScheduler": _KARRAS_STYLE,
    "HeunDiscreteScheduler": Defaults("linspace", False, beta_start=0.00085, beta_end=0.012),
    "KDPM2DiscreteScheduler": Defaults("linspace", beta_start=0.00085, beta_end=0.012),
    "KDPM2AncestralDiscreteScheduler": Defaults("linspace", beta_start=0.00085, beta_end=0.012),
    "DPMSolverMultistepScheduler": _MULTISTEP,
    "DPMSolverSinglestepScheduler": _MULTISTEP,
    "DEISMultistepScheduler": _MULTISTEP,
    "UniPCMultistepScheduler": _MULTISTEP,
}


@dataclass(frozen=True, slots=True)
class Clamp:
    """How a model wants its picture kept in range while it is drawn.

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
        return nearest if abs(self.sigmas[nearest] - sigma) <= 1e-6 * sigma else time

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
        """The clean picture that the network's output means; `x` is not scaled."""
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
    defaults = SCHEDULERS[name]
    for key, meaning in _FOREIGN.items():
        if config.get(key):
            raise BadFile(f"{path} asks for {meaning} ({key}).", "Take another scheduler's file.")
    if config.get("timestep_type", "discrete") != "discrete":
        raise BadFile(f"{path} asks for continuous time.", "Take another scheduler's file.")
    try:
        signal = _signal(config, defaults)
        sigmas = np.sqrt((1 - signal) / signal)
        if len(sigmas) < 2 or not (np.diff(sigmas) > 0).all() or not sigmas[0] > 0:
            raise ValueError("its noise levels do not rise")
        # lambda is minus the logarithm of sigma
        usable = int((-np.log(sigmas) >= float(config.get("lambda_min_clipped", -math.inf))).sum())
        ends_at_zero = (
            config.get("set_alpha_to_one", defaults.ends_at_zero)
            and config.get("final_sigmas_type", "zero") == "zero"
        )
        return Noise(
            sigmas=sigmas,
            prediction=_choice(config, "prediction_type", "epsilon", _PREDICTIONS),
            spacing=_choice(config, "timestep_spacing", defaults.spacing, _SPACINGS),
            offset=int(config.get("steps_offset", 0)),
            one_more=defaults.one_more,
            usable=usable,
            last=0.0 if ends_at_zero else float(sigmas[0]),
            karras=bool(config.get("use_karras_sigmas", False)),
            clamp=_clamp(config, defaults),
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise BadFile(f"{path} makes no sense: {error}.", "Copy the whole folder again.") from error


def _choice(config: Mapping[str, Any], key: str, default: str, allowed: tuple[str, ...]) -> Any:
    value = config.get(key, default)
    if value not in allowed:
        raise ValueError(f"{key} is {value!r}; known are {', '.join(allowed)}")
    return value


def _signal(config: Mapping[str, Any], defaults: Defaults) -> Float64[np.ndarray, " steps"]:
    """Share of the picture's variance left after each step, in the float32 that models saw."""
    steps = int(config.get("num_train_timesteps", 1000))
    if not 2 <= steps <= 100_000:
        raise ValueError(f"num_train_timesteps is {steps}")
    start = float(config.get("beta_start", defaults.beta_start))
    end = float(config.get("beta_end", defaults.beta_end))
    kind = config.get("beta_schedule", "linear")
    if config.get("trained_betas") is not None:
        betas = torch.tensor(config["trained_betas"], dtype=torch.float32)
    elif kind == "linear":
        betas = torch.linspace(start, end, steps, dtype=torch.float32)
    elif kind == "scaled_linear":
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float32) ** 2
    elif kind == "squaredcos_cap_v2":
        betas = _cosine_betas(steps)
    else:
        raise ValueError(f"beta_schedule is {kind!r}")
    signal = torch.cumprod(1.0 - betas, dim=0)
    if config.get("rescale_betas_zero_snr"):
        root = signal.sqrt()
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
        signal = root**2
        signal[-1] = _LEAST_SIGNAL
    exact: Float64[np.ndarray, " steps"] = signal.double().numpy()
    return exact


def _cosine_betas(steps: int) -> Float[Tensor, " steps"]:
    """The cosine schedule of Nichol and Dhariwal, "Improved Denoising Diffusion", 2021."""

    def signal(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    ratios = [signal((step + 1) / steps) / signal(step / steps) for step in range(steps)]
    return torch.tensor([min(1 - ratio, 0.999) for ratio in ratios], dtype=torch.float32)


def _clamp(config: Mapping[str, Any], defaults: Defaults) -> Clamp | None:
    if config.get("thresholding"):
        ratio = float(config.get("dynamic_thresholding_ratio", 0.995))
        return Clamp(float(config.get("sample_max_value", 1.0)), ratio)
    if defaults.clip_sample is not None and config.get("clip_sample", defaults.clip_sample):
        return Clamp(float(config.get("clip_sample_range", 1.0)))
    return None
