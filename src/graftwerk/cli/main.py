"""Entry point of `graft`: parse, validate, run, show; every error is one line."""

import json
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, get_args

from cyclopts import CoercionError, CycloptsError, MissingArgumentError
from cyclopts.exceptions import UnusedCliTokensError

from ..commands import CATALOGUE, Command
from ..errors import BadInput, BadValue, Cancelled, GraftError, NoRoom, error_of_machine
from ..settings import settings
from ..text_safety import printable
from . import streams
from .app import STANDARD_INPUT, OutputOptions, build_app, hide_dash
from .streams import Stopping

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
    streams.prepare()
    try:
        settings()  # what the environment says is refused here, and not in the middle of the work
        app = build_app(partial(_invoke, stopping), tokens)
        alone = not tokens or bool({"--help", "-h", "--version"} & set(tokens))
        with streams.writing() if alone else nullcontext():  # what the parser prints itself
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
    text = f"unexpected {type(error).__name__}: {error}"
    return GraftError(text, "Run again with --debug and report it.")


def _invoke(
    stopping: Stopping, command: Command, values: dict[str, Any], face: OutputOptions
) -> int:
    request = _validated(command, values)
    from .progress import Terminal
    from .show import show

    quiet = face.quiet or not settings().leads
    with Terminal(quiet=quiet, streams=not face.json, stopping=stopping) as monitor:
        try:
            report = command.load()(request, monitor)
        except BadValue as error:  # of a request that the command made of this one
            raise _as_option(command, error) from error
    if not settings().leads:
        return 0
    with streams.writing():
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
        with suppress(NoRoom, BrokenPipeError), streams.writing():
            sys.stdout.write(json.dumps(error.to_json()) + "\n")
    streams.say(f"graft: {printable(str(error))}")
