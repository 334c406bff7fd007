"""Requests to generate images."""

from collections.abc import Collection
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field

from .. import limits
from ..errors import BadInput, BadValue, UnknownName
from .base import (
    DEFAULT_GUIDE,
    DEFAULT_IMAGE_ENCODER,
    DEFAULT_PIPELINE,
    POSITIONAL,
    Advanced,
    Control,
    Guidance,
    Image,
    NewFolder,
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
        description=(
            "for class=: a noise-aware classifier, which reads noisy latents; or a joint "
            "encoder of texts and images (builtin/blocks-clip, a CLIP folder) or an image "
            "classifier (imagenet), which read each step's estimate of the clean image"
        )
    ),
]
GuideLabels = Annotated[
    list[str],
    Field(
        max_length=limits.LABELS,
        description="classes for a joint encoder in --guide-model; repeatable; default: shapes "
        "and colors of Blocks objects",
    ),
]

GuidePlain = Annotated[
    bool,
    Field(
        description=(
            "guide by the plain gradient of log p, as in the papers: no softening for "
            "confident predictions or competing classes, no clipping, no averaging over views"
            " of the estimated image"
        )
    ),
]


Side = Prompt[
    Annotated[
        int | None,
        Field(ge=1, le=limits.GENERATED_SIDE, description="in pixels; default: the model's own"),
    ]
]
ControlMode = Literal["balanced", "prompt", "control"]


