"""Requests of training control branches."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from .. import limits
from .base import (
    DEFAULT_PIPELINE,
    POSITIONAL,
    Advanced,
    Data,
    OptionalPath,
    OptionalPathText,
    Output,
    PathField,
    PathText,
    Request,
    Sampling,
    Training,
    path_field,
)

if TYPE_CHECKING:
    import graftwerk.controlnet.results  # noqa: F401  named in brackets below


class ControlTrain(Request["graftwerk.controlnet.results.ControlTrained"]):
    """Train a ControlNet branch on images, and measure when it starts to follow the condition."""

    data: PathField = Field(
        description=(
            "folder of images with captions: metadata.jsonl (file_name, caption), or NAME.txt"
            " next to NAME.png"
        ),
        json_schema_extra=POSITIONAL,
    )
    model: PathText = path_field(
        default=DEFAULT_PIPELINE,
        description="builtin/blocks, a folder in diffusers' layout, or a hub id NAME@REVISION",
    )
    condition: str = Field(description="canny, depth, ...; see `graft condition list`")
    conditions: Data[OptionalPath] = path_field(
        default=None,
        description=(
            "folder of condition maps named like the images; default: the conditioning_image "
            "column of metadata.jsonl, or computed from the images"
        ),
    )
    caption: Data[str | None] = Field(default=None, description="caption to use for all images")
    out: Output[PathField] = Field(
        description="output folder for the branch, its measurements and its checkpoints"
    )
    steps: Training[int] = Field(
        default=1_000, ge=1, le=limits.TRAINING_STEPS, description="total training steps"
    )
    batch: Training[int] = Field(default=16, ge=1, le=4096, description="batch size, in pairs")
    accumulate: Training[int] = Field(
        default=1,
        ge=1,
        le=4096,
        description="split each batch into this many gradient accumulation steps",
    )
    learning_rate: Training[float] = Field(
        default=1e-3, gt=0, le=1, description="peak learning rate, after warm-up"
    )
    minutes: Training[float | None] = Field(
        default=None,
        gt=0,
        le=limits.TRAINING_MINUTES,
        description="stop after this many minutes; run the command again to resume",
    )
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
        description=(
            "branch body: a copy of the U-Net's encoder (full), or one convolution per "
            "encoder layer (light)"
        ),
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
        description=(
            "also train the model's decoder, at a tenth of the learning rate: the model is "
            "then no longer frozen, and the branch belongs to the new model in OUT/model"
        ),
    )
    checkpointing: Advanced[bool] = Field(
        default=False,
        description="gradient checkpointing: less memory, slower",
    )
    stop: Training[bool] = Field(
        default=False, description="stop early when training has converged or does not learn"
    )
    precision: Advanced[Literal["auto", "float32", "bfloat16"]] = Field(
        default="auto",
        description="floating-point precision; auto: bfloat16 if the device supports it",
    )


class ControlAblation(Request["graftwerk.controlnet.results.Ablation"]):
    """Compare zero, Gaussian and light ControlNet branches on four prompts and several seeds."""

    data: OptionalPath = path_field(
        default=None,
        description=(
            "folder of images with captions, as for `control train`; default: rendered Blocks"
            " scenes"
        ),
        json_schema_extra=POSITIONAL,
    )
    model: PathText = path_field(
        default=DEFAULT_PIPELINE,
        description="builtin/blocks, a folder in diffusers' layout, or a hub id NAME@REVISION",
    )
    condition: str = Field(
        default="segmentation", description="canny, depth, ...; see `graft condition list`"
    )
    conditions: Data[OptionalPath] = path_field(
        default=None, description="folder of condition maps named like the images of DATA"
    )
    caption: Data[str | None] = Field(
        default=None, description="caption to use for all images of DATA"
    )
    out: Output[PathField] = Field(
        description=(
            "output folder for the branches, the table and the contact sheet; finished parts "
            "are reused"
        )
    )
    seeds: Training[int] = Field(
        default=3, ge=1, le=100, description="number of training runs per branch"
    )
    steps: Training[int] = Field(
        default=300, ge=1, le=limits.TRAINING_STEPS, description="steps per training run"
    )
    batch: Training[int] = Field(default=32, ge=1, le=4096, description="batch size, in pairs")
    learning_rate: Training[float] = Field(
        default=1e-3, gt=0, le=1, description="peak learning rate, after warm-up"
    )
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
        description=(
            "image encoder whose features define the Frechet distance; default: the judge of "
            "Blocks images"
        ),
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
    out: PathField = Field(description="output folder for the ControlNetModel; new")
