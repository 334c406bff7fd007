"""What every report is."""

from pydantic import BaseModel, ConfigDict, Field


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
    seconds: float = Field(description="wall time")


class LeftOut(Report):
    """A row or file that could not be used."""

    name: str = Field(description="row or file")
    reason: str = Field(description="why it is left out")
