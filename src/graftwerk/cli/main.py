"""Entry point of `graft`: parse, validate, run, show; every error is one line."""

import json
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

from cyclopts import App, CoercionError, CycloptsError, Group, MissingArgumentError
from cyclopts.exceptions import UnusedCliTokensError

from .. import __version__
from ..commands import CATALOGUE, Command
from ..errors import BadInput, BadValue, Cancelled, GraftError, NoRoom, error_of_machine
from ..settings import settings
from ..text_safety import printable
from .progress import Stopping, Terminal, prepare, say, writing

_FOR_USERS = Group("Commands", sort_key=1)
_FOR_DEVELOPERS = Group("For developers", sort_key=2)
_OF_THE_APP = Group("Options", sort_key=3)
_DEVELOPER = {"blocks", "recipe"}
# what a command does, by its first word; that of a request is the beginning of its docstring
SUMMARY = {
    "index": "Manage an index of your files: add, status, verify, remove, rebuild.",
    "search": "Find passages and images by meaning, by words, or both.",
    "ask": "Answer a question from an index, with citations checked against their sources.",
    "chat": "Answer questions in turn; each may refer to earlier ones.",
    "embed": "Embed texts or images as vectors.",
    "calibrate": "Set the answerability threshold of an index from your own questions, and learn "
    "from them.",
    "eval": "Evaluate search, similarity and answers on your own files.",
    "models": "List the built-in models, or describe any model.",
    "fit": "Fit a pre-trained model to labeled data: a linear head, LoRA, or all weights.",
    "lora": "Train a LoRA on images of a style or on a text.",
    "predict": "Predict with a model that `graft fit` saved.",
    "compare": "Measure linear, LoRA and full fine-tuning side by side on the same data, and "
    "recommend.",
    "forecast": "Forecast a time series with quantiles, and backtest on the end of its history.",
    "readout": "Probe a generator's activations for key points and attributes, and move along the "
    "probes.",
    "blocks": "Render scenes of the Blocks world, with captions and exact maps.",
    "recipe": "Train the built-in models from scratch, and evaluate them.",
    "generate": "Generate images from a prompt with a diffusion model.",
    "guide": "Guide a diffusion model by gradients: check images, sweep the scale.",
    "invert": "Optimize a latent, image or noise by gradient descent towards an image, class or "
    "sentence.",
    "control": "Train ControlNet branches, which make a diffusion model follow a condition.",
    "classify": "Classify images or texts by your own labels or a model's classes, without "
    "training.",
    "condition": "Make a condition map (edges, lines, depth, ...) from an image or a Blocks scene.",
    "tour": "Run every capability on small examples, from search to ControlNet, and write a page.",
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


FACE = {
    "json": "print one JSON object on stdout, everything else on stderr",
    "quiet": "no progress and no notes",
    "debug": "show tracebacks",
}

STANDARD_INPUT = "\0-"  # no word of a command line holds NUL

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
            app.command(_only_named(name, summarized=first not in names))
    app.register_install_completion_command()
    for name in ("--help", "--version", "--install-completion"):
        app[name].group = _OF_THE_APP
    return app


def _group(name: str) -> Group:
    return _FOR_DEVELOPERS if name in _DEVELOPER else _FOR_USERS


def _only_named(name: str, summarized: bool) -> App:
    """Build a stub for a command that is not called: its name, for suggestions, and a summary."""
    summary = SUMMARY[name] if summarized else ""
    return App(name=name, help=summary, help_format="plaintext", group=_group(name))


def _whole(name: str, commands: Sequence[Command], invoke: Invoke, explains: bool) -> App:
    from .options import command_function, epilogue

    group = App(
        name=name, help=SUMMARY[name], help_format="plaintext", help_epilogue="", group=_group(name)
    )
    for command in commands:
        function = command_function(command, invoke)
        end = epilogue(command) if explains else ""
        if len(command.words) == 1:
            group.default(function)
            group.help, group.help_epilogue = str(command.request.__doc__), end
        else:
            group.command(function, name=command.words[1], help_epilogue=end)
    return group


def hide_dash(tokens: Sequence[str]) -> list[str]:
    """The words of a command line with `-` (standard input) written so that it is no option."""
    return [STANDARD_INPUT if token == "-" else token for token in tokens]  # noqa: S105


_LOCATIONS = ("model", "encoder", "index", "data", "out")  # options that name folders, usual first


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 success, 1 failure, 2 bad input, 130 Ctrl-C, 143 SIGTERM.
    """
    with Stopping() as stopping:
        return _run(arguments, stopping)


def _run(arguments: Sequence[str] | None, stopping: Stopping) -> int:
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in tokens
    as_json = "--json" in tokens
    prepare()
    try:
        settings()  # what the environment says is refused here, and not in the middle of the work
        app = build_app(partial(_invoke, stopping), tokens)
        alone = not tokens or bool({"--help", "-h", "--version"} & set(tokens))
        with writing() if alone else nullcontext():  # what the parser prints itself
            result = app(hide_dash(tokens), exit_on_error=False, print_error=False)
        return result if isinstance(result, int) else 0
    except (GeneratorExit, SystemExit):
        raise
    except BaseException as error:  # Ctrl-C, and panics of libraries in Rust, are no exceptions
        return _failed(error, stopping, as_json, debug)


def _failed(error: BaseException, stopping: Stopping, as_json: bool, debug: bool) -> int:
    match error:
        case BrokenPipeError():  # the reader of our stdout left, as `head` does
            return 0
        case CycloptsError():
            reported: GraftError = _parse_error(error)
        case GraftError():
            reported = error
        case KeyboardInterrupt():
            reported = Cancelled(f"stopped at once by {stopping.cause}.")
        case _:
            reported = error_of_machine(error) or _unexpected_error(error, debug)
    _fail(reported, as_json, debug and not reported.message.startswith("unexpected "))
    return stopping.exit_code if isinstance(reported, Cancelled) else reported.exit_code


def _unexpected_error(error: BaseException, debug: bool) -> GraftError:
    if debug:
        traceback.print_exception(error)
    text = f"unexpected {type(error).__name__}: {error}".rstrip(". ") + "."
    return GraftError(text, "Run again with --debug and report it.")


def _invoke(
    stopping: Stopping, command: Command, values: dict[str, Any], face: OutputOptions
) -> int:
    request = _validated(command, values)
    from .show import show

    quiet = face.quiet or not settings().leads
    with Terminal(quiet=quiet, streams=not face.json, stopping=stopping) as monitor:
        try:
            report = command.load()(request, monitor)
        except BadValue as error:  # of a request that the command made of this one
            raise _as_option(command, error) from error
    if not settings().leads:
        return 0
    with writing():
        if face.json:
            content = report.model_dump(mode="python")
            sys.stdout.write(json.dumps(content, default=str) + "\n")
        else:
            show(report, streamed=monitor.streamed)
    return int(not report.well)


def _validated(command: Command, values: dict[str, Any]) -> Any:
    try:
        return command.request(**values)
    except BadValue as error:
        raise _as_option(command, error) from error


def _as_option(command: Command, error: BadValue) -> BadInput:
    """Return the refusal of a field in words of the command line."""
    if error.field not in command.request.model_fields:
        return error
    of_python = not error.hint or error.hint.startswith("See: help(")
    hint = f"See: graft {' '.join(command.words)} --help" if of_python else error.hint
    return BadInput(error.spelled(_option(command, error.field)), hint)


def _option(command: Command, name: str) -> str:
    from ..requests.base import is_positional

    words = name.rstrip("_").replace("_", "-")
    info = command.request.model_fields.get(name)
    positional = info is not None and is_positional(info)
    return words.upper() if positional else f"--{words}"


def _parse_error(error: CycloptsError) -> BadInput:
    if isinstance(error, UnusedCliTokensError):
        return _unexpected(error)
    text = _missing_option(error) or _no_number(error) or " ".join(str(error).split())
    text = _with_dash(text)
    words = " ".join(["graft", *(error.command_chain or ()), "--help"])
    text = text if text.endswith(("?", ".")) else f"{text}."
    return BadInput(text, f"See: {words}")


def _with_dash(text: str) -> str:
    return text.replace(STANDARD_INPUT, "-").replace(repr(STANDARD_INPUT)[1:-1], "-")


def _unexpected(error: UnusedCliTokensError) -> BadInput:
    """Explain surplus arguments: a folder without its option, or missing quotes."""
    from ..requests.base import is_positional

    chain = tuple(error.command_chain or ())
    fields = {
        name
        for command in CATALOGUE
        if command.words == chain
        for name, info in command.request.model_fields.items()
        if not is_positional(info)
    }
    options = [f"--{name} ..." for name in _LOCATIONS if name in fields]
    folder = f"A folder or file is named by an option ({', '.join(options)}); a" if options else "A"
    return BadInput(
        f"not expected here: {_with_dash(' '.join(error.unused_tokens or ()))}.",
        f"{folder} text of several words stands in quotes. See: {' '.join(['graft', *chain])} "
        "--help",
    )


def _missing_option(error: CycloptsError) -> str | None:
    if not isinstance(error, MissingArgumentError) or error.keyword or error.argument is None:
        return None
    long = [name for name in error.argument.names if name.startswith("--")]
    if not long or error.argument.tokens:
        return None
    return f"{long[0]} is missing: {error.argument.parameter.help}."


def _no_number(error: CycloptsError) -> str | None:
    if not isinstance(error, CoercionError) or error.token is None:
        return None
    target: Any = error.target_type
    kinds = get_args(target) or (target,)
    if not {int, float} & set(kinds):
        return None
    words = ["a number" if float in kinds else "a whole number"]
    words += [str(word) for kind in kinds for word in get_args(kind)]
    return (
        f"{error.token.keyword or 'a value'} {error.token.value!r} is not valid: "
        f"it must be {' or '.join(words)}."
    )


def _fail(error: GraftError, as_json: bool, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    if as_json:
        with suppress(NoRoom, BrokenPipeError), writing():
            sys.stdout.write(json.dumps(error.to_json()) + "\n")
    say(f"graft: {printable(error.text)}")
