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
    "diffusion model that generated the images, or should have; not needed for "
    "photographs if --guide-model names an image classifier"
)


class GuideCheck(Request["graftwerk.generation.results.GuideVerdicts"]):
    """Check whether images are real images of a class or adversarial, by several measures."""

    images: PathTexts = Field(
        min_length=1, description="images or folders of images", json_schema_extra=POSITIONAL
    )
    class_: str | None = Field(default=None, description="class that the images should show")
    model: PathText = path_field(default=DEFAULT_PIPELINE, description=_MODEL)
    guide_model: Guidance[GuideModel] = path_field(DEFAULT_GUIDE)
    guide_labels: Guidance[GuideLabels] = Field(default_factory=list)
    real: OptionalPath = path_field(
        default=None,
        description="folder of real images; default: Blocks scenes, for Blocks models",
    )


class Invert(Request["graftwerk.generation.results.Inversion"]):
    """Optimize a latent, image or noise by gradient descent towards an image, class or sentence."""

    to: Sampling[PathText] = Field(
        description="an image file, class=NAME or text=SENTENCE to move towards"
    )
    space: Sampling[Literal["latent", "pixel", "noise"]] = Field(
        default="latent",
        description=(
            "variable to optimize: the latent of a decoder, the pixels, or the sampler's "
            "initial noise; for an image target, the noise comes from DDIM inversion"
        ),
    )
    steps: Sampling[int] = Field(
        default=100, ge=1, le=limits.SAMPLING_STEPS, description="number of gradient descent steps"
    )
    sampling_steps: Sampling[int | None] = Field(
        default=None,
        ge=1,
        le=1_000,
        description=(
            "number of sampling steps, for --space noise; default: 50 for an image, 10 for a "
            "class or sentence, whose gradient passes through all of them"
        ),
    )
    rate: Sampling[float] = Field(default=0.05, gt=0, le=10, description="learning rate")
    count: Sampling[int] = Field(
        default=1, ge=1, le=256, description="number of images, each from its own noise"
    )
    start: Sampling[OptionalPathText] = path_field(
        default=None,
        description="initial image, for --space latent and pixel; default: noise",
    )
    model: Sampling[PathText] = path_field(default=DEFAULT_PIPELINE, description=_MODEL)
    guide_model: Guidance[GuideModel] = path_field(DEFAULT_GUIDE)
    guide_labels: Guidance[GuideLabels] = Field(default_factory=list)
    guide_encoder: Guidance[PathText] = path_field(
        default=DEFAULT_IMAGE_ENCODER, description="joint encoder of texts and images for text="
    )
    real: Guidance[OptionalPath] = path_field(
        default=None, description="folder of real images to compare with; default: Blocks scenes"
    )
    out: Output[PathField] = path_field(
        default=Path("inverted"), description="output folder for images, film strip and losses"
    )


class GuideSweep(Request["graftwerk.generation.results.GuideSweepReport"]):
    """Generate classes at several guidance scales, and measure distance, precision and recall."""

    classes: Sampling[str] = Field(
        description="classes, separated by commas, or `all` for all shapes and colours"
    )
    scales: Guidance[str] = Field(
        default="0,1,3,10,30", description="guidance scales, separated by commas"
    )
    count: Sampling[int] = Field(
        default=200,
        ge=10,
        le=limits.IMAGES,
        description="images per scale, divided among the classes",
    )
    steps: Sampling[int] = Field(
        default=25, ge=1, le=limits.SAMPLING_STEPS, description="number of sampling steps"
    )
    sampler: Sampling[Sampler] = Field(default="dpmpp_2m", description="sampling method")
    model: Sampling[PathText] = path_field(
        default=DEFAULT_PIPELINE, description="diffusion model; used without a prompt"
    )
    guide_plain: Guidance[GuidePlain] = False
    guide_model: Guidance[GuideModel] = path_field(DEFAULT_GUIDE)
    guide_interval: Guidance[str | None] = Field(
        default=None, description="noise levels LO:HI (sigma) at which the guide applies"
    )
    out: Output[PathField] = path_field(
        default=Path("sweep"),
        description="output folder for the curves and one contact sheet per scale",
    )
