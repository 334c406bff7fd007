"""Build the command line: a stub for each command, and in full only the one that is called.

`graft --help` needs names and summaries alone, so it imports no request.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cyclopts import App, Group

from .. import __version__
from ..commands import CATALOGUE, Command

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
    "calibrate": "Set the answerability threshold of an index from answerable and unanswerable "
    "questions.",
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
        name=name,
        help=SUMMARY[name],
        help_format="plaintext",
        help_epilogue="",
        group=_group(name),
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
