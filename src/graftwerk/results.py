"""What every report is."""

from pydantic import BaseModel, ConfigDict, Field


class Report(BaseModel):
    """What a verb answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Skipped(Report):
    """A file that was left out."""

    path: str = Field(description="the file")
    reason: str = Field(description="why it was left out and what to do")


class Familiarity(Report):
    """Whether a picture is like those that the encoder was trained on."""

    distance: float = Field(description="distance from those pictures, in units of the limit")
    unfamiliar: bool = Field(description="true beyond the limit: what is said of it means little")
    false_alarm_rate: float = Field(
        description="share of pictures like those of the training that lie beyond the limit too"
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
