"""Requests of guiding: checking, inverting, sweeping."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from .. import limits
from .base import (
    DEFAULT_GUIDE,
    DEFAULT_PICTURE_ENCODER,
    DEFAULT_PIPELINE,
    POSITIONAL,
    PathText,
    Request,
)
from .generate import GuideLabels, GuideModel, GuidePlain

_MODEL = "diffusion model that the pictures are of, or should be"


class GuideCheck(Request):
    """Ask several witnesses whether pictures are real ones of a class, or adversarial."""

    images: list[PathText] = Field(
        min_length=1,
        description="pictures, or folders of them",
        json_schema_extra=POSITIONAL,
    )
    class_: str | None = Field(default=None, description="the class that they should show")
    model: PathText = Field(default=DEFAULT_PIPELINE, description=_MODEL)
    guide_model: GuideModel = DEFAULT_GUIDE
    guide_labels: GuideLabels = Field(default_factory=list)
    real: Path | None = Field(
        default=None,
        description="folder of real pictures; default: Blocks scenes, for models of them",
    )


class Invert(Request):
    """Gradient descent on a latent, a picture or noise towards a picture, class or sentence."""

    to: PathText = Field(description="a picture's file, class=NAME or text=SENTENCE")
    space: Literal["latent", "pixel", "noise"] = Field(
        default="latent",
        description="what is moved: the latent behind a decoder, the pixels, or the noise that a "
        "sampler starts from; a picture's noise is found by DDIM inversion",
    )
    steps: int = Field(
        default=100, ge=1, le=limits.SAMPLING_STEPS, description="steps of the descent"
    )
    sampling_steps: int | None = Field(
        default=None,
        ge=1,
        le=1_000,
        description="steps of the sampler, for --space noise; default: 50 for a picture, 10 for a "
        "class or sentence, whose gradient goes back through all of them",
    )
    rate: float = Field(default=0.05, gt=0, le=10, description="learning rate of the descent")
    count: int = Field(default=1, ge=1, le=256, description="pictures, each from noise of its own")
    start: PathText | None = Field(
        default=None,
        description="picture to begin from, for --space latent and pixel; default: noise",
    )
    model: PathText = Field(default=DEFAULT_PIPELINE, description=_MODEL)
    guide_model: GuideModel = DEFAULT_GUIDE
    guide_labels: GuideLabels = Field(default_factory=list)
    guide_encoder: PathText = Field(
        default=DEFAULT_PICTURE_ENCODER, description="joint encoder of text="
    )
    real: Path | None = Field(
        default=None, description="folder of real pictures for the verdict; default: Blocks scenes"
    )
    out: Path = Field(
        default=Path("inverted"), description="folder for pictures, film strip and losses"
    )


class GuideSweep(Request):
    """Draw classes at several scales: distance from real pictures, precision, recall, success."""

    classes: str = Field(
        description="classes, separated by commas, or `all` for all kinds and colours"
    )
    scales: str = Field(
        default="0,1,3,10,30", description="scales of the guide, separated by commas"
    )
    count: int = Field(
        default=200,
        ge=10,
        le=limits.PICTURES,
        description="pictures for each scale, shared by the classes",
    )
    steps: int = Field(
        default=25, ge=1, le=limits.SAMPLING_STEPS, description="steps of the sampler"
    )
    sampler: str = Field(default="dpmpp_2m", description="ddpm, ddim, euler, heun or dpmpp_2m")
    model: PathText = Field(
        default=DEFAULT_PIPELINE, description="diffusion model, drawn without a prompt"
    )
    guide_plain: GuidePlain = False
    guide_model: GuideModel = DEFAULT_GUIDE
    guide_interval: str | None = Field(
        default=None, description="noise levels LO:HI (sigma) in which the guide acts"
    )
    out: Path = Field(
        default=Path("sweep"), description="folder for the curves and one sheet per scale"
    )
