"""Requests of models."""

from pydantic import Field

from .base import POSITIONAL, EncoderName, Request


class ModelsList(Request):
    """List the built-in models."""


class ModelsInfo(Request):
    """Tell what a model is: kind, size, fingerprint, card."""

    name: EncoderName = Field(description="name of a model", json_schema_extra=POSITIONAL)
