"""Reports of the tour."""

from pydantic import Field

from .base import Report


class TourResult(Report):
    """What `tour` wrote."""

    page: str = Field(description="the page to open")
    chapters: list[str] = Field(description="what it shows")
    seconds: float = Field(description="wall time")
