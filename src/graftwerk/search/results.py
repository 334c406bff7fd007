"""Reports of indexes, search and vectors."""

from typing import Literal

from pydantic import Field

from ..results import Familiarity, Report, Skipped


class IndexChange(Report):
    """What `index add` and `index remove` did."""

    added: int = Field(description="files stored for the first time")
    changed: int = Field(description="files whose content was stored anew")
    unchanged: int = Field(description="files that were stored already")
    removed: int = Field(description="files taken out")
    skipped: list[Skipped] = Field(description="files left out, with reasons")
    passages: int = Field(description="passages in the index now")
    embedded: int = Field(description="passages embedded in this run")
    reused: int = Field(description="passages whose vector was known by content")
    unfamiliar: int | None = Field(
        description="pictures embedded in this run that are unlike all that the encoder was "
        "trained on; null where it has no familiar.json"
    )
    converted: dict[str, int] = Field(
        default_factory=dict,
        description="what reading changed of images, such as transparency shown on white, and of "
        "how many",
    )
    encoder: str = Field(description="the index's encoder")
    seconds: float = Field(description="wall time")


class IndexState(Report):
    """What an index holds."""

    index: str = Field(description="its folder")
    files: int = Field(description="files stored")
    passages: int = Field(description="passages stored")
    pictures: int = Field(description="passages that are pictures")
    encoder: str = Field(description="name of the encoder")
    fingerprint: str = Field(description="hash of the encoder's weights and configuration")
    dimension: int = Field(description="length of a vector")
    format_version: int = Field(description="version of the index format")
    bytes: int = Field(description="size on disk")
    sealed: bool = Field(description="whether the last write ended well and left its checksums")
    calibrated: str = Field(description="where the evidence floor comes from")


class Damage(Report):
    """One thing that is wrong in an index."""

    where: str = Field(description="file and block, or passage and path")
    what: str = Field(description="what does not match")
    repaired: bool = Field(description="whether it was mended")


class SourceDifference(Report):
    """A stored file that is another one on the disk now."""

    path: str = Field(description="the file")
    state: Literal["changed", "missing", "unreadable"] = Field(
        description="changed, missing or unreadable"
    )
    reason: str = Field(description="what is the matter with it")


class SourceCheck(Report):
    """How the stored files compare with those on the disk now."""

    unchanged: int = Field(description="files with the content that was stored")
    changed: int = Field(description="files with another content now")
    missing: int = Field(description="files that are not there any more")
    unreadable: int = Field(description="files that cannot be compared")
    differences: list[SourceDifference] = Field(description="all but the unchanged ones, by path")


class IndexCheck(Report):
    """What `index verify` found."""

    passages: int = Field(description="passages checked")
    sound: bool = Field(description="true when nothing is wrong, or everything was mended")
    sealed: bool = Field(description="whether block checksums were there to check")
    recall_at_10: float | None = Field(
        description="share of the exact 10 nearest found by the approximate search"
    )
    damages: list[Damage] = Field(description="everything that is wrong")
    sources: SourceCheck | None = Field(
        None,
        description="the files on the disk compared with what is stored, with --sources; null "
        "without it, or where the database cannot be opened",
    )
    seconds: float = Field(description="wall time")


class HitReport(Report):
    """One hit."""

    path: str = Field(description="file")
    kind: Literal["text", "image"] = Field(description="text passage or picture")
    heading: str = Field(description="headings above the passage")
    line: int | None = Field(description="first line, from 1")
    page: int | None = Field(description="page, from 1")
    start: int = Field(description="first character in the document's text")
    end: int = Field(description="one past the last character")
    score: float = Field(description="what the hits are ordered by")
    similarity: float | None = Field(description="cosine between query and passage")
    vector_rank: int | None = Field(
        description="rank by meaning; in hybrid mode among hits of its kind"
    )
    text_rank: int | None = Field(description="rank by words")
    text: str = Field(description="the passage")
    marks: list[tuple[int, int]] = Field(description="spans of text that match words of the query")


class SearchResult(Report):
    """What `search` found."""

    query: str = Field(description="the query")
    mode: str = Field(description="hybrid, vector or text")
    hits: list[HitReport] = Field(description="best first")
    searched: int = Field(description="passages and pictures that could have been found")
    pictures: int = Field(description="pictures among these")
    familiarity: Familiarity | None = Field(
        description="whether the picture asked with is like what the encoder was trained on; null "
        "for a text, and where the encoder does not say"
    )
    sheet: str | None = Field(description="the pictures found, side by side, with --sheet")
    seconds: float = Field(description="wall time of the search, the encoder's loading included")


class Embedding(Report):
    """What `embed` made."""

    encoder: str = Field(description="name of the encoder")
    fingerprint: str = Field(description="hash of the encoder's weights and configuration")
    dimension: int = Field(description="length of a vector")
    count: int = Field(description="number of vectors")
    out: str | None = Field(description="file written")
    vectors: list[list[float]] | None = Field(description="the vectors, when no file was named")
