"""Reports of drawing pictures."""

from pydantic import Field

from .base import Report


class PictureReport(Report):
    """One picture that was drawn."""

    path: str = Field(description="PNG file; its metadata hold the request")
    number: int = Field(description="its number within the request, from 0")
    seed: int = Field(description="seed of its own noise, made of --seed and its number")


class Generation(Report):
    """What `generate` drew."""

    prompt: str = Field(description="the prompt")
    cut: str = Field(description="end of the prompt that the model does not read")
    pictures: list[PictureReport] = Field(description="the pictures, in their order")
    sheet: str | None = Field(description="all of them side by side, where there are several")
    model: str = Field(description="name of the model")
    fingerprint: str = Field(description="hash of the model's weights and configuration")
    sampler: str = Field(description="name of the sampler")
    steps: int = Field(description="steps that it took")
    width: int = Field(description="pixels")
    height: int = Field(description="pixels")
    steps_per_second: float = Field(description="steps of single pictures per second of drawing")
    seconds: float = Field(description="wall time, the model's loading included")
