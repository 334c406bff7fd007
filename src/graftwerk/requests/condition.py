"""Requests of conditions."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from .base import POSITIONAL, OptionalPathText, PathField, Request, SceneSide, path_field

if TYPE_CHECKING:
    import graftwerk.conditions.results  # noqa: F401  named in brackets below


class ConditionList(Request["graftwerk.conditions.results.ConditionKinds"]):
    """List the kinds of condition, and how each is computed from an image."""


class MakeCondition(Request["graftwerk.conditions.results.ConditionResult"]):
    """Make a condition map (edges, lines, depth, ...) from an image or a Blocks scene."""

    kind: str = Field(
        description=(
            "canny, hough, scribble, pose, segmentation, normals, depth, lineart; all: all "
            "eight on one contact sheet"
        ),
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
    size: SceneSide = Field(default=256, description="side length in pixels, with --scene")
    finished: bool = Field(
        default=False,
        description=(
            "IMAGE is already a condition map (or, for scribble, a drawing): check it and "
            "write it in the format that control branches read"
        ),
    )
    estimator: OptionalPathText = path_field(
        default=None,
        description="model that estimates the map: blazepose (pose), hed (scribble, lineart), or a "
        "transformers folder or hub id NAME@REVISION (depth, normals, segmentation, pose)",
    )
    stages: bool = Field(default=False, description="canny: write every step on one contact sheet")
    thresholds: str = Field(
        default="0.1,0.3",
        description=(
            "canny: LOW,HIGH as fractions of the largest gradient (at most 1) or as gradients"
            " (above 1), or auto"
        ),
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
        description=(
            "zip file or folder of images, each with a NAME.npz that holds `boundaries` "
            "[people height width]"
        ),
        json_schema_extra=POSITIONAL,
    )
    plain: bool = Field(
        default=False,
        description="use the grayscale image at one scale, as `graft condition canny` does",
    )
    estimator: OptionalPathText = path_field(
        default=None, description="model to detect edges with, instead of Canny's method: hed"
    )
