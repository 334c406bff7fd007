"""Make the parameters, checks and help of one command from its request and result classes."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from cyclopts import CoercionError, Group, Parameter, Token
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ..commands import Command
from ..requests.base import OptionGroup, Request, holds_path, is_positional
from .main import FACE, STANDARD_INPUT, Invoke, OutputOptions

_ARGUMENTS = Group.create_default_arguments()
_OWN = Group("Options", sort_key=1)
# the groups that fields name, in the order of the help
_NAMED = (
    "Prompt",
    "Data",
    "Tables",
    "Sampling",
    "Image to image",
    "Guidance",
    "Control",
    "Training",
    "LoRA",
    "Output",
)
_GROUPS = {name: Group(name, sort_key=2 + number) for number, name in enumerate(_NAMED)}
_GROUPS["Advanced"] = Group("Advanced", sort_key=20)
_COMMON = Group("Every command", sort_key=21)
_SHORT = {"k": ["-k", "--k"], "out": ["-o", "--out"]}


def command_function(command: Command, invoke: Invoke) -> Callable[..., int]:
    """Build a function whose parameters are the request's fields and the output options."""

    def call(*arguments: Any, **options: Any) -> int:
        values = dict(zip(positional, arguments, strict=False)) | options
        values = {name: _dash_again(value) for name, value in values.items()}
        face = OutputOptions(**{name: values.pop(name, False) for name in FACE})
        return invoke(command, values, face)

    parameters = [_parameter(name, info) for name, info in command.request.model_fields.items()]
    for name, text in FACE.items():
        annotation = Annotated[
            bool, Parameter(help=text, negative=(), group=_COMMON, show_default=False)
        ]
        parameters.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation
            )
        )
    parameters.sort(key=lambda parameter: parameter.kind)
    positional = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    signature = inspect.Signature(parameters, return_annotation=int)
    call.__doc__ = command.request.__doc__
    call.__name__ = "_".join(command.words)
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": int}
    return call


def _dash_again(value: Any) -> Any:
    if isinstance(value, list):
        return [_dash_again(one) for one in value]
    return "-" if value == STANDARD_INPUT else value


def _parameter(name: str, info: FieldInfo) -> inspect.Parameter:
    positional = is_positional(info)
    default = info.get_default(call_default_factory=True)
    common = name in Request.model_fields
    names = _SHORT.get(name)
    annotation: Any = _without_limits(info.annotation)
    whole = annotation in (int, int | None)
    option = Parameter(
        name=names,
        help=_help(info),
        negative=None if info.annotation in (bool, bool | None) else (),
        group=_ARGUMENTS if positional else (_COMMON if common else _group_of(info)),
        converter=_as_written if holds_path(info.annotation) else _whole_number if whole else None,
    )
    kinds = inspect.Parameter
    required = default is PydanticUndefined
    by_place = kinds.POSITIONAL_ONLY if required else kinds.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(
        name,
        by_place if positional else kinds.KEYWORD_ONLY,
        default=kinds.empty if required else default,
        annotation=Annotated[annotation, option],
    )


def _group_of(info: FieldInfo) -> Group:
    names = [entry.name for entry in info.metadata if isinstance(entry, OptionGroup)]
    return _GROUPS[names[-1]] if names else _OWN


def _as_written(_: Any, tokens: Sequence[Token]) -> str:
    """Keep a path as text, since `Path("")` would become `Path(".")`."""
    return tokens[0].value


def _whole_number(_: Any, tokens: Sequence[Token]) -> int:
    """Refuse 1.5, which cyclopts would round."""
    try:
        return int(tokens[0].value)
    except ValueError as error:
        raise CoercionError(token=tokens[0], target_type=int) from error


def _without_limits(annotation: Any) -> Any:
    """Remove constraints from a type; the request checks them and has better error messages."""
    if get_origin(annotation) is Annotated:
        return _without_limits(get_args(annotation)[0])
    if get_origin(annotation) is list:
        return list[_without_limits(get_args(annotation)[0])]  # type: ignore[misc]
    if get_origin(annotation) in (Union, UnionType):
        return reduce(or_, map(_without_limits, get_args(annotation)))
    return annotation


def _help(info: FieldInfo) -> str:
    bounds = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = [
        f"{words} {getattr(entry, key):,}"
        for entry in info.metadata
        for key, words in bounds.items()
        if getattr(entry, key, None) is not None and getattr(entry, key) != 2**63
    ]
    text = info.description or "number of items"
    return f"{text} ({', '.join(limits)})" if limits else text


def epilogue(command: Command) -> str:
    """Return the end of a command's help; this is the only import of its result classes."""
    lines = ["Example:", f"  {command.example}", "", "Keys with --json:"]
    first, *others = command.results
    lines += _keys(first, "  ")
    for other in others:
        lines += ["", f"Keys with --json of: {other.__doc__}", *_keys(other, "  ")]
    return "\n".join(lines)


def _keys(model: type, indent: str) -> list[str]:
    lines: list[str] = []
    for name, info in _fields(model).items():
        lines.append(f"{indent}{name}: {info.description}")
        for inner in inner_models(info.annotation):
            lines += _keys(inner, indent + "  ")
    return lines


def inner_models(annotation: Any) -> Iterator[type]:
    """Yield the models inside a field's type, such as list items or dict values."""
    if inspect.isclass(annotation) and (
        issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)
    ):
        yield annotation
    for part in get_args(annotation):
        yield from inner_models(part)


def _fields(model: type) -> dict[str, FieldInfo]:
    if issubclass(model, BaseModel):
        return model.model_fields
    hints = get_type_hints(model, include_extras=True)  # of a dataclass: its fields, in order
    return {name: FieldInfo.from_annotation(hint) for name, hint in hints.items()}
