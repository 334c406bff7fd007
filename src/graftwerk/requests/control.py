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
        DEFAULT_PIPELINE,
        description="builtin/blocks, a folder in diffusers' layout, or a hub id NAME@REVISION",
    )
    condition: str = Field(description="canny, depth, ...; see `graft condition list`")
    conditions: Path | None = Field(
        None,
        description="folder of finished conditions, named like the pictures; default: the "
        "conditioning_image column of metadata.jsonl, or made of the pictures",
    )
    caption: str | None = Field(None, description="one caption for all pictures")
    out: Path = Field(description="folder for the branch, its meter and checkpoints")
    steps: int = Field(1_000, ge=1, le=limits.TRAINING_STEPS, description="steps in all")
    batch: int = Field(16, ge=1, le=4096, description="pairs a step")
    accumulate: int = Field(1, ge=1, le=4096, description="parts a batch is computed in")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="highest, after the warm-up")
    minutes: float | None = Field(
        None, gt=0, le=limits.TRAINING_MINUTES, description="stop after so long; run again to go on"
    )
    drop: float = Field(0.5, ge=0, le=1, description="share of prompts left out")
    held_out: int = Field(
        128, ge=2, le=10_000, description="pairs for the meter, never learned from"
    )
    measurements: int = Field(50, ge=2, le=10_000, description="of the meter, over all steps")
    body: Literal["copy", "light"] = Field(
        "copy", description="a copy of the encoder, or one convolution for each of its layers"
    )
    start: Literal["zero", "gaussian"] = Field(
        "zero", description="first weights of what joins it to the model"
    )
    hint: Literal["code", "paper"] = Field(
        "code", description="encoder of the condition: as in the official code, or in the paper"
    )
    middle_only: bool = Field(False, description="join it to the model's middle alone")
    unlock: bool = Field(
        False,
        description="train the model's decoder too, at a tenth of the learning rate: not "
        "frozen then, but a new model in OUT/model, to which the branch belongs",
    )
    checkpointing: bool = Field(
        False, description="compute activations twice instead of keeping them: less memory, slower"
    )
    stop: bool = Field(False, description="end by itself when it converged or does not learn")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the arithmetic; auto: bfloat16 where the device has it"
    )


class ControlAblation(Request):
    """Compare branches: zero or Gaussian start, or light; under four prompts and several seeds."""

    data: Path | None = Field(
        None,
        description="folder of pictures with captions, as for `control train`; default: Blocks "
        "scenes, rendered",
        json_schema_extra=POSITIONAL,
    )
    model: PathText = Field(
        DEFAULT_PIPELINE,
        description="builtin/blocks, a folder in diffusers' layout, or a hub id NAME@REVISION",
    )
    condition: str = Field(
        "segmentation", description="canny, depth, ...; see `graft condition list`"
    )
    conditions: Path | None = Field(
        None, description="folder of finished conditions, named like the pictures of DATA"
    )
    caption: str | None = Field(None, description="one caption for all pictures of DATA")
    out: Path = Field(
        description="folder for the branches, the table and the sheet; what is there is not made "
        "again"
    )
    seeds: int = Field(3, ge=1, le=100, description="trainings of each branch")
    steps: int = Field(300, ge=1, le=limits.TRAINING_STEPS, description="of each training")
    batch: int = Field(32, ge=1, le=4096, description="pairs a step")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="highest, after the warm-up")
    scenes: int = Field(4_096, ge=4, le=limits.SCENES, description="to learn from, without DATA")
    count: int = Field(
        128, ge=2, le=limits.PICTURES, description="held-out pairs: pictures of each figure"
    )
    insufficient: str = Field("a scene", description="the insufficient prompt, for all pictures")
    drawing_steps: int = Field(
        12, ge=1, le=limits.SAMPLING_STEPS, description="of DPM-Solver++(2M)"
    )
    cfg: float = Field(3.0, ge=0, le=100, description="weight of the guidance")
    encoder: PathText | None = Field(
        None,
        description="image encoder in whose features the Frechet distance is; default: the judge "
        "of Blocks pictures",
    )


class ControlExport(Request):
    """Write a branch as a whole ControlNetModel folder, which diffusers and other tools load."""

    branch: PathText = Field(
        description="folder of a branch, or a built-in one: canny, depth, ...",
        json_schema_extra=POSITIONAL,
    )
    model: PathText = Field(DEFAULT_PIPELINE, description="the model that it was made on")
    out: Path = Field(description="new folder for the ControlNetModel")
