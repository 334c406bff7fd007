"""Requests of indexes, search and vectors."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from .. import limits
from .base import (
    DEFAULT_ENCODER,
    DEFAULT_INDEX,
    POSITIONAL,
    EncoderName,
    HitCount,
    IndexFolder,
    Layer,
    Mode,
    OptionalPath,
    OptionalPathText,
    PathField,
    PathText,
    PathTexts,
    R_co,
    Request,
    TableRequest,
    path_field,
)

if TYPE_CHECKING:
    import graftwerk.rag.results
    import graftwerk.search.results  # noqa: F401  named in brackets below


class IndexAdd(TableRequest["graftwerk.search.results.IndexChange"]):
    """Read files and folders, cut them into passages, embed them, and store them in an index."""

    paths: PathTexts = Field(
        min_length=1, description="files and folders to read", json_schema_extra=POSITIONAL
    )
    index: IndexFolder = path_field(DEFAULT_INDEX)
    encoder: OptionalPathText = path_field(
        default=None,
        description=f"encoder of a new index (default: {DEFAULT_ENCODER}; for photographs alone "
        "imagenet, if it was fetched); see `graft models`",
    )
    layer: Layer = None


class IndexStatus(Request["graftwerk.search.results.IndexState"]):
    """Show what an index contains and which encoder made it."""

    index: IndexFolder = path_field(DEFAULT_INDEX)


class IndexVerify(Request["graftwerk.search.results.IndexCheck"]):
    """Check every stored text, vector and byte of an index, and measure the approximate search."""

    index: IndexFolder = path_field(DEFAULT_INDEX)
    repair: bool = Field(default=False, description="rebuild damaged parts from the stored texts")
    sources: bool = Field(
        default=False,
        description="also compare the index with the files on disk; exit status 1 if any file "
        "differs, as for damage, although the index is sound (`graft index add` updates it)",
    )


class IndexRemove(Request["graftwerk.search.results.IndexChange"]):
    """Remove files or folders from an index; the files themselves stay."""

    paths: PathTexts = Field(
        min_length=1,
        description="files and folders to remove from the index",
        json_schema_extra=POSITIONAL,
    )
    index: IndexFolder = path_field(DEFAULT_INDEX)


class IndexRebuild(Request["graftwerk.search.results.IndexChange"]):
    """Rebuild vectors, full text and snapshot from the stored texts."""

    index: IndexFolder = path_field(DEFAULT_INDEX)
    encoder: OptionalPathText = path_field(
        default=None, description="switch the index to this encoder"
    )
    layer: Layer = None
    upgrade: bool = Field(
        default=False,
        description="change a static index to the full encoder that it stands in for; vectors "
        "that searches have computed are used, and an interrupted upgrade goes on where it stopped",
    )


class Search(Request["graftwerk.search.results.SearchResult"]):
    """Find passages and images by meaning, by words, or both."""

    query: str = Field(
        min_length=1,
        max_length=limits.QUESTION_CHARACTERS,
        description="text, or path of an image file",
        json_schema_extra=POSITIONAL,
    )
    index: IndexFolder = path_field(DEFAULT_INDEX)
    k: HitCount = Field(default=10, description="number of hits")
    mode: Mode = Field(
        default="hybrid",
        description="hybrid: by meaning and by words; vector: by meaning only; text: by words only",
    )
    exact: bool = Field(
        default=False,
        description="compare with every vector instead of preselecting by binary codes",
    )
    rerank: bool = Field(
        default=False,
        description="let the trained reader, which builtin/minilm has, order the first 20 hits of "
        "a hybrid search again",
    )
    where: list[str] = Field(
        default_factory=list,
        description="filter on path, name, kind, heading, page or line, such as 'path like %.md'; "
        "repeatable, and all must match",
    )
    sheet: OptionalPath = path_field(
        default=None,
        description="output file (PNG) for a contact sheet of the images among the hits",
    )


class Embed(TableRequest["graftwerk.search.results.Embedding"]):
    """Embed texts or images as vectors."""

    inputs: list[str] = Field(
        min_length=1,
        description="texts, text or image files, folders of them, tables, or - for one text per "
        "line on standard input",
        json_schema_extra=POSITIONAL,
    )
    encoder: EncoderName = path_field(DEFAULT_ENCODER)
    layer: Layer = None
    role: Literal["query", "document"] = Field(
        default="document",
        description="which prompt of the model's configuration to prepend to each text",
    )
    content: list[str] = Field(
        default=[],
        description="table column to read; repeatable; default: all that suit the encoder",
    )
    out: OptionalPath = path_field(
        default=None, description="output file: .npy or .parquet; default: standard output"
    )


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
        default=None, ge=0, le=1, description="answerability threshold; default: the calibrated one"
    )
    show_prompt: bool = Field(default=False, description="print the prompt that was sent")
    reader: bool = Field(
        default=True,
        description="let the trained reader, which builtin/minilm has, read the passages",
    )


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
        default=[], description="question; repeatable; default: one per line on standard input"
    )


class Calibrate(TableRequest["graftwerk.rag.results.Calibration"]):
    """Set the answerability threshold of an index from your own questions, and learn from them."""

    file: PathField = Field(
        description=(
            'JSON lines {"question": ..., "answerable": true or false}, or a table with these'
            ' columns, and "sentence" for words of the sentence that answers, which the reading'
            " learns from; or a file of `graft eval answers`"
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
