"""Requests of models.

Requests of the tour.
"""

from pathlib import Path

from pydantic import Field

from .base import POSITIONAL, EncoderName, Request


class ModelsList(Request):
    """List the built-in models."""


class ModelsInfo(Request):
    """Tell what a model is: kind, size, fingerprint, card."""

    name: EncoderName = Field(description="name of a model", json_schema_extra=POSITIONAL)


class Tour(Request):
    """Run every job on small examples: search, ask, generate, guide, control, adapt; write a page."""

    out: Path = Field(default=Path("tour"), description="folder for index.html and what it shows")
    full: bool = Field(
        default=False,
        description="run everything here, longer trainings too, instead of showing recorded results",
    )
