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
    """Read key points and attributes linearly out of a generator's values, and move along them."""

    data: PathField = Field(
        description="folder that `graft blocks render` wrote, or images with a metadata.jsonl",
        json_schema_extra=POSITIONAL,
    )
    model: PathText = path_field(
        default=DEFAULT_PIPELINE,
        description="a diffusion pipeline; for --at latent also an AutoencoderKL folder, for --at "
        "encoder also an encoder of images",
    )
    at: Literal["latent", "middle", "encoder"] = Field(
        default="latent",
        description="the autoencoder's latents, or what the U-Net's middle block or the last "
        "block of its encoder gives, or a hidden layer of an encoder of images",
    )
    layer: Layer = None
    target: list[str] = Field(
        default_factory=lambda: ["place"],
        min_length=1,
        max_length=64,
        description="place, distance, height, kind, colour, ground, time, keypoints, or a column "
        "of numbers; may be given again",
    )
    sigma: float = Field(
        default=0.5, gt=0, le=1_000, description="noise level at which the U-Net is looked at"
    )
    objects: int = Field(
        default=1,
        ge=1,
        le=4,
        description="take scenes with so many objects; read the first from the left",
    )
    count: int = Field(default=4_000, ge=40, le=limits.SCENES, description="images taken at most")
    moved: int = Field(
        default=64,
        ge=0,
        le=1_000,
        description="test images that are moved along each direction; 0: none",
    )
    perception: OptionalPath = path_field(
        default=None,
        description="result of the recipe perception, which measures what moved; default: by "
        "colour against the row's median",
    )
    out: PathField = path_field(
        default=Path("readout"), description="folder for the images along each direction"
    )
