# ruff: noqa: RUF001  quotation marks and dashes
"""Finding a quote in a text whatever its white space, letter case and quotation marks are."""

import re
import unicodedata

from ..frozen.plain import CITATION, strip_controls
from ..frozen.words import content_stems

_SAME = str.maketrans(
    dict.fromkeys("‘’‚‛`´′", "'") | dict.fromkeys("“”„‟″«»", '"') | dict.fromkeys("‐‑‒–—―−", "-")
)
_DROPPED = frozenset("\"'*_")  # quotation marks and Markdown's emphasis


def find_quote(claim: str, text: str) -> tuple[int, int] | None:
    """Span of `text` that says `claim` in the same words; None where there is none.

    White space, letter case, kinds of quotation marks and dashes, emphasis, footnote numbers in
    square brackets, and punctuation at the claim's two ends make no difference. A claim without
    a content word (`Yes.`) is no quote.
    """
    if not content_stems(claim):
        return None
    wanted, _ = _normalise(claim)
    wanted = re.sub(r"^\W+|\W+$", "", wanted)
    found, origins = _normalise(text)
    match = re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", found) if wanted else None
    if match is None:
        return None
    end = origins[match.end() - 1] + 1
    while end < len(text) and text[end] in ".!?…":
        end += 1
    return origins[match.start()], end


def _normalise(text: str) -> tuple[str, list[int]]:
    """`text` as it is compared, and for each of its characters the place it comes from."""
    footnotes = {
        place for match in CITATION.finditer(text) for place in range(match.start(), match.end())
    }
    characters: list[str] = []
    origins: list[int] = []
    for place, original in enumerate(text):
        if place in footnotes or not strip_controls(original):
            continue
        for character in unicodedata.normalize("NFKC", original).casefold().translate(_SAME):
            is_space = character.isspace()
            if character in _DROPPED or (is_space and (not characters or characters[-1] in " !<")):
                continue
            characters.append(" " if is_space else character)
            origins.append(place)
    return "".join(characters), origins
