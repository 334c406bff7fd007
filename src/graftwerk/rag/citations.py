"""Citations `[n]`, each judged against the text that it cites; the rest of an answer attributed.

Finding a quote in a text whatever its white space, letter case and quotation marks are.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from ..models.language.markup import MASK, readable, without_markup
from ..models.language.reader import Reader
from ..models.language.reading import Reading, choose, read
from ..models.language.sentences import content_stems, is_negated, numbers, split_sentences
from ..models.language.spans import find_cell, find_seen, find_span
from ..results import Passage
from ..search.words import plain_words
from ..text_safety import CITATION, strip_controls
from ..types import Encoder, Source
from .prompt import numbers_of
from .results import CitationReport

# ruff: noqa: RUF001  quotation marks and dashes


_SAME = str.maketrans(
    dict.fromkeys("‘’‚‛`´′", "'") | dict.fromkeys("“”„‟″«»", '"') | dict.fromkeys("‐‑‒–—―−", "-")
)
_DROPPED = frozenset("\"'*_")  # quotation marks and Markdown's emphasis


def find_quote(claim: str, text: str) -> tuple[int, int] | None:
    """Return the span of `text` that states `claim` in the same words; None if there is none.

    White space, letter case, kinds of quotation marks and dashes, emphasis, footnote numbers in
    square brackets, and punctuation at the claim's two ends make no difference. A claim without
    a content word (`Yes.`) is no quote.
    """
    if not content_stems(claim):
        return None
    requested, _ = _normalise(claim)
    requested = re.sub(r"^\W+|\W+$", "", requested)
    found, origins = _normalise(text)
    match = re.search(rf"(?<!\w){re.escape(requested)}(?!\w)", found) if requested else None
    if match is None:
        return None
    end = origins[match.end() - 1] + 1
    while end < len(text) and text[end] in ".!?…":
        end += 1
    return origins[match.start()], end


def says(text: str, sentence: str) -> bool:
    """Whether a text has the words of a sentence, or of a part of one, whatever their markup."""
    said = plain_words(text.replace(MASK, ""))
    return any(one in said for one in wordings(sentence))


@lru_cache(maxsize=1024)
def wordings(sentence: str) -> set[str]:
    """Return the plain words of a sentence that was copied with or without its markup.

    >>> sorted(wordings("See `the fees <fees>`_, **please**."))
    ['see the fees <fees> please', 'see the fees please']
    """
    paths = ("copied.md", "copied.rst", "copied.txt")
    bare = (without_markup(sentence, path, 1).replace(MASK, "") for path in paths)
    return {plain for one in bare if (plain := plain_words(one))}


@lru_cache(maxsize=1024)
def _normalise(text: str) -> tuple[str, list[int]]:
    """`text` as it is compared, and for each of its characters the place it comes from."""
    footnotes = {
        location
        for match in CITATION.finditer(text)
        for location in range(match.start(), match.end())
    }
    characters: list[str] = []
    origins: list[int] = []
    for location, original in enumerate(text):
        if location in footnotes or not strip_controls(original):
            continue
        for character in unicodedata.normalize("NFKC", original).casefold().translate(_SAME):
            is_space = character.isspace()
            if character in _DROPPED or (is_space and (not characters or characters[-1] in " !<")):
                continue
            characters.append(" " if is_space else character)
            origins.append(location)
    return "".join(characters), origins


# A claim is a paraphrase of a window (a sentence of the source, or two neighbors) when the
# cosine and the share of the claim's content words that occur in it are both high enough, every
# number of the claim is in it, and both say no or both do not. Of the pairs of the STS benchmark
# that pass, people call 93 % the same or roughly the same (bench/fit_citations.py).
PARAPHRASE_COSINE = 0.75
PARAPHRASE_WORDS = 0.5


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of the answer without its citations, and the numbers that it cites."""

    text: str
    cites: tuple[int, ...]


def find_claims(answer: str) -> list[Claim]:
    """Split an answer into its sentences; a citation belongs to the text right before it."""
    bare, positions, last = "", [], 0
    for mark in CITATION.finditer(answer):
        bare += answer[last : mark.start()]
        positions.append((len(bare.rstrip()), numbers_of(mark[0])))
        last = mark.end()
    bare += answer[last:]
    spans = [
        (offset + start, offset + end)
        for offset, line in _lines(bare)
        for start, end in split_sentences(line)
        if re.search(r"\w", line[start:end])
    ]
    cites: list[list[int]] = [[] for _ in spans]
    for position, cited in positions:
        before = [index for index, (start, _) in enumerate(spans) if start < position]
        if spans:
            owner = cites[before[-1] if before else 0]
            owner.extend(number for number in cited if number not in owner)
    return [Claim(bare[s:e], tuple(c)) for (s, e), c in zip(spans, cites, strict=True)]


