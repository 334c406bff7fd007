"""Request of naming pictures by labels."""

from pathlib import Path

from pydantic import Field

from .. import limits
from .base import DEFAULT_PICTURE_ENCODER, POSITIONAL, EncoderName, PathText, Request


class Classify(Request):
    """Name pictures by labels of your own, without training: each goes to its nearest label."""

    pictures: list[PathText] = Field(
        default_factory=list,
        description="picture files, and folders whose pictures are all taken",
        json_schema_extra=POSITIONAL,
    )
    labels: list[str] = Field(
        default_factory=list, description='labels, divided by commas: "a red cube,a blue cone"'
    )
    labels_file: Path | None = Field(
        default=None, description="file with one label a line, instead"
    )
    encoder: EncoderName = DEFAULT_PICTURE_ENCODER
    templates: list[str] = Field(
        default_factory=list,
        description='prompt with {} in the place of the label, such as "a photo of {}"; the mean '
        "of several is taken (default: those that suit the encoder)",
    )
    k: int = Field(default=3, ge=1, le=limits.HITS, description="labels to tell for each picture")
    calibrate: Path | None = Field(
        default=None,
        description="labelled pictures to fit the probabilities to: a folder with metadata.jsonl "
        "(label, or caption with one of the labels in it) or with a folder for each label",
    )
    calibration: Path | None = Field(
        default=None,
        description="JSON file that keeps the fit: written with --calibrate, else read",
    )
