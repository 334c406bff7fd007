"""Build one cyclopts command per entry of the catalog, from its request and result classes.

Only the commands named on the command line are built; `graft --help` only needs summaries.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from cyclopts import App, CoercionError, Group, Parameter, Token
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from .. import __version__
from ..commands import CATALOGUE, Command
from ..requests.base import OptionGroup, Request, holds_path, is_positional

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
_FOR_USERS = Group("Commands", sort_key=1)
_FOR_DEVELOPERS = Group("For developers", sort_key=2)
_OF_THE_APP = Group("Options", sort_key=3)
_DEVELOPER = {"blocks", "recipe"}
_SUMMARY = {
    "index": "Manage an index of your files: add, status, verify, remove, rebuild.",
    "eval": "Evaluate search, similarity and answers on your own files.",
    "blocks": "Render scenes of the Blocks world, with captions and exact maps.",
    "recipe": "Train the built-in models from scratch, and evaluate them.",
    "guide": "Guide a diffusion model by gradients: check images, sweep the scale.",
    "control": "Train ControlNet branches, which make a diffusion model follow a condition.",
    "lora": "Train a LoRA on images of a style or on a text.",
    "condition": "Make conditions of images: edges, lines, depth and others; list them.",
    "models": "List the built-in models, or describe any model.",
}


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Output options shared by all commands; the commands themselves never see them.

    Attributes:
        json: print one JSON object to stdout and everything else to stderr.
        quiet: print no progress and no notes to stderr.
        debug: print tracebacks.
    """

    json: bool = False
    quiet: bool = False
    debug: bool = False


_FACE = {
    "json": "print one JSON object on stdout, everything else on stderr",
    "quiet": "no progress and no notes",
    "debug": "show tracebacks",
}

STANDARD_INPUT = "\0-"  # no word of a command line holds NUL
_SHORT = {"k": ["-k", "--k"], "out": ["-o", "--out"]}

Invoke = Callable[[Command, dict[str, Any], OutputOptions], int]


def build_app(invoke: Invoke, tokens: Sequence[str]) -> App:
    """Build the command line for these tokens; `invoke` gets the command, fields and options."""
    app = App(
        name="graft",
        help="Put pre-trained models to new uses: a frozen model, plus one small thing that "
        "steers it.",
        help_epilogue="Start with: graft index add DOCS, then graft ask QUESTION.",
        version=__version__,
        help_format="plaintext",
        group_commands=_FOR_USERS,
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
    )
    first = next(iter(tokens), "--help")
    names = dict.fromkeys(command.words[0] for command in CATALOGUE)
    for name in names:
        chosen = [command for command in CATALOGUE if command.words[0] == name]
        # completion scripts list every option; otherwise one name's commands are enough
        if first == name or first.startswith("--install"):
            explains = bool({"--help", "-h"} & set(tokens))
            app.command(_whole(name, chosen, invoke, explains))
        else:
            app.command(_only_named(name, chosen, summarized=first not in names))
    app.register_install_completion_command()
    for name in ("--help", "--version", "--install-completion"):
        app[name].group = _OF_THE_APP
    return app


def _group(name: str) -> Group:
    return _FOR_DEVELOPERS if name in _DEVELOPER else _FOR_USERS


def _only_named(name: str, commands: Sequence[Command], summarized: bool) -> App:
    """Build a stub for a command that is not called: its name, for suggestions, and a summary."""
    summary = ""
    if summarized:
        alone = [command for command in commands if len(command.words) == 1]
        summary = str(alone[0].request.__doc__) if alone else _SUMMARY[name]
    return App(name=name, help=summary, help_format="plaintext", group=_group(name))


def _whole(name: str, commands: Sequence[Command], invoke: Invoke, explains: bool) -> App:
    group = App(
        name=name,
        help=_SUMMARY.get(name, ""),
        help_format="plaintext",
        help_epilogue="",
        group=_group(name),
    )
    for command in commands:
        function = _function(command, invoke)
        epilogue = _epilogue(command) if explains else ""
        if len(command.words) == 1:
            group.default(function)
            group.help, group.help_epilogue = str(command.request.__doc__), epilogue
        else:
            group.command(function, name=command.words[1], help_epilogue=epilogue)
    return group


def _function(command: Command, invoke: Invoke) -> Callable[..., int]:
    """Build a function whose parameters are the request's fields and the output options."""

    def call(*arguments: Any, **options: Any) -> int:
        values = dict(zip(positional, arguments, strict=False)) | options
        values = {name: _dash_again(value) for name, value in values.items()}
        face = OutputOptions(**{name: values.pop(name, False) for name in _FACE})
        return invoke(command, values, face)

    parameters = [_parameter(name, info) for name, info in command.request.model_fields.items()]
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
    positional = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    signature = inspect.Signature(parameters, return_annotation=int)
    call.__doc__ = command.request.__doc__
    call.__name__ = "_".join(command.words)
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": int}
    return call


def hide_dash(tokens: Sequence[str]) -> list[str]:
    """The words of a command line with `-` (standard input) written so that it is no option."""
    return [STANDARD_INPUT if token == "-" else token for token in tokens]  # noqa: S105


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


def _epilogue(command: Command) -> str:
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
