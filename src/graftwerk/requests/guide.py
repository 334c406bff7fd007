"""Requests of guiding: checking, inverting, sweeping."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from .. import limits
from .base import (
    DEFAULT_GUIDE,
    DEFAULT_IMAGE_ENCODER,
    DEFAULT_PIPELINE,
    POSITIONAL,
    Guidance,
    OptionalPath,
    OptionalPathText,
    Output,
    PathField,
    PathText,
    PathTexts,
    Request,
    Sampler,
    Sampling,
    path_field,
)
from .generate import GuideLabels, GuideModel, GuidePlain

if TYPE_CHECKING:
    import graftwerk.generation.results  # noqa: F401  named in brackets below

_MODEL = (
    "diffusion model that the images are of, or should be; not needed for photographs, where "
    "--guide-model names an image classifier"
)


class GuideCheck(Request["graftwerk.generation.results.GuideVerdicts"]):
    """Ask several realism checks whether images are real ones of a class, or adversarial."""

    images: PathTexts = Field(
        min_length=1, description="images, or folders of them", json_schema_extra=POSITIONAL
    )
    class_: str | None = Field(default=None, description="the class that they should show")
    model: PathText = path_field(default=DEFAULT_PIPELINE, description=_MODEL)
    guide_model: Guidance[GuideModel] = path_field(DEFAULT_GUIDE)
    guide_labels: Guidance[GuideLabels] = Field(default_factory=list)
    real: OptionalPath = path_field(
        default=None,
        description="folder of real images; default: Blocks scenes, for models of them",
    )


class Invert(Request["graftwerk.generation.results.Inversion"]):
    """Gradient descent on a latent, an image or noise towards an image, class or sentence."""

    to: Sampling[PathText] = Field(description="an image's file, class=NAME or text=SENTENCE")
    space: Sampling[Literal["latent", "pixel", "noise"]] = Field(
        default="latent",
        description="what is moved: the latent behind a decoder, the pixels, or the noise that a "
        "sampler starts from; an image's noise is found by DDIM inversion",
    )
    steps: Sampling[int] = Field(
        default=100, ge=1, le=limits.SAMPLING_STEPS, description="steps of the descent"
    )
    sampling_steps: Sampling[int | None] = Field(
        default=None,
        ge=1,
        le=1_000,
        description="steps of the sampler, for --space noise; default: 50 for an image, 10 for a "
        "class or sentence, whose gradient goes back through all of them",
    )
    rate: Sampling[float] = Field(
        default=0.05, gt=0, le=10, description="learning rate of the descent"
    )
    count: Sampling[int] = Field(
        default=1, ge=1, le=256, description="images, each from noise of its own"
    )
    start: Sampling[OptionalPathText] = path_field(
        default=None,
        description="image to begin from, for --space latent and pixel; default: noise",
    )
    model: Sampling[PathText] = path_field(default=DEFAULT_PIPELINE, description=_MODEL)
    guide_model: Guidance[GuideModel] = path_field(DEFAULT_GUIDE)
    guide_labels: Guidance[GuideLabels] = Field(default_factory=list)
    guide_encoder: Guidance[PathText] = path_field(
        default=DEFAULT_IMAGE_ENCODER, description="joint encoder of text="
    )
    real: Guidance[OptionalPath] = path_field(
        default=None, description="folder of real images for the verdict; default: Blocks scenes"
    )
    out: Output[PathField] = path_field(
        default=Path("inverted"), description="folder for images, film strip and losses"
    )


class GuideSweep(Request["graftwerk.generation.results.GuideSweepReport"]):
    """Generate classes at several scales: distance from real images, precision, recall, success."""

    classes: Sampling[str] = Field(
        description="classes, separated by commas, or `all` for all kinds and colours"
    )
    scales: Guidance[str] = Field(
        default="0,1,3,10,30", description="scales of the guide, separated by commas"
    )
    count: Sampling[int] = Field(
        default=200,
        ge=10,
        le=limits.IMAGES,
        description="images for each scale, shared by the classes",
    )
    steps: Sampling[int] = Field(
        default=25, ge=1, le=limits.SAMPLING_STEPS, description="steps of the sampler"
    )
    sampler: Sampling[Sampler] = Field(default="dpmpp_2m", description="sampling method")
    model: Sampling[PathText] = path_field(
        default=DEFAULT_PIPELINE, description="diffusion model, used without a prompt"
    )
    guide_plain: Guidance[GuidePlain] = False
    guide_model: Guidance[GuideModel] = path_field(DEFAULT_GUIDE)
    guide_interval: Guidance[str | None] = Field(
        default=None, description="noise levels LO:HI (sigma) in which the guide acts"
    )
    out: Output[PathField] = path_field(
        default=Path("sweep"), description="folder for the curves and one sheet per scale"
    )
