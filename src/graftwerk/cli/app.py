"""One cyclopts command per line of the catalogue, built from its request and report classes."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from cyclopts import App, Group, Parameter, Token
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from .. import __version__, requests
from ..commands import CATALOGUE, Verb

_ARGUMENTS = Group.create_default_arguments()
_COMMON = Group("Every command", sort_key=2)
_OWN = Group("Options", sort_key=1)
_SUMMARY = {
    "index": "Keep an index of your files: add, status, verify, remove, rebuild.",
    "eval": "Measure search, similarity and answers on files of your own.",
    "blocks": "Render scenes of the Blocks world, with captions and exact maps.",
    "recipe": "Train the built-in models of the Blocks world from nothing, and measure them.",
    "guide": "Guide a diffusion model by gradients: check what came of it, sweep the scale.",
    "control": "Train control branches, which make a diffusion model follow a condition.",
    "condition": "Make conditions of pictures: edges, lines, depth and others; list them.",
    "models": "List the built-in models, or describe any model.",
}


@dataclass(frozen=True, slots=True)
class Face:
    """How a result is shown; no verb sees it.

    Attributes:
        json: one JSON object on stdout, everything else on stderr.
        quiet: no progress and no notes on stderr.
        debug: tracebacks.
    """

    json: bool = False
    quiet: bool = False
    debug: bool = False


_FACE = {
    "json": "print one JSON object on stdout, everything else on stderr",
    "quiet": "no progress and no notes",
    "debug": "show tracebacks",
}

_SHORT = {"k": ["-k", "--k"], "out": ["-o", "--out"]}

Invoke = Callable[[Verb, dict[str, Any], Face], int]


def build_app(invoke: Invoke) -> App:
    """The whole command line; `invoke` is called with verb, request fields and face."""
    app = App(
        name="graft",
        help="Put pre-trained models to new uses: a frozen model, plus one small thing that "
        "steers it.",
        help_epilogue="Start with: graft index add DOCS, then graft ask QUESTION.",
        version=__version__,
        help_format="plaintext",
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
    )
    groups: dict[str, App] = {}
    for name in dict.fromkeys(verb.command[0] for verb in CATALOGUE if len(verb.command) == 2):
        groups[name] = App(
            name=name, help=_SUMMARY[name], help_format="plaintext", help_epilogue=""
        )
        app.command(groups[name])
    for verb in CATALOGUE:
        group = groups.get(verb.command[0])
        if group is not None and len(verb.command) == 1:  # the group's name alone is a verb too
            group.default(_function(verb, invoke))
            group.help, group.help_epilogue = str(verb.request.__doc__), _epilogue(verb)
            continue
        (group or app).command(
            _function(verb, invoke), name=verb.command[-1], help_epilogue=_epilogue(verb)
        )
    app.register_install_completion_command()
    return app


def _function(verb: Verb, invoke: Invoke) -> Callable[..., int]:
    """A function whose signature is the request's fields and the face's flags."""

    def command(*arguments: Any, **options: Any) -> int:
        values = dict(zip(positional, arguments, strict=False)) | options
        face = Face(**{name: values.pop(name, False) for name in _FACE})
        return invoke(verb, values, face)

    parameters = [_parameter(name, info) for name, info in verb.request.model_fields.items()]
    for name, text in _FACE.items():
        annotation = Annotated[
            bool, Parameter(help=text, negative=(), group=_COMMON, show_default=False)
        ]
        parameters.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation
            )
        )
    parameters.sort(key=lambda parameter: parameter.kind)
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY]
    signature = inspect.Signature(parameters, return_annotation=int)
    command.__doc__ = verb.request.__doc__
    command.__name__ = "_".join(verb.command)
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": int}
    return command


def _parameter(name: str, info: FieldInfo) -> inspect.Parameter:
    extra = info.json_schema_extra
    positional = isinstance(extra, dict) and bool(extra.get("positional"))
    default = info.get_default(call_default_factory=True)
    common = name in requests.Request.model_fields
    names = _SHORT.get(name)
    option = Parameter(
        name=names,
        help=_help(info),
        negative=(),
        group=_ARGUMENTS if positional else (_COMMON if common else _OWN),
        converter=_as_written if requests.holds_path(info.annotation) else None,
    )
    annotation: Any = _without_limits(info.annotation)
    kinds = inspect.Parameter
    return inspect.Parameter(
        name,
        kinds.POSITIONAL_ONLY if positional else kinds.KEYWORD_ONLY,
        default=kinds.empty if default is PydanticUndefined else default,
        annotation=Annotated[annotation, option],
    )


def _as_written(_: Any, tokens: Sequence[Token]) -> str:
    """A path as the text it was: `Path("")` is `Path(".")`, and the request refuses only one."""
    return tokens[0].value


def _without_limits(annotation: Any) -> Any:
    """A type without the limits inside it: the request checks them, and has words for people."""
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


def _epilogue(verb: Verb) -> str:
    lines = ["Example:", f"  {verb.example}", "", "Keys with --json:"]
    lines += _keys(verb.report, "  ")
    return "\n".join(lines)


def _keys(model: type, indent: str) -> list[str]:
    lines: list[str] = []
    for name, info in _fields(model).items():
        lines.append(f"{indent}{name}: {info.description}")
        inner = _inner_model(info.annotation)
        if inner is not None:
            lines += _keys(inner, indent + "  ")
    return lines


def _fields(model: type) -> dict[str, FieldInfo]:
    """The fields of a report, or of a dataclass in one."""
    if issubclass(model, BaseModel):
        return model.model_fields
    hints = get_type_hints(model, include_extras=True)  # of a dataclass: its fields, in order
    return {name: FieldInfo.from_annotation(hint) for name, hint in hints.items()}


def _inner_model(annotation: Any) -> type | None:
    for part in (annotation, *getattr(annotation, "__args__", ())):
        if inspect.isclass(part) and (
            issubclass(part, BaseModel) or dataclasses.is_dataclass(part)
        ):
            return part
    return None
