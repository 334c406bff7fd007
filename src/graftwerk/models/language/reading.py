"""Ranking of source sentences by how probably they answer a question.

A linear score of what can be seen of a sentence: cosines with the question, alone and under its
headings; the question's words in it and around it; the rank of its passage; and whether it holds
what the question asks for (an amount, a time, a person, a reason, a yes or no). The kinds of
question are those of English; in other languages the cosines and words remain.

With the built-in encoder, the trained reader (`reader.py`) adds what it finds in the sentence and
its passage. The coefficients were fitted by `bench/fit_reading.py` on the question sets in
`bench/questions`; its docstring says how, and how well they do on a set left out.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64

from ...data.documents.formats import is_table_path
from ...errors import BadInput
from ...text_safety import CITATION
from ...types import Encoder, Prompt, Source, Vectors
from .markup import MASK
from .reader import PassageReading, Reader
from .sentences import NUMBER_WORDS, content_stems, covered, rarity, split_sentences, split_words

# ruff: noqa: RUF001  quotation marks

Kind = Literal[
    "amount", "money", "duration", "often", "when", "who", "where", "why", "how", "yes", "what"
]

_MONTHS = "january february march april may june july august september october november december"
_MONTH = "|".join(_MONTHS.split())
UNIT = r"(?:seconds?|minutes?|hours?|days?|nights?|weeks?|months?|years?|quarters?|decades?)"
_WRITTEN = "|".join(NUMBER_WORDS)
COUNT = rf"(?:\d[\d.,]*|{_WRITTEN}|half|every|each)"
NUMBER = re.compile(rf"\d|\b(?:{_WRITTEN}|first|second|third|half|quarter|dozen)\b", re.IGNORECASE)

# What a sentence that answers a question of the kind is likely to hold.
HOLDS: dict[Kind, re.Pattern[str]] = {
    "amount": NUMBER,
    "money": re.compile(
        r"[$€£¥]\s?\d|\d\s?%|\b(?:free|half|nothing|no charge)\b"
        r"|\b\d[\d.,]*\s?(?:euros?|dollars?|pounds?|cents?|francs?|crowns|usd|eur|gbp)\b",
        re.IGNORECASE,
    ),
    "duration": re.compile(rf"\b{COUNT}(?:[- ]\w+)?[- ]{UNIT}\b|\b{UNIT}\b", re.IGNORECASE),
    "often": re.compile(
        r"\b(?:once|twice|every|each|daily|weekly|monthly|quarterly|yearly|annually|times)\b",
        re.IGNORECASE,
    ),
    "when": re.compile(
        rf"\b(?:{_MONTH})\b|\b(?:mon|tues|wednes|thurs|fri|satur|sun)days?\b|\b\d{{1,2}}:\d\d\b"
        rf"|\b(?:1\d|20)\d\d\b|\b\d{{1,2}}(?:st|nd|rd|th)\b|\b\d+[- ]{UNIT}"
        r"|\b(?:noon|midnight|dawn|dusk|easter|christmas|spring|summer|autumn|winter|morning"
        r"|afternoon|evening|night|first|second|third|last|after|before|until|within|when|once)\b",
        re.IGNORECASE,
    ),
    "who": re.compile(r"\b[A-Z][a-z]+ [A-Z][a-z]+|\b(?:Mr|Mrs|Ms|Dr|Sir|Captain)\b"),
    "where": re.compile(
        r"\b(?:at|in|on|near|behind|beside|opposite|under|above|from|to|into|inside|outside"
        r"|between|through)\s+(?:the |a |an |your |our |any )?\w+",
        re.IGNORECASE,
    ),
    "why": re.compile(
        r"\b(?:because|since|due|so that|in order|therefore|reason|caused?|thought to|means)\b",
        re.IGNORECASE,
    ),
    "how": re.compile(
        r"\b(?:by|with|through|use|press|hold|call|ask|run|set|tell|turn|contact|order|take|send"
        r"|write|hand|apply|button|option)\b|`",
        re.IGNORECASE,
    ),
    "yes": re.compile(
        r"\b(?:may|must|can|cannot|allowed|permitted|prohibited|forbidden|banned|only|never|not|no"
        r"|yes|free|compulsory|required|needed|excluded|unless|welcome|fine|ok|okay|refused"
        r"|without|nothing)\b|n['’]t\b",
        re.IGNORECASE,
    ),
}
# What is measured, by words of the question, and the units that it is measured in.
_MEASURES = [
    (re.compile(rf"\b(?:{asked})\b"), re.compile(units, re.IGNORECASE))
    for asked, units in (
        (
            r"big|large|wide|broad|size|area|space|room|dimensions?|capacity|hold|fit|deep|tall"
            r"|high|height|length|distance|far|width|depth",
            r"\d[\d.,]*\s?(?:x|%|mm|cm|km|m|ft|inch(?:es)?|[kmgt]i?b)\b|\b(?:litres?|liters?"
            r"|metres?|meters?|seats?|square|cubic|feet|yards|miles|acres?|hectares?)\b",
        ),
        (
            r"heavy|weigh\w*|weight",
            r"\d\s?(?:g|kg|lbs?|oz|t)\b|\b(?:kilo)?grams?\b|\b(?:pounds|ounces|tons|tonnes)\b",
        ),
        (r"warm|hot|cold|temperature", r"\bdegrees?\b|°"),
        (r"loud|noisy|noise|quiet", r"\bdb\b|\bdecibels?\b"),
        (
            r"powerful|power|energy|electricity|voltage",
            r"\d\s?(?:k?wh?|v)\b|\b(?:kilo)?(?:watts?|watt-hours?)\b|\bvolts?\b",
        ),
        (
            r"percentage|percent|share|rate|proportion|discount",
            r"%|\bpercent\b|\b(?:half|third|quarter)s?\b",
        ),
        (r"old|age", r"\b(?:aged?|years?|birthday|sixteen|eighteen|\d{1,2})\b|\bat least\b"),
    )
]

_AUXILIARY = (
    "is|are|was|were|do|does|did|can|could|may|might|must|should|will|would|has|have|had|am|shall"
)
_ASKS_YES = re.compile(rf"(?:^|[.,;:!] |\b(?:and|but|so) )(?:{_AUXILIARY})\b(?= )")
_ASKING = re.compile(r"\b(?:how|what|which|whom?|whose|when|where|why)\b")
_STUFF = "water|power|space|room|memory|disk|storage|energy|weight|leave|notice|vacation|time"
# Kinds by what the question says from its question word on; the first that matches.
_PATTERNS: tuple[tuple[Kind, str], ...] = (
    ("who", r"who"),
    ("where", r"where"),
    ("why", r"why|what (?:caused?|made|is the reason|was the reason|led)\b"),
    ("when", r"when|(?:what|which) (?:\w+ )?(?:time|date|days?|month|weekday|year|century)\b"),
    (
        "who",
        r"(?:what|which) (?:\w+ )?(?:person|colleague|employee|woman|man|department|company"
        r"|team|author|officer)\b",
    ),
    (
        "where",
        r"(?:what|which) (?:\w+ )?(?:place|city|town|country|room|floor|street|building)\b"
        r"|.*\baddress\b",
    ),
    ("often", r"how (?:often|frequently)|how many times"),
    (
        "duration",
        rf"how (?:long|soon|quickly|fast)\b|how far (?:ahead|in advance)"
        rf"|how (?:many|much) {UNIT}\b|how much (?:time|notice)",
    ),
    ("money", rf"how (?:expensive|much)\b(?! (?:{_STUFF})\b)"),
    (
        "amount",
        r"how (?:many|much|old|big|large|tall|high|deep|heavy|wide|far|loud|warm|hot"
        r"|cold|strong|thick)\b",
    ),
    ("how", r"how|.*\b(?:should|do|must) i do\b|.*\bnow\b"),
    (
        "money",
        r".*\b(?:costs?|pay|price|fee|fine|penalty|deposit|budget|charged?|salary|tariff|rent"
        r"|premium)\b",
    ),
    (
        "amount",
        r".*\b(?:temperature|weight|length|size|number|percentage|maximum|minimum|share|amount"
        r"|pressure|speed|age|limit|height|discount|population|depth)\b",
    ),
)
_KINDS = [(kind, re.compile(pattern)) for kind, pattern in _PATTERNS]


def kind_of(question: str) -> Kind:
    """Return the kind of answer that a question asks for.

    >>> kind_of("How long is parental leave?"), kind_of("May I bring my dog?")
    ('duration', 'yes')
    """
    folded = question.lower().replace("’", "'")
    asking, yes = _ASKING.search(folded), _ASKS_YES.search(folded)
    if yes is not None and (asking is None or yes.start() < asking.start()):
        return "yes"
    rest = folded[asking.start() :] if asking else ""
    return next((kind for kind, pattern in _KINDS if pattern.match(rest)), "what")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a source.

    Attributes:
        text: as it is quoted: on one line, without the mark of its list and footnote numbers.
        number: of the source.
        start: first character in the text of the source's passage.
        end: one past the last.
        heading: headings above it.
        before: the sentence before it in the passage.
        rank: of the passage among the sources, from 0.
        items: the first items of the list that it introduces, with their marks.
    """

    text: str
    number: int
    start: int
    end: int
    heading: str
    before: str
    rank: int
    items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A sentence and how well it answers the question.

    Attributes:
        sentence: the sentence.
        score: what sentences are ordered by.
        probability: that it answers the question.
        vector: of the sentence alone.
        seen: what the trained reader found in its passage, if it was read.
    """

    sentence: Sentence
    score: float
    probability: float
    vector: Float32[np.ndarray, " d"]
    seen: PassageReading | None = None


FEATURES = (
    "cosine",
    "cosine under headings",
    "words",
    "words in context",
    "rank",
    "figure",
    "no figure",
    "person",
    "other kind",
    "measure",
    "fragment",
)
WEIGHTS = (4.51, 6.35, 1.79, 2.55, 1.89, 2.45, -0.67, 3.57, 1.12, 2.17, -2.96)
PROBABILITY = (0.16, 0.91, -2.02)  # of score, lead over all others, and 1
# of the trained reader: logit that the passage answers, score of the likeliest span in the
# sentence, and logarithm of the probability that the answer is in the sentence
READER_FEATURES = (*FEATURES, "relevance", "span", "share")
READER_WEIGHTS = (
    3.39, 5.77, 0.81, 2.35, 2.15, 1.87, -0.46, 2.25, 1.01, 2.38, -0.33, 0.05, 0.12, 0.05,
)  # fmt: skip
READER_PROBABILITY = (0.25, 0.77, -2.83)
_LEAST = -12.0  # of a score or a logarithm
_READ = 24  # sentences compared by meaning: those that share most words
_FIGURES = frozenset({"amount", "money", "duration", "often", "when"})
_HEADING_MARK = re.compile(r"#{1,6}\s")
_NUMBERED = re.compile(rf"\d[\d.]*\s+(?!(?i:{_MONTH})\b)(?=[A-Z])")
_CODE = re.compile(r"<[/?!]?\w[^\n]*>$")  # a line of XML
_POINTS = re.compile(r"\(?(?:See|Refer to|Read more|For (?:more|further|details)\b)")
_LIST_MARK = re.compile(r"(?:[-*+•>|]\s+|\(?\d{1,3}[.)]\s+)+")


@dataclass(frozen=True, slots=True, eq=False)
class Examined:
    """The sentences worth comparing, what is seen of each, and what the trained reader found.

    Attributes:
        features: see `FEATURES`, or `READER_FEATURES` if there are passages.
        vectors: of the sentences alone.
        passages: empty without a reader.
    """

    sentences: Sequence[Sentence]
    features: Float64[np.ndarray, "n f"]
    vectors: Vectors
    passages: Sequence[PassageReading]


def examine(
    question: str, sources: Sequence[Source], encoder: Encoder, reader: Reader | None = None
) -> Examined | None:
    """Return what is seen of the sentences of the sources; None without sentences."""
    sentences = list_sentences(sources)
    if not sentences:
        return None
    passages = [(source.passage.heading, source.passage.text) for source in sources]
    found = [] if reader is None else reader.read(question, passages)
    seen = describe_seen(sentences, found) if found else None
    return Examined(*find_features(question, sentences, encoder, seen), found)


def read(
    question: str, sources: Sequence[Source], encoder: Encoder, reader: Reader | None = None
) -> list[Reading]:
    """Return the sentences of the sources, the most likely answer first."""
    seen = examine(question, sources, encoder, reader)
    if seen is None:
        return []
    fitted: tuple[Sequence[float], tuple[float, float, float]] = (WEIGHTS, PROBABILITY)
    if reader is not None and seen.passages:
        fitted = (reader.coefficients or READER_WEIGHTS, READER_PROBABILITY)
    scores = seen.features @ np.array(fitted[0])
    values = scores.tolist(), probability(scores, fitted[1]).tolist(), seen.vectors
    readings = [
        Reading(one, score, probable, vector, seen.passages[one.rank] if seen.passages else None)
        for one, score, probable, vector in zip(seen.sentences, *values, strict=True)
    ]
    return sorted(readings, key=lambda one: -one.score)


def describe_seen(
    sentences: Sequence[Sentence], found: Sequence[PassageReading]
) -> Float64[np.ndarray, "n 3"]:
    """Return the last three of `READER_FEATURES` for each sentence."""
    rows = []
    for one in sentences:
        passage, inside = found[one.rank], (one.start, one.end)
        span = passage.span(*inside) or (_LEAST, inside)
        rows.append([passage.relevance, span[0], passage.share(*inside)])
    return np.maximum(np.array(rows, dtype=np.float64).reshape(-1, 3), _LEAST)


def probability(
    scores: Float64[np.ndarray, " n"], fitted: tuple[float, float, float] = PROBABILITY
) -> Float64[np.ndarray, " n"]:
    """Return the probability that each of the sentences with these scores answers."""
    by_score, by_lead, constant = fitted
    return np.asarray(1 / (1 + np.exp(-(by_score * scores + by_lead * lead(scores) + constant))))


def lead(scores: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return each score minus the log-sum-exp of all other scores."""
    exponentials = np.exp(scores - scores.max())
    others = np.maximum(exponentials.sum() - exponentials, 1e-9)
    return np.asarray(np.clip(scores - scores.max() - np.log(others), -10, 10))


