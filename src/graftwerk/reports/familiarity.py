"""Report of how familiar a picture is to an encoder."""

from pydantic import Field

from .base import Report


class Familiarity(Report):
    """Whether a picture is like those that the encoder was trained on."""

    distance: float = Field(description="distance from those pictures, in units of the limit")
    unfamiliar: bool = Field(description="true beyond the limit: what is said of it means little")
    false_alarm_rate: float = Field(
        description="share of pictures like those of the training that lie beyond the limit too"
    )
