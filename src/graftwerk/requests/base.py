"""What every request shares: kinds of fields, defaults, the class itself.

What pydantic refuses, in the words of this house.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.config import JsonDict

from .. import limits

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


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

    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of everything random")
    device: Device = Field(default="auto", description="where models run")

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


_WORDS = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "above {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "below {lt}",
    "literal_error": "one of {expected}",
    "enum": "one of {expected}",
    "multiple_of": "a multiple of {multiple_of}",
    "finite_number": "a finite number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "a text",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "missing": "it must be given",
    "extra_forbidden": "there is no such field",
}


def allowed(error: "ErrorDetails") -> str:
    """What is allowed where a field was refused, without a full stop.

    >>> allowed({"type": "less_than", "loc": (), "msg": "", "input": 3, "ctx": {"lt": 1.0}})
    'below 1'
    """
    words = _WORDS.get(error["type"])
    if words is None:
        return error["msg"].removeprefix("Value error, ").rstrip(".")
    if error.get("ctx", {}).get("min_length") == 1:
        return "it must not be empty"
    bounds = {
        name: f"{bound:,.12g}"
        if isinstance(bound, float)
        else f"{bound:,}"
        if isinstance(bound, int)
        else bound
        for name, bound in error.get("ctx", {}).items()
    }
    return words.format(**bounds)
