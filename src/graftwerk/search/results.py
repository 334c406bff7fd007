"""Reports of indexes, search and vectors."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from ..results import Converted, Familiarity, Passage, ReadingNotes, Report, Skipped, with_position
from ..text_safety import counted, html_table, shortened


class IndexChange(Report, frozen=False):
    """Report of a command that writes to an index, filled in while the command runs."""

    added: int = Field(default=0, description="files stored for the first time")
    changed: int = Field(default=0, description="files whose content was stored again")
    unchanged: int = Field(default=0, description="files that were stored already")
    removed: int = Field(default=0, description="files taken out")
    skipped: list[Skipped] = Field(default_factory=list, description="files left out, with reasons")
    tables: list[str] = Field(default_factory=list, description="how each table is written")
    notes: list[str] = Field(
        default_factory=list,
        description="what was left out of files or is read otherwise than it stands",
    )
    passages: int = Field(default=0, description="passages in the index now")
    pictures: int = Field(default=0, description="images among these")
    embedded: int = Field(default=0, description="passages embedded in this run")
    reused: int = Field(default=0, description="passages whose vector was known by content")
    unfamiliar: int | None = Field(
        default=None,
        description="images embedded in this run that are unlike all that the encoder was trained "
        "on; null where it has no familiar.json",
    )
    converted: Converted = Field(default_factory=dict)
    encoder: str = Field(default="", description="the index's encoder")
    seconds: float = Field(default=0.0, description="wall time")

    @property
    def wrote(self) -> bool:
        """Whether the content of the index differs from before."""
        return bool(self.added or self.changed or self.removed)

    def __repr__(self) -> str:
        return (
            f"<IndexChange: {self.added} added, {self.changed} changed, {self.unchanged} "
            f"unchanged, {self.removed} removed, {len(self.skipped)} skipped; "
            f"{counted(self.passages, 'passage')}>"
        )


class IndexState(Report):
    """Contents of an index."""

    index: str = Field(description="its folder")
    files: int = Field(description="files stored")
    passages: int = Field(description="passages stored")
    pictures: int = Field(description="passages that are images")
    rescored: int = Field(
        default=0, description="passages of a static index whose vector of the full encoder is kept"
    )
    encoder: str = Field(description="name of the encoder")
    fingerprint: str = Field(description="hash of the encoder's weights and configuration")
    dimension: int = Field(description="length of a vector")
    format_version: int = Field(description="version of the index format")
    bytes: int = Field(description="size on disk")
    sealed: bool = Field(description="whether the last write ended well and left its checksums")
    calibrated: str = Field(description="where the answerability threshold comes from")


class Damage(Report):
    """One defect of an index."""

    where: str = Field(description="file and block, or passage and path")
    what: str = Field(description="what does not match")
    repaired: bool = Field(description="whether it was repaired")


class SourceDifference(Report):
    """Stored file whose version on the disk now differs."""

    path: str = Field(description="the file")
    state: Literal["changed", "missing", "unreadable"] = Field(
        description="changed, missing or unreadable"
    )
    reason: str = Field(description="what is the matter with it")


class SourceCheck(Report):
    """Comparison of the stored files with those on the disk now."""

    unchanged: int = Field(description="files with the content that was stored")
    changed: int = Field(description="files with another content now")
    missing: int = Field(description="files that are not there any more")
    unreadable: int = Field(description="files that cannot be compared")
    differences: list[SourceDifference] = Field(description="all but the unchanged ones, by path")


class IndexCheck(Report):
    """Result of `index verify`."""

    passages: int = Field(description="passages checked")
    sound: bool = Field(description="true when nothing is wrong, or everything was repaired")
    sealed: bool = Field(description="whether block checksums were there to check")
    recall_at_10: float | None = Field(
        description="share of the exact 10 nearest found by the approximate search"
    )
    damages: list[Damage] = Field(description="everything that is wrong")
    add_again: list[str] = Field(
        default_factory=list, description="files of which a repair took damaged passages out"
    )
    sources: SourceCheck | None = Field(
        None,
        description="the files on the disk compared with what is stored, with --sources; null "
        "without it, or where the database cannot be opened",
    )
    seconds: float = Field(description="wall time")

    @property
    def well(self) -> bool:
        """Whether nothing is wrong with the index, nor with the files that it was compared with."""
        return self.sound and (self.sources is None or not self.sources.differences)


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """Another location of the content of a hit."""

    path: Annotated[str, Field(description="file")]
    start: Annotated[int, Field(description="first character in the document's text")]
    line: Annotated[int | None, Field(description="first line, from 1")] = None
    page: Annotated[int | None, Field(description="page, from 1")] = None

    @property
    def location(self) -> str:
        """Return the path with line or page."""
        return with_position(self.path, self.line, self.page)


def location_of(passage: Passage) -> Location:
    """Return the location of a passage."""
    return Location(passage.path, passage.start, passage.line, passage.page)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Hit(Passage):
    """Passage or image that was found."""

    score: Annotated[float, Field(description="what the hits are ordered by")]
    similarity: Annotated[float | None, Field(description="cosine between query and passage")] = (
        None
    )
    vector_rank: Annotated[
        int | None, Field(description="rank by meaning; in hybrid mode among hits of its kind")
    ] = None
    text_rank: Annotated[int | None, Field(description="rank by words")] = None
    relevance: Annotated[
        float | None,
        Field(description="of a reranked passage: probability that it answers the query"),
    ] = None
    marks: Annotated[
        tuple[tuple[int, int], ...],
        Field(description="spans of text that match words of the query"),
    ] = ()
    copies: Annotated[
        tuple[Location, ...],
        Field(
            description="where else the same words stand, apart from punctuation, markup, white "
            "space and letter case; the first 20"
        ),
    ] = ()
    copy_count: Annotated[int, Field(description="all of these")] = 0

    def __repr__(self) -> str:
        return f"Hit({self.score:z.4f}, {self.location!r}, {shortened(self.text)!r})"

    def _repr_html_(self) -> str:
        return html_table(["score", "where", "passage"], [self._cells()])

    @property
    def location(self) -> str:
        """Return the path with line or page, as `file.md:3` or `file.pdf, page 2`."""
        return with_position(self.path, self.line, self.page)

    def _cells(self) -> list[str]:
        return [f"{self.score:z.4f}", self.location, shortened(self.text, 300)]


class SearchResult(Report):
    """Result of `search`."""

    query: str = Field(description="the query")
    mode: str = Field(description="hybrid, vector or text")
    hits: list[Hit] = Field(description="best first")
    searched: int = Field(description="passages and images that could have been found")
    pictures: int = Field(description="images among these")
    familiarity: Familiarity | None = Field(
        description="whether the image asked with is like what the encoder was trained on; null "
        "for a text, and where the encoder does not say"
    )
    sheet: str | None = Field(description="the images found, side by side, with --sheet")
    seconds: float = Field(description="wall time of the search, the encoder's loading included")
    notes: list[str] = Field(default=[], description="how the query was read")

    def __iter__(self) -> Iterator[Hit]:  # type: ignore[override]  # hits, not fields
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, number: int) -> Hit:
        return self.hits[number]

    def __repr__(self) -> str:
        return (
            f"<SearchResult of {shortened(self.query)!r}: {counted(len(self.hits), 'hit')} of "
            f"{self.searched}, {self.mode}>"
        )

    def _repr_html_(self) -> str:
        return html_table(["score", "where", "passage"], [hit._cells() for hit in self.hits])


class Embedding(Report):
    """Result of `embed`."""

    encoder: str = Field(description="name of the encoder")
    fingerprint: str = Field(description="hash of the encoder's weights and configuration")
    dimension: int = Field(description="length of a vector")
    count: int = Field(description="number of vectors")
    out: str | None = Field(description="file written")
    tables: list[str] = Field(default=[], description="how each table is written")
    notes: ReadingNotes = Field(default=[])
    vectors: list[list[float]] | None = Field(description="the vectors, when no file was named")
