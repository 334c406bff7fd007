"""Requests of the tour."""

from pathlib import Path

from pydantic import Field

from .base import Request


class Tour(Request):
    """Run every job on small examples: search, ask, draw, control, guide, adapt; write a page."""

    out: Path = Field(Path("tour"), description="folder for index.html and what it shows")
