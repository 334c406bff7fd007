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
    """Options that say how questions are answered."""

    k: HitCount = Field(
        default=5, description="number of passages given to the writer; 0 sends the question alone"
    )
    mode: Mode = Field(default="hybrid", description="how passages are retrieved")
    where: list[str] = Field(default_factory=list, description="filter, as in `graft search`")
    writer: PathText = path_field(
        default="extractive",
        description="extractive (quotes sentences), http(s)://... of an OpenAI-compatible server, "
        "a local folder, or a hub id NAME@REVISION of a causal language model",
    )
    writer_model: str | None = Field(
        default=None, description="model name to request from the server"
    )
    budget: int = Field(
        default=2048, ge=64, le=1_000_000, description="maximum tokens in the prompt"
    )
    max_tokens: int = Field(
        default=512, ge=1, le=32_768, description="maximum tokens in the answer"
    )
    timeout: float = Field(
        default=60.0, gt=0, le=3600, description="seconds to wait for a server that sends nothing"
    )
    evidence: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="answerability threshold; default: the calibrated one",
    )
    show_prompt: bool = Field(default=False, description="print the prompt that was sent")


class Ask(AnswerRequest["graftwerk.rag.results.Answer"]):
    """Answer a question from an index, with citations checked against their sources."""

    question: str = Field(
        min_length=1,
        max_length=limits.QUESTION_CHARACTERS,
        description="question to answer",
        json_schema_extra=POSITIONAL,
    )
    index: IndexFolder = path_field(DEFAULT_INDEX)


class Chat(AnswerRequest["graftwerk.rag.results.ChatResult"]):
    """Answer questions in turn; each may refer to earlier ones."""

    index: IndexFolder = path_field(
        DEFAULT_INDEX, description="folder of the index", json_schema_extra=POSITIONAL
    )
    questions: list[str] = Field(
        default=[],
        description="question; repeatable; default: one per line on standard input",
    )


class Calibrate(TableRequest["graftwerk.rag.results.Calibration"]):
    """Set the answerability threshold of an index from answerable and unanswerable questions."""

    file: PathField = Field(
        description=(
            'JSON lines {"question": ..., "answerable": true or false}, or a table with these'
            " columns"
        ),
        json_schema_extra=POSITIONAL,
    )
    index: IndexFolder = path_field(DEFAULT_INDEX)
    false_answer_rate: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="largest share of unanswerable questions that may be answered",
    )