class Generate(Request["graftwerk.generation.results.Generation"]):
    """Generate images from a prompt with a diffusion model."""

    prompt: str = Field(
        default="",
        max_length=limits.PROMPT_CHARACTERS,
        description="text that describes the image; may be empty",
        json_schema_extra=POSITIONAL,
    )
    model: Prompt[PathText] = path_field(
        default=DEFAULT_PIPELINE,
        description="builtin/blocks, a folder in diffusers' layout, a checkpoint in one "
        ".safetensors file, or a hub id NAME@REVISION",
    )
    lora: Prompt[PathTexts] = path_field(
        default=[],
        max_length=limits.LORAS,
        description="DIR[:SCALE] or FILE[:SCALE] of a LoRA made by `graft lora train`, peft, "
        "diffusers or kohya; repeatable, and the updates add up",
    )
    region: Prompt[list[str]] = Field(
        default_factory=list,
        max_length=limits.REGIONS,
        description="PROMPT#MASK: a prompt for the white area of an image; repeatable, PROMPT is "
        "for what is left",
    )
    count: Prompt[int] = Field(default=4, ge=1, le=limits.IMAGES, description="number of images")
    steps: Sampling[int] = Field(
        default=25, ge=1, le=limits.SAMPLING_STEPS, description="number of sampling steps"
    )
    sampler: Sampling[Sampler] = Field(
        default="dpmpp_2m", description="sampling method; default for flow matching: euler"
    )
    schedule: Advanced[Literal["karras", "model", "trailing"]] = Field(
        default="karras",
        description="noise schedule: Karras, the model's own, or evenly spaced timesteps from the "
        "last one, for models that were distilled to few steps",
    )
    cfg: Guidance[float] = Field(
        default=5.0,
        ge=0,
        le=100,
        description="classifier-free guidance scale; 1: no guidance; default for "
        "guidance-distilled models: 3.5",
    )
    cfg_interval: Advanced[str | None] = Field(
        default=None,
        description="noise levels LO:HI (sigma) at which --cfg, --pag and --autoguide apply; they "
        "cost nothing at other levels",
    )
    cfg_rescale: Advanced[float] = Field(
        default=0.0,
        ge=0,
        le=1,
        description="how far contrast that guidance adds is taken back: 0 not at all, 1 to that "
        "of the prediction without guidance; 0.7 in the paper",
    )
    pag: Guidance[float] = Field(
        default=0.0,
        ge=0,
        le=100,
        description="perturbed-attention guidance: scale of the difference to the same model "
        "whose self-attention sees each location alone; 3 in the paper, 0: none",
    )
    pag_layers: Advanced[list[str]] = Field(
        default_factory=lambda: ["mid"],
        max_length=limits.CONTROLS,
        description="layers that --pag perturbs, by a part of their name, for example mid or "
        "up_blocks.0; repeatable",
    )
    autoguide: Guidance[PathTexts] = path_field(
        default=[],
        max_length=limits.GUIDES,
        description="MODEL[:SCALE] of a weaker model of the same latents: guides away from what "
        "it predicts (autoguidance); repeatable, default scale: 1",
    )
    guide: Guidance[list[str]] = Field(
        default_factory=list,
        max_length=limits.GUIDES,
        description="guidance target KIND=WHAT:SCALE: class=NAME, text=SENTENCE or image=FILE; "
        "repeatable, and the gradients add up",
    )
    guide_interval: Advanced[str | None] = Field(
        default=None, description="noise levels LO:HI (sigma) at which --guide applies"
    )
    guide_plain: Guidance[GuidePlain] = False
    guide_model: Guidance[GuideModel] = path_field(DEFAULT_GUIDE)
    guide_labels: Guidance[GuideLabels] = Field(default_factory=list)
    guide_encoder: Guidance[PathText] = path_field(
        default=DEFAULT_IMAGE_ENCODER,
        description="joint encoder of texts and images for text= and image=",
    )
    init: Image[OptionalPathText] = path_field(
        default=None,
        description="image to start from instead of noise, cropped to the generated size (img2img)",
    )
    strength: Image[float | None] = Field(
        default=None,
        ge=0,
        le=1,
        description="share of the steps to apply to --init: 0 leaves it unchanged, 1 keeps almost "
        "nothing; default: 0.8, or 1 with --inpaint",
    )
    inpaint: Image[OptionalPathText] = path_field(
        default=None,
        description="mask for --init: white areas are repainted, black areas are unchanged",
    )
    source: Image[str | None] = Field(
        default=None,
        max_length=limits.PROMPT_CHARACTERS,
        description="prompt that describes --init: edits it to PROMPT by prompt-to-prompt on DDIM "
        "inversion, in the white area of --inpaint or where the prompts differ",
    )
    hold: Image[float] = Field(
        default=0.9,
        ge=0,
        le=1,
        description="with --source: share of the steps that take the attention of --init",
    )
    paste: Image[bool] = Field(
        default=True,
        description="restore the pixels of --init outside the mask; otherwise they pass through "
        "the autoencoder",
    )
    check: Guidance[bool] = Field(
        default=True,
        description="run realism checks on guided images, as `graft guide check` does, and "
        "generate up to four controlled images without their controls, and without --reuse, to "
        "compare",
    )
    control: Control[list[str]] = Field(
        default_factory=list,
        max_length=limits.CONTROLS,
        description="control KIND=FILE[:WEIGHT][@FROM-TO][#MASK...]: follow the condition "
        "computed from an image, KIND-map=FILE for a ready-made map, or custom=FILE for a branch "
        "of another condition; WEIGHT is a number, soft (falling outwards) or one for each "
        "connection: W1,W2,...; repeatable, and the controls add up",
    )
    branch: Control[list[str]] = Field(
        default_factory=list,
        max_length=limits.CONTROLS,
        description="KIND=FOLDER of the branch to use for a control; default: the built-in one",
    )
    estimator: Control[list[str]] = Field(
        default_factory=list,
        max_length=limits.CONTROLS,
        description="KIND=MODEL, a transformers model that estimates the condition from the image "
        "of a --control; default: the built-in one",
    )
    control_mode: Control[ControlMode] = Field(
        default="balanced",
        description="whether the prompt or the control is more important: in both cases outer "
        "skip connections of a branch weigh less, and with control only the prompted half of the "
        "batch is controlled",
    )
    reuse: Advanced[int] = Field(
        default=1,
        ge=1,
        le=100,
        description="number of steps that reuse a branch's output: 2 saves time",
    )
    best_of: Sampling[int] = Field(
        default=1,
        ge=1,
        le=limits.BEST_OF,
        description="generate this many candidates per image and select the most faithful one",
    )
    precision: Advanced[Literal["float32", "bfloat16", "float16"]] = Field(
        default="float32",
        description="floating-point precision of weights and arithmetic: half of the memory with "
        "the other two; float16 on a GPU only",
    )
    offload: Advanced[bool] = Field(
        default=False,
        description="keep models in main memory and move each to the GPU only while it runs",
    )
    compile: Advanced[bool] = Field(
        default=False,
        description="compile the U-Net or transformer (torch.compile): takes a minute or more, "
        "several on a CPU, then each step is faster on a GPU",
    )
    eta: Advanced[float] = Field(
        default=0.0, ge=0, le=1, description="share of fresh noise in each DDIM step"
    )
    width: Side = None
    height: Side = None
    negative: Prompt[str] = Field(
        default="",
        max_length=limits.PROMPT_CHARACTERS,
        description="negative prompt: what to avoid",
    )
    out: Output[PathField] = path_field(
        default=Path("pictures"),
        description="output folder for the images, or a .png file for one image",
    )
    previews: Output[NewFolder[OptionalPath]] = path_field(
        default=None, description="output folder for each step's estimate of the image"
    )
    grid: Output[list[str]] = Field(
        default_factory=list,
        max_length=2,
        description="option to vary, NAME=V1,V2,..., for example cfg=1,3,5 or lora-scale=0,1: "
        "writes one labeled contact sheet, an image a cell unless --count is given; given twice, "
        "the second makes the rows; prompts with commas are separated by |",
    )
    from_: Prompt[OptionalPath] = path_field(
        default=None,
        description="reproduce this generated image bit for bit; other options override what it "
        "records",
    )


