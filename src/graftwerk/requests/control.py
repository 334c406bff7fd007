"""Requests of steering image models: conditions, control branches, guidance, inversion."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from .. import limits
from .base import (
    DEFAULT_GUIDE,
    DEFAULT_IMAGE_ENCODER,
    DEFAULT_PIPELINE,
    POSITIONAL,
    Advanced,
    Data,
    Guidance,
    NewFolder,
    OptionalPath,
    OptionalPathText,
    Output,
    Pairs,
    PathField,
    PathText,
    PathTexts,
    PipelineName,
    Precision,
    Request,
    Resumable,
    Sampler,
    Sampling,
    SceneSide,
    Steps,
    Training,
    WarmRate,
    path_field,
)
from .generate import GuideLabels, GuideModel, GuidePlain

if TYPE_CHECKING:
    import graftwerk.conditions.results
    import graftwerk.controlnet.results
    import graftwerk.generation.results  # noqa: F401  named in brackets below


class ControlTrain(Request["graftwerk.controlnet.results.ControlTrained"]):
    """Train a ControlNet branch on images, and measure when it starts to follow the condition."""

    data: PathField = Field(
        description="folder of images with captions: metadata.jsonl (file_name, caption), or "
        "NAME.txt next to NAME.png",
        json_schema_extra=POSITIONAL,
    )
    model: PipelineName = path_field(DEFAULT_PIPELINE)
    condition: str = Field(description="canny, depth, ...; see `graft condition list`")
    conditions: Data[OptionalPath] = path_field(
        default=None,
        description="folder of condition maps named like the images; default: the "
        "conditioning_image column of metadata.jsonl, or computed from the images",
    )
    caption: Data[str | None] = Field(default=None, description="caption to use for all images")
    out: Output[NewFolder[PathField]] = Field(
        description="output folder for the branch, its measurements and its checkpoints"
    )
    steps: Steps = Field(default=1_000, description="total training steps")
    batch: Pairs = 16
    accumulate: Training[int] = Field(
        default=1,
        ge=1,
        le=4096,
        description="split each batch into this many gradient accumulation steps",
    )
    learning_rate: WarmRate = 1e-3
    minutes: Resumable = None
    drop: Data[float] = Field(
        default=0.5, ge=0, le=1, description="share of prompts dropped in training"
    )
    held_out: Data[int] = Field(
        default=128, ge=2, le=10_000, description="number of held-out pairs for the measurements"
    )
    measurements: Training[int] = Field(
        default=50, ge=2, le=10_000, description="number of measurements during training"
    )
    body: Advanced[Literal["copy", "light"]] = Field(
        default="copy",
        description="branch body: a copy of the U-Net's encoder (full), or one convolution per "
        "encoder layer (light)",
    )
    start: Advanced[Literal["zero", "gaussian"]] = Field(
        default="zero",
        description="initial weights of the convolutions that connect the branch to the model",
    )
    hint: Advanced[Literal["code", "paper"]] = Field(
        default="code",
        description="encoder of the condition: as in the official code, or as in the paper",
    )
    middle_only: Advanced[bool] = Field(
        default=False, description="connect the branch to the model's middle block only"
    )
    unlock: Advanced[bool] = Field(
        default=False,
        description="also train the model's decoder, at a tenth of the learning rate: the model "
        "is then no longer frozen, and the branch belongs to the new model in OUT/model",
    )
    checkpointing: Advanced[bool] = Field(
        default=False, description="gradient checkpointing: less memory, slower"
    )
    stop: Training[bool] = Field(
        default=False, description="stop early when training has converged or does not learn"
    )
    precision: Advanced[Precision] = "auto"


class ControlAblation(Request["graftwerk.controlnet.results.Ablation"]):
    """Compare zero, Gaussian and light ControlNet branches on four prompts and several seeds."""

    data: OptionalPath = path_field(
        default=None,
        description="folder of images with captions, as for `control train`; default: rendered "
        "Blocks scenes",
        json_schema_extra=POSITIONAL,
    )
    model: PipelineName = path_field(DEFAULT_PIPELINE)
    condition: str = Field(
        default="segmentation", description="canny, depth, ...; see `graft condition list`"
    )
    conditions: Data[OptionalPath] = path_field(
        default=None, description="folder of condition maps named like the images of DATA"
    )
    caption: Data[str | None] = Field(
        default=None, description="caption to use for all images of DATA"
    )
    out: Output[NewFolder[PathField]] = Field(
        description=(
            "output folder for the branches, the table and the contact sheet; finished parts "
            "are reused"
        )
    )
    seeds: Training[int] = Field(
        default=3, ge=1, le=100, description="number of training runs per branch"
    )
    steps: Steps = Field(default=300, description="steps per training run")
    batch: Pairs = 32
    learning_rate: WarmRate = 1e-3
    scenes: Data[int] = Field(
        default=4_096, ge=4, le=limits.SCENES, description="number of training scenes, without DATA"
    )
    count: Sampling[int] = Field(
        default=128, ge=2, le=limits.IMAGES, description="number of held-out pairs"
    )
    insufficient: Data[str] = Field(
        default="a scene", description="insufficient prompt, used for all images"
    )
    drawing_steps: Sampling[int] = Field(
        default=12, ge=1, le=limits.SAMPLING_STEPS, description="sampling steps of DPM-Solver++(2M)"
    )
    cfg: Sampling[float] = Field(
        default=3.0, ge=0, le=100, description="classifier-free guidance scale"
    )
    encoder: Sampling[OptionalPathText] = path_field(
        default=None,
        description="image encoder whose features define the Frechet distance; default: the judge "
        "of Blocks images",
    )


ABLATION_NEEDS = {"conditions": ("data",), "caption": ("data",)}  # see `base.require_effect`


class ControlExport(Request["graftwerk.controlnet.results.ControlExported"]):
    """Export a branch as a ControlNetModel folder, which diffusers and other tools load."""

    branch: PathText = Field(
        description="folder of a branch, or a built-in one: canny, depth, ...",
        json_schema_extra=POSITIONAL,
    )
    model: PathText = path_field(
        default=DEFAULT_PIPELINE, description="model that the branch was trained on"
    )
    out: NewFolder[PathField] = Field(description="output folder for the ControlNetModel; new")


class ConditionList(Request["graftwerk.conditions.results.ConditionKinds"]):
    """List the kinds of condition, and how each is computed from an image."""


class MakeCondition(Request["graftwerk.conditions.results.ConditionResult"]):
    """Make a condition map (edges, lines, depth, ...) from an image or a Blocks scene."""

    kind: str = Field(
        description="canny, hough, scribble, pose, segmentation, normals, depth, lineart; all: "
        "all eight on one contact sheet",
        json_schema_extra=POSITIONAL,
    )
    image: OptionalPathText = path_field(
        default=None, description="image file; omit it with --scene", json_schema_extra=POSITIONAL
    )
    out: PathField = path_field(default=Path("condition.png"), description="output file (PNG)")
    scene: int | None = Field(
        default=None,
        ge=0,
        lt=2**63,
        description="make the exact map of this scene of the Blocks world (see --seed)",
    )
    size: SceneSide = Field(
        default=256,
        description="side length in pixels, with --scene; with IMAGE, only if given: resize its "
        "shorter side to this length first",
    )
    finished: bool = Field(
        default=False,
        description="IMAGE is already a condition map (or, for scribble, a drawing): check it and "
        "write it in the format that control branches read",
    )
    estimator: OptionalPathText = path_field(
        default=None,
        description="model that estimates the map: blazepose (pose), hed (scribble, lineart), or "
        "a transformers folder or hub id NAME@REVISION (depth, normals, segmentation, pose)",
    )
    stages: bool = Field(default=False, description="canny: write every step on one contact sheet")
    thresholds: str = Field(
        default="0.1,0.3",
        description="canny: LOW,HIGH as fractions of the largest gradient (at most 1) or as "
        "gradients (above 1), or auto",
    )
    sigma: float = Field(
        default=1.4,
        gt=0,
        le=100,
        description="canny: standard deviation of the Gaussian, in pixels",
    )
    kernel: int = Field(
        default=5, ge=1, le=999, description="canny: side length of the Gaussian kernel; odd"
    )


class EvalEdges(Request["graftwerk.conditions.results.EdgeEvaluation"]):
    """Evaluate the edges of Canny or HED against boundaries drawn by people (ODS, OIS, AP)."""

    data: PathField = Field(
        description="zip file or folder of images, each with a NAME.npz that holds `boundaries` "
        "(people x height x width)",
        json_schema_extra=POSITIONAL,
    )
    plain: bool = Field(
        default=False,
        description="use the grayscale image at one scale, as `graft condition canny` does",
    )
    estimator: OptionalPathText = path_field(
        default=None, description="model to detect edges with, instead of Canny's method: hed"
    )


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
        default=None, description="folder of real images; default: Blocks scenes, for Blocks models"
    )


class Invert(Request["graftwerk.generation.results.Inversion"]):
    """Optimize a latent, image or noise by gradient descent towards an image, class or sentence."""

    to: Sampling[PathText] = Field(
        description="an image file, class=NAME or text=SENTENCE to move towards"
    )
    space: Sampling[Literal["latent", "pixel", "noise"]] = Field(
        default="latent",
        description="variable to optimize: the latent of a decoder, the pixels, or the sampler's "
        "initial noise; for an image target, the noise comes from DDIM inversion",
    )
    steps: Sampling[int] = Field(
        default=100, ge=1, le=limits.SAMPLING_STEPS, description="number of gradient descent steps"
    )
    sampling_steps: Sampling[int | None] = Field(
        default=None,
        ge=1,
        le=1_000,
        description="number of sampling steps, for --space noise; default: 50 for an image, 10 "
        "for a class or sentence, whose gradient passes through all of them",
    )
    rate: Sampling[float] = Field(default=0.05, gt=0, le=10, description="learning rate")
    count: Sampling[int] = Field(
        default=1, ge=1, le=256, description="number of images, each from its own noise"
    )
    start: Sampling[OptionalPathText] = path_field(
        default=None, description="initial image, for --space latent and pixel; default: noise"
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
    out: Output[NewFolder[PathField]] = path_field(
        default=Path("inverted"), description="output folder for images, film strip and losses"
    )


class GuideSweep(Request["graftwerk.generation.results.GuideSweepReport"]):
    """Generate classes at several guidance scales, and measure distance, precision and recall."""

    classes: Sampling[str] = Field(
        description="classes, separated by commas, or `all` for all shapes and colors"
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
    out: Output[NewFolder[PathField]] = path_field(
        default=Path("sweep"),
        description="output folder for the curves and one contact sheet per scale",
    )
