"""Requests of indexes, search and vectors."""

from pathlib import Path
from typing import Literal

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
    PathText,
    Request,
)


class IndexAdd(Request):
    """Read files and folders, cut them into passages, embed them, and store them in an index."""

    paths: list[PathText] = Field(
        min_length=1, description="files and folders to read", json_schema_extra=POSITIONAL
    )
    index: IndexFolder = DEFAULT_INDEX
    encoder: EncoderName | None = Field(
        default=None,
        description=f"encoder of a new index (default: {DEFAULT_ENCODER}); see `graft models`",
    )
    layer: Layer = None


class IndexStatus(Request):
    """Tell what an index holds and with which encoder it was made."""

    index: IndexFolder = DEFAULT_INDEX


class IndexVerify(Request):
    """Check every stored text, vector and byte of an index; measure the approximate search."""

    index: IndexFolder = DEFAULT_INDEX
    repair: bool = Field(default=False, description="mend what is damaged from the stored texts")
    sources: bool = Field(
        default=False,
        description="also compare the stored files with those on the disk now; exit status 1 if "
        "any differs, as for damage, though the index is sound: graft index add takes it in",
    )


class IndexRemove(Request):
    """Take files or whole folders out of an index; the files themselves stay."""

    paths: list[PathText] = Field(
        min_length=1, description="files and folders to take out", json_schema_extra=POSITIONAL
    )
    index: IndexFolder = DEFAULT_INDEX


class IndexRebuild(Request):
    """Make vectors, full text and snapshot anew from the stored texts."""

    index: IndexFolder = DEFAULT_INDEX
    encoder: EncoderName | None = Field(
        default=None, description="change the index to this encoder"
    )
    layer: Layer = None


class Search(Request):
    """Find passages and pictures by meaning, by words, or by both."""

    query: str = Field(
        min_length=1,
        max_length=limits.QUESTION_CHARACTERS,
        description="text, or the path of an image file",
        json_schema_extra=POSITIONAL,
    )
    index: IndexFolder = DEFAULT_INDEX
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
    sheet: Path | None = Field(
        default=None, description="PNG file to draw the pictures among the hits into, side by side"
    )


class Embed(Request):
    """Turn texts or pictures into vectors."""

    inputs: list[str] = Field(
        min_length=1,
        description="texts, image files, or - for one text per line on standard input",
        json_schema_extra=POSITIONAL,
    )
    encoder: EncoderName = DEFAULT_ENCODER
    layer: Layer = None
    role: Literal["query", "document"] = Field(
        default="document",
        description="which prompt of the model's own configuration goes before a text",
    )
    out: Path | None = Field(
        default=None, description="file to write: .npy or .parquet; else to stdout"
    )
