"""What every request shares: kinds of fields, defaults, the class itself."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.config import JsonDict

from .. import limits

POSITIONAL: JsonDict = {"positional": True}

Mode = Literal["hybrid", "vector", "text"]
Device = Literal["auto", "cpu", "cuda", "mps"]
PathText = Annotated[str, Field(min_length=1)]  # a file, folder or model's name, of any bytes
IndexFolder = Annotated[Path, Field(description="folder of the index")]
EncoderName = Annotated[
    PathText,
    Field(
        description="builtin/minilm, static (fast, distilled from it), static:MODEL, a local "
        "folder, or a hub id NAME@REVISION"
    ),
]
Layer = Annotated[
    int | None,
    Field(ge=-64, le=256, description="take this hidden layer instead of the last (0: embeddings)"),
]
HitCount = Annotated[int, Field(ge=0, le=limits.HITS)]
SceneSide = Annotated[
    int, Field(ge=16, le=limits.SCENE_SIDE, description="side of a picture in pixels")
]
# Fields that can name a model of a hub; only what a caller puts into one of them is ever fetched.
MODEL_FIELDS = frozenset(
    {"model", "encoder", "guide_model", "guide_encoder", "writer", "estimator", "name"}
)
DEFAULT_INDEX = Path(".graftwerk")
DEFAULT_ENCODER = "builtin/minilm"
DEFAULT_PICTURE_ENCODER = "builtin/blocks-clip"
DEFAULT_PIPELINE = "builtin/blocks"
DEFAULT_GUIDE = "builtin/blocks-noisy-classifier"


class Request(BaseModel):
    """What every verb takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0, lt=2**63, description="seed of everything random")
    device: Device = Field("auto", description="where models run")

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_empty_paths(cls, value: object, info: Any) -> object:
        """Refuse the path that an unset shell variable gives; it would mean the current folder.

        `PathText` does the same for paths that are texts.
        """
        if value == "" and holds_path(cls.model_fields[info.field_name].annotation):
            raise ValueError("it must not be empty")
        return value


def holds_path(annotation: object) -> bool:
    """Whether a field's type is a path, or one of several choices of which one is."""
    return annotation is Path or Path in get_args(annotation)