_PROMPTED = ("cfg", "pag", "autoguide")
# Kinds of guide without which an option of guides does nothing.
_GUIDED = {
    "guide_model": ("class=NAME",),
    "guide_labels": ("class=NAME",),
    "guide_encoder": ("text=SENTENCE", "image=FILE"),
}
# Options that do nothing unless one of those beside them acts; see `base.require_effect`.
NEEDS = {
    "negative": ("cfg",),
    "cfg_interval": _PROMPTED,
    "cfg_rescale": _PROMPTED,
    "pag_layers": ("pag",),
    **dict.fromkeys(
        ("guide_interval", "guide_plain", "guide_model", "guide_labels", "guide_encoder"),
        ("guide",),
    ),
    "hold": ("source",),
    "paste": ("init",),
    "control_mode": ("control",),
    "reuse": ("control",),
}


def require_guides(
    request: Request[Any], given: Collection[str], aims: Collection[str], option: str = "guide"
) -> None:
    """Refuse an option of guides of another kind than those requested.

    Args:
        request: the request.
        given: options that the caller gave, as opposed to those of a record.
        aims: kinds of the guides: `class`, `text` or `image`.
        option: the option that names them.

    Raises:
        BadValue: an option would do nothing.
    """
    for name, kinds in _GUIDED.items():
        acting = {kind.partition("=")[0] for kind in kinds}
        if name in given and aims and not acting & set(aims):
            words = " or ".join(f"--{option} {kind}" for kind in kinds)
            hint = "Give that too, or leave it out."
            raise BadValue(name, getattr(request, name), f"it acts only with {words}", hint)


SAMPLERS: tuple[str, ...] = get_args(Sampler)
_WITH_ETA = ("ddim", "tcd", "model")


def require_sampler(name: str, eta: float) -> None:
    """Check a sampler's name and whether it supports `eta`.

    Raises:
        UnknownName: there is no such sampler.
        BadInput: it does not support `eta`.
    """
    if name not in SAMPLERS:
        raise UnknownName("sampler", name, SAMPLERS)
    if eta and name not in _WITH_ETA:
        raise BadInput(f"sampler {name!r} takes no eta ({eta}).", "Use --sampler ddim or tcd.")


def parse_interval(text: str | None) -> tuple[float, float]:
    """Return the lowest and highest noise level of `LO:HI`; either may be omitted.

    Raises:
        BadInput: it has another form, or LO is not below HI.
    """
    low, colon, high = (":" if text is None else text).partition(":")
    try:
        lowest, highest = float(low or 0), float(high or inf)
    except ValueError:
        colon = ""
    if not colon or not 0 <= lowest < highest:
        raise BadInput(
            f"interval {text!r} is not possible.",
            "Write two noise levels, LO:HI with LO below HI, for example 0.3:3; either may be "
            "left out.",
        )
    return lowest, highest
