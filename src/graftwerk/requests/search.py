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
    PathTexts,
    Request,
    TableRequest,
    path_field,
)

if TYPE_CHECKING:
    import graftwerk.search.results  # noqa: F401  named in brackets below


class IndexAdd(TableRequest["graftwerk.search.results.IndexChange"]):
    """Read files and folders, cut them into passages, embed them, and store them in an index."""

    paths: PathTexts = Field(
        min_length=1, description="files and folders to read", json_schema_extra=POSITIONAL
    )
    index: IndexFolder = path_field(DEFAULT_INDEX)
    encoder: OptionalPathText = path_field(
        default=None,
        description=f"encoder of a new index (default: {DEFAULT_ENCODER}); see `graft models`",
    )
    layer: Layer = None


class IndexStatus(Request["graftwerk.search.results.IndexState"]):
    """Tell what an index holds and with which encoder it was made."""

    index: IndexFolder = path_field(DEFAULT_INDEX)


class IndexVerify(Request["graftwerk.search.results.IndexCheck"]):
    """Check every stored text, vector and byte of an index; measure the approximate search."""

    index: IndexFolder = path_field(DEFAULT_INDEX)
    repair: bool = Field(default=False, description="fix what is damaged from the stored texts")
    sources: bool = Field(
        default=False,
        description="also compare the stored files with those on the disk now; exit status 1 if "
        "any differs, as for damage, though the index is sound: graft index add takes it in",
    )


class IndexRemove(Request["graftwerk.search.results.IndexChange"]):
    """Take files or whole folders out of an index; the files themselves stay."""

    paths: PathTexts = Field(
        min_length=1, description="files and folders to take out", json_schema_extra=POSITIONAL
    )
    index: IndexFolder = path_field(DEFAULT_INDEX)


class IndexRebuild(Request["graftwerk.search.results.IndexChange"]):
    """Make vectors, full text and snapshot again from the stored texts."""

    index: IndexFolder = path_field(DEFAULT_INDEX)
    encoder: OptionalPathText = path_field(
        default=None, description="change the index to this encoder"
    )
    layer: Layer = None
    upgrade: bool = Field(
        default=False,
        description="change a static index to the full encoder that it stands in for; vectors that "
        "searches have computed are used, and an interrupted upgrade goes on where it stopped",
    )


class Search(Request["graftwerk.search.results.SearchResult"]):
    """Find passages and images by meaning, by words, or by both."""

    query: str = Field(
        min_length=1,
        max_length=limits.QUESTION_CHARACTERS,
        description="text, or the path of an image file",
        json_schema_extra=POSITIONAL,
    )
    index: IndexFolder = path_field(DEFAULT_INDEX)
    k: HitCount = Field(default=10, description="number of hits")
    mode: Mode = Field(
        default="hybrid", description="meaning and words, meaning alone, or words alone"
    )
    exact: bool = Field(
        default=False, description="compare with every vector; skip the first pass by bits"
    )
    where: list[str] = Field(
        default_factory=list,
        description="condition on path, name, kind, heading, page or line, e.g. 'path like %.md'; "
        "all must hold",
    )
    sheet: OptionalPath = path_field(
        default=None, description="PNG file for the images among the hits, side by side"
    )


class Embed(TableRequest["graftwerk.search.results.Embedding"]):
    """Turn texts or images into vectors."""

    inputs: list[str] = Field(
        min_length=1,
        description="texts, image files, tables, or - for one text per line on standard input",
        json_schema_extra=POSITIONAL,
    )
    encoder: EncoderName = path_field(DEFAULT_ENCODER)
    layer: Layer = None
    role: Literal["query", "document"] = Field(
        default="document",
        description="which prompt of the model's own configuration goes before a text",
    )
    content: list[str] = Field(
        default=[],
        description="column of a table that is read, may be given again; default: all that fit "
        "the encoder",
    )
    out: OptionalPath = path_field(
        default=None, description="file to write: .npy or .parquet; else to stdout"
    )
