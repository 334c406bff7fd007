"""Requests of measurements.

Request of measuring how an encoder lays out what it encodes.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from .base import (
    DEFAULT_ENCODER,
    DEFAULT_IMAGE_ENCODER,
    POSITIONAL,
    EncoderName,
    HitCount,
    Layer,
    PathField,
    PathText,
    Request,
    TableRequest,
    path_field,
)

if TYPE_CHECKING:
    import graftwerk.metrics.results  # noqa: F401  named in brackets below


class EvalAlignment(TableRequest["graftwerk.metrics.results.AlignmentEvaluation"]):
    """Measure whether similar things lie close: captions and images, and neighbours alike."""

    data: PathField = Field(
        description="folder of images with metadata.jsonl (file_name, caption, attributes), as "
        "`graft blocks render` writes it, or with a folder for each label; for texts a table "
        "with a column text",
        json_schema_extra=POSITIONAL,
    )
    encoder: EncoderName = path_field(DEFAULT_IMAGE_ENCODER)
    layer: Layer = None
    k: int = Field(default=10, ge=1, le=1_000, description="neighbours that are looked at")


class EvalRetrieval(Request["graftwerk.metrics.results.RetrievalEvaluation"]):
    """Measure search on a file of paragraphs with questions."""

    file: PathField = Field(
        description="JSON: [{id, text, questions: [{question, answers}]}]",
        json_schema_extra=POSITIONAL,
    )
    encoder: EncoderName = path_field(DEFAULT_ENCODER)
    layer: Layer = None


class EvalSimilarity(TableRequest["graftwerk.metrics.results.SimilarityEvaluation"]):
    """Measure an encoder by the rank correlation of its cosines with human judgements."""

    file: PathField = Field(description="table: text, text, score", json_schema_extra=POSITIONAL)
    encoder: EncoderName = path_field(DEFAULT_ENCODER)
    layer: Layer = None


class EvalAnswers(Request["graftwerk.metrics.results.AnswersEvaluation"]):
    """Measure answers on a file of questions, some not answerable, beside a plain baseline."""

    file: PathField = Field(
        description="JSON: [{id, title, text, questions: [{question, answers}]}]; with --documents "
        "[{question, answers, sentence}]: answers empty where the documents hold none, "
        "sentence: words of the sentence that answers",
        json_schema_extra=POSITIONAL,
    )
    documents: PathField | None = Field(
        default=None, description="file or folder that the questions are asked of"
    )
    encoder: EncoderName = path_field(DEFAULT_ENCODER)
    writer: PathText = path_field(default="extractive", description="as in `graft ask`")
    writer_model: str | None = Field(default=None, description="model name to ask the server for")
    k: HitCount = Field(default=5, description="passages offered to the writer")
    held_out: float = Field(
        default=0.25,
        ge=0,
        lt=1,
        description="share of paragraphs left out, so that their questions have no answer",
    )
