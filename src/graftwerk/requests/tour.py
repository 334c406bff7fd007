"""Requests of the tour."""

from pathlib import Path

from pydantic import Field

from .base import Request


class Tour(Request):
    """Index, search, ask and check the example handbook; write a page to look at."""

    out: Path = Field(Path("tour"), description="folder for index.html and what it shows")
