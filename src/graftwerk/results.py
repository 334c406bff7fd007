"""What every report is."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Modality = Literal["text", "image"]


class Report(BaseModel):
    """What a command answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @property
    def well(self) -> bool:
        """False where the command line ends with exit code 1, though nothing failed."""
        return True


class Skipped(Report):
    """A file that was left out."""

    path: str = Field(description="the file")
    reason: str = Field(description="why it was left out and what to do")


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a document, or a whole image.

    Its text is exactly the characters `start:end` of the document's text. Bytes of the path that
    are not UTF-8 stand in it as surrogate escapes.
    """

    path: Annotated[str, Field(description="file")]
    kind: Annotated[Modality, Field(description="text passage or image")]
    text: Annotated[str, Field(description="the passage; empty for an image")]
    start: Annotated[int, Field(description="first character in the document's text")]
    end: Annotated[int, Field(description="one past the last character")]
    heading: Annotated[str, Field(description="headings above it, outermost first")] = ""
    line: Annotated[int | None, Field(description="first line, from 1")] = None
    page: Annotated[int | None, Field(description="page, from 1")] = None


def with_position(path: str, line: int | None, page: int | None) -> str:
    """A path followed by a line or page.

    >>> with_position("a.md", 3, None), with_position("a.pdf", None, 2)
    ('a.md:3', 'a.pdf page 2')
    """
    return path + (f":{line}" if line is not None else f" page {page}" if page is not None else "")


# fields that several reports have
ReadingNotes = Annotated[
    list[str], Field(description="what was merged, renamed or read otherwise than it stands")
]
Converted = Annotated[
    dict[str, int],
    Field(
        description="what reading changed of images, such as transparency shown on white, and of "
        "how many"
    ),
]
OODCount = Annotated[
    int | None,
    Field(
        description="images unlike all that the encoder was trained on; null where it has no "
        "familiar.json"
    ),
]


class Familiarity(Report):
    """Whether an image is like those that the encoder was trained on."""

    distance: float = Field(description="distance from those images, in units of the limit")
    unfamiliar: bool = Field(description="true beyond the limit: what is said of it is unreliable")
    false_alarm_rate: float = Field(
        description="share of images like those of the training that lie beyond the limit too"
    )


class TourResult(Report):
    """What `tour` wrote."""

    page: str = Field(description="the page to open")
    chapters: list[str] = Field(description="what it shows")
    seconds: float = Field(description="wall time of the chapters")
    chapter_seconds: dict[str, float] = Field(description="wall time of each chapter")


class LeftOut(Report):
    """A row or file that could not be used."""

    name: str = Field(description="row or file")
    reason: str = Field(description="why it is left out")