def _lines(text: str) -> Iterator[tuple[int, str]]:
    offset = 0
    for line in text.splitlines(keepends=True):
        yield offset, line
        offset += len(line)


def check_citations(
    claims: Sequence[Claim], sources: Sequence[Source], encoder: Encoder
) -> list[CitationReport]:
    """Judge every citation against the passage that it refers to.

    Returns:
        One report for each claim and number, in their order.
    """
    by_number = {source.number: source for source in sources}
    pairs = [(claim, by_number[number]) for claim in claims for number in claim.cites]
    quotes = [find_quote(claim.text, source.passage.text) for claim, source in pairs]
    open_pairs = [pair for pair, quote in zip(pairs, quotes, strict=True) if quote is None]
    judged = iter(_compare(open_pairs, encoder))
    return [
        _report(claim, source, quote, "verbatim", 1.0)
        if quote is not None
        else _report(claim, source, *next(judged))
        for (claim, source), quote in zip(pairs, quotes, strict=True)
    ]


def _compare(
    pairs: Sequence[tuple[Claim, Source]], encoder: Encoder
) -> list[tuple[tuple[int, int], str, float]]:
    """Nearest window of the source, verdict and cosine for each pair; everything in one batch."""
    if not pairs:
        return []
    windows = {source.number: windows_of(source.passage.text) for _, source in pairs}
    texts = [claim.text for claim, _ in pairs]
    for _, source in pairs:
        texts += [source.passage.text[start:end] for start, end in windows[source.number]]
    vectors = dict(zip(texts, encoder.encode_texts(texts), strict=True))
    judged = []
    for claim, source in pairs:
        spans = windows[source.number]
        found = [source.passage.text[start:end] for start, end in spans]
        cosines = np.stack([vectors[text] for text in found]) @ vectors[claim.text]
        best = int(np.argmax(cosines))
        cosine = float(np.clip(cosines[best], -1, 1))
        judged.append((spans[best], judge(claim.text, found[best], cosine), cosine))
    return judged


def judge(claim: str, window: str, cosine: float) -> str:
    """Return `paraphrase` or `unsupported`."""
    requested = content_stems(claim)
    shared = len(requested & content_stems(window)) / len(requested) if requested else 0.0
    supported = (
        cosine >= PARAPHRASE_COSINE
        and shared >= PARAPHRASE_WORDS
        and numbers(claim) <= numbers(window)
        and is_negated(claim) == is_negated(window)
    )
    return "paraphrase" if supported else "unsupported"


def windows_of(text: str) -> list[tuple[int, int]]:
    """Return the spans of all sentences and adjacent pairs; the whole text if it has none."""
    sentences = split_sentences(text)
    pairs = [(first[0], second[1]) for first, second in pairwise(sentences)]
    return [*sentences, *pairs] or [(0, len(text))]


_NEAREST = 5  # windows that a sentence without a citation is judged by


def attribute(
    claims: Sequence[Claim], sources: Sequence[Source], encoder: Encoder
) -> list[CitationReport]:
    """Where the sources say what sentences say that cite nothing, or come nearest to it."""
    claims = [claim for claim in claims if not claim.cites]
    if not claims or not sources:
        return []
    quotes = [
        next(((s, q) for s in sources if (q := find_quote(claim.text, s.passage.text))), None)
        for claim in claims
    ]
    windows = [(source, span) for source in sources for span in windows_of(source.passage.text)]
    texts = [source.passage.text[start:end] for source, (start, end) in windows]
    open_texts = [c.text for c, quote in zip(claims, quotes, strict=True) if quote is None]
    rows: list[np.ndarray] = []
    if open_texts:
        vectors = encoder.encode_texts([*texts, *open_texts])
        rows = list(vectors[len(texts) :] @ vectors[: len(texts)].T)
    cosines = iter(rows)
    reports = []
    for claim, quote in zip(claims, quotes, strict=True):
        if quote is not None:
            source, span = quote
            reports.append(_report(claim, source, span, "verbatim", 1.0))
            continue
        near = next(cosines)
        best: list[int] = np.argsort(-near, kind="stable")[:_NEAREST].tolist()
        verdicts = {i: judge(claim.text, texts[i], float(near[i])) for i in best}
        chosen = next((i for i in best if verdicts[i] != "unsupported"), best[0])
        cosine = float(np.clip(near[chosen], -1, 1))
        source, span = windows[chosen]
        reports.append(_report(claim, source, span, verdicts[chosen], cosine))
    return reports


