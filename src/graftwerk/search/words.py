"""Search by words: a query as a full-text expression, and where its words stand in a passage."""

import re
import secrets

_WORD = re.compile(r"[^\W_]+")
_MOST_TERMS = 128  # of a query; SQLite joins any number, but each costs a look-up
HEADING_WEIGHT = 2.0  # of 0.5 to 4 best or as good on a handbook with fifty questions
TEXT_WEIGHT = 1.0
# Function words of English: nearly every passage has them, so they cost time and rank nothing.
_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a an and are as at be been but by can could did do does for from had has have he her his
        how i if in into is it its may me my no nor not of on or our she should so than that the
        their them then there these they this those to was we were what when where which who whom
        whose why will with would you your
        """,
    )
)


def to_terms(query: str) -> list[str]:
    """The words of a query worth looking up, each once; all of them where none is worth it."""
    words = list(dict.fromkeys(_WORD.findall(query.lower())))
    content = [word for word in words if word not in _STOP_WORDS]
    return (content or words)[:_MOST_TERMS]


def to_match(query: str) -> str | None:
    """The FTS5 expression that finds any word of a query; None when it has no word.

    Words are quoted, so that nothing in a query is read as an operator.
    """
    terms = to_terms(query)
    return " OR ".join(f'"{term}"' for term in terms) if terms else None


def new_mark() -> str:
    """A string that no text holds, to stand around matches in FTS5's `highlight`."""
    return f"\ue000{secrets.token_hex(8)}\ue001"


def read_marks(highlighted: str, mark: str) -> tuple[tuple[int, int], ...]:
    """Spans between marks: the first opens, the second closes, and so on."""
    spans = []
    position = 0
    pieces = highlighted.split(mark)
    for number, piece in enumerate(pieces):
        if number % 2 and piece:
            spans.append((position, position + len(piece)))
        position += len(piece)
    return tuple(spans)
