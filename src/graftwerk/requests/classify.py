"""Request of naming images and texts by labels."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from .. import limits
from .base import (
    DEFAULT_ENCODER,
    DEFAULT_IMAGE_ENCODER,
    POSITIONAL,
    Data,
    OptionalPath,
    PathText,
    PathTexts,
    TableRequest,
    path_field,
)

if TYPE_CHECKING:
    import graftwerk.finetune.results
    import graftwerk.models.results  # noqa: F401  named in brackets below


class Classify(
    TableRequest["graftwerk.models.results.Classification | graftwerk.finetune.results.Predictions"]
):
    """Classify images or texts by your own labels or a model's classes, without training."""

    pictures: PathTexts = path_field(
        default=[],
        description=(
            "image files or folders of images; or texts, text files, tables, or - for one "
            "text per line on standard input"
        ),
        json_schema_extra=POSITIONAL,
    )
    labels: list[str] = Field(
        default_factory=list,
        description=(
            'labels, separated by commas: "a red cube,a blue cone" (default: the model\'s own '
            "classes, if it is a classifier)"
        ),
    )
    labels_file: OptionalPath = path_field(
        default=None, description="file with one label per line, instead of --labels"
    )
    encoder: Annotated[
        PathText,
        Field(
            description="for images a joint model, such as a CLIP or SigLIP folder; for texts any "
            f"text encoder (default there: {DEFAULT_ENCODER}), or a hub id NAME@REVISION"
        ),
    ] = path_field(DEFAULT_IMAGE_ENCODER)
    templates: list[str] = Field(
        default_factory=list,
        description=(
            'prompt with {} in place of the label, such as "a photo of {}"; several are '
            "averaged (default: templates that suit the encoder)"
        ),
    )
    k: int = Field(
        default=3, ge=1, le=limits.HITS, description="number of labels to report for each image"
    )
    content: Data[list[str]] = Field(
        default=[], description="table column to read; repeatable (texts)"
    )
    target: Data[str | None] = Field(
        default=None,
        description="column with the true label, to measure accuracy (texts)",
    )
    threshold: float | None = Field(
        default=None, ge=0, le=1, description="abstain below this probability (texts)"
    )
    out: OptionalPath = path_field(
        default=None,
        description=(
            "output file with the table's columns and every label's probability: .csv, .jsonl"
            " or .parquet (texts)"
        ),
    )
    calibrate: OptionalPath = path_field(
        default=None,
        description=(
            "labelled images to calibrate the probabilities on: a folder with metadata.jsonl "
            "(label, or a caption that contains one label) or with one folder per label"
        ),
    )
    calibration: OptionalPath = path_field(
        default=None,
        description="JSON file of the calibration: written with --calibrate, otherwise read",
    )
