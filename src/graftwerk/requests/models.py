"""Requests of models.

Requests of the tour.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from .base import POSITIONAL, EncoderName, PathField, Request, path_field

if TYPE_CHECKING:
    import graftwerk.models.results
    import graftwerk.results  # noqa: F401  named in brackets below


class ModelsList(Request["graftwerk.models.results.ModelList"]):
    """List the built-in models."""


class ModelsInfo(Request["graftwerk.models.results.ModelCard"]):
    """Tell what a model is: kind, size, fingerprint, card."""

    name: EncoderName = Field(description="name of a model", json_schema_extra=POSITIONAL)


class Tour(Request["graftwerk.results.TourResult"]):
    """Run every job on small examples: search, ask, draw, control, guide, adapt; write a page."""

    out: PathField = path_field(
        default=Path("tour"), description="folder for index.html and what it shows"
    )