def find_features(
    question: str,
    sentences: Sequence[Sentence],
    encoder: Encoder,
    seen: Float64[np.ndarray, "n 3"] | None = None,
) -> tuple[list[Sentence], Float64[np.ndarray, "n f"], Vectors]:
    """The sentences worth comparing by meaning, what is seen of each (`FEATURES`), and vectors."""
    requested = content_stems(question)
    own = [content_stems(sentence.text) for sentence in sentences]
    weights = rarity(own)
    words = np.array([covered(requested, stems, weights) for stems in own])
    around = [
        covered(requested, stems | content_stems(f"{one.heading} {one.before}"), weights)
        for stems, one in zip(own, sentences, strict=True)
    ]
    worth = words + around if seen is None else words + around + np.exp(seen[:, 2])
    order = np.argsort(-worth, kind="stable")[:_READ]
    chosen = np.sort(order)
    sentences = [sentences[i] for i in chosen]

    texts = [one.text for one in sentences]
    under = [f"{one.heading}\n{one.text}" if one.heading else one.text for one in sentences]
    different = list(dict.fromkeys([*texts, *under]))
    asked = encoder.encode_texts([question], role="query")[0]
    vectors = encoder.encode_texts(different)
    cosines = dict(zip(different, (vectors @ asked).tolist(), strict=True))
    row_of = {text: row for row, text in enumerate(different)}
    kind = kind_of(question)
    measures = [units for what, units in _MEASURES if what.search(question.lower())]
    holds = [kind in HOLDS and HOLDS[kind].search(text) is not None for text in texts]
    columns = [
        [cosines[text] for text in texts],
        [cosines[text] for text in under],
        words[chosen],
        np.array(around)[chosen],
        [1 / (1 + one.rank) for one in sentences],
        [held and kind in _FIGURES for held in holds],
        [kind in ("amount", "money") and not NUMBER.search(text) for text in texts],
        [held and kind == "who" for held in holds],
        [held and kind not in _FIGURES and kind != "who" for held in holds],
        [
            kind in ("amount", "money", "what", "how") and any(u.search(text) for u in measures)
            for text in texts
        ],
        [not _is_sentence(text) for text in texts],
    ]
    alone = vectors[[row_of[text] for text in texts]]
    features = np.array(columns, dtype=np.float64).T
    if seen is not None:
        features = np.concatenate([features, seen[chosen]], axis=1)
    return sentences, features, alone