def rate_answers(
    question: str,
    reports: Sequence[CitationReport],
    sources: Sequence[Source],
    encoder: Encoder,
    reader: Reader | None = None,
) -> list[CitationReport]:
    """Return the reports with the probability that their quotes answer the question."""
    if not reports:
        return []
    readings = read(question, sources, encoder, reader)
    by_number = {source.number: source for source in sources}
    return [_rate(question, one, by_number[one.number], readings) for one in reports]


def _rate(
    question: str, report: CitationReport, source: Source, readings: Sequence[Reading]
) -> CitationReport:
    offset = source.passage.start
    likeliest = next(
        (
            reading
            for reading in readings
            if reading.sentence.number == report.number
            and reading.sentence.start < report.end - offset
            and report.start - offset < reading.sentence.end
        ),
        None,
    )
    if likeliest is None:  # it shares no word worth reading for
        return report.model_copy(update={"answers": 0.0})
    first = max(offset + likeliest.sentence.start, report.start)
    last = min(offset + likeliest.sentence.end, report.end)
    span = find_span(question, report.quote[first - report.start : last - report.start])
    if likeliest.seen is not None:
        inside = (first - offset, last - offset)
        seen = find_seen(question, source.passage.text, likeliest.seen, inside)
        if seen is not None:
            span = seen[0] - inside[0], seen[1] - inside[0]
    cell = find_cell(question, source.passage.text, (first - offset, last - offset))
    if cell is not None:
        span = cell[0] + offset - first, cell[1] + offset - first
    return report.model_copy(
        update={
            "answers": likeliest.probability,
            "answer_start": None if span is None else first + span[0],
            "answer_end": None if span is None else first + span[1],
        }
    )


def nearest_sentences(
    question: str, passages: Sequence[Passage], encoder: Encoder, reader: Reader | None = None
) -> list[CitationReport]:
    """Return one to three sentences of the passages that are likeliest to answer, best first."""
    sources = [Source(number, one) for number, one in enumerate(readable(passages), 1)]
    found = []
    for reading in choose(read(question, sources, encoder, reader)):
        one, source = reading.sentence, sources[reading.sentence.number - 1]
        report = _report(Claim(one.text, ()), source, (one.start, one.end), "verbatim", 1.0)
        found.append(_rate(question, report, source, [reading]))
    return as_in_files(found, passages)


def as_in_files(
    reports: Sequence[CitationReport], passages: Sequence[Passage]
) -> list[CitationReport]:
    """Return the reports with quotes as the files have them, markup included."""
    text_of = {(one.path, one.start): one.text for one in passages}
    found = []
    for report in reports:
        start, text = max(
            (start, text)
            for (path, start), text in text_of.items()
            if path == report.path and start <= report.start
        )
        quote = text[report.start - start : report.end - start]
        found.append(report.model_copy(update={"quote": quote}))
    return found


_NAME = re.compile(r"(?<=[\w,;)] )[A-Z][\w'’-]+")  # a capital that no sentence begins with
_ALWAYS_CAPITAL = frozenset({"i"})


def details_not_in(claims: Sequence[Claim], question: str, sources: Sequence[Source]) -> list[str]:
    """Return numbers, dates and names of an answer found in neither sources nor question."""
    text = "\n".join([question, *(f"{one.passage.heading}\n{one.passage.text}" for one in sources)])
    known, words = numbers(text) | {"1"}, set(re.findall(r"\w+", text.casefold()))
    missing = []
    for claim in claims:
        missing += sorted(numbers(claim.text) - known)
        missing += [
            name
            for name in _NAME.findall(claim.text)
            if not set(re.findall(r"\w+", name.casefold())) <= words | _ALWAYS_CAPITAL
        ]
    return list(dict.fromkeys(missing))


def _report(
    claim: Claim, source: Source, span: tuple[int, int], verdict: str, similarity: float
) -> CitationReport:
    passage = source.passage
    start, end = span
    line = None if passage.line is None else passage.line + passage.text.count("\n", 0, start)
    return CitationReport.model_validate(
        {
            "number": source.number,
            "path": passage.path,
            "start": passage.start + start,
            "end": passage.start + end,
            "line": line,
            "page": passage.page,
            "claim": claim.text,
            "quote": passage.text[start:end],
            "verdict": verdict,
            "similarity": similarity,
        }
    )
