"""Requests of measurements."""

from pathlib import Path

from pydantic import Field

from .base import DEFAULT_ENCODER, POSITIONAL, EncoderName, HitCount, Layer, PathText, Request


class EvalRetrieval(Request):
    """Measure search on a file of paragraphs with questions."""

    file: Path = Field(
        description="JSON: [{id, text, questions: [{question, answers}]}]",
        json_schema_extra=POSITIONAL,
    )
    encoder: EncoderName = DEFAULT_ENCODER
    layer: Layer = None


class EvalSimilarity(Request):
    """Measure an encoder by the rank correlation of its cosines with human judgements."""

    file: Path = Field(description="CSV: text, text, score", json_schema_extra=POSITIONAL)
    encoder: EncoderName = DEFAULT_ENCODER
    layer: Layer = None


class EvalAnswers(Request):
    """Measure answers on a file of paragraphs with questions, some not answerable."""

    file: Path = Field(
        description="JSON: [{id, title, text, questions: [{question, answers}]}]",
        json_schema_extra=POSITIONAL,
    )
    encoder: EncoderName = DEFAULT_ENCODER
    writer: PathText = Field("extractive", description="as in `graft ask`")
    writer_model: str | None = Field(None, description="model name to ask the server for")
    k: HitCount = Field(5, description="passages offered to the writer")
    held_out: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="share of paragraphs left out, so that their questions have no answer",
    )
