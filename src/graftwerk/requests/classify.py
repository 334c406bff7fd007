"""Request of naming images by labels."""

from typing import TYPE_CHECKING

from pydantic import Field

from .. import limits
from .base import (
    DEFAULT_IMAGE_ENCODER,
    POSITIONAL,
    EncoderName,
    OptionalPath,
    PathTexts,
    Request,
    path_field,
)

if TYPE_CHECKING:
    import graftwerk.models.results  # noqa: F401  named in brackets below


class Classify(Request["graftwerk.models.results.Classification"]):
    """Name images by labels of your own, without training, or by a classifier's own classes."""

    pictures: PathTexts = path_field(
        default=[],
        description="image files, and folders whose images are all taken",
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
    encoder: EncoderName = path_field(DEFAULT_IMAGE_ENCODER)
    templates: list[str] = Field(
        default_factory=list,
        description='prompt with {} in the place of the label, such as "a photo of {}"; the mean '
        "of several is taken (default: those that suit the encoder)",
    )
    k: int = Field(default=3, ge=1, le=limits.HITS, description="labels to tell for each image")
    calibrate: OptionalPath = path_field(
        default=None,
        description="labelled images to fit the probabilities to: a folder with metadata.jsonl "
        "(label, or caption with one of the labels in it) or with a folder for each label",
    )
    calibration: OptionalPath = path_field(
        default=None,
        description="JSON file that keeps the fit: written with --calibrate, else read",
    )
