"""Reports of models."""

from typing import Any

from pydantic import Field

from .base import Report


class ModelCard(Report):
    """A model."""

    name: str = Field(description="its name")
    kind: str = Field(description="what it does")
    reads: list[str] = Field(description="text, image, or both")
    dimension: int | None = Field(description="length of a vector")
    parameters: int = Field(description="number of weights")
    bytes: int = Field(description="size of the weight files")
    fingerprint: str = Field(description="hash of weights and configuration")
    path: str = Field(description="folder")
    details: dict[str, Any] = Field(description="pooling, longest input, licence and the like")


class ModelList(Report):
    """The built-in models."""

    models: list[dict[str, str]] = Field(description="name, kind and a line about each")
