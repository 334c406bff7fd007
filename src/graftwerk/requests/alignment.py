"""Request of measuring how an encoder lays out what it encodes."""

from pathlib import Path

from pydantic import Field

from .base import DEFAULT_PICTURE_ENCODER, POSITIONAL, EncoderName, Layer, Request


class EvalAlignment(Request):
    """Measure whether similar things lie close: captions and pictures, and neighbours alike."""

    data: Path = Field(
        description="folder of pictures with metadata.jsonl (file_name, caption, attributes), as "
        "`graft blocks render` writes it, or with a folder for each label; for texts a .csv or "
        ".jsonl with a column text",
        json_schema_extra=POSITIONAL,
    )
    encoder: EncoderName = DEFAULT_PICTURE_ENCODER
    layer: Layer = None
    k: int = Field(10, ge=1, le=1_000, description="neighbours that are looked at")
