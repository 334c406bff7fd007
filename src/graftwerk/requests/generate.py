"""Requests to generate images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from .. import limits
from .base import (
    DEFAULT_GUIDE,
    DEFAULT_IMAGE_ENCODER,
    DEFAULT_PIPELINE,
    POSITIONAL,
    Advanced,
    Control,
    Guidance,
    Image,
    OptionalPath,
    OptionalPathText,
    Output,
    PathField,
    PathText,
    PathTexts,
    Prompt,
    Request,
    Sampler,
    Sampling,
    path_field,
)

if TYPE_CHECKING:
    import graftwerk.generation.results  # noqa: F401  named in brackets below

GuideModel = Annotated[
    PathText,
    Field(
        description="for class=: a noise-aware classifier, which reads noisy latents, or "
        "a joint encoder of texts and images (builtin/blocks-clip, a CLIP folder) or an image "
        "classifier (imagenet), which look at the clean image that each step expects"
    ),
]
GuideLabels = Annotated[
    list[str],
    Field(
        max_length=limits.LABELS,
        description="classes of a joint encoder as --guide-model; may be given again; none: kinds "
        "and colours of Blocks objects",
    ),
]

GuidePlain = Annotated[
    bool,
    Field(
        description="guide by the bare gradient of log p, as the papers do: not softened where the "
        "classifier is sure, nor among rival classes, nor shortened, nor the mean over views of "
        "the expected image"
    ),
]


ControlMode = Literal["balanced", "prompt", "control"]


class Generate(Request["graftwerk.generation.results.Generation"]):
    """Generate images from a prompt with a diffusion model."""

    prompt: str = Field(
        default="",
        max_length=limits.PROMPT_CHARACTERS,
        description="what to generate; empty: no prompt",
        json_schema_extra=POSITIONAL,
    )
    model: Prompt[PathText] = path_field(
        default=DEFAULT_PIPELINE,
        description="builtin/blocks, a folder in diffusers' layout, or a hub id NAME@REVISION",
    )
    lora: Prompt[PathTexts] = path_field(
        default=[],
        max_length=limits.LORAS,
        description="DIR[:SCALE] or FILE[:SCALE] of a LoRA: of `graft lora train`, peft, "
        "diffusers or kohya; may be given again, and their changes add up",
    )
    count: Prompt[int] = Field(default=4, ge=1, le=limits.IMAGES, description="number of images")
    steps: Sampling[int] = Field(
        default=25, ge=1, le=limits.SAMPLING_STEPS, description="steps of the sampler"
    )
    sampler: Sampling[Sampler] = Field(default="dpmpp_2m", description="sampling method")
    schedule: Advanced[Literal["karras", "model"]] = Field(
        default="karras", description="spacing of the noise levels: Karras', or the model's own"
    )
    cfg: Guidance[float] = Field(
        default=5.0,
        ge=0,
        le=100,
        description="weight of the prompt (classifier-free guidance); 1: as is",
    )
    cfg_interval: Advanced[str | None] = Field(
        default=None,
        description="noise levels LO:HI (sigma) in which --cfg acts; outside it costs nothing",
    )
    guide: Guidance[list[str]] = Field(
        default_factory=list,
        max_length=limits.GUIDES,
        description="KIND=WHAT:SCALE that a gradient guides to: class=NAME, text=SENTENCE or "
        "image=FILE; may be given again, and their gradients add up",
    )
    guide_interval: Advanced[str | None] = Field(
        default=None, description="noise levels LO:HI (sigma) in which --guide acts"
    )
    guide_plain: Guidance[GuidePlain] = False
    guide_model: Guidance[GuideModel] = path_field(DEFAULT_GUIDE)
    guide_labels: Guidance[GuideLabels] = Field(default_factory=list)
    guide_encoder: Guidance[PathText] = path_field(
        default=DEFAULT_IMAGE_ENCODER, description="joint encoder of text= and image="
    )
    init: Image[OptionalPathText] = path_field(
        default=None,
        description="image to start at instead of noise, cropped to the generated size (img2img)",
    )
    strength: Image[float | None] = Field(
        default=None,
        ge=0,
        le=1,
        description="share of the steps that --init goes through: 0 leaves it as it is, 1 hardly "
        "keeps anything; default: 0.8, with --inpaint 1",
    )
    inpaint: Image[OptionalPathText] = path_field(
        default=None, description="mask of --init: white is repainted, black is kept"
    )
    paste: Image[bool] = Field(
        default=True,
        description="put the pixels of --init back where nothing is repainted; without it they go "
        "through the autoencoder",
    )
    check: Guidance[bool] = Field(
        default=True,
        description="ask several realism checks about guided images, as `graft guide check` does, "
        "and generate up to four controlled ones without --reuse to say what it costs",
    )
    control: Control[list[str]] = Field(
        default_factory=list,
        max_length=limits.CONTROLS,
        description="KIND=FILE[:WEIGHT][@FROM-TO][#MASK...] whose condition the images keep, or "
        "KIND-map=FILE for a finished map; may be given again, and the controls add up",
    )
    branch: Control[list[str]] = Field(
        default_factory=list,
        max_length=limits.CONTROLS,
        description="KIND=FOLDER of the branch for a control; default: the built-in one",
    )
    estimator: Control[list[str]] = Field(
        default_factory=list,
        max_length=limits.CONTROLS,
        description="KIND=MODEL of the transformers library that reads the image of a "
        "--control; default: what comes with the package",
    )
    control_mode: Control[ControlMode] = Field(
        default="balanced",
        description="which is more important, the prompt or the control: in both cases outer "
        "skips of a branch count less, and for control only the prompt's half is controlled",
    )
    reuse: Advanced[int] = Field(
        default=1,
        ge=1,
        le=100,
        description="steps for which a branch's output is used: 2 saves time",
    )
    best_of: Sampling[int] = Field(
        default=1,
        ge=1,
        le=limits.BEST_OF,
        description="generate this many for each image, keep the most faithful one",
    )
    eta: Advanced[float] = Field(
        default=0.0, ge=0, le=1, description="share of fresh noise in a step of ddim"
    )
    width: Prompt[int | None] = Field(
        default=None, ge=1, le=limits.GENERATED_SIDE, description="pixels; default: the model's own"
    )
    height: Prompt[int | None] = Field(
        default=None, ge=1, le=limits.GENERATED_SIDE, description="pixels; default: the model's own"
    )
    negative: Prompt[str] = Field(
        default="",
        max_length=limits.PROMPT_CHARACTERS,
        description="what to avoid (negative prompt)",
    )
    out: Output[PathField] = path_field(
        default=Path("pictures"), description="folder for the images"
    )
    previews: Output[OptionalPath] = path_field(
        default=None, description="folder for the image as each step sees it"
    )
    grid: Output[list[str]] = Field(
        default_factory=list,
        max_length=2,
        description="NAME=V1,V2,... of an option that is varied, for example cfg=1,3,5: one sheet "
        "with labels; given twice, the second gives the rows",
    )
    from_: Prompt[OptionalPath] = path_field(
        default=None,
        description="repeat this image bit for bit; options given beside it change the repeat",
    )
