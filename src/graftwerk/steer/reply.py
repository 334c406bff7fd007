"""What of a writer's reply reaches the user: plain text that cites only what was sent."""

import re
from collections.abc import Iterable, Iterator

from .. import limits
from ..errors import WriterFailed
from ..frozen.plain import (
    CITATION,
    UNFINISHED_ESCAPE,
    UNFINISHED_LOADING,
    disarm,
    rewrite,
    strip_controls,
)

_OPENED = r"\[[0-9\s,;]{0,80}"
# A bracket left open before a citation could close around what follows when it is taken out.
_CITATION_WITH_OPENED = re.compile(rf"({_OPENED})?({CITATION.pattern})")
_UNFINISHED_CITATION = re.compile(rf"\s{{0,4}}(?:{_OPENED}){{1,2}}$|\s{{1,4}}$")


class KnownCitations:
    """Lets only citations of known numbers through.

    Attributes:
        removed: how many numbers were taken out so far.
    """

    def __init__(self, known: Iterable[int]) -> None:
        self._known = frozenset(known)
        self.removed = 0

    def clean(self, text: str) -> str:
        """`text` without citations of unknown numbers."""
        return _CITATION_WITH_OPENED.sub(self._keep_known, text)

    def _keep_known(self, found: re.Match[str]) -> str:
        opened, citation = found[1] or "", found[2]
        cited = numbers_of(citation)
        kept = [number for number in cited if number in self._known]
        self.removed += len(cited) - len(kept)
        if len(kept) == len(cited):
            return found[0]
        if kept:
            return f"{opened}{citation[: citation.index('[')]}[{', '.join(map(str, kept))}]"
        return opened.replace("[", "(")


def numbers_of(citation: str) -> list[int]:
    """Numbers of one `[1, 2]`."""
    return [int(number) for number in re.findall(r"[0-9]+", citation)]


def clean_reply(pieces: Iterable[str], citations: KnownCitations) -> Iterator[str]:
    """Yield a reply as plain text without citations of what was not sent.

    The order matters: a control character may hide a citation, and taking a citation out may join
    `!` and `[` to an image.

    Raises:
        WriterFailed: the reply is longer than `limits.REPLY_CHARACTERS`.
    """
    visible = rewrite(_limited(pieces), strip_controls, UNFINISHED_ESCAPE)
    known = rewrite(visible, citations.clean, _UNFINISHED_CITATION)
    return rewrite(known, disarm, UNFINISHED_LOADING)


def _limited(pieces: Iterable[str]) -> Iterator[str]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > limits.REPLY_CHARACTERS:
            raise WriterFailed(
                f"the reply has more than {limits.REPLY_CHARACTERS:,} characters.",
                "The writer does not stop by itself; lower --max-tokens or use another one.",
            )
        yield piece
