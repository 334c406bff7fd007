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
    """Classify images or texts by labels of your own or a model's classes, without training."""

    pictures: PathTexts = path_field(
        default=[],
        description="image files, and folders whose images are all taken; or texts, text files, "
        "tables, or - for one text per line on standard input",
        json_schema_extra=POSITIONAL,
    )
    labels: list[str] = Field(
        default_factory=list,
        description='labels, divided by commas: "a red cube,a blue cone" (default: the classes of '
        "the model's own, where it is a classifier)",
    )
    labels_file: OptionalPath = path_field(
        default=None, description="file with one label a line, instead"
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
        description='prompt with {} in the place of the label, such as "a photo of {}"; the mean '
        "of several is taken (default: those that suit the encoder)",
    )
    k: int = Field(default=3, ge=1, le=limits.HITS, description="labels to tell for each image")
    content: Data[list[str]] = Field(
        default=[], description="column of a table that is read, may be given again (texts)"
    )
    target: Data[str | None] = Field(
        default=None,
        description="column with the right label, where it is known, to measure (texts)",
    )
    threshold: float | None = Field(
        default=None, ge=0, le=1, description="give no label below this probability (texts)"
    )
    out: OptionalPath = path_field(
        default=None,
        description="file to write, with the columns of the table and every label's probability: "
        ".csv, .jsonl or .parquet (texts)",
    )
    calibrate: OptionalPath = path_field(
        default=None,
        description="labelled images to fit the probabilities to: a folder with metadata.jsonl "
        "(label, or caption with one of the labels in it) or with a folder for each label",
    )
    calibration: OptionalPath = path_field(
        default=None,
        description="JSON file that keeps the fit: written with --calibrate, else read",
    )