def list_sentences(sources: Sequence[Source]) -> list[Sentence]:
    """Return all sentences of all sources in order; headings with a mark are left out."""
    sentences: list[Sentence] = []
    for rank, source in enumerate(sources):
        text, heading = source.passage.text, source.passage.heading
        before, introduces = "", -1  # where in `sentences` the one before a list is
        # a row of a table is one statement: the value asked for stands beside what it is of
        spans = [(0, len(text))] if is_table_path(source.passage.path) else split_sentences(text)
        for start, end in spans:
            written = CITATION.sub("", text[start:end]).replace(MASK, "")
            written = " ".join(written.split())
            lead = _LIST_MARK.match(written)
            quote = (written[lead.end() :] if lead else written).removesuffix(" |")
            if split_words(quote) and not _HEADING_MARK.match(quote) and not _CODE.match(quote):
                if not lead and introduces >= 0 and sentences[introduces].items:
                    introduces = -1  # the list is over
                if introduces >= 0 and len(sentences[introduces].items) < _ITEMS:
                    items = (*sentences[introduces].items, written)
                    sentences[introduces] = replace(sentences[introduces], items=items)
                sentences.append(Sentence(quote, source.number, start, end, heading, before, rank))
                if quote.endswith(":"):
                    introduces = len(sentences) - 1
            before = quote
    return sentences


