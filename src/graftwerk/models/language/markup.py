"""The words of a passage without the markup around them, character by character.

Markup is overwritten, not removed: every other character stays where it is, so that a span of the
result is the same span of the file.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePath
from typing import TypeVar

from ...results import Passage

AnyPassage = TypeVar("AnyPassage", bound=Passage)
MASK = "\x7f"  # overwrites markup inside a line; no tokenizer and no word includes it
_MARKDOWN = frozenset({".md", ".markdown", ".mdx", ".qmd", ".rmd", ".ipynb"})
_RST = frozenset({".rst", ".rest"})
_TAGS = (
    "a|abbr|b|big|blockquote|br|caption|center|cite|code|col|colgroup|dd|del|details|div|dl|dt|em"
    "|figcaption|figure|font|footer|h[1-6]|header|hr|i|iframe|img|ins|kbd|label|li|main|mark|nav|ol"
    "|p|picture|pre|s|section|small|source|span|strong|sub|summary|sup|svg|table|tbody|td|tfoot|th"
    "|thead|tr|u|ul|video"
)
# Of each pattern all is overwritten but its groups. Every repetition is bounded.
_OF_MARKDOWN = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"<!--[^<>]{0,2000}-->",
        r"\{%[^{}\n]{0,300}%\}",  # Liquid and Jinja
        r"\{\{[^{}\n]{0,300}\}\}",
        r"\{:[^{}\n]{0,200}\}",  # attributes of kramdown
        rf"</?(?:{_TAGS})(?:\s[^<>]{{0,500}})?/?>",
        r"<(https?://[^<>\s]{1,500})>",
        r"^ {0,3}\[[^\[\]\n]{1,200}\]:[ \t]+\S[^\n]{0,500}$",  # what a link's name refers to
        r"!\[([^\[\]]{0,300})\]\([^()\n]{0,500}(?:\([^()\n]{0,200}\)[^()\n]{0,200})?\)",
        r"\[([^\[\]]{1,300})\]\([^()\n]{0,500}(?:\([^()\n]{0,200}\)[^()\n]{0,200})?\)",
        r"\[([^\[\]\n]{1,300})\]\[[^\[\]\n]{0,200}\]",
        r"\*\*(?=\S)([^*\n]{1,300}?)\*\*",
        r"(?<!\w)__(?=\S)([^_\n]{1,300}?)__(?!\w)",
    )
)
_OF_RST = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"^[ \t]{0,40}\.\. (?:_[^\n]{1,200}:|\|[^\n]{1,200}|(?:toctree|image|figure|include|index"
        r"|highlight|only|contents|raw|literalinclude)::[^\n]{0,300})[^\n]{0,300}$",
        r"^[ \t]{0,40}\.\. [\w.:+-]{1,60}::[ \t]{0,9}",
        r"^[ \t]{1,40}:[\w-]{1,60}:(?:[ \t][^\n]{0,300})?$",  # options of a directive
        r":[A-Za-z][\w:.+-]{0,60}:`([^`<>]{1,300}?)(?:\s{0,9}<[^`<>]{1,300}>)?`",
        r"`([^`<>]{1,300}?)\s{0,9}<[^`<>]{1,300}>`__?",
        r"(?<!`)`([^`<>\n]{1,300})`__?",
        r"`(`[^`\n]{1,300}`)`",
        r"(?<=[^\s:]:):[ \t]{0,9}$",  # the second colon of a sentence before code
        r"\*\*(?=\S)([^*\n]{1,300}?)\*\*",
    )
)
# lines around code, which are blank to a reader
_FENCE = re.compile(r"^[ \t]{0,40}(?:`{3,9}|~{3,9})[^`\n]{0,200}$", re.MULTILINE)
_MARK_OF_CODE = re.compile(r"^[ \t]{0,40}::[ \t]{0,9}$", re.MULTILINE)
_FRONT_MATTER = re.compile(
    r"---[ \t]*\r?\n(?:[^\n]{0,2000}\n){0,200}?(?:---|\.\.\.)[ \t]*(?:\r?\n|$)"
)


def readable(passages: Iterable[AnyPassage]) -> list[AnyPassage]:
    """Return the passages without their markup, which is overwritten."""
    texts = ((one, without_markup(one.text, one.path, one.start)) for one in passages)
    return [one if text == one.text else replace(one, text=text) for one, text in texts]


def without_markup(text: str, path: str, start: int = 0) -> str:
    """Return a passage of the same length in which markup is overwritten.

    Args:
        text: of the passage.
        path: of its file, whose ending says which markup it has; other files have none.
        start: of the passage in the file: only at its beginning is there front matter.
    """
    suffix = PurePath(path).suffix.lower()
    if suffix in _RST:
        patterns, text = _OF_RST, _MARK_OF_CODE.sub(lambda line: _blank(line[0]), text)
    elif suffix in _MARKDOWN:
        patterns = _OF_MARKDOWN
        if start == 0 and (front := _FRONT_MATTER.match(text)):
            text = _blank(front[0]) + text[front.end() :]
        text = _FENCE.sub(lambda line: _blank(line[0]), text)
    else:
        return text
    for pattern in patterns:
        text = pattern.sub(_overwritten, text)
    return text


def _blank(text: str) -> str:
    """Return as many spaces, and the ends of lines where they are."""
    return re.sub(r"[^\r\n]", " ", text)


def _overwritten(found: re.Match[str]) -> str:
    """Return a match of which only its group, if it has one, is still to be read."""
    whole, first, last = found[0], 0, 0
    if found.lastindex:
        first, last = found.start(1) - found.start(), found.end(1) - found.start()
    return _masked(whole[:first]) + whole[first:last] + _masked(whole[last:])


def _masked(text: str) -> str:
    return re.sub(r"[^\r\n]", MASK, text)
