"""Requests of latent linear probes."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from .. import limits
from .base import (
    DEFAULT_PIPELINE,
    POSITIONAL,
    Layer,
    OptionalPath,
    PathField,
    PathText,
    Request,
    path_field,
)

if TYPE_CHECKING:
    import graftwerk.probing.results  # noqa: F401  named in brackets below


class Readout(Request["graftwerk.probing.results.ReadoutResult"]):
    """Probe a generator's activations for key points and attributes, and move along the probes."""

    data: PathField = Field(
        description="folder written by `graft blocks render`, or images with a metadata.jsonl",
        json_schema_extra=POSITIONAL,
    )
    model: PathText = path_field(
        default=DEFAULT_PIPELINE,
        description=(
            "diffusion pipeline; for --at latent also an AutoencoderKL folder, for --at "
            "encoder also an image encoder"
        ),
    )
    at: Literal["latent", "middle", "encoder"] = Field(
        default="latent",
        description=(
            "activations to probe: the autoencoder's latents, the output of the U-Net's "
            "middle block or of its last encoder block, or a hidden layer of an image encoder"
        ),
    )
    layer: Layer = None
    target: list[str] = Field(
        default_factory=lambda: ["place"],
        min_length=1,
        max_length=64,
        description=(
            "place, distance, height, kind, colour, ground, time, keypoints, or a column of "
            "numbers; repeatable"
        ),
    )
    sigma: float = Field(
        default=0.5, gt=0, le=1_000, description="noise level of the U-Net's input"
    )
    objects: int = Field(
        default=1,
        ge=1,
        le=4,
        description="use scenes with this many objects, and probe the leftmost object",
    )
    count: int = Field(
        default=4_000, ge=40, le=limits.SCENES, description="maximum number of images"
    )
    moved: int = Field(
        default=64,
        ge=0,
        le=1_000,
        description="number of test images to move along each direction; 0: none",
    )
    perception: OptionalPath = path_field(
        default=None,
        description=(
            "folder of a trained perception network, which measures what moved; default: "
            "measured by colour against the row's median"
        ),
    )
    out: PathField = path_field(
        default=Path("readout"), description="output folder for the images along each direction"
    )