def _is_sentence(text: str) -> bool:
    if _POINTS.match(text) or text.endswith("?"):  # where the answer is, or another question
        return False
    words = len(split_words(text))
    states_figure = words >= 3 and any(character.isdigit() for character in text)  # rows, lists
    states_figure = states_figure and not is_numbered_heading(text)
    return words >= 8 or (_ends(text) and words >= 4) or states_figure


def _ends(text: str) -> bool:
    return text.rstrip("\"'”’)*_").endswith((".", "!", "?", "…", ":"))


def _ends_claim(text: str) -> bool:
    return _ends(text) and not text.endswith(":")


def is_numbered_heading(text: str) -> bool:
    """Whether a sentence looks like `4 Warehouse inventory`, whose number counts sections."""
    found = _NUMBERED.match(text)
    rest = text[found.end() :] if found else text
    return found is not None and not _ends(text) and not any(map(str.isdigit, rest))


_QUOTED = 3
_ITEMS = 4  # items of a list that are quoted with the sentence that introduces it
_LEAD = 3.0  # a further sentence whose score is this near to the best one's is quoted too
_SAME = 0.93  # cosine from which two sentences say the same
# A sentence that begins so leans on the one before it.
_LEANS = re.compile(
    r"(?:It|They|This|These|That|Those|He|She|Its|Their|His|Her|Each|Otherwise|If (?:it|they|so))\b"
)


