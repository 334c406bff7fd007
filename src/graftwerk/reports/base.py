"""What every report is."""

from pydantic import BaseModel, ConfigDict


class Report(BaseModel):
    """What a verb answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")
