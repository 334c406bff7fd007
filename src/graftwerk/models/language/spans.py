"""Extraction of the words in a sentence that most likely answer a question.

Every run of words is a candidate that is crossed neither by punctuation nor by the border of a
table's cell. A linear score prefers what the question asks for (an amount, a time, a name), few
words, none of the question's own but near to them, and ends where a phrase ends. Fitted by
`bench/fit_reading.py`, as the reading is. A run that cannot be an answer of the kind asked for, as
a section's number or the price of something else, is never the span, however well it scores.
"""

import re
from dataclasses import dataclass
from itertools import pairwise, takewhile

import numpy as np
from jaxtyping import Bool, Float64

from .reader import PassageReading
from .reading import COUNT, HOLDS, NUMBER, UNIT, Kind, is_numbered_heading, kind_of
from .sentences import LABEL, content_stems, is_negated, stem

# ruff: noqa: RUF001, SIM905  quotation marks; word lists

_TOKEN = re.compile(r"[^\W_]+(?:[.,:'’/-][^\W_]+)*|[$€£%°]|[^\w\s]")
_JOINS = frozenset(
    """a an the of in on at to for by with from and or but as that which who is are was were be
    been has have had it its this these those than then not into over under after before until
    since when where while""".split()
)
_PREPOSITION = re.compile(r"(?:at|by|for|in|of|on|to)\s+(?=\S)", re.IGNORECASE)
_STOPS = frozenset(';:()[]"“”?!—–|')
_LONGEST = 9  # tokens
_NO_AMOUNT = re.compile(r"[$€£¥]|\b(?:EUR|USD|GBP|CHF)\b|\d[-/:]\d\d\b")  # prices, dates, times
_BETWEEN = re.compile(r"[^|\s](?:[^|]*[^|\s])?")  # what is between the borders of cells
_CELL = re.compile(r"\d[\d.,:/-]*")
_CAPITAL = re.compile(r"\b[A-Z]\w+")
_EXACT: dict[Kind, re.Pattern[str]] = {
    **{kind: HOLDS[kind] for kind in ("amount", "money", "often", "when")},
    "duration": re.compile(rf"\b{COUNT}\b.*\b{UNIT}\b|\b{COUNT}[- ]{UNIT}", re.IGNORECASE),
    "who": _CAPITAL,
    "where": _CAPITAL,
}
FEATURES = (
    "holds the kind",
    "holds little else",
    "the question's words",
    "length",
    "above 4 words",
    "one word",
    "starts in a join",
    "ends in a join",
    "start of a phrase",
    "end of a phrase",
    "before the question's word",
    "cuts a name",
    "all capitals",
    "no capitals",
    "no figure",
    "comma",
    "distance",
    "at a stop",
    "after the question's words",
    "first",
    "length of a clause",
)
WEIGHTS = (
    1.97, 1.64, -1.69, -0.97, -0.97, -2.48, -1.95, -2.27, 1.34, 1.9, 1.86, -1.33, 1.89, 2.34,
    -2.12, -1.83, -2.0, 0.51, 0.68, -0.27, 2.42,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidate runs of words in a sentence.

    Attributes:
        spans: start and end in the sentence.
        features: what is seen of each: `FEATURES`.
        fits: whether each can be an answer of the kind that the question asks for.
    """

    spans: list[tuple[int, int]]
    features: Float64[np.ndarray, "n f"]
    fits: Bool[np.ndarray, " n"]


def find_span(question: str, sentence: str) -> tuple[int, int] | None:
    """Return the span of the most likely answer in the sentence; None without any of its kind."""
    found = find_candidates(question, sentence)
    if not found.fits.any() or is_numbered_heading(sentence):
        return None
    scores = found.features @ np.array(WEIGHTS)
    return found.spans[int(np.argmax(np.where(found.fits, scores, -np.inf)))]


def find_seen(
    question: str, text: str, seen: PassageReading, inside: tuple[int, int]
) -> tuple[int, int] | None:
    """Return the span that the trained reader prefers between two characters.

    It is in one cell of a table, for a yes or no it leaves out no negation of the sentence, and it
    starts without a preposition: "pneumonia" rather than "of pneumonia".
    """
    first, last = inside
    cells = split_cells(question, text[first:last])
    spans = [seen.span(first + a, first + b) for a, b in cells]
    best = max((span for span in spans if span is not None), default=None)
    if best is None:
        return None
    start, end = best[1]
    if kind_of(question) == "yes" and is_negated(f"{text[first:start]} {text[end:last]}"):
        return None
    leading = _PREPOSITION.match(text, start, end)
    return leading.end() if leading else start, end


def split_cells(question: str, sentence: str) -> list[tuple[int, int]]:
    """Return the cells of a row of a table; of other sentences the whole."""
    tokens = _Tokens(question, sentence)
    borders = [
        tokens.starts[n]
        for n in range(1, len(tokens.texts))
        if tokens.texts[n - 1] == "|" or tokens.begins_cell(n)
    ]
    cells = pairwise([0, *borders, len(sentence)])
    return [(a, a + len(sentence[a:b].rstrip(" |"))) for a, b in cells]


def find_cell(question: str, text: str, inside: tuple[int, int]) -> tuple[int, int] | None:
    """Return the cell of a table's row whose column the question names; None if it names none.

    Args:
        question: the question.
        text: the whole passage, in which rows are lines with `|`, and the first of them the header.
        inside: first character of the row in the passage, and one past its last.
    """
    begin = text.rfind("\n", 0, inside[0]) + 1
    line = text[begin : (text + "\n").index("\n", begin)]
    above = text[:begin].split("\n")[-2::-1]
    header = list(takewhile(lambda one: "|" in one, above))[-1:]
    if "|" not in line or not header:
        return None
    names = header[0].strip(" |").split("|")
    cells = [match.span() for match in _BETWEEN.finditer(line)]
    if len(cells) != len(names):
        return None
    asked = content_stems(question)
    for name, (a, b) in list(zip(names, cells, strict=True))[1:]:
        if content_stems(name) & asked and inside[0] <= begin + a < begin + b <= inside[1]:
            return begin + a, begin + b
    return None


def find_candidates(question: str, sentence: str) -> Candidates:
    """Return every run of words that may be an answer."""
    tokens = _Tokens(question, sentence)
    spans = []
    rows: list[list[float]] = []
    fits: list[
        int
    ] = []  # 2 if the cell of a table has a label that the question names, else 0 or 1
    for first in range(len(tokens.texts)):
        for last in range(first, min(len(tokens.texts), first + _LONGEST)):
            if tokens.texts[last] in _STOPS or (last > first and tokens.begins_cell(last)):
                break
            if tokens.may_be(first, last):
                spans.append((tokens.starts[first], tokens.ends[last]))
                rows.append(tokens.describe(first, last))
                fits.append(tokens.fits(first, last))
    best = max(fits, default=1) or 1
    return Candidates(
        spans,
        np.array(rows, dtype=np.float64).reshape(-1, len(FEATURES)),
        np.array(fits, dtype=np.int64) == best,
    )


class _Tokens:
    def __init__(self, question: str, sentence: str) -> None:
        matches = list(_TOKEN.finditer(sentence))
        requested = self.requested = content_stems(question)
        self.sentence = sentence
        self.kind = kind_of(question)
        self.texts = [match[0] for match in matches]
        self.starts = [match.start() for match in matches]
        self.ends = [match.end() for match in matches]
        self.words = [text[0].isalnum() for text in self.texts]
        self.joins = [text.lower() in _JOINS for text in self.texts]
        self.asked = [stem(text.lower()) in requested for text in self.texts]
        self.negations = [n for n, text in enumerate(self.texts) if is_negated(text)]
        self.positions = [n for n, asked in enumerate(self.asked) if asked]

    def may_be(self, first: int, last: int) -> bool:
        starts = self.words[first] or self.texts[first] in "$€£"
        ends = self.words[last] or self.texts[last] in "%°"
        return starts and ends and bool(self._content(first, last))

    def begins_cell(self, number: int) -> bool:
        """Whether a table's cell ends between a token and the one before it."""
        gap = self.sentence[self.ends[number - 1] : self.starts[number]]
        labelled = "\n" in gap and LABEL.match(self.sentence, self.starts[number])
        if "\t" in gap or "   " in gap or labelled:
            return True
        pair = self.texts[number - 1 : number + 1]  # 61 9.40, but not 555 01 23
        return all(_CELL.fullmatch(text) for text in pair) and any(not t.isdigit() for t in pair)

    def fits(self, first: int, last: int) -> int:
        """Whether a run can be an answer; 2 in a cell whose label shares words with the question.

        A number under such a label needs no unit.
        """
        begin = self.sentence.rfind("\n", 0, self.starts[first]) + 1
        label = LABEL.match(self.sentence, begin)
        names = label is not None and label.end() <= self.starts[first]
        named = names and bool(content_stems(label[0]) & self.requested) if label else False
        content = self._content(first, last)
        text = self.sentence[self.starts[first] : self.ends[last]]
        if self.kind in ("amount", "money", "often", "when", "duration"):
            fits = (NUMBER if named else _EXACT[self.kind]).search(text) is not None
            fits = fits and (named or self.kind != "amount" or not _NO_AMOUNT.search(text))
        else:
            fits = any(self.texts[n][0].isalpha() for n in content)
            fits = fits or self.kind not in ("who", "where")  # a number is no person and no place
            fits = fits and 2 * sum(self.asked[n] for n in content) < len(content)
            if self.kind == "yes":  # "post pictures" would say the opposite of "must not post"
                fits = fits and all(first <= n <= last for n in self.negations)
        return 1 + named if fits else 0

    def _content(self, first: int, last: int) -> list[int]:
        return [n for n in range(first, last + 1) if self.words[n] and not self.joins[n]]

    def describe(self, first: int, last: int) -> list[float]:
        inside = range(first, last + 1)
        text = self.sentence[self.starts[first] : self.ends[last]]
        content = self._content(first, last)
        length = sum(self.words[n] for n in inside)
        capitals = [n for n in inside if self.words[n] and self.texts[n][0].isupper()]
        before, after = first - 1, last + 1
        inner = after < len(self.texts)
        pattern = _EXACT.get(self.kind)
        holds = pattern is not None and pattern.search(text) is not None
        outside = [n for n in self.positions if not first <= n <= last]
        distance = min((min(abs(first - n), abs(last - n)) for n in outside), default=6)
        cuts_left = before > 0 and self._is_capital(before) and self._is_capital(first)
        cuts_right = inner and self._is_capital(after) and self._is_capital(last)
        is_name = self.kind in ("who", "where", "what") and first > 0
        seen = [
            holds,
            holds and len(content) <= 3,
            sum(self.asked[n] for n in content) / len(content),
            length,
            max(0, length - 4),
            length == 1,
            self.joins[first],
            self.joins[last],
            before < 0 or self.joins[before] or not self.words[before],
            not inner or self.joins[after] or not self.words[after],
            inner and self.asked[after],
            cuts_left + cuts_right,
            is_name and len(capitals) == len(content),
            self.kind in ("who", "where") and not capitals,
            self.kind in ("money", "duration", "amount") and not NUMBER.search(text),
            any(self.texts[n] == "," for n in inside),
            min(distance, 6) / 6,
            not inner or self.texts[after] in ".;,",
            bool(self.positions) and first > max(self.positions),
            first == 0,
            length / 5 if self.kind in ("how", "why", "yes", "what") else 0,
        ]
        return [float(value) for value in seen]

    def _is_capital(self, position: int) -> bool:
        return self.words[position] and self.texts[position][0].isupper()