def choose(readings: Sequence[Reading]) -> list[Reading]:
    """Return the best reading and up to two more that are nearly as good and say something else."""
    chosen: list[Reading] = []
    for one in readings:
        if len(chosen) == _QUOTED or one.score < readings[0].score - _LEAD:
            break
        shown = [item for other in chosen for item in other.sentence.items]
        again = any(item.endswith(one.sentence.text) for item in shown)
        if not again and all(float(other.vector @ one.vector) < _SAME for other in chosen):
            chosen.append(one)
    return chosen


class ExtractiveWriter:
    """Writer that quotes one to three sentences, each followed by ` [n]`, the best first.

    Args:
        encoder: compares sentences with the question.
        reader: the trained reader; None for the rules alone.
    """

    def __init__(self, encoder: Encoder, reader: Reader | None = None) -> None:
        self.name = "extractive"
        self.extractive = True
        self.reader = reader
        self._encoder = encoder

    def learned(self, coefficients: Sequence[float]) -> "ExtractiveWriter":
        """Return a writer whose reading has coefficients of its own, where a reader reads along."""
        if self.reader is None or len(coefficients) != len(READER_WEIGHTS):
            return self
        return ExtractiveWriter(self._encoder, self.reader.with_coefficients(coefficients))

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens by the encoder's tokenizer."""
        return self._encoder.count_tokens(text)

    def write(self, prompt: Prompt) -> Iterator[str]:
        """Yield one quote per line.

        Raises:
            BadInput: the prompt has no documents, so there is nothing to quote.
        """
        if not prompt.sources:
            raise BadInput(
                "the extractive writer got no documents to quote.",
                "Let -k be 1 or more, or name a language model with --writer.",
            )
        chosen = choose(read(prompt.question, prompt.sources, self._encoder, self.reader))
        quoted = {reading.sentence.text for reading in chosen}
        for position, reading in enumerate(chosen):
            one = reading.sentence
            parts = [one.text, *one.items]
            marked = [part + f" [{one.number}]" * _ends_claim(part) for part in parts[:-1]]
            line = " ".join([*marked, f"{parts[-1]} [{one.number}]"])
            if _LEANS.match(one.text) and one.before and one.before not in quoted:
                line = f"{one.before} [{one.number}] {line}"
            yield f"\n{line}" if position else line
