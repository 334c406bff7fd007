"""Requests of answers from an index."""

from typing import TYPE_CHECKING

from pydantic import Field

from .. import limits
from .base import (
    DEFAULT_INDEX,
    POSITIONAL,
    HitCount,
    IndexFolder,
    Mode,
    PathField,
    PathText,
    R_co,
    Request,
    TableRequest,
    path_field,
)

if TYPE_CHECKING:
    import graftwerk.rag.results  # noqa: F401  named in brackets below


class AnswerRequest(Request[R_co]):
    """What may be said of how questions are answered."""

    k: HitCount = Field(
        default=5, description="passages offered to the writer; 0: the bare question"
    )
    mode: Mode = Field(default="hybrid", description="how passages are found")
    where: list[str] = Field(default_factory=list, description="as in `graft search`")
    writer: PathText = path_field(
        default="extractive",
        description="extractive (quotes sentences), http(s)://... of an OpenAI-compatible server, "
        "a local folder, or a hub id NAME@REVISION of a causal language model",
    )
    writer_model: str | None = Field(default=None, description="model name to ask the server for")
    budget: int = Field(default=2048, ge=64, le=1_000_000, description="tokens the prompt may have")
    max_tokens: int = Field(default=512, ge=1, le=32_768, description="tokens the answer may have")
    timeout: float = Field(
        default=60.0, gt=0, le=3600, description="seconds of silence from a server"
    )
    evidence: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="answerability threshold to use instead of the calibrated one",
    )
    show_prompt: bool = Field(default=False, description="show the prompt as it was sent")


class Ask(AnswerRequest["graftwerk.rag.results.Answer"]):
    """Answer a question from an index, with citations that are checked against their source."""

    question: str = Field(
        min_length=1,
        max_length=limits.QUESTION_CHARACTERS,
        description="the question",
        json_schema_extra=POSITIONAL,
    )
    index: IndexFolder = path_field(DEFAULT_INDEX)


class Chat(AnswerRequest["graftwerk.rag.results.ChatResult"]):
    """Answer questions in turn, of which each may lean on those before it."""

    index: IndexFolder = path_field(
        DEFAULT_INDEX, description="folder of the index", json_schema_extra=POSITIONAL
    )
    questions: list[str] = Field(
        default=[],
        description="the questions, may be given again; default: one a line on standard input",
    )


class Calibrate(TableRequest["graftwerk.rag.results.Calibration"]):
    """Set the answerability threshold of an index from answerable and unanswerable questions."""

    file: PathField = Field(
        description='JSON lines: {"question": ..., "answerable": true or false}, or another table '
        "with these columns",
        json_schema_extra=POSITIONAL,
    )
    index: IndexFolder = path_field(DEFAULT_INDEX)
    false_answer_rate: float = Field(
        default=0.1, gt=0, lt=1, description="share of unanswerable questions that may be answered"
    )
