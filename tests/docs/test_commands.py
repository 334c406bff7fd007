"""Every command line in README, docs and help is one that the parser and its request accept."""

import re
import shlex
from pathlib import Path

import pytest

from graftwerk.cli.app import build_app, hide_dash
from graftwerk.commands import CATALOGUE

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_LINE = re.compile(r"^(?:    |\$ )?((?:[A-Z_]+=\S+ )*graft .*)$")
_END = re.compile(r"\s{2,}#.*|\s+(?:\||&&|>|2>).*")  # a comment, or what takes the output
GROUPS = {command.words[0] for command in CATALOGUE} | {"--help", "--version"}
OPTIONS = {"--json", "--quiet", "--debug", "--help", "--version", "-o", "-k", "-"} | {
    f"--{name.rstrip('_').replace('_', '-')}"
    for command in CATALOGUE
    for name in command.request.model_fields
}


def text_of(page: Path) -> str:
    return page.read_text("utf-8").replace("\\\n", " ")


def whole_lines() -> list[tuple[str, str]]:
    """Lines to type, and the examples of the help."""
    found = [("--help", command.example) for command in CATALOGUE]
    for page in PAGES:
        lines = [_LINE.match(line) for line in text_of(page).splitlines()]
        commands = [_END.sub("", one[1]).strip() for one in lines if one]
        found += [(page.name, one) for one in commands if "..." not in one]
    return sorted(set(found))


def in_running_text() -> list[tuple[str, str]]:
    """Names of commands and parts of lines between backticks."""
    return sorted(
        {
            (page.name, one)
            for page in PAGES
            for one in re.findall(r"`(graft [^`\n]+)`", text_of(page))
        }
    )


def accept(line: str) -> list[str]:
    """The command that a line calls, its options checked by its request."""
    called = []

    def invoke(command, values, face):
        command.request(**values)
        called.append(" ".join(command.words))
        return 0

    tokens = shlex.split(line)
    while "=" in tokens[0]:
        tokens.pop(0)
    words = hide_dash(tokens[1:])
    build_app(invoke, words)(words, exit_on_error=False, print_error=False)
    return called


@pytest.mark.parametrize(("where", "line"), whole_lines())
def test_a_documented_line_is_accepted(where, line):
    assert accept(line) or {"--help", "--version", "--install-completion"} & set(line.split())


@pytest.mark.parametrize(("where", "line"), in_running_text())
def test_commands_and_options_in_running_text_exist(where, line):
    words = shlex.split(line)
    assert words[1] in GROUPS or words[1].isupper()
    named = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert named - {"-1", "-2"} <= OPTIONS | {"--no-header"}


def test_a_changed_option_is_noticed():
    with pytest.raises(Exception, match="Unknown option"):
        accept("graft predict fit x --no-such-option 3")
    with pytest.raises(Exception, match="threshold"):
        accept("graft predict fit x --threshold 3")
    assert accept("graft embed - --out v.npy") == ["embed"]
