"""Requests of conditions."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from .base import POSITIONAL, OptionalPathText, PathField, Request, SceneSide, path_field

if TYPE_CHECKING:
    import graftwerk.conditions.results  # noqa: F401  named in brackets below


class ConditionList(Request["graftwerk.conditions.results.ConditionKinds"]):
    """List the kinds of condition, and by what each is made of an image."""


class MakeCondition(Request["graftwerk.conditions.results.ConditionResult"]):
    """Make a condition (edges, lines, depth, ...) of an image or of a Blocks scene."""

    kind: str = Field(
        description="canny, hough, scribble, pose, segmentation, normals, depth, lineart; all: "
        "the eight on one sheet",
        json_schema_extra=POSITIONAL,
    )
    image: OptionalPathText = path_field(
        default=None, description="the image; none with --scene", json_schema_extra=POSITIONAL
    )
    out: PathField = path_field(default=Path("condition.png"), description="PNG file to write")
    scene: int | None = Field(
        default=None,
        ge=0,
        lt=2**63,
        description="make it exactly, of this scene of the Blocks world of --seed",
    )
    size: SceneSide = Field(default=256, description="side in pixels, with --scene")
    finished: bool = Field(
        default=False,
        description="IMAGE is a finished map (or, for scribble, a drawing): check it and write it "
        "in the form that control branches read",
    )
    estimator: OptionalPathText = path_field(
        default=None,
        description="model to read the image with: blazepose (pose), hed (scribble, lineart), or a "
        "transformers folder or hub id NAME@REVISION (depth, normals, segmentation, pose)",
    )
    stages: bool = Field(default=False, description="canny: write each step on one sheet")
    thresholds: str = Field(
        default="0.1,0.3",
        description="canny: LOW,HIGH as fractions of the largest slope (at most 1) or as slopes "
        "(above 1), or auto",
    )
    sigma: float = Field(default=1.4, gt=0, le=100, description="canny: of the Gaussian, in pixels")
    kernel: int = Field(default=5, ge=1, le=999, description="canny: side of the Gaussian, odd")


class EvalEdges(Request["graftwerk.conditions.results.EdgeEvaluation"]):
    """Measure Canny's or HED's edges against boundaries that people drew (ODS, OIS, AP)."""

    data: PathField = Field(
        description="zip file or folder: images, and beside each NAME.npz with `boundaries` "
        "[people height width]",
        json_schema_extra=POSITIONAL,
    )
    plain: bool = Field(
        default=False, description="grey image at one scale, as in `graft condition canny`"
    )
    estimator: OptionalPathText = path_field(
        default=None, description="model to detect edges with, instead of Canny's method: hed"
    )
