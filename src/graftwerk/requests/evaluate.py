"""Requests of measurements.

Request of measuring how an encoder lays out what it encodes.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from .. import limits
from .base import (
    DEFAULT_ENCODER,
    DEFAULT_IMAGE_ENCODER,
    DEFAULT_POLICY,
    POSITIONAL,
    EncoderName,
    HitCount,
    Layer,
    OptionalPath,
    PathField,
    PathText,
    Request,
    TableRequest,
    path_field,
)
from .blocks import Target, View

if TYPE_CHECKING:
    import graftwerk.metrics.results
    import graftwerk.policy.results  # noqa: F401  named in brackets below


class EvalAlignment(TableRequest["graftwerk.metrics.results.AlignmentEvaluation"]):
    """Measure whether similar items are close: captions and images, and nearest neighbours."""

    data: PathField = Field(
        description=(
            "folder of images with metadata.jsonl (file_name, caption, attributes), as "
            "written by `graft blocks render`, or with one folder per label; for texts, a "
            "table with a column text"
        ),
        json_schema_extra=POSITIONAL,
    )
    encoder: EncoderName = path_field(DEFAULT_IMAGE_ENCODER)
    layer: Layer = None
    k: int = Field(
        default=10, ge=1, le=1_000, description="number of nearest neighbours to compare"
    )


class EvalRetrieval(Request["graftwerk.metrics.results.RetrievalEvaluation"]):
    """Evaluate search on a file of paragraphs with questions."""

    file: PathField = Field(
        description="JSON: [{id, text, questions: [{question, answers}]}]",
        json_schema_extra=POSITIONAL,
    )
    encoder: EncoderName = path_field(DEFAULT_ENCODER)
    layer: Layer = None


class EvalSimilarity(TableRequest["graftwerk.metrics.results.SimilarityEvaluation"]):
    """Evaluate an encoder by the rank correlation of its cosines with human judgements."""

    file: PathField = Field(
        description="table with the columns text, text, score", json_schema_extra=POSITIONAL
    )
    encoder: EncoderName = path_field(DEFAULT_ENCODER)
    layer: Layer = None


class EvalAnswers(Request["graftwerk.metrics.results.AnswersEvaluation"]):
    """Evaluate answers on a file of questions, some unanswerable, beside a simple baseline."""

    file: PathField = Field(
        description=(
            "JSON: [{id, title, text, questions: [{question, answers}]}]; with --documents "
            "[{question, answers, sentence}], with empty answers if the documents hold none, "
            "and sentence: words of the sentence that answers"
        ),
        json_schema_extra=POSITIONAL,
    )
    documents: PathField | None = Field(
        default=None, description="file or folder to answer the questions from"
    )
    encoder: EncoderName = path_field(DEFAULT_ENCODER)
    writer: PathText = path_field(default="extractive", description="as in `graft ask`")
    writer_model: str | None = Field(
        default=None, description="model name to request from the server"
    )
    k: HitCount = Field(default=5, description="passages offered to the writer")
    held_out: float = Field(
        default=0.25,
        ge=0,
        lt=1,
        description="share of paragraphs to leave out, so that their questions have no answer",
    )


class EvalPolicy(Request["graftwerk.policy.results.PolicyEvaluation"]):
    """Run a robot policy in simulation: its success beside chance and an exact expert."""

    model: PathText = path_field(
        default=DEFAULT_POLICY,
        description="builtin/policy, or a folder of `graft recipe run policy` or of `graft fit`",
        json_schema_extra=POSITIONAL,
    )
    count: int = Field(default=100, ge=1, le=limits.EPISODES, description="number of episodes")
    target: Target | None = Field(
        default=None,
        min_length=1,
        description="color and kind of the object; default: what the policy was trained on",
    )
    camera: View | None = Field(
        default=None, description="where the camera is; default: as in training"
    )
    out: OptionalPath = path_field(
        default=None,
        description="output file: the first six episodes in rows (.png) or as a film (.gif)",
    )
