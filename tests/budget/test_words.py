"""Comments, docstrings, messages and pages are in one spelling, the American one."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for d in ("src", "bench", "tests", "docs") for path in (ROOT / d).rglob("*.py")
)
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
# names in code keep what files and reports hold: `colour` of scenes, `licence` of models
BRITISH = re.compile(
    r"(?<![\w.{`\"'/-])(?:colour(?:s|ed|ing|less)?|licences?|neighbour(?:s|ing|hood)?|greys?"
    r"|cent(?:re|res|red)|behaviours?|(?:normal|initial|recogn|optim|organ|summar)is(?:e|es|ed|ing)"
    r"|(?:un)?labell(?:ed|ing)|judgement|analys(?:e|es|ed))(?![\w}`\"'=\](]|: )",
    re.I,
)
# a filter on what no index has, values of --target, words that a prompt may hold, names of
# measures and of stages, and text of a test
ALLOWED = (
    "colour = red", "kind, colour, ground, time, keypoints", "colored coloured",
    "spectrum, neighbours", "neighbours and probe", "| neighbours |", "1 grey", "cost centre",
)  # fmt: skip


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Comments, and strings of several words."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
        elif token.type == tokenize.STRING and " " in token.string:
            yield token.start[0], token.string.lstrip("rbfRBF").strip("\"'")


def british(text: str) -> list[str]:
    for allowed in ALLOWED:
        text = text.replace(allowed, "")
    return BRITISH.findall(text)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_code_is_in_one_spelling(path):
    found = [] if path == Path(__file__) else [line for line, text in prose(path) if british(text)]
    assert not found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_are_in_one_spelling(path):
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", path.read_text("utf-8"), flags=re.S | re.M)
    assert not british(text)


def test_it_would_be_seen():
    assert british("a colour") == ["colour"]
    assert not british("`colour`, thing.colour, {colour}, a color")


def test_one_thing_is_not_counted_as_many():
    """Where readers count rows, columns and labels, `text_safety.counted` chooses the noun."""
    by_hand = re.compile(r"\{len\([a-z_.]+\)(?::,)?\} (?:rows|labels|columns) (?:are|have)\b")
    readers = (ROOT / "src" / "graftwerk" / "data").rglob("*.py")
    assert not [path.name for path in readers if by_hand.search(path.read_text("utf-8"))]
