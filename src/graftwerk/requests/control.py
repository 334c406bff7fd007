"""Requests of training control branches."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from .. import limits
from .base import DEFAULT_PIPELINE, POSITIONAL, PathText, Request


class ControlTrain(Request):
    """Train a control branch on pictures, with a meter that says when it follows the condition."""

    data: Path = Field(
        description="folder of pictures with captions: metadata.jsonl (file_name, caption), or "
        "NAME.txt beside NAME.png",
        json_schema_extra=POSITIONAL,
    )
    model: PathText = Field(
        default=DEFAULT_PIPELINE,
        description="builtin/blocks, a folder in diffusers' layout, or a hub id NAME@REVISION",
    )
    condition: str = Field(description="canny, depth, ...; see `graft condition list`")
    conditions: Path | None = Field(
        default=None,
        description="folder of finished conditions, named like the pictures; default: the "
        "conditioning_image column of metadata.jsonl, or made of the pictures",
    )
    caption: str | None = Field(default=None, description="one caption for all pictures")
    out: Path = Field(description="folder for the branch, its meter and checkpoints")
    steps: int = Field(default=1_000, ge=1, le=limits.TRAINING_STEPS, description="steps in all")
    batch: int = Field(default=16, ge=1, le=4096, description="pairs a step")
    accumulate: int = Field(default=1, ge=1, le=4096, description="parts a batch is computed in")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="highest, after the warm-up")
    minutes: float | None = Field(
        default=None,
        gt=0,
        le=limits.TRAINING_MINUTES,
        description="stop after so long; run again to go on",
    )
    drop: float = Field(default=0.5, ge=0, le=1, description="share of prompts left out")
    held_out: int = Field(
        default=128, ge=2, le=10_000, description="pairs for the meter, never learned from"
    )
    measurements: int = Field(
        default=50, ge=2, le=10_000, description="of the meter, over all steps"
    )
    body: Literal["copy", "light"] = Field(
        default="copy",
        description="a copy of the encoder, or one convolution for each of its layers",
    )
    start: Literal["zero", "gaussian"] = Field(
        default="zero", description="first weights of what joins it to the model"
    )
    hint: Literal["code", "paper"] = Field(
        default="code",
        description="encoder of the condition: as in the official code, or in the paper",
    )
    middle_only: bool = Field(default=False, description="join it to the model's middle alone")
    unlock: bool = Field(
        default=False,
        description="train the model's decoder too, at a tenth of the learning rate: not "
        "frozen then, but a new model in OUT/model, to which the branch belongs",
    )
    checkpointing: bool = Field(
        default=False,
        description="compute activations twice instead of keeping them: less memory, slower",
    )
    stop: bool = Field(
        default=False, description="end by itself when it converged or does not learn"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="of the arithmetic; auto: bfloat16 where the device has it"
    )


class ControlAblation(Request):
    """Compare branches: zero or Gaussian start, or light; under four prompts and several seeds."""

    data: Path | None = Field(
        default=None,
        description="folder of pictures with captions, as for `control train`; default: Blocks "
        "scenes, rendered",
        json_schema_extra=POSITIONAL,
    )
    model: PathText = Field(
        default=DEFAULT_PIPELINE,
        description="builtin/blocks, a folder in diffusers' layout, or a hub id NAME@REVISION",
    )
    condition: str = Field(
        default="segmentation", description="canny, depth, ...; see `graft condition list`"
    )
    conditions: Path | None = Field(
        default=None, description="folder of finished conditions, named like the pictures of DATA"
    )
    caption: str | None = Field(default=None, description="one caption for all pictures of DATA")
    out: Path = Field(
        description="folder for the branches, the table and the sheet; what is there is not made "
        "again"
    )
    seeds: int = Field(default=3, ge=1, le=100, description="trainings of each branch")
    steps: int = Field(default=300, ge=1, le=limits.TRAINING_STEPS, description="of each training")
    batch: int = Field(default=32, ge=1, le=4096, description="pairs a step")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="highest, after the warm-up")
    scenes: int = Field(
        default=4_096, ge=4, le=limits.SCENES, description="to learn from, without DATA"
    )
    count: int = Field(
        default=128, ge=2, le=limits.PICTURES, description="held-out pairs: pictures of each figure"
    )
    insufficient: str = Field(
        default="a scene", description="the insufficient prompt, for all pictures"
    )
    drawing_steps: int = Field(
        default=12, ge=1, le=limits.SAMPLING_STEPS, description="of DPM-Solver++(2M)"
    )
    cfg: float = Field(default=3.0, ge=0, le=100, description="weight of the guidance")
    encoder: PathText | None = Field(
        default=None,
        description="image encoder in whose features the Frechet distance is; default: the judge "
        "of Blocks pictures",
    )


class ControlExport(Request):
    """Write a branch as a whole ControlNetModel folder, which diffusers and other tools load."""

    branch: PathText = Field(
        description="folder of a branch, or a built-in one: canny, depth, ...",
        json_schema_extra=POSITIONAL,
    )
    model: PathText = Field(default=DEFAULT_PIPELINE, description="the model that it was made on")
    out: Path = Field(description="new folder for the ControlNetModel")
