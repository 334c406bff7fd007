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
    """Train a control branch on images, with a meter that says when it follows the condition."""

    data: PathField = Field(
        description="folder of images with captions: metadata.jsonl (file_name, caption), or "
        "NAME.txt beside NAME.png",
        json_schema_extra=POSITIONAL,
    )
    model: PathText = path_field(
        default=DEFAULT_PIPELINE,
        description="builtin/blocks, a folder in diffusers' layout, or a hub id NAME@REVISION",
    )
    condition: str = Field(description="canny, depth, ...; see `graft condition list`")
    conditions: Data[OptionalPath] = path_field(
        default=None,
        description="folder of finished conditions, named like the images; default: the "
        "conditioning_image column of metadata.jsonl, or made of the images",
    )
    caption: Data[str | None] = Field(default=None, description="one caption for all images")
    out: Output[PathField] = Field(description="folder for the branch, its meter and checkpoints")
    steps: Training[int] = Field(
        default=1_000, ge=1, le=limits.TRAINING_STEPS, description="steps in all"
    )
    batch: Training[int] = Field(default=16, ge=1, le=4096, description="pairs per step")
    accumulate: Training[int] = Field(
        default=1, ge=1, le=4096, description="parts a batch is computed in"
    )
    learning_rate: Training[float] = Field(
        default=1e-3, gt=0, le=1, description="highest, after the warm-up"
    )
    minutes: Training[float | None] = Field(
        default=None,
        gt=0,
        le=limits.TRAINING_MINUTES,
        description="stop after so long; run again to go on",
    )
    drop: Data[float] = Field(default=0.5, ge=0, le=1, description="share of prompts left out")
    held_out: Data[int] = Field(
        default=128, ge=2, le=10_000, description="pairs for the meter, never learned from"
    )
    measurements: Training[int] = Field(
        default=50, ge=2, le=10_000, description="of the meter, over all steps"
    )
    body: Advanced[Literal["copy", "light"]] = Field(
        default="copy",
        description="a copy of the encoder, or one convolution for each of its layers",
    )
    start: Advanced[Literal["zero", "gaussian"]] = Field(
        default="zero", description="first weights of what joins it to the model"
    )
    hint: Advanced[Literal["code", "paper"]] = Field(
        default="code",
        description="encoder of the condition: as in the official code, or in the paper",
    )
    middle_only: Advanced[bool] = Field(
        default=False, description="join it to the model's middle alone"
    )
    unlock: Advanced[bool] = Field(
        default=False,
        description="train the model's decoder too, at a tenth of the learning rate: not "
        "frozen then, but a new model in OUT/model, to which the branch belongs",
    )
    checkpointing: Advanced[bool] = Field(
        default=False,
        description="compute activations twice instead of keeping them: less memory, slower",
    )
    stop: Training[bool] = Field(
        default=False, description="end by itself when it converged or does not learn"
    )
    precision: Advanced[Literal["auto", "float32", "bfloat16"]] = Field(
        default="auto", description="of the arithmetic; auto: bfloat16 where the device has it"
    )


class ControlAblation(Request["graftwerk.controlnet.results.Ablation"]):
    """Compare branches: zero or Gaussian start, or light; under four prompts and several seeds."""

    data: OptionalPath = path_field(
        default=None,
        description="folder of images with captions, as for `control train`; default: Blocks "
        "scenes, rendered",
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
        default=None, description="folder of finished conditions, named like the images of DATA"
    )
    caption: Data[str | None] = Field(
        default=None, description="one caption for all images of DATA"
    )
    out: Output[PathField] = Field(
        description="folder for the branches, the table and the sheet; what is there is not made "
        "again"
    )
    seeds: Training[int] = Field(default=3, ge=1, le=100, description="trainings of each branch")
    steps: Training[int] = Field(
        default=300, ge=1, le=limits.TRAINING_STEPS, description="of each training"
    )
    batch: Training[int] = Field(default=32, ge=1, le=4096, description="pairs per step")
    learning_rate: Training[float] = Field(
        default=1e-3, gt=0, le=1, description="highest, after the warm-up"
    )
    scenes: Data[int] = Field(
        default=4_096, ge=4, le=limits.SCENES, description="to learn from, without DATA"
    )
    count: Sampling[int] = Field(
        default=128, ge=2, le=limits.IMAGES, description="held-out pairs: images of each figure"
    )
    insufficient: Data[str] = Field(
        default="a scene", description="the insufficient prompt, for all images"
    )
    drawing_steps: Sampling[int] = Field(
        default=12, ge=1, le=limits.SAMPLING_STEPS, description="of DPM-Solver++(2M)"
    )
    cfg: Sampling[float] = Field(default=3.0, ge=0, le=100, description="weight of the guidance")
    encoder: Sampling[OptionalPathText] = path_field(
        default=None,
        description="image encoder in whose features the Frechet distance is; default: the judge "
        "of Blocks images",
    )


class ControlExport(Request["graftwerk.controlnet.results.ControlExported"]):
    """Write a branch as a whole ControlNetModel folder, which diffusers and other tools load."""

    branch: PathText = Field(
        description="folder of a branch, or a built-in one: canny, depth, ...",
        json_schema_extra=POSITIONAL,
    )
    model: PathText = path_field(
        default=DEFAULT_PIPELINE, description="the model that it was made on"
    )
    out: PathField = Field(description="new folder for the ControlNetModel")
